/** A suspended handler stands on a stack of its own: neither killed nor woken ones may leave any behind. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { Sizes } from "../support/suspensions.ts";
import { patiently } from "../support/patience.ts";

const SCRIPT = fileURLToPath(new URL("../support/suspensions.ts", import.meta.url));
/** Without guard regions of gigabytes the process's addresses show each stack: about 1,000 kB. */
const FLAGS = ["--disable-warning=ExperimentalWarning", "--disable-wasm-trap-handler"];
const STACK = 1000;

test.each([
  ["kill", 2000],
  ["wake", 10_000],
])("%s: %d suspended handlers leave no stacks behind", { timeout: patiently(120_000) }, async (campaign, count) => {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, SCRIPT, campaign, `${count}`]);
  const { before, after } = JSON.parse(stdout) as Sizes;
  // Memories of killed instances wait for a collection: 256 kB of addresses each, and less than one for a kill.
  expect(after.addresses - before.addresses).toBeLessThan((count * 0.9 * STACK) / 3);
  expect(after.mappings - before.mappings).toBeLessThan(count * 0.9 * 1.5);
  expect(after.resident - before.resident).toBeLessThan(100_000);
});
