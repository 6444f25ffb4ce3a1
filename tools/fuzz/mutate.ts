/** Mutations of CBOR documents: some blind, some that know where a head, a length or a nested item begins. */

import type { Random } from "./random.ts";

type Mutation = (bytes: Uint8Array, other: Uint8Array, random: Random) => Uint8Array;

/** Bytes that mean something to a CBOR parser: every initial byte that is an edge, and hostile tags. */
const EDGES = [
  0x00, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1f, 0x20, 0x37, 0x38, 0x3b, 0x40, 0x58, 0x5b, 0x5f, 0x60, 0x78, 0x7b,
  0x7f, 0x80, 0x81, 0x98, 0x9b, 0x9f, 0xa0, 0xa1, 0xb8, 0xbb, 0xbf, 0xc0, 0xc2, 0xd2, 0xd8, 0xd9, 0xdb, 0xdf, 0xe0,
  0xf4, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xff,
];

const MUTATIONS: readonly Mutation[] = [
  (bytes, _, random) => put(bytes, random.below(bytes.length), (old) => old ^ (1 << random.below(8))),
  (bytes, _, random) => put(bytes, random.below(bytes.length), () => random.below(256)),
  (bytes, _, random) => put(bytes, random.below(bytes.length), () => random.pick(EDGES)),
  (bytes, _, random) => put(bytes, random.below(bytes.length), (old) => old + (random.below(2) === 0 ? 1 : 255)),
  (bytes, _, random) => bytes.slice(0, random.below(bytes.length)),
  (bytes, _, random) => splice(bytes, random.below(bytes.length), 1 + random.below(8), new Uint8Array()),
  (bytes, _, random) => splice(bytes, random.below(bytes.length + 1), 0, Uint8Array.of(random.pick(EDGES))),
  (bytes, _, random) => {
    const from = random.below(bytes.length);
    return splice(bytes, random.below(bytes.length), 0, bytes.slice(from, from + 1 + random.below(40)));
  },
  (bytes, other, random) => {
    const from = random.below(other.length);
    const stretch = other.slice(from, from + 1 + random.below(80));
    return splice(bytes, random.below(bytes.length), stretch.length, stretch);
  },
  (bytes, other, random) => join(bytes.slice(0, random.below(bytes.length)), other.slice(random.below(other.length))),
  (bytes, _, random) => splice(bytes, random.below(bytes.length), 0, new Uint8Array(1 + random.below(200)).fill(0x81)),
  (bytes, _, random) => splice(bytes, random.below(bytes.length), 9, Uint8Array.of(0x5b, 0, 0, 0, 1, 0, 0, 0, 0)),
];

/** One to four mutations of `bytes`; stretches of `other` may get into it. */
export function mutate(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let mutated = bytes;
  for (let left = 1 + random.below(4); left > 0; left--) {
    if (mutated.length > 0) mutated = random.pick(MUTATIONS)(mutated, other, random);
  }
  return mutated;
}

function put(bytes: Uint8Array, at: number, change: (old: number) => number): Uint8Array {
  const changed = Uint8Array.from(bytes);
  changed[at] = change(changed[at] ?? 0);
  return changed;
}

function splice(bytes: Uint8Array, at: number, removed: number, inserted: Uint8Array): Uint8Array {
  return join(bytes.slice(0, at), inserted, bytes.slice(at + removed));
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
