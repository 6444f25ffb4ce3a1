/** The `settings:` of a module: any data of the operator's, bounded, and the CBOR that the module gets. */
import { type CborInput, type CborMap, type CborValue, decodeCbor, encodeCbor, LIMITS } from "../../kernel/index.ts";
import type { ConfigurationNode } from "./document.ts";
import type { Problems } from "./problem.ts";
import { printable, type Shape } from "./shape.ts";

/** Settings as they were read: the text's tree, for errors with a place, and the bytes for the module. */
export interface SettingsDraft {
  readonly node: ConfigurationNode;
  readonly bytes: Uint8Array;
}

/** Levels of maps and lists: what a module can follow without recursion of its own. */
const DEPTH = 8;
const KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/;
const CBOR_LIMITS = { maxBytes: LIMITS.settingsBytes, maxDepth: DEPTH, maxItems: 4096, tags: [], deterministic: true };

/** `undefined` where a problem has been reported. */
function convert(node: ConfigurationNode, path: string, depth: number, problems: Problems): CborInput | undefined {
  if (node.kind === "scalar") return convertScalar(node.value, node, path, problems);
  if (depth >= DEPTH) {
    problems.add(node.at, `${path} is nested too deeply`, { expected: `at most ${DEPTH} levels` });
    return undefined;
  }
  if (node.kind === "list") {
    const items = node.items.map((item, index) => convert(item, `${path}[${index}]`, depth + 1, problems));
    return items.every((item) => item !== undefined) ? items : undefined;
  }
  const entries = [...node.entries].map(([key, { keyAt, value }]) => {
    const isKey = KEY.test(key);
    if (!isKey) {
      const detail = { expected: "letters, digits, and . _ / - after the first, at most 64" };
      problems.add(keyAt, `the key '${printable(key)}' in ${path} is not valid`, detail);
    }
    const converted = convert(value, `${path}.${printable(key)}`, depth + 1, problems);
    return isKey && converted !== undefined ? ([key, converted] as const) : undefined;
  });
  return entries.every((entry) => entry !== undefined) ? new Map(entries) : undefined;
}

function convertScalar(
  value: string | number | boolean | null,
  { at }: ConfigurationNode,
  path: string,
  problems: Problems,
): CborInput | undefined {
  if (typeof value === "number" && !Number.isFinite(value)) {
    problems.add(at, `${path} is not valid`, { expected: "a finite number", found: `${value}` });
    return undefined;
  }
  if (typeof value === "string" && (!value.isWellFormed() || value.startsWith("\uFEFF"))) {
    problems.add(at, `${path} is not valid`, { expected: "text that is Unicode" });
    return undefined;
  }
  // There is one zero: as an integer a module would not take the other.
  return value === 0 ? 0 : value;
}

function encode(node: ConfigurationNode, path: string, problems: Problems): Uint8Array | undefined {
  const value = convert(node, path, 0, problems);
  if (value === undefined) return undefined;
  const bytes = encodeCbor(value);
  if (bytes.length <= LIMITS.settingsBytes) return bytes;
  const detail = { expected: `at most ${LIMITS.settingsBytes} bytes as CBOR`, found: `${bytes.length}` } as const;
  problems.add(node.at, `${path} are too large`, { code: "E_SIZE", ...detail });
  return undefined;
}

/** A message that the operator writes: text or any data, as CBOR. */
export const messageShape: Shape<Uint8Array> = {
  what: "a message: text, a number, a list or a map",
  read: encode,
  schema: () => ({ description: "a message: text, a number, a list or a map" }),
};

export const settingsShape: Shape<SettingsDraft> = {
  what: "the module's own settings: a map",
  read(node, path, problems) {
    const isNothing = node.kind === "scalar" && node.value === null;
    if (node.kind !== "map" && !isNothing) {
      problems.add(node.at, `${path} is not valid`, { expected: "a map of the module's own settings" });
      return undefined;
    }
    if (isNothing) return { node, bytes: new Uint8Array(0) };
    const bytes = encode(node, path, problems);
    return bytes && { node, bytes };
  },
  schema: () => ({ type: ["object", "null"], description: "the module's own settings" }),
};

/** What of two settings differs, by the keys of the top: `period 1000 -> 5000`. */
export function settingsChanges(before: Uint8Array | undefined, after: Uint8Array | undefined): readonly string[] {
  const [had, has] = [topEntries(before), topEntries(after)];
  return [...new Set([...had.keys(), ...has.keys()])].flatMap((key) => {
    const [old, now] = [had.get(key) ?? "absent", has.get(key) ?? "absent"];
    return old === now ? [] : [`settings.${key} ${short(old)} -> ${short(now)}`];
  });
}

function topEntries(bytes: Uint8Array | undefined): ReadonlyMap<string, string> {
  const value: CborValue = bytes === undefined || bytes.length === 0 ? null : decodeCbor(bytes, CBOR_LIMITS);
  if (!(value instanceof Map)) return new Map();
  const entries = value as CborMap;
  return new Map([...entries].map(([key, entry]) => [String(key), asText(entry)]));
}

function asText(value: CborValue): string {
  const flat = (inner: unknown): unknown =>
    inner instanceof Map ? Object.fromEntries(inner as ReadonlyMap<string, unknown>) : inner;
  return JSON.stringify(value, (_, inner: unknown) => flat(inner));
}

function short(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
