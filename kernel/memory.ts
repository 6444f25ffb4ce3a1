/** The only file that touches guest memory: every access is checked against the memory as it is at that moment. */
import { HEADER } from "./abi.ts";
import type { Message } from "./ipc/mailbox.ts";
import type { LinearMemory } from "./wasm/engine.ts";

declare const allegation: unique symbol;
/** An address as the guest claims it; only this file turns it into an access. */
export type GuestPointer = number & { readonly [allegation]: "pointer" };
/** A length as the guest claims it. */
export type GuestLength = number & { readonly [allegation]: "length" };

/** What the header says of one message; handles and losses are added. */
export type MessageHeader = Pick<
  Message,
  "kind" | "length" | "senderModule" | "senderGeneration" | "badge" | "correlation"
>;

/** Wasm passes i32 as signed; addresses and lengths are unsigned. */
export function guestPointer(value: number): GuestPointer {
  // SAFETY: a brand only; it says that the number came from a guest and is not yet checked.
  return (value >>> 0) as GuestPointer;
}

export function guestLength(value: number): GuestLength {
  // SAFETY: as above.
  return (value >>> 0) as GuestLength;
}

export class GuestMemory {
  readonly #memory: LinearMemory;
  #bytes: Uint8Array;
  #words: DataView;

  constructor(memory: LinearMemory) {
    this.#memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new DataView(memory.buffer);
  }

  /** Bytes of the memory now; it may have grown. */
  get size(): number {
    return this.#current().length;
  }

  /** True where the whole range lies inside the memory. Both are below 2^32, so their sum is exact. */
  covers(address: GuestPointer, length: GuestLength): boolean {
    return address + length <= this.#current().length;
  }

  /** As the instruction: what there was in pages, or -1 where it cannot grow by so many. */
  grow(pages: number): number {
    try {
      return this.#memory.grow(pages >>> 0);
    } catch {
      return -1;
    }
  }

  /** A copy of the range, or undefined where it is not wholly inside. */
  read(address: GuestPointer, length: GuestLength): Uint8Array | undefined {
    return this.covers(address, length) ? this.#bytes.slice(address, address + length) : undefined;
  }

  /**
   * Copies the range into `target`, from `at` on.
   * `words` is a view of the same buffer as `target`: short copies go by words through it.
   * @returns false where the range is not wholly inside; `target` is then untouched. `target` must have the room.
   */
  readInto(address: GuestPointer, length: GuestLength, target: Uint8Array, words?: DataView, at = 0): boolean {
    if (!this.covers(address, length)) return false;
    copyBytes(this.#words, address, words, at, this.#bytes, target, length);
    return true;
  }

  /** Little-endian u32 values from an array in the memory, or undefined where it is not wholly inside. */
  readWords(address: GuestPointer, count: number): number[] | undefined {
    if (!this.covers(address, guestLength(count * 4))) return undefined;
    return Array.from({ length: count }, (_, index) => this.#words.getUint32(address + index * 4, true));
  }

  /** Writes the first `length` bytes of `source`, or nothing where they do not fit; `words` as in `readInto`. */
  write(address: GuestPointer, source: Uint8Array, length = source.length, words?: DataView): boolean {
    if (!this.covers(address, guestLength(length))) return false;
    copyBytes(words, 0, this.#words, address, source, this.#bytes, length);
    return true;
  }

  /** Writes the 64-byte header at the start of the inbox; the caller has checked that the inbox is inside. */
  writeHeader(inbox: number, version: number, header: MessageHeader, handles: readonly number[], lost: number): void {
    this.#current();
    const words = this.#words;
    words.setUint32(inbox, version | (header.kind << 16) | (handles.length << 24), true);
    words.setUint32(inbox + HEADER.length, header.length, true);
    words.setUint32(inbox + HEADER.senderModule, header.senderModule, true);
    words.setUint32(inbox + HEADER.senderGeneration, header.senderGeneration, true);
    words.setUint32(inbox + HEADER.badge, header.badge, true);
    words.setUint32(inbox + HEADER.correlation, header.correlation, true);
    words.setUint32(inbox + HEADER.lost, lost, true);
    words.setUint32(inbox + HEADER.reserved, 0, true);
    const list = inbox + HEADER.handleList;
    for (let offset = 0; offset < 32; offset += 8) words.setFloat64(list + offset, 0, true);
    for (let index = 0; index < handles.length; index++) words.setUint32(list + index * 4, handles[index] ?? 0, true);
  }

  /** The views are made anew when the memory has grown: growth detaches the old buffer. */
  #current(): Uint8Array {
    // A detached buffer has no length; asking the memory for its buffer at each access would cost more than the access.
    if (this.#bytes.length === 0) {
      this.#bytes = new Uint8Array(this.#memory.buffer);
      this.#words = new DataView(this.#memory.buffer);
    }
    return this.#bytes;
  }
}

/** Up to this length a loop over words beats making a view. */
const SHORT_COPY = 256;

/** Copies between two buffers, each given as bytes and, where there is one, as a view; addresses need no alignment. */
export function copyBytes(
  from: DataView | undefined,
  fromAt: number,
  to: DataView | undefined,
  toAt: number,
  fromBytes: Uint8Array,
  toBytes: Uint8Array,
  length: number,
): void {
  if (from === undefined || to === undefined || length > SHORT_COPY) {
    return toBytes.set(fromBytes.subarray(fromAt, fromAt + length), toAt);
  }
  // Exact for every bit pattern, as doubles would not be; optimised code makes no BigInt of it.
  const whole = length & ~7;
  const pairs = length & ~15;
  for (let at = 0; at < pairs; at += 16) {
    to.setBigUint64(toAt + at, from.getBigUint64(fromAt + at, true), true);
    to.setBigUint64(toAt + at + 8, from.getBigUint64(fromAt + at + 8, true), true);
  }
  if (pairs < whole) to.setBigUint64(toAt + pairs, from.getBigUint64(fromAt + pairs, true), true);
  for (let at = whole; at < length; at++) toBytes[toAt + at] = fromBytes[fromAt + at] ?? 0;
}
