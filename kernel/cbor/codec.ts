/** CBOR to JavaScript values: the only importer of cbor-x, which sees nothing that the pre-validator has not accepted. */

import { Decoder, Tag } from "cbor-x/index-no-eval";
import { Refusal } from "../errors.ts";
import { CBOR_REASONS, type CborLimits, checkCbor } from "./check.ts";
import { type CborKey, CborTag, type CborValue } from "./value.ts";

/**
 * `mapsAsObjects: false` keeps `__proto__` an ordinary key; `copyBuffers` gives byte strings a buffer of their own,
 * where cbor-x would otherwise hand out views of its input.
 */
const decoder = new Decoder({
  useRecords: false,
  mapsAsObjects: false,
  variableMapSize: true,
  tagUint8Array: false,
  copyBuffers: true,
});

/** Tags that cbor-x hands over untouched. Others have code behind them: bignums, dates, records, references. */
const PLAIN_TAGS: readonly number[] = Object.freeze([18, 107]);

/**
 * Decodes exactly one strict item. Maps are `Map`s, byte strings are copies, integers beyond 2^53 are bigints.
 * @throws Refusal E_CBOR or E_SIZE, with the offset.
 */
export function decodeCbor(bytes: Uint8Array, limits: CborLimits): CborValue {
  if (limits.tags.some((tag) => !PLAIN_TAGS.includes(tag))) throw new RangeError("only plain tags can be decoded");
  if (bytes.byteLength > limits.maxBytes) throw cborRefusal("E_SIZE", "too-many-bytes", 0);
  // A copy: shared memory could change between check and decoding, and cbor-x leaves a property on its input.
  const copy = new Uint8Array(bytes);
  const verdict = checkCbor(copy, limits);
  if (!verdict.ok) throw cborRefusal(verdict.code, verdict.reason, verdict.at);
  return adopt(decoder.decode(copy));
}

function cborRefusal(code: "E_CBOR" | "E_SIZE", reason: keyof typeof CBOR_REASONS, at: number): Refusal {
  return new Refusal(code, `${reason}: ${CBOR_REASONS[reason]}`, { at });
}

/** Turns what cbor-x made into CborValue: its tags into ours, small bigints (from 8-byte heads) into numbers. */
function adopt(value: unknown): CborValue {
  if (typeof value === "bigint") return adoptInteger(value);
  if (typeof value === "number" || typeof value === "string" || typeof value === "boolean") return value;
  if (value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(adopt);
  if (value instanceof Map) return adoptMap(value);
  if (value instanceof Tag) return new CborTag(value.tag, adopt(value.value));
  throw new Refusal("E_CBOR", "decoding gave a value that is not CBOR data", { found: typeof value });
}

function adoptInteger(value: bigint): number | bigint {
  const isSafe = value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER);
  return isSafe ? Number(value) : value;
}

function adoptMap(map: ReadonlyMap<unknown, unknown>): Map<CborKey, CborValue> {
  const adopted = new Map<CborKey, CborValue>();
  // SAFETY: the pre-validator refuses keys that are neither integers nor texts.
  for (const [key, value] of map) adopted.set(adopt(key) as CborKey, adopt(value));
  return adopted;
}
