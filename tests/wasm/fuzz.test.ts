/** Mutated binaries are refused or rewritten, never anything else, and rewriting never makes or mends a fault. */

import { expect, it } from "vitest";
import { fuzzWasm } from "../../tools/fuzz/wasm.ts";
import { patiently, repeatedly } from "../support/patience.ts";

const COUNT = repeatedly(20_000);

it(`${COUNT} mutated binaries do no harm`, { timeout: patiently(120_000) }, async () => {
  const result = await fuzzWasm({
    count: COUNT,
    seed: 20_261_121,
    validate: (binary) => WebAssembly.validate(binary),
  });
  expect(result.failures).toEqual([]);
  expect(result.count).toBe(COUNT);
  expect(result.accepted).toBeGreaterThan(repeatedly(1000));
  expect(result.refused).toBeGreaterThan(repeatedly(1000));
});

it("the same seed gives the same binaries", async () => {
  const [first, second] = [await fuzzWasm({ count: 500, seed: 7 }), await fuzzWasm({ count: 500, seed: 7 })];
  expect({ ...first, slowestMs: 0 }).toEqual({ ...second, slowestMs: 0 });
});
