/** Messages and replies as they cross between partitions: a head of words, handed-on capabilities, then the payload. */
import { LIMITS } from "../limits.ts";
import type { Capability } from "./capability.ts";
import type { Message } from "./mailbox.ts";

export const PACKET = Object.freeze({ message: 1, reply: 2 } as const);

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
  perCapability: 6,
} as const);

const MAXIMUM_HEAD = WORDS.head + 8 * WORDS.perCapability;

/** What a packet says; `payload` is a view that lives as long as the record it was read from. */
export interface Packet {
  readonly type: number;
  readonly module: number;
  readonly port: number;
  readonly kind: number;
  readonly senderModule: number;
  readonly senderGeneration: number;
  readonly senderPartition: number;
  readonly badge: number;
  readonly correlation: number;
  readonly edge: number;
  readonly result: number;
  readonly capabilities: readonly Capability[];
  readonly payload: Uint8Array;
}

/** Packs heads into one buffer that is used again and again. */
export class PacketWriter {
  readonly #words = new Int32Array(MAXIMUM_HEAD);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  /** Room for a payload on its way from a guest to a ring. */
  readonly payload = new Uint8Array(LIMITS.payloadBytes);

  message(module: number, edge: number, message: Omit<Message, "payload" | "words" | "length" | "edge">): Uint8Array {
    const words = this.#words;
    words[WORDS.type] = PACKET.message;
    words[WORDS.module] = module;
    words[WORDS.port] = message.port;
    words[WORDS.kind] = message.kind;
    words[WORDS.senderModule] = message.senderModule;
    words[WORDS.senderGeneration] = message.senderGeneration;
    words[WORDS.senderPartition] = message.senderPartition;
    words[WORDS.badge] = message.badge;
    words[WORDS.correlation] = message.correlation;
    words[WORDS.edge] = edge;
    words[WORDS.result] = 0;
    words[WORDS.capabilities] = message.capabilities.length;
    message.capabilities.forEach((capability, index) => {
      this.#capability(WORDS.head + index * WORDS.perCapability, capability);
    });
    return this.#bytes.subarray(0, (WORDS.head + message.capabilities.length * WORDS.perCapability) * 4);
  }

  reply(correlation: number, result: number): Uint8Array {
    this.#words.fill(0, 0, WORDS.head);
    this.#words[WORDS.type] = PACKET.reply;
    this.#words[WORDS.correlation] = correlation;
    this.#words[WORDS.result] = result;
    return this.#bytes.subarray(0, WORDS.head * 4);
  }

  #capability(at: number, { target, rights, badge }: Capability): void {
    this.#words.set([target.module, target.partition, target.port, target.edge, rights, badge], at);
  }
}

/** Reads a packet that a `PacketWriter` made; the ring is the kernel's own, no guest can write to it. */
export function readPacket(record: Uint8Array): Packet {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const word = (index: number): number => view.getInt32(index * 4, true);
  const unsigned = (index: number): number => view.getUint32(index * 4, true);
  const count = word(WORDS.capabilities);
  const capabilities = Array.from({ length: count }, (_, index): Capability => {
    const at = WORDS.head + index * WORDS.perCapability;
    return {
      target: { module: word(at), partition: word(at + 1), port: word(at + 2), edge: word(at + 3) },
      rights: word(at + 4),
      badge: unsigned(at + 5),
    };
  });
  return {
    type: word(WORDS.type),
    module: word(WORDS.module),
    port: word(WORDS.port),
    kind: word(WORDS.kind),
    senderModule: word(WORDS.senderModule),
    senderGeneration: word(WORDS.senderGeneration),
    senderPartition: word(WORDS.senderPartition),
    badge: unsigned(WORDS.badge),
    correlation: unsigned(WORDS.correlation),
    edge: word(WORDS.edge),
    result: word(WORDS.result),
    capabilities,
    payload: record.subarray((WORDS.head + count * WORDS.perCapability) * 4),
  };
}
