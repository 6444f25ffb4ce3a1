/** JavaScript values to deterministic CBOR (RFC 8949 section 4.2.1): shortest forms, keys in bytewise order. */

import { Refusal } from "../errors.ts";
import { ByteWriter } from "../wasm/bytes.ts";
import { MAJOR } from "./major.ts";
import { type CborInput, CborTag } from "./value.ts";

/** Deeper values are taken for cycles: no document or message of ours comes near. */
const MAX_ENCODE_DEPTH = 64;
const U64 = 1n << 64n;
const utf8 = new TextEncoder();

/**
 * Encodes a value deterministically. cbor-x is not used here: it writes integers above 2^32-1 as floats, bigints and
 * floats in longer forms than needed, and keys in insertion order.
 * @throws Refusal E_CBOR on values that CBOR, or the pre-validator, would not take back.
 */
export function encodeCbor(value: CborInput): Uint8Array {
  const out = new Output(64);
  encodeValue(out, value, 0);
  return out.finish();
}

function encodeValue(out: Output, value: CborInput, depth: number): void {
  if (depth > MAX_ENCODE_DEPTH) throw unencodable("a value nested too deeply, or a cycle");
  if (typeof value === "number") encodeNumber(out, value);
  else if (typeof value === "bigint") encodeInteger(out, value);
  else if (typeof value === "string") encodeText(out, value);
  else if (typeof value === "boolean") out.byte(value ? 0xf5 : 0xf4);
  else if (value === null) out.byte(0xf6);
  else if (value instanceof Uint8Array) encodeBytes(out, MAJOR.bytes, value);
  else if (value instanceof CborTag) {
    out.head(MAJOR.tag, value.tag);
    encodeValue(out, value.value, depth + 1);
  } else if (value instanceof Map) encodeMap(out, value.entries(), depth);
  // SAFETY: `isArray` does not tell TypeScript what is in it; of what can be encoded every array is one of such values.
  else if (Array.isArray(value)) encodeArray(out, value as readonly CborInput[], depth);
  else encodeObject(out, value, depth);
}

function encodeNumber(out: Output, value: number): void {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) out.float(value);
  else if (value >= 0) out.head(MAJOR.unsigned, value);
  else out.head(MAJOR.negative, -1 - value);
}

function encodeInteger(out: Output, value: bigint): void {
  if (value >= U64 || value < -U64) throw unencodable("an integer beyond 64 bits");
  if (value < 0n) out.head(MAJOR.negative, -1n - value);
  else out.head(MAJOR.unsigned, value);
}

function encodeText(out: Output, value: string): void {
  if (!value.isWellFormed()) throw unencodable("a text with a lone surrogate");
  if (value.startsWith("\uFEFF")) throw unencodable("a text that begins with a byte order mark");
  encodeBytes(out, MAJOR.text, utf8.encode(value));
}

function encodeBytes(out: Output, major: number, value: Uint8Array): void {
  out.head(major, value.length).slice(value, 0, value.length);
}

function encodeArray(out: Output, value: readonly CborInput[], depth: number): void {
  out.head(MAJOR.array, value.length);
  for (const element of value) encodeValue(out, element, depth + 1);
}

function encodeObject(out: Output, value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) throw unencodable(`a value of type ${typeof value}`);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw unencodable("an object that is not a plain one");
  // SAFETY: each value is looked at when it is encoded.
  encodeMap(out, Object.entries(value) as [string, CborInput][], depth);
}

function encodeMap(out: Output, source: Iterable<readonly [unknown, CborInput]>, depth: number): void {
  const entries = Array.from(source, ([key, value]) => ({ key: encodeKey(key), value }));
  entries.sort((a, b) => compareBytes(a.key, b.key));
  out.head(MAJOR.map, entries.length);
  entries.forEach(({ key, value }, index) => {
    const previous = entries[index - 1];
    if (previous !== undefined && compareBytes(previous.key, key) === 0) throw unencodable("a map with a key twice");
    out.slice(key, 0, key.length);
    encodeValue(out, value, depth + 1);
  });
}

function encodeKey(key: unknown): Uint8Array {
  const isInteger = Number.isSafeInteger(key) && !Object.is(key, -0);
  if (!isInteger && typeof key !== "bigint" && typeof key !== "string") {
    throw unencodable("a map key that is neither an integer nor a text");
  }
  const out = new Output(64);
  // SAFETY: just found to be an integer, a bigint or a string.
  encodeValue(out, key as number | bigint | string, 0);
  return out.finish();
}

/** Bytewise lexicographic order, as of RFC 8949 section 4.2.1. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function unencodable(found: string): Refusal {
  return new Refusal("E_CBOR", "a value cannot be encoded as CBOR", { found });
}

const scratch = new DataView(new ArrayBuffer(8));
const scratchBytes = new Uint8Array(scratch.buffer);

class Output extends ByteWriter {
  /** The shortest head that holds the argument. */
  head(major: number, argument: number | bigint): this {
    if (argument < 24) return this.byte((major << 5) | Number(argument));
    const power = argument < 0x100 ? 0 : argument < 0x1_0000 ? 1 : argument < 0x1_0000_0000 ? 2 : 3;
    this.byte((major << 5) | (24 + power));
    if (power === 3) scratch.setBigUint64(0, BigInt(argument));
    else scratch.setUint32(4, Number(argument));
    return this.slice(scratchBytes, 8 - (1 << power), 8);
  }

  /** The shortest of the three widths that keeps the value; a NaN is f97e00, the one that deterministic CBOR knows. */
  float(value: number): this {
    const width = Object.is(Math.f16round(value), value) ? 2 : Object.is(Math.fround(value), value) ? 4 : 8;
    this.byte(0xf9 + (width >> 2));
    if (Number.isNaN(value)) scratch.setUint16(0, 0x7e00);
    else if (width === 2) scratch.setFloat16(0, value);
    else if (width === 4) scratch.setFloat32(0, value);
    else scratch.setFloat64(0, value);
    return this.slice(scratchBytes, 0, width);
  }
}
