/** Messages and replies as they cross between partitions: a head of words, handed-on capabilities, then the payload. */
import type { Capability } from "./capability.ts";
import { MAXIMUM_VIA } from "./capability.ts";
import type { Ring } from "./shared.ts";

const TYPE = Object.freeze({ message: 1, reply: 2 } as const);

const WORDS = Object.freeze({
  type: 0,
  module: 1,
  port: 2,
  kind: 3,
  senderModule: 4,
  senderGeneration: 5,
  senderPartition: 6,
  badge: 7,
  correlation: 8,
  edge: 9,
  result: 10,
  capabilities: 11,
  head: 12,
  perCapability: 7 + MAXIMUM_VIA,
} as const);

const NO_CAPABILITIES: readonly Capability[] = Object.freeze([]);

/** What a packet says. One object serves for all: the payload lies in the ring while the packet is being written or read. */
export class Packet {
  isReply = false;
  module = 0;
  port = 0;
  kind = 0;
  senderModule = 0;
  senderGeneration = 0;
  senderPartition = 0;
  badge = 0;
  correlation = 0;
  edge = 0;
  result = 0;
  capabilities = NO_CAPABILITIES;
  payloadLength = 0;

  /** Reserves room and writes the head. @returns the payload's address in `ring.bytes`, or -1 where there is no room now. */
  write(ring: Ring): number {
    const { capabilities } = this;
    const headBytes = (WORDS.head + capabilities.length * WORDS.perCapability) * 4;
    const at = ring.reserve(headBytes + this.payloadLength);
    if (at < 0) return at;
    const { words } = ring;
    const first = at >> 2;
    words[first + WORDS.type] = this.isReply ? TYPE.reply : TYPE.message;
    words[first + WORDS.module] = this.module;
    words[first + WORDS.port] = this.port;
    words[first + WORDS.kind] = this.kind;
    words[first + WORDS.senderModule] = this.senderModule;
    words[first + WORDS.senderGeneration] = this.senderGeneration;
    words[first + WORDS.senderPartition] = this.senderPartition;
    words[first + WORDS.badge] = this.badge;
    words[first + WORDS.correlation] = this.correlation;
    words[first + WORDS.edge] = this.edge;
    words[first + WORDS.result] = this.result;
    words[first + WORDS.capabilities] = capabilities.length;
    for (let index = 0; index < capabilities.length; index++) {
      // SAFETY: index is below the length.
      const { target, rights, badge } = capabilities[index] as Capability;
      const to = first + WORDS.head + index * WORDS.perCapability;
      words.set([target.module, target.partition, target.port, target.edge, rights, badge, target.via.length], to);
      words.set(target.via, to + 7);
    }
    return at + headBytes;
  }

  /** Reads a head that `write` made; the ring is the kernel's own, no guest can write to it. @returns as `write`. */
  read({ words }: Ring, at: number, length: number): number {
    const first = at >> 2;
    const word = (index: number): number => words[first + index] ?? 0;
    this.isReply = word(WORDS.type) === TYPE.reply;
    this.module = word(WORDS.module);
    this.port = word(WORDS.port);
    this.kind = word(WORDS.kind);
    this.senderModule = word(WORDS.senderModule);
    this.senderGeneration = word(WORDS.senderGeneration);
    this.senderPartition = word(WORDS.senderPartition);
    this.badge = word(WORDS.badge) >>> 0;
    this.correlation = word(WORDS.correlation) >>> 0;
    this.edge = word(WORDS.edge);
    this.result = word(WORDS.result);
    const count = word(WORDS.capabilities);
    this.capabilities = count === 0 ? NO_CAPABILITIES : readCapabilities(words, first + WORDS.head, count);
    const headBytes = (WORDS.head + count * WORDS.perCapability) * 4;
    this.payloadLength = length - headBytes;
    return at + headBytes;
  }
}

function readCapabilities(words: Int32Array, first: number, count: number): Capability[] {
  return Array.from({ length: count }, (_, index): Capability => {
    const word = (number: number): number => words[first + index * WORDS.perCapability + number] ?? 0;
    return {
      target: {
        module: word(0),
        partition: word(1),
        port: word(2),
        edge: word(3),
        via: Array.from({ length: word(6) }, (_via, step) => word(7 + step)),
      },
      rights: word(4),
      badge: word(5) >>> 0,
    };
  });
}
