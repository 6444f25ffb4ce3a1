/** A message as its contract reads it: one line for people, and what is not as the contract says. */
import { decodeCbor, LIMITS, Refusal } from "../../kernel/index.ts";
import type { CborKey, CborMap, CborValue } from "../../kernel/index.ts";
import type { Contract, Field, FieldType } from "../build/contracts/model.ts";
import { plain } from "../../gateway/wire/parse.ts";
import type { Settings } from "../../gateway/wire/parse.ts";

export interface DecodedMessage {
  /** Undefined where the bytes are no CBOR. */
  readonly value: Settings | undefined;
  readonly text: string;
  /** What breaks the contract. */
  readonly breaches: readonly string[];
}

const CBOR_LIMITS = { maxBytes: LIMITS.payloadBytes, maxDepth: 16, maxItems: 4096, tags: [], deterministic: false };
const UINT32 = 0xffff_ffff;

/** @param contract undefined where the port has none */
export function decodeMessage(payload: Uint8Array, contract: Contract | undefined): DecodedMessage {
  let value: CborValue;
  try {
    value = decodeCbor(payload, CBOR_LIMITS);
  } catch (error) {
    const reason = error instanceof Refusal ? error.message : String(error);
    return { value: undefined, text: `${payload.length} bytes`, breaches: [reason] };
  }
  const text = show(inOrder(value, contract));
  if (contract === undefined) return { value: plain(value, "message"), text, breaches: [] };
  return { value: plain(value, "message"), text: `${contract.rule} ${text}`, breaches: breachesOf(value, contract) };
}

/** The fields as the contract has them; CBOR sorts its keys. */
function inOrder(value: CborValue, contract: Contract | undefined): CborValue {
  if (contract === undefined || !(value instanceof Map)) return value;
  // SAFETY: just found to be a map; CBOR's are of this type.
  const map = value as CborMap;
  const names: CborKey[] = contract.fields.map(({ name }) => name).filter((name) => map.has(name));
  const keys = new Set<CborKey>([...names, ...map.keys()]);
  return new Map(Array.from(keys, (key) => [key, map.get(key) ?? null]));
}

function breachesOf(value: CborValue, { fields, rule }: Contract): string[] {
  if (!(value instanceof Map)) return [`a ${rule} is a map`];
  // SAFETY: just found to be a map; CBOR's are of this type.
  const map = value as CborMap;
  const known = new Set<unknown>(fields.map(({ name }) => name));
  const extra = [...map.keys()].filter((key) => !known.has(key)).map((key) => `${String(key)} is no field of it`);
  return [...fields.flatMap((field) => breachOf(map.get(field.name), field)), ...extra];
}

function breachOf(value: CborValue | undefined, { name, isOptional, type }: Field): string[] {
  if (value === undefined) return isOptional ? [] : [`${name} is missing`];
  return fits(value, type) ? [] : [`${name} is not ${expected(type)}`];
}

function fits(value: CborValue, type: FieldType): boolean {
  switch (type.kind) {
    case "text":
      return typeof value === "string" && within(new TextEncoder().encode(value).length, type);
    case "bytes":
      return value instanceof Uint8Array && within(value.length, type);
    case "choice":
      return typeof value === "string" && type.values.includes(value);
    case "boolean":
      return typeof value === "boolean";
    case "number":
      return typeof value === "number" || typeof value === "bigint";
    case "integer":
      return isInteger(value);
    case "unsigned":
      return isInteger(value) && value >= 0 && (type.bits === 64 || value <= UINT32);
    case "range":
      return isInteger(value) && value >= type.least && value <= type.most;
  }
}

function isInteger(value: unknown): value is number | bigint {
  return typeof value === "bigint" || Number.isInteger(value);
}

function within(length: number, { least, most }: { readonly least: number; readonly most: number }): boolean {
  return length >= least && length <= most;
}

function expected(type: FieldType): string {
  switch (type.kind) {
    case "text":
    case "bytes":
      return `${type.kind} of ${type.least} to ${type.most} bytes`;
    case "choice":
      return type.values.join(" or ");
    case "unsigned":
      return `an unsigned integer of ${type.bits} bits`;
    case "range":
      return `an integer from ${type.least} to ${type.most}`;
    case "integer":
    case "number":
    case "boolean":
      return `a value of type ${type.kind}`;
  }
}

/** The diagnostic notation, near enough: `{sensor: "a", value: 1.5}`. */
function show(value: CborValue): string {
  if (value instanceof Uint8Array) return `h'${value.toHex()}'`;
  if (value instanceof Map) {
    return `{${Array.from(value as CborMap, ([key, item]) => `${String(key)}: ${show(item)}`).join(", ")}}`;
  }
  if (Array.isArray(value)) return `[${(value as readonly CborValue[]).map(show).join(", ")}]`;
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}
