/** The only file that touches guest memory: every access is checked against the memory as it is at that moment. */
import { HEADER } from "./abi.ts";
import type { LinearMemory } from "./wasm/engine.ts";

declare const allegation: unique symbol;
/** An address as the guest claims it; only this file turns it into an access. */
export type GuestPointer = number & { readonly [allegation]: "pointer" };
/** A length as the guest claims it. */
export type GuestLength = number & { readonly [allegation]: "length" };

/** The header's fields in the order of the ABI. Handles follow in `handles`. */
export interface MessageHeader {
  kind: number;
  length: number;
  senderModule: number;
  senderGeneration: number;
  badge: number;
  correlation: number;
  lost: number;
}

/** Wasm passes i32 as signed; addresses and lengths are unsigned. */
export function guestPointer(value: number): GuestPointer {
  // SAFETY: a brand only; it says that the number came from a guest and is not yet checked.
  return (value >>> 0) as GuestPointer;
}

export function guestLength(value: number): GuestLength {
  // SAFETY: as above.
  return (value >>> 0) as GuestLength;
}

const NO_HANDLES: readonly number[] = Object.freeze([]);

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

  /** A copy of the range, or undefined where it is not wholly inside. */
  read(address: GuestPointer, length: GuestLength): Uint8Array | undefined {
    return this.covers(address, length) ? this.#bytes.slice(address, address + length) : undefined;
  }

  /**
   * Copies the range into `target` from its start.
   * @returns false where the range is not wholly inside; `target` is then untouched. `target` must have the room.
   */
  readInto(address: GuestPointer, length: GuestLength, target: Uint8Array): boolean {
    if (!this.covers(address, length)) return false;
    copyBytes(this.#bytes, address, target, 0, length);
    return true;
  }

  /** Little-endian u32 values from an array in the memory, or undefined where it is not wholly inside. */
  readWords(address: GuestPointer, count: number): number[] | undefined {
    if (!this.covers(address, guestLength(count * 4))) return undefined;
    return Array.from({ length: count }, (_, index) => this.#words.getUint32(address + index * 4, true));
  }

  /** Writes all of `source`, or nothing where it does not fit. */
  write(address: GuestPointer, source: Uint8Array, length = source.length): boolean {
    if (!this.covers(address, guestLength(length))) return false;
    copyBytes(source, 0, this.#bytes, address, length);
    return true;
  }

  /** Writes the 64-byte header at the start of the inbox; the caller has checked that the inbox is inside. */
  writeHeader(inbox: number, version: number, header: MessageHeader, handles = NO_HANDLES): void {
    this.#current();
    const words = this.#words;
    words.setUint32(inbox, version | (header.kind << 16) | (handles.length << 24), true);
    words.setUint32(inbox + HEADER.length, header.length, true);
    words.setUint32(inbox + HEADER.senderModule, header.senderModule, true);
    words.setUint32(inbox + HEADER.senderGeneration, header.senderGeneration, true);
    words.setUint32(inbox + HEADER.badge, header.badge, true);
    words.setUint32(inbox + HEADER.correlation, header.correlation, true);
    words.setUint32(inbox + HEADER.lost, header.lost, true);
    words.setUint32(inbox + HEADER.reserved, 0, true);
    for (let index = 0; index < 8; index++) {
      words.setUint32(inbox + HEADER.handleList + index * 4, handles[index] ?? 0, true);
    }
  }

  /** The views are made anew when the memory has grown: growth detaches the old buffer. */
  #current(): Uint8Array {
    if (this.#bytes.buffer !== this.#memory.buffer) {
      this.#bytes = new Uint8Array(this.#memory.buffer);
      this.#words = new DataView(this.#memory.buffer);
    }
    return this.#bytes;
  }
}

/** Up to this length a loop beats making two views. */
const SHORT_COPY = 96;

function copyBytes(source: Uint8Array, from: number, target: Uint8Array, to: number, length: number): void {
  if (length > SHORT_COPY) {
    target.set(source.subarray(from, from + length), to);
    return;
  }
  for (let index = 0; index < length; index++) target[to + index] = source[from + index] ?? 0;
}
