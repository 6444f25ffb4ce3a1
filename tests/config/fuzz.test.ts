/** Mutated and random texts: reading them ends in a configuration or in the coded error, and in nothing else. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigurationError, parseLayers } from "../../gateway/config/index.ts";
import { FILE, VALID } from "./support.ts";

const PIECES = [
  ...Array.from("{}[]:,-?&*!|>'\"%@`#\n\t \u0000\u0007\ud800\ufeff"),
  "__proto__",
  "constructor",
  "toString",
  "<<: *a",
  "&a [*a]",
  "!!binary x",
  "- - - -",
  "? ",
  "---\n",
  "...\n",
  "%TAG ! x\n",
  "0x",
  "1e999",
  ".inf",
  "~",
  "null",
  "[[[[[[[[",
  "{{{{{{{{",
  "rules:\n  - deny: a -> b\n",
];

type Edit = readonly [where: number, length: number, insert: string];

const edit: fc.Arbitrary<Edit> = fc.tuple(
  fc.nat(VALID.length),
  fc.oneof({ weight: 3, arbitrary: fc.nat(3) }, fc.nat(60)),
  fc.oneof(fc.constantFrom(...PIECES), fc.constant(""), fc.string({ maxLength: 6, unit: "binary" })),
);

function apply(text: string, [where, length, insert]: Edit): string {
  return text.slice(0, where) + insert + text.slice(where + length);
}

/** What came of it; any other error than the coded one fails the test by being thrown. */
function outcome(...texts: readonly string[]): "accepted" | "refused" {
  const files = texts.map((text, index) => ({ name: `${index}-${FILE}`, text }));
  try {
    parseLayers(files, "/etc/bulkhead");
    return "accepted";
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    expect(error.problems.length).toBeGreaterThan(0);
    for (const { at, message } of error.problems) {
      expect(message).not.toBe("");
      expect(at.file).toMatch(/gateway\.yaml$/);
      expect([Number.isSafeInteger(at.line), Number.isSafeInteger(at.column)]).toEqual([true, true]);
      expect(Math.min(at.line, at.column)).toBeGreaterThanOrEqual(1);
    }
    return "refused";
  }
}

describe("reading a configuration", () => {
  it("never throws anything but the coded error, whatever was done to a valid text", () => {
    const seen = { accepted: 0, refused: 0 };
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        seen[outcome(edits.reduce(apply, VALID))] += 1;
      }),
      { numRuns: 1500 },
    );
    // Both ends are reached, or the property would say nothing.
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(10);
  });

  it("never throws anything but the coded error on random text", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: "binary" }))), (parts) => {
        expect(outcome(parts.join(""))).toBe("refused");
      }),
      { numRuns: 1000 },
    );
  });

  it("never throws anything but the coded error on a broken layer", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...PIECES)), (parts) => {
        outcome(parts.join(""), VALID);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ["brackets", "[".repeat(200_000)],
    ["braces", "{a: ".repeat(100_000)],
    ["dashes", "- ".repeat(200_000)],
    ["quotes", '"'.repeat(200_000)],
    ["aliases", `a: &a [x]\n${Array.from({ length: 20_000 }, (_, index) => `b${index}: [*a, *a, *a]\n`).join("")}`],
    ["keys", Array.from({ length: 60_000 }, (_, index) => `k${index}: 1\n`).join("")],
    ["one duplicate key", "k: 1\n".repeat(60_000)],
    ["more than a megabyte", `# ${"x".repeat(1024 * 1024)}\n${VALID}`],
    ["nothing", ""],
    ["a comment", "# nothing here\n"],
    ["a scalar", "gateway"],
    ["a list", "- gateway\n"],
  ])("refuses a file of %s in bounded time", (_, text) => {
    const start = performance.now();
    expect(outcome(text)).toBe("refused");
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});
