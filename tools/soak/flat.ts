/** Whether what was sampled over a run has stayed flat: the median of its last fifth beside that of its second. */

export interface Tolerance {
  /** Growth that is let pass: a share of the median of the second fifth, and an amount in the series' unit. */
  readonly share: number;
  readonly amount: number;
}

export interface Verdict {
  readonly name: string;
  readonly unit: string;
  readonly second: number;
  readonly last: number;
  readonly limit: number;
  readonly isFlat: boolean;
}

const FIFTHS = 5;
/** Fewer samples in a fifth have no median worth the name. */
const LEAST_IN_A_FIFTH = 3;

/** How much each kind of figure may differ between two moments of a program that leaks nothing. */
export const TOLERANCES = {
  // The heaps of several threads are collected when V8 likes, and hot code is compiled anew for some minutes.
  memory: { unit: "kB", share: 0.1, amount: 4096 },
  // A sample may meet a file that is open for a moment, or a store in the middle of an update.
  descriptors: { unit: "", share: 0, amount: 3 },
  threads: { unit: "", share: 0, amount: 1 },
  mappings: { unit: "", share: 0.1, amount: 64 },
  disk: { unit: "B", share: 0.1, amount: 512 * 1024 },
  files: { unit: "", share: 0, amount: 8 },
} as const satisfies Record<string, Tolerance & { unit: string }>;

export type Kind = keyof typeof TOLERANCES;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** @throws RangeError where there are too few samples to tell. */
export function judge(name: string, kind: Kind, samples: readonly number[]): Verdict {
  const size = Math.floor(samples.length / FIFTHS);
  if (size < LEAST_IN_A_FIFTH) {
    throw new RangeError(`${samples.length} samples of ${name} are too few; ${FIFTHS * LEAST_IN_A_FIFTH} are needed`);
  }
  const { unit, share, amount } = TOLERANCES[kind];
  const second = median(samples.slice(size, 2 * size));
  const last = median(samples.slice(-size));
  const limit = second * (1 + share) + amount;
  return { name, unit, second, last, limit, isFlat: last <= limit };
}
