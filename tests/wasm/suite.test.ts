/** The official test suite comes to the same results and traps with and without metering, and in slices. */

import { describe, expect, it } from "vitest";
import { loadSuite, type Mode, type Script, ScriptRunner } from "./suite.ts";

const scripts = loadSuite();

/** A script whose one module is meant to have too many locals; it is refused by the bound on compile time. */
const REFUSED = "skip-stack-guard-page";

/** The meter takes WebAssembly 2.0 and V8 takes more: where the suite wants a rejection, rejecting is right. */
const REJECTED = /assert_(malformed|invalid): rejected$/;

async function outcomes(script: Script, mode: Mode): Promise<ScriptRunner> {
  const runner = new ScriptRunner(mode);
  await runner.run(script);
  return runner;
}

const plain = new Map<string, string[]>();

async function plainOutcomes(script: Script): Promise<string[]> {
  const known = plain.get(script.name) ?? (await outcomes(script, "plain")).outcomes;
  plain.set(script.name, known);
  return known;
}

describe.each([
  ["with fuel in plenty", "metered"],
  ["in slices of 1,000 units", { slice: 1000 }],
  ["in slices of 7 units", { slice: 7 }],
  ["in slices of 1 unit", { slice: 1 }],
  ["with canonical NaNs", "canonical NaNs"],
  ["with canonical NaNs, in slices of 1,000 units", { slice: 1000, canonicalNans: true }],
  ["with canonical NaNs, in slices of 7 units", { slice: 7, canonicalNans: true }],
  ["with canonical NaNs, in slices of 1 unit", { slice: 1, canonicalNans: true }],
] satisfies [string, Mode][])("the official test suite, metered %s", (_, mode) => {
  it.each(scripts.filter((script) => script.name !== REFUSED))(
    "cannot be told from unmetered: $name",
    async (script) => {
      const metered = await outcomes(script, mode);
      const expected = await plainOutcomes(script);
      const differing = metered.outcomes.filter((outcome, index) => outcome !== expected[index]);
      expect(differing.filter((outcome) => !REJECTED.test(outcome))).toEqual([]);
    },
  );
});

describe("the official test suite", () => {
  it("was run: thousands of commands come out as the suite expects", async () => {
    let asExpected = 0;
    let suspensions = 0;
    for (const script of scripts) {
      asExpected += (await outcomes(script, "metered")).asExpected;
      suspensions += (await outcomes(script, { slice: 1000 })).suspensions;
    }
    expect(asExpected).toBeGreaterThan(16_300);
    expect(suspensions).toBeGreaterThan(1000);
  });

  it("has one module with too many locals, which is refused by size", async () => {
    const script = scripts.find((item) => item.name === REFUSED);
    const runner = await outcomes(script ?? { name: "", commands: [] }, "metered");
    expect(runner.outcomes[0]).toBe("skip-stack-guard-page:2 module: refused E_SIZE");
  });
});
