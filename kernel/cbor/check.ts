/** The strict CBOR pre-validator: nothing from outside is decoded before this file has bounded and accepted it. */

import { compareBytes } from "./encode.ts";
import { MAJOR } from "./major.ts";

/** Bounds on one CBOR item. Depth counts open arrays, maps and tags; items counts every head, keys and tags included. */
export interface CborLimits {
  readonly maxBytes: number;
  readonly maxDepth: number;
  readonly maxItems: number;
  /** The tag numbers that may occur; any other is refused. */
  readonly tags: readonly number[];
  /** RFC 8949 section 4.2.1: shortest heads and floats, keys in ascending bytewise order. Signed documents need it. */
  readonly deterministic: boolean;
}

/** Every reason for which bytes are refused, in stable words. */
export const CBOR_REASONS = Object.freeze({
  "too-many-bytes": "longer than the limit (E_SIZE)",
  truncated: "ends inside an item, or claims more than there is",
  "trailing-bytes": "goes on after the one item",
  "too-deep": "more nested arrays, maps and tags than the limit",
  "too-many-items": "more items than the limit",
  "reserved-length": "additional information 28 to 30",
  "indefinite-length": "an indefinite length, or a break",
  "tag-not-allowed": "a tag that is not listed, bignums among them",
  "simple-value": "a simple value other than false, true and null",
  "invalid-utf8": "a text that is not UTF-8",
  "byte-order-mark": "a text that begins with U+FEFF, which decoders drop or keep as they like",
  "key-type": "a map key that is neither an integer nor a text",
  "too-many-integer-keys": "a map with more than 256 integer keys",
  "duplicate-key": "the same map key twice, whatever its encodings",
  "not-shortest": "a longer head or float than needed (deterministic only)",
  "unsorted-keys": "map keys out of bytewise order (deterministic only)",
} as const);

export type CborReason = keyof typeof CBOR_REASONS;

/** `at` is the offset of the item that was refused, in bytes. */
export type CborVerdict =
  | { readonly ok: true }
  | { readonly ok: false; readonly code: "E_CBOR" | "E_SIZE"; readonly reason: CborReason; readonly at: number };

/**
 * Is this exactly one strict CBOR item (RFC 8949) within the limits? Time is linear in the bytes, memory in depth and
 * key bytes, and nothing recurses. Bytes in shared memory must be copied first: they could change after the verdict.
 */
export function checkCbor(bytes: Uint8Array, limits: CborLimits): CborVerdict {
  if (bytes.byteLength > limits.maxBytes) return { ok: false, code: "E_SIZE", reason: "too-many-bytes", at: 0 };
  return new Check(bytes, limits).run();
}

/**
 * V8 hashes integers without a seed: 8,000 chosen ones in a Map of 48 KB were seen to take 0.28 s. Texts are seeded.
 * No document or contract has so many integer keys in one map.
 */
const MAXIMUM_INTEGER_KEYS = 256;

/** An open array, map or tag. `left` counts items still to come: in a map an even number means that a key is next. */
interface Frame {
  left: number;
  readonly isMap: boolean;
  keys: Set<string> | undefined;
  integerKeys: number;
  lastKey: Uint8Array | undefined;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const SHORT_KEY = 24;
const HALF = 0xf9;
const HALF_NAN = 0x7e00;

/** One pass over the bytes. Each step returns the reason for which it refuses, or undefined. */
class Check {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: CborLimits;
  readonly #frames: Frame[] = [];
  #position = 0;
  #itemStart = 0;
  #items = 0;
  #high = 0;
  #low = 0;

