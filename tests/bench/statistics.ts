/** Samples taken in turns, and the rows that are made of them. */
import type { Row } from "./meter.ts";

/** What a row measures its time with: the processor time of the whole process, or the clock on the wall. */
export type Clock = "cpu" | "wall";

/** A row with what must be known to read it. */
export interface BenchRow extends Row {
  readonly clock: Clock;
  readonly placement: "pinned" | "free";
  readonly note?: string;
}

/** One contestant: `sample` gives one figure, lower is better. */
export interface Contestant {
  readonly name: string;
  readonly sample: () => Promise<number>;
}

export function ascending(samples: readonly number[]): number[] {
  return [...samples].sort((a, b) => a - b);
}

/** The value below which that share of the samples lies; NaN without samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = ascending(samples);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}

/**
 * Takes `rounds` samples of each contestant, one of each in every round, in an order that rotates, so that drift and
 * neighbours meet all alike. The first `warm` rounds are thrown away.
 * @returns the samples of each contestant, in the order given; index n of each comes from the same round.
 */
export async function inTurns(contestants: readonly Contestant[], rounds: number, warm = 2): Promise<number[][]> {
  const samples: number[][] = contestants.map(() => []);
  for (let round = -warm; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const index = (turn + round + warm) % contestants.length;
      const sample = await contestants[index]?.sample();
      if (round >= 0 && sample !== undefined) samples[index]?.push(sample);
    }
  }
  return samples;
}

/** Nanoseconds of processor time, of all threads of this process, that each of `operations` took. */
export async function cpuNanoseconds(operations: number, action: () => unknown): Promise<number> {
  const before = process.cpuUsage();
  await action();
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1000) / operations;
}

export async function wallNanoseconds(operations: number, action: () => unknown): Promise<number> {
  const before = performance.now();
  await action();
  return ((performance.now() - before) * 1e6) / operations;
}

export function nanoseconds(clock: Clock, operations: number, action: () => unknown): Promise<number> {
  return clock === "cpu" ? cpuNanoseconds(operations, action) : wallNanoseconds(operations, action);
}

export interface RowFrame {
  readonly name: string;
  readonly unit: string;
  readonly clock: Clock;
  readonly note?: string;
}

/** Set by the parent, which knows whether it pinned this process to one processor. */
export function placement(): "pinned" | "free" {
  return process.env["BENCH_PLACEMENT"] === "pinned" ? "pinned" : "free";
}

/**
 * Durations: the first contestant is the product, the others are what it stands beside. `ratio` is the median of the
 * rounds' ratios to the first of the others.
 */
export function durationRow(frame: RowFrame, names: readonly string[], samples: readonly number[][]): BenchRow {
  const [own = [], first = []] = samples;
  return {
    ...frame,
    placement: placement(),
    value: median(own),
    p50: median(own),
    p99: percentile(own, 0.99),
    baseline: names.slice(1).map((name, index) => ({ name, value: median(samples[index + 1] ?? []) })),
    ratio: median(own.map((value, round) => value / (first[round] ?? Number.NaN))),
  };
}

/** As `durationRow`, of samples in nanoseconds, told as operations a second: `p99` is the rate of the slow tail. */
export function rateRow(frame: RowFrame, names: readonly string[], samples: readonly number[][]): BenchRow {
  const row = durationRow(frame, names, samples);
  const rate = (duration: number): number => 1e9 / duration;
  return {
    ...row,
    value: rate(row.value),
    p50: rate(row.p50),
    p99: rate(row.p99),
    baseline: row.baseline.map(({ name, value }) => ({ name, value: rate(value) })),
    ratio: 1 / row.ratio,
  };
}
