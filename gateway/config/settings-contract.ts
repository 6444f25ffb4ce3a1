/** What settings a module takes: the contract that its build puts into the manifest, as CBOR, and the check against it. */
import {
  type CborInput,
  type CborValue,
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBoolean,
  expectInteger,
  expectText,
  expectUnsigned,
  LIMITS,
  Refusal,
} from "../../kernel/index.ts";
import type { ConfigurationNode, MapNode } from "./document.ts";
import { listNames, nearestName } from "./names.ts";
import type { Position, Problems } from "./problem.ts";
import { describeNode, printable } from "./shape.ts";

export type SettingsType =
  /** So many bytes of UTF-8. */
  | { readonly kind: "text"; readonly least: number; readonly most: number }
  | { readonly kind: "choice"; readonly values: readonly string[] }
  | { readonly kind: "integer"; readonly least: number; readonly most: number }
  /** Finite; a bound that is null is none. */
  | { readonly kind: "number"; readonly least: number | null; readonly most: number | null }
  | { readonly kind: "boolean" }
  | { readonly kind: "list"; readonly least: number; readonly most: number; readonly of: SettingsType }
  | SettingsMap;

export interface SettingsMap {
  readonly kind: "map";
  readonly fields: readonly SettingsField[];
}

export interface SettingsField {
  readonly name: string;
  readonly isOptional: boolean;
  /** What the module takes where the operator says nothing; for readers, the module itself has it compiled in. */
  readonly default: string | number | boolean | null;
  readonly type: SettingsType;
}

const CONTRACT_LIMITS = { maxBytes: 4096, maxDepth: 20, maxItems: 2048, tags: [], deterministic: true };
const FIELD_NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

function plain(type: SettingsType): CborInput {
  switch (type.kind) {
    case "text":
    case "integer":
    case "number":
      return [type.kind, type.least, type.most];
    case "choice":
      return [type.kind, ...type.values];
    case "boolean":
      return [type.kind];
    case "list":
      return [type.kind, type.least, type.most, plain(type.of)];
    case "map":
      return [
        type.kind,
        ...type.fields.map((field) => [field.name, field.isOptional, field.default, plain(field.type)]),
      ];
  }
}

/** The contract as the manifest carries it. @throws Refusal E_SIZE where it is larger than a reader would take. */
export function encodeSettingsContract(contract: SettingsMap): Uint8Array {
  const bytes = encodeCbor(plain(contract));
  if (bytes.length <= CONTRACT_LIMITS.maxBytes) return bytes;
  const detail = { expected: `at most ${CONTRACT_LIMITS.maxBytes} bytes`, found: `${bytes.length}` };
  throw new Refusal("E_SIZE", "the contract of the settings is too large", detail);
}

/** Reads the contract of a manifest, which anybody may have written. @throws Refusal E_MANIFEST. */
export function decodeSettingsContract(bytes: Uint8Array): SettingsMap {
  try {
    const type = readType(decodeCbor(bytes, CONTRACT_LIMITS));
    if (type.kind === "map") return type;
    throw new Refusal("E_CBOR", "the settings are not a map");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new Refusal("E_MANIFEST", `the settings of the manifest are not valid: ${error.message}`, error.detail);
  }
}

function readType(value: CborValue | undefined): SettingsType {
  const [kind, ...rest] = expectArray(value, "a type of settings");
  const size = (index: number): number => expectUnsigned(rest[index], "a size of settings");
  const bound = (index: number): number | null => {
    const found = rest[index];
    return typeof found === "number" ? found : found === null ? null : expectInteger(found, "a bound of settings");
  };
  switch (kind) {
    case "text":
      return { kind, least: size(0), most: size(1) };
    case "choice":
      return { kind, values: rest.map((word) => expectText(word, "a choice of settings", 64)) };
    case "integer":
      return {
        kind,
        least: expectInteger(rest[0], "a bound of settings"),
        most: expectInteger(rest[1], "a bound of settings"),
      };
    case "number":
      return { kind, least: bound(0), most: bound(1) };
    case "boolean":
      return { kind };
    case "list":
      return { kind, least: size(0), most: size(1), of: readType(rest[2]) };
    case "map":
      return { kind, fields: rest.map(readField) };
    default:
      throw new Refusal("E_CBOR", "a type of settings that is not known", {
        expected: "text, choice, integer, number, boolean, list or map",
      });
  }
}

function readField(value: CborValue): SettingsField {
  const [name, isOptional, preset, type] = expectArray(value, "a field of settings", 4);
  const text = expectText(name, "the name of a setting", LIMITS.nameLength);
  if (!FIELD_NAME.test(text))
    throw new Refusal("E_CBOR", "the name of a setting is not one", { found: printable(text) });
  const isScalar = preset === null || ["string", "number", "boolean"].includes(typeof preset);
  if (!isScalar) throw new Refusal("E_CBOR", `the default of ${text} is neither text, number nor boolean`);
  return {
    name: text,
    isOptional: expectBoolean(isOptional, "whether a setting is optional"),
    // SAFETY: one of these three, or null: just found.
    default: preset as string | number | boolean | null,
    type: readType(type),
  };
}

