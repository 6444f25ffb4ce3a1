/** A slice is at most 200 µs: less fuel on a slow machine, never more than manifests count with. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { LIMITS } from "../../kernel/index.ts";
import { measureFuel, sliceFuel } from "../../kernel/wasm/calibrate.ts";

test.each([
  [0.2, LIMITS.sliceFuel],
  [1, LIMITS.sliceFuel],
  [2, LIMITS.sliceFuel / 2],
  [1000, LIMITS.sliceFuel / 16],
])("where one fuel takes %d ns", (nanoseconds, fuel) => {
  expect(sliceFuel(nanoseconds)).toBe(fuel);
});

test("for any speed the slice is whole, within its bounds, and takes 200 µs or less unless it is the least", () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (nanoseconds) => {
      const fuel = sliceFuel(nanoseconds);
      expect(Number.isInteger(fuel)).toBe(true);
      expect(fuel).toBeGreaterThanOrEqual(LIMITS.sliceFuel / 16);
      expect(fuel).toBeLessThanOrEqual(LIMITS.sliceFuel);
      if (fuel > LIMITS.sliceFuel / 16) expect(fuel * nanoseconds).toBeLessThanOrEqual(200_000);
    }),
  );
});

test("the fastest run counts: what a neighbour takes in between is not the machine's speed", () => {
  // A clock that says that each run took 1 ms, and one of them 0.01 ms.
  let reads = 0;
  const clock = (steps: (run: number) => number) => (): number => {
    const run = reads >> 1;
    return reads++ % 2 === 0 ? 0 : steps(run);
  };
  const slow = measureFuel(clock(() => 1));
  reads = 0;
  const once = measureFuel(clock((run) => (run === 7 ? 0.01 : 1)));
  expect(slow / once).toBeCloseTo(100);
  // About a dozen instructions in each of a thousand rounds.
  expect(1e6 / slow).toBeGreaterThan(10_000);
  expect(1e6 / slow).toBeLessThan(20_000);
});
