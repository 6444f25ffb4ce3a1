/** Abstract stack bytes are never far fewer than native ones: so a limit on the former keeps the host its headroom. */

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { patiently } from "../support/patience.ts";

/** What a compiler keeps across a call beside locals and operands is counted by the length of the code: a part of its bytes. */
const SPILLED = 7;

it("every sort of frame is counted with at least the bytes that it takes, or a seventh of what only a compiler put there", {
  timeout: patiently(60_000),
}, () => {
  const kibibytes = 984;
  const script = fileURLToPath(new URL("fixtures/deep.ts", import.meta.url));
  const output = execFileSync(process.execPath, [`--stack-size=${kibibytes}`, script], { encoding: "utf8" });
  const found = JSON.parse(output) as Record<string, number>;
  expect(Object.keys(found)).toHaveLength(20);
  // The script itself stands on a little of the stack.
  const available = (kibibytes - 16) * 1024;
  expect(
    Object.entries(found).filter(([name, bytes]) => bytes * (name.startsWith("spills") ? SPILLED : 1) < available),
  ).toEqual([]);
});
