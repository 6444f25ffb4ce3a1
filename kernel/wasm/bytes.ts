/** Reads strictly and writes minimally the primitives of the Wasm binary format (core specification 2.0, 5.2). */

import { Refusal, type RefusalDetail } from "../errors.ts";

/** Refuses a binary, at a byte offset. */
export function refuseWasm(message: string, at: number, detail: RefusalDetail = {}): never {
  throw new Refusal("E_WASM", message, { at, ...detail });
}

// Fatal: names must be UTF-8 (5.2.4). A byte order mark is part of the name.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A cursor over `bytes[at, end)`. Every read is checked against `end`, so a section can't reach into its neighbour. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  at: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  byte(): number {
    if (this.at >= this.end) this.#ended();
    const value = this.bytes[this.at];
    if (value === undefined) this.#ended();
    this.at += 1;
    return value;
  }

  /** Unsigned LEB128 of at most 32 bits: at most five bytes, unused bits zero. */
  u32(): number {
    const first = this.byte();
    if (first < 0x80) return first;
    const start = this.at - 1;
    let value = first & 0x7f;
    for (let shift = 7; shift < 28; shift += 7) {
      const next = this.byte();
      value |= (next & 0x7f) << shift;
      if (next < 0x80) return value >>> 0;
    }
    const last = this.byte();
    if (last > 0x0f) refuseWasm("a number is longer than 32 bits", start, { expected: "an unsigned LEB128 u32" });
    return (value | (last << 28)) >>> 0;
  }

  /** Signed LEB128 of `bits` bits (32, 33 or 64); returns the low 32 bits only, which is all that a caller needs. */
  signed(bits: 32 | 33 | 64): number {
    const start = this.at;
    const lastIndex = Math.ceil(bits / 7) - 1;
    let value = 0;
    for (let index = 0; index < lastIndex; index += 1) {
      const next = this.byte();
      const shift = index * 7;
      if (shift < 32) value |= (next & 0x7f) << shift;
      if (next < 0x80) return shift < 25 && (next & 0x40) !== 0 ? value | (-1 << (shift + 7)) : value;
    }
    const last = this.byte();
    const used = bits - lastIndex * 7;
    const high = last & (0x80 | (0x7f & (-1 << (used - 1))));
    if (high !== 0 && high !== (0x7f & (-1 << (used - 1)))) refuseWasm(`a number is longer than ${bits} bits`, start);
    return lastIndex * 7 < 32 ? value | (last << (lastIndex * 7)) : value;
  }

  skip(length: number): void {
    if (length > this.end - this.at) this.#ended();
    this.at += length;
  }

  /** The length of a vector. Every item takes a byte at least, so a count beyond the bytes left is refused at once. */
  count(what: string): number {
    const start = this.at;
    const count = this.u32();
    if (count > this.end - this.at) {
      refuseWasm(`more ${what} announced than bytes left`, start, { found: `${count}` });
    }
    return count;
  }

  /** An index into a space of `count` things. */
  index(count: number, what: string): number {
    const start = this.at;
    const index = this.u32();
    if (index >= count) refuseWasm(`an unknown ${what} index`, start, { found: `${index}` });
    return index;
  }

  name(): string {
    const length = this.count("bytes of a name");
    const start = this.at;
    this.at += length;
    try {
      return utf8.decode(this.bytes.subarray(start, this.at));
    } catch {
      return refuseWasm("a name is not UTF-8", start);
    }
  }

  finish(what: string): void {
    if (this.at !== this.end) {
      refuseWasm(`${what} has bytes left over`, this.at, { found: `${this.end - this.at} bytes too many` });
    }
  }

  #ended(): never {
    return refuseWasm("the binary ends in the middle of something", this.at, { hint: "is the file complete?" });
  }
}

/** A growing byte sequence; capacity doubles, so writing is linear in the length. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.length] = value;
    this.length += 1;
    return this;
  }

  raw(...values: number[]): this {
    for (const value of values) this.byte(value);
    return this;
  }

  u32(value: number): this {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    return this.byte(rest);
  }

  s32(value: number): this {
    let rest = value | 0;
    while (rest > 0x3f || rest < -0x40) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>= 7;
    }
    return this.byte(rest & 0x7f);
  }

  /** An opcode (or a kind) and an index. */
  op(opcode: number, index: number): this {
    return this.byte(opcode).u32(index);
  }

  slice(bytes: Uint8Array, start: number, end: number): this {
    const size = end - start;
    this.#reserve(size);
    if (size < 24) for (let i = 0; i < size; i += 1) this.#bytes[this.length + i] = bytes[start + i] ?? 0;
    else this.#bytes.set(bytes.subarray(start, end), this.length);
    this.length += size;
    return this;
  }

  append(other: ByteWriter): this {
    return this.slice(other.#bytes, 0, other.length);
  }

  name(...texts: string[]): this {
    for (const bytes of texts.map((text) => new TextEncoder().encode(text)))
      this.u32(bytes.length).slice(bytes, 0, bytes.length);
    return this;
  }

  /** Empties it, keeping the capacity. */
  clear(): void {
    this.length = 0;
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }

  #reserve(size: number): void {
    if (this.length + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + size));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
  }
}
