/** Names: their one spelling, and the nearest valid one to a misspelt one. */
import { LIMITS } from "../../kernel/index.ts";

/**
 * Names of modules, partitions, slots, ports and gateways. Lower case, so that `__proto__`, a path or a topic separator is
 * not a name; file names and topic levels are built from them.
 */
export const NAME_PATTERN = `^[a-z][a-z0-9-]{0,${LIMITS.nameLength - 1}}$`;
const NAME = new RegExp(NAME_PATTERN);

export const NAME_WHAT = `a name: a lower-case letter, then up to ${LIMITS.nameLength - 1} letters, digits and hyphens`;

export function isName(text: string): boolean {
  return NAME.test(text);
}

/** Edit distance (insert, delete, replace, swap of neighbours), by rows; both texts are cut at 64 characters. */
export function editDistance(left: string, right: string): number {
  const [a, b] = [left.slice(0, 64), right.slice(0, 64)];
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) cost = Math.min(cost, (beforeLast[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length] ?? 0;
}

/** The one candidate that starts so: `i2c` is short for `i2c-device`. */
function completion(name: string, candidates: Iterable<string>): string | undefined {
  if (name.length < 3) return undefined;
  const [only, ...others] = [...candidates].filter((candidate) => candidate.startsWith(name));
  return others.length === 0 ? only : undefined;
}

/** The candidate that was probably meant, or undefined where none is near. */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  const allowed = Math.max(1, Math.floor(name.length / 3));
  let best: string | undefined;
  let bestDistance = allowed + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - name.length) >= bestDistance) continue;
    const distance = editDistance(name.toLowerCase(), candidate);
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best ?? completion(name, candidates);
}

/** `a, b or c`, cut after twelve. */
export function listNames(names: Iterable<string>): string {
  const all = [...names];
  const shown = all.slice(0, 12);
  if (all.length > shown.length) return `${shown.join(", ")} and ${all.length - shown.length} more`;
  const last = shown.pop();
  if (last === undefined) return "nothing";
  return shown.length === 0 ? last : `${shown.join(", ")} or ${last}`;
}
