/** The topics by which updates travel (docs/updates.md), and the blocks into which a wasm is cut. */

export const TOPIC_PREFIX = "bulkhead/v1";

/** Bytes of every block but the last: small enough for every cloud broker. */
export const BLOCK_BYTES = 32 * 1024;

/** Gateway ids are topic levels: no separators, no wildcards. */
export type GatewayTopic = "desired" | "reported" | "event" | "online";

export const topics = Object.freeze({
  root: (version: number) => `${TOPIC_PREFIX}/root/${version}`,
  configuration: (digest: string) => `${TOPIC_PREFIX}/config/${digest}`,
  module: (digest: string) => `${TOPIC_PREFIX}/m/${digest}`,
  block: (digest: string, index: number) => `${TOPIC_PREFIX}/blob/${digest}/${index}`,
  gateway: (id: string, topic: GatewayTopic) => `${TOPIC_PREFIX}/gw/${id}/${topic}`,
});

/** Blocks of a wasm of this size; an empty one still has none. */
export function blockCount(size: number): number {
  return Math.ceil(size / BLOCK_BYTES);
}

/** Bytes that block `index` of a wasm of this size has, no more and no fewer. */
export function blockLength(size: number, index: number): number {
  return Math.max(0, Math.min(BLOCK_BYTES, size - index * BLOCK_BYTES));
}