  constructor(bytes: Uint8Array, limits: CborLimits) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  run(): CborVerdict {
    do {
      const reason = this.#item();
      if (reason !== undefined) return { ok: false, code: "E_CBOR", reason, at: this.#itemStart };
    } while (this.#frames.length > 0);
    if (this.#position < this.#bytes.length) {
      return { ok: false, code: "E_CBOR", reason: "trailing-bytes", at: this.#position };
    }
    return { ok: true };
  }

  #item(): CborReason | undefined {
    this.#itemStart = this.#position;
    if (++this.#items > this.#limits.maxItems) return "too-many-items";
    const initial = this.#bytes[this.#position++];
    if (initial === undefined) return "truncated";
    const parent = this.#frames.at(-1);
    const isKey = parent?.isMap === true && parent.left % 2 === 0;
    if (parent !== undefined) parent.left--;
    const major = initial >> 5;
    if (isKey && major > MAJOR.negative && major !== MAJOR.text) return "key-type";
    const reason =
      this.#argument(initial & 31) ?? (major > MAJOR.tag ? this.#simpleOrFloat(initial) : this.#content(major));
    if (reason !== undefined) return reason;
    if (isKey) return this.#key(parent, major);
    this.#close();
    return undefined;
  }

  /** Reads the head's argument into #high and #low (RFC 8949 section 3). */
  #argument(information: number): CborReason | undefined {
    this.#high = 0;
    this.#low = information;
    if (information < 24) return undefined;
    if (information === 31) return "indefinite-length";
    if (information > 27) return "reserved-length";
    const at = this.#position;
    const length = 1 << (information - 24);
    if (length > this.#bytes.length - at) return "truncated";
    this.#position += length;
    if (length === 8) this.#high = this.#view.getUint32(at);
    if (length === 1) this.#low = this.#view.getUint8(at);
    else if (length === 2) this.#low = this.#view.getUint16(at);
    else this.#low = this.#view.getUint32(at + length - 4);
    return undefined;
  }

  #content(major: number): CborReason | undefined {
    if (this.#limits.deterministic && !this.#isShortest()) return "not-shortest";
    if (major <= MAJOR.negative) return undefined;
    if (major === MAJOR.tag) {
      if (this.#high > 0 || !this.#limits.tags.includes(this.#low)) return "tag-not-allowed";
      return this.#open(1, false);
    }
    // Each element takes a byte at least, so a count beyond what is left can never be met.
    const perElement = major === MAJOR.map ? 2 : 1;
    if (this.#high > 0 || this.#low * perElement > this.#bytes.length - this.#position) return "truncated";
    if (major === MAJOR.array || major === MAJOR.map) return this.#open(this.#low * perElement, major === MAJOR.map);
    const start = this.#position;
    this.#position += this.#low;
    return major === MAJOR.bytes ? undefined : this.#text(start, this.#position);
  }

  /** The head just read has `position - itemStart - 1` argument bytes: would fewer have done? */
  #isShortest(): boolean {
    const length = this.#position - this.#itemStart - 1;
    if (length === 0) return true;
    if (length === 8) return this.#high > 0;
    return this.#low >= (length === 1 ? 24 : length === 2 ? 0x100 : 0x1_0000);
  }

  #open(left: number, isMap: boolean): CborReason | undefined {
    if (this.#frames.length >= this.#limits.maxDepth) return "too-deep";
    if (left > this.#limits.maxItems - this.#items) return "too-many-items";
    this.#frames.push({ left, isMap, keys: undefined, integerKeys: 0, lastKey: undefined });
    return undefined;
  }

  #close(): void {
    while (this.#frames.at(-1)?.left === 0) this.#frames.pop();
  }

  #simpleOrFloat(initial: number): CborReason | undefined {
    if (initial < HALF) return initial >= 0xf4 && initial <= 0xf6 ? undefined : "simple-value";
    if (!this.#limits.deterministic) return undefined;
    const at = this.#itemStart + 1;
    if (initial === HALF) {
      const isNaN = (this.#low & 0x7c00) === 0x7c00 && (this.#low & 0x3ff) !== 0;
      return isNaN && this.#low !== HALF_NAN ? "not-shortest" : undefined;
    }
    const isSingle = initial === HALF + 1;
    const value = isSingle ? this.#view.getFloat32(at) : this.#view.getFloat64(at);
    return Object.is(isSingle ? Math.f16round(value) : Math.fround(value), value) ? "not-shortest" : undefined;
  }

  #text(start: number, end: number): CborReason | undefined {
    const bytes = this.#bytes;
    if (bytes[start] === 0xef && end - start >= 3 && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) {
      return "byte-order-mark";
    }
    let at = start;
    while (at < end && (bytes[at] ?? 0) < 0x80) at++;
    return at === end || isUtf8(bytes.subarray(at, end)) ? undefined : "invalid-utf8";
  }

  /** The key in [itemStart, position) has been read: is it a new one, and in order where order is asked for? */
  #key(frame: Frame, major: number): CborReason | undefined {
    if (major !== MAJOR.text && ++frame.integerKeys > MAXIMUM_INTEGER_KEYS) return "too-many-integer-keys";
    if (this.#limits.deterministic) return this.#orderedKey(frame);
    const key = major === MAJOR.text ? this.#textKey() : `${major}:${this.#high}:${this.#low}`;
    frame.keys ??= new Set();
    if (frame.keys.has(key)) return "duplicate-key";
    frame.keys.add(key);
    return undefined;
  }

  /** Says which text has been read: a short one by its bytes, as a decoder takes ten times as long for it. */
  #textKey(): string {
    const start = this.#position - this.#low;
    if (this.#low > SHORT_KEY) return `t${utf8.decode(this.#bytes.subarray(start, this.#position))}`;
    let key = "s";
    for (let at = start; at < this.#position; at++) key += String.fromCharCode(this.#bytes[at] ?? 0);
    return key;
  }

  #orderedKey(frame: Frame): CborReason | undefined {
    const key = this.#bytes.subarray(this.#itemStart, this.#position);
    const order = frame.lastKey === undefined ? 1 : compareBytes(key, frame.lastKey);
    frame.lastKey = key;
    if (order > 0) return undefined;
    return order === 0 ? "duplicate-key" : "unsorted-keys";
  }
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    utf8.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
