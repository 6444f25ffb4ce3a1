/** Holds the demo's JSON against what it must have observed: `node demo-result.mjs <file>`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const [, , file = "demo.json"] = process.argv;
const text = readFileSync(file, "utf8").trim();

/**
 * @typedef {{
 *   readings: { received: number, lost: number, duplicated: number, reordered: number },
 *   swap: { committed: boolean, pauseMs: number, lost: number },
 *   refused: { attempt: string, code: string }[],
 *   recovered: { module: string, cause: string, ms: number }[],
 *   seconds: number,
 * }} Summary
 */

/** @type {unknown} */
const parsed = JSON.parse(text);
const { readings, swap, refused, recovered, seconds } = /** @type {Summary} */ (parsed);

assert.ok(readings.received > 0, "readings were received");
assert.deepEqual(
  { lost: readings.lost, duplicated: readings.duplicated, reordered: readings.reordered },
  { lost: 0, duplicated: 0, reordered: 0 },
);
assert.equal(swap.committed, true, "version 2 was committed");
assert.equal(swap.lost, 0);
assert.ok(Number.isFinite(swap.pauseMs), "the pause was measured");
assert.ok(refused.length >= 5, "five attacks were tried");
for (const { attempt, code } of refused) assert.match(code, /^E_[A-Z_]+$/, `${attempt} was refused by a code`);
assert.ok(recovered.length >= 2, "a trap and an endless loop were survived");
for (const { module, cause, ms } of recovered) {
  assert.ok(module !== "" && cause !== "" && ms > 0, "each recovery names its module and cause, and was timed");
}
assert.ok(seconds < 30, `the demo took ${seconds} s of 30`);
process.stdout.write(`${text}\n`);
