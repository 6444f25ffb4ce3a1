/** A short run of the envelope fuzzer, and that it would notice what it looks for. */

import { expect, test } from "vitest";
import { fuzzEnvelope } from "../../../tools/fuzz/envelope.ts";
import { mutate } from "../../../tools/fuzz/mutate.ts";
import { Random } from "../../../tools/fuzz/random.ts";

test("20,000 mutations are refused with a code each, in under 5 ms each, or were no mutations", () => {
  const report = fuzzEnvelope({ count: 20_000, seed: 8949 });
  expect(report.failures).toStrictEqual([]);
  expect(report.slowestMilliseconds).toBeLessThan(5);
  const refused = Object.values(report.refused).reduce((sum, count) => sum + count, 0);
  expect(refused + report.accepted).toBe(20_000);
  expect(Object.keys(report.refused)).toEqual(expect.arrayContaining(["E_CBOR", "E_DIGEST", "E_KEY", "E_SIG"]));
  // Payloads of other valid documents are accepted by the parsers; whole envelopes hardly ever come out the same.
  expect(report.accepted).toBeLessThan(4000);
});

test("the same seed gives the same cases, another seed others", () => {
  const run = (seed: number) => fuzzEnvelope({ count: 500, seed }).refused;
  expect(run(1)).toStrictEqual(run(1));
  expect(run(1)).not.toStrictEqual(run(2));
});

test("mutations change nearly everything they touch, and never their input", () => {
  const random = new Random(7);
  const input = Uint8Array.from({ length: 200 }, (_, index) => index);
  const kept = Uint8Array.from(input);
  let changed = 0;
  for (let count = 0; count < 1000; count += 1) {
    if (Buffer.compare(mutate(input, input, random), input) !== 0) changed += 1;
  }
  expect(input).toStrictEqual(kept);
  expect(changed).toBeGreaterThan(950);
});