/** A type in words: for errors, and for those who ask what a module takes. */
export function describeSettingsType(type: SettingsType): string {
  switch (type.kind) {
    case "text":
      return type.most >= LIMITS.settingsBytes ? "text" : `text of ${type.least} to ${type.most} bytes`;
    case "choice":
      return `one of ${listNames(type.values)}`;
    case "integer":
      return `a whole number from ${type.least} to ${type.most}`;
    case "number":
      return `a number${type.least === null ? "" : ` from ${type.least}`}${type.most === null ? "" : ` to ${type.most}`}`;
    case "boolean":
      return "true or false";
    case "list":
      return `a list of ${type.least} to ${type.most}, each ${describeSettingsType(type.of)}`;
    case "map":
      return `a map of ${listNames(type.fields.map(({ name }) => name))}`;
  }
}

/** Compares the settings that the operator wrote with what the module takes, and reports each difference at its place. */
export function checkSettings(node: ConfigurationNode, contract: SettingsMap, path: string, problems: Problems): void {
  if (node.kind === "map") checkMap(node, contract, path, problems);
  else if (node.kind === "scalar" && node.value === null) checkNoSettings(contract, path, node.at, problems);
  else mismatch(node, contract, path, problems);
}

/** A module without settings in the file: each that it cannot do without is a problem, told at the module's own place. */
export function checkNoSettings(contract: SettingsMap, path: string, at: Position, problems: Problems): void {
  checkMap({ kind: "map", at, entries: new Map() }, contract, path, problems);
}

function mismatch(node: ConfigurationNode, type: SettingsType, path: string, problems: Problems): void {
  const isUnquoted = node.kind === "scalar" && typeof node.value !== "string" && node.value !== null;
  const wantsText = type.kind === "text" || type.kind === "choice";
  problems.add(node.at, `${path} is not what the module takes`, {
    expected: describeSettingsType(type),
    found: describeNode(node),
    ...(isUnquoted && wantsText ? { hint: "put it in quotes" } : {}),
  });
}

function checkNode(node: ConfigurationNode, type: SettingsType, path: string, problems: Problems): void {
  if (type.kind === "map" && node.kind === "map") checkMap(node, type, path, problems);
  else if (type.kind === "list" && node.kind === "list") {
    const { length } = node.items;
    if (length < type.least || length > type.most) {
      const detail = { expected: describeSettingsType(type), found: `a list of ${length}` };
      problems.add(node.at, `${path} is not what the module takes`, detail);
    }
    for (const [index, item] of node.items.entries()) checkNode(item, type.of, `${path}[${index}]`, problems);
  } else if (node.kind !== "scalar" || !scalarFits(node.value, type)) mismatch(node, type, path, problems);
}

function scalarFits(value: string | number | boolean | null, type: SettingsType): boolean {
  switch (type.kind) {
    case "text": {
      const bytes = typeof value === "string" ? Buffer.byteLength(value) : -1;
      return bytes >= type.least && bytes <= type.most;
    }
    case "choice":
      return type.values.some((word) => word === value);
    case "integer":
      return Number.isSafeInteger(value) && Number(value) >= type.least && Number(value) <= type.most;
    case "number": {
      if (typeof value !== "number" || !Number.isFinite(value)) return false;
      return value >= (type.least ?? value) && value <= (type.most ?? value);
    }
    case "boolean":
      return typeof value === "boolean";
    default:
      return false;
  }
}

function checkMap(map: MapNode, { fields }: SettingsMap, path: string, problems: Problems): void {
  const names = fields.map(({ name }) => name);
  const meant = new Set<string>();
  for (const [key, { keyAt }] of map.entries) {
    if (names.includes(key)) continue;
    const nearest = nearestName(key, names);
    if (nearest !== undefined) meant.add(nearest);
    const expected = names.length === 0 ? "no keys here" : listNames(names);
    problems.add(keyAt, `unknown key '${printable(key)}' in ${path}`, { code: "E_UNKNOWN", nearest, expected });
  }
  for (const { name, isOptional, type } of fields) {
    const entry = map.entries.get(name);
    if (entry !== undefined) checkNode(entry.value, type, `${path}.${name}`, problems);
    else if (!isOptional && !meant.has(name)) {
      const expected = describeSettingsType(type);
      problems.add(map.at, `${path} lacks the key '${name}'`, { expected, hint: `add '${name}: …'` });
    }
  }
}
