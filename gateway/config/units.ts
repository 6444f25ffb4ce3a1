/** Sizes such as `64KiB` and durations such as `100ms`, read and written. */

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["B", 1],
  ["KiB", 1024],
  ["MiB", 1024 ** 2],
  ["GiB", 1024 ** 3],
]);

const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

export const SIZE_PATTERN = "^(0|[1-9][0-9]{0,8})(B|KiB|MiB|GiB)$";
export const DURATION_PATTERN = "^(0|[1-9][0-9]{0,8})(ms|s|m|h)$";

function measure(text: string, pattern: string, units: ReadonlyMap<string, number>): number | undefined {
  const match = new RegExp(pattern).exec(text);
  const factor = units.get(match?.[2] ?? "");
  if (match === null || factor === undefined) return undefined;
  return Number(match[1]) * factor;
}

/** Bytes of `4096B`, `64KiB`, `1MiB` or `2GiB`; undefined where the text is none of these. */
export function parseSize(text: string): number | undefined {
  return measure(text, SIZE_PATTERN, SIZE_UNITS);
}

/** Milliseconds of `10ms`, `5s`, `1m` or `2h`; undefined where the text is none of these. */
export function parseDuration(text: string): number | undefined {
  return measure(text, DURATION_PATTERN, DURATION_UNITS);
}

function inLargestUnit(amount: number, units: ReadonlyMap<string, number>, smallest: string): string {
  for (const [unit, factor] of [...units].toReversed()) {
    if (amount >= factor && amount % factor === 0) return `${amount / factor}${unit}`;
  }
  return `${amount}${smallest}`;
}

/** Bytes in the largest unit that is exact: `1MiB`. */
export function formatSize(bytes: number): string {
  return inLargestUnit(bytes, SIZE_UNITS, "B");
}

/** Milliseconds in the largest unit that is exact: `30s`. */
export function formatDuration(milliseconds: number): string {
  return inLargestUnit(milliseconds, DURATION_UNITS, "ms");
}
