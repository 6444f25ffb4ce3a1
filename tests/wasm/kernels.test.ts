/** The compute kernels of the benchmark compile, and compute metered what they compute unmetered. */

import { expect, it } from "vitest";
import { kernelNames, measureKernel } from "../bench/meter.ts";
import { patiently, PATIENCE } from "../support/patience.ts";

it("there are eight kernels", () => {
  expect(kernelNames()).toEqual(["crc32", "fibonacci", "filters", "garbage", "heapsort", "matrix", "parse", "sha256"]);
});

it.each(kernelNames())(
  "%s gives the same results metered, and uses fuel",
  { timeout: patiently(60_000) },
  async (name) => {
    // Throws where a result differs.
    const result = await measureKernel(name, 3);
    expect(result.metered).toHaveLength(3);
    expect(result.fuelPerMicrosecond).toBeGreaterThan(10 / PATIENCE);
  },
);
