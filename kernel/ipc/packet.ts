/** Messages and replies as they cross between partitions: a head of words, handed-on capabilities, then the payload. */
import { type Capability, MAXIMUM_VIA, NO_CAPABILITIES } from "./capability.ts";
import type { Ring } from "./shared.ts";

/** The words of a head, by their places. Of a reply only `isReply`, `correlation` and `result` say anything. */
export const HEAD = Object.freeze({
  isReply: 0,
  module: 1,
  port: 2,
  kind: 3,
  senderModule: 4,
  senderGeneration: 5,
  senderLife: 6,
  badge: 7,
  correlation: 8,
  edge: 9,
  result: 10,
  capabilities: 11,
} as const);

const HEAD_WORDS = 12;
const CAPABILITY_WORDS = 7 + MAXIMUM_VIA;

/** A packet where it lies in a ring, while it is written or read; no guest can write there. One object serves for all. */
export class Packet {
  #words: Int32Array = new Int32Array(0);
  #first = 0;
  /** Address of the payload in `ring.bytes`. */
  payloadAt = 0;
  payloadLength = 0;

  /** Makes room and writes the capabilities; the head's words are the caller's. @returns false where there is no room now. */
  reserve(ring: Ring, capabilities: readonly Capability[], payloadLength: number): boolean {
    const length = (HEAD_WORDS + capabilities.length * CAPABILITY_WORDS) * 4 + payloadLength;
    const at = ring.reserve(length);
    if (at < 0) return false;
    this.#words = ring.words;
    this.#first = at >> 2;
    this.set(HEAD.capabilities, capabilities.length);
    this.#findPayload(length);
    for (let index = 0; index < capabilities.length; index++) {
      // SAFETY: index is below the length.
      const { target, rights, badge } = capabilities[index] as Capability;
      const to = this.#first + HEAD_WORDS + index * CAPABILITY_WORDS;
      this.#words.set(
        [target.module, target.partition, target.port, target.edge, rights, badge, target.via.length],
        to,
      );
      this.#words.set(target.via, to + 7);
    }
    return true;
  }

  /** Looks at a record that was made with `reserve`. */
  read({ words }: Ring, at: number, length: number): void {
    this.#words = words;
    this.#first = at >> 2;
    this.#findPayload(length);
  }

  #findPayload(length: number): void {
    const headBytes = (HEAD_WORDS + this.get(HEAD.capabilities) * CAPABILITY_WORDS) * 4;
    this.payloadAt = this.#first * 4 + headBytes;
    this.payloadLength = length - headBytes;
  }

  /** A word of the head; one that is unsigned needs `>>> 0`. */
  get(word: number): number {
    return this.#words[this.#first + word] ?? 0;
  }

  set(word: number, value: number): void {
    this.#words[this.#first + word] = value;
  }

  get capabilities(): readonly Capability[] {
    const count = this.get(HEAD.capabilities);
    return count === 0 ? NO_CAPABILITIES : Array.from({ length: count }, (_, index) => this.#capability(index));
  }

  #capability(index: number): Capability {
    const word = (number: number): number => this.get(HEAD_WORDS + index * CAPABILITY_WORDS + number);
    const via = Array.from({ length: word(6) }, (_, step) => word(7 + step));
    const target = { module: word(0), partition: word(1), port: word(2), edge: word(3), via };
    return { target, rights: word(4), badge: word(5) >>> 0 };
  }
}
