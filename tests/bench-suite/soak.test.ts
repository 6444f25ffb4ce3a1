/** The soak and the footprint: what counts as flat, and what a wrong command line gets. Nothing is timed. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { descendants, fileDescriptors, mappings, threads } from "../../tools/footprint/processes.ts";
import { judge, TOLERANCES } from "../../tools/soak/flat.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

/** 50 samples: the second fifth is 10 to 19, the last 40 to 49. */
function samples(value: (index: number) => number): number[] {
  return Array.from({ length: 50 }, (_, index) => value(index));
}

describe("a series of samples", () => {
  test("is flat where it only wanders, and where it is high for a while", () => {
    expect(
      judge(
        "core memory",
        "memory",
        samples((index) => 70_000 + (index % 7) * 500),
      ).isFlat,
    ).toBe(true);
    expect(
      judge(
        "core memory",
        "memory",
        samples((index) => (index === 45 ? 900_000 : 70_000)),
      ).isFlat,
    ).toBe(true);
  });

  test("is flat where its beginning was small: starting is no leak", () => {
    expect(
      judge(
        "core memory",
        "memory",
        samples((index) => (index < 10 ? 1000 : 70_000)),
      ).isFlat,
    ).toBe(true);
  });

  test("has grown where it leaks a little with each sample, of whatever it is", () => {
    for (const [kind, { amount }] of Object.entries(TOLERANCES)) {
      const verdict = judge(
        "leak",
        kind as keyof typeof TOLERANCES,
        samples((index) => index * Math.max(1, amount / 10)),
      );
      expect([kind, verdict.isFlat]).toEqual([kind, false]);
    }
  });

  test("tells what it compared", () => {
    const verdict = judge(
      "core threads",
      "threads",
      samples((index) => (index < 30 ? 14 : 16)),
    );
    expect(verdict).toEqual({ name: "core threads", unit: "", second: 14, last: 16, limit: 15, isFlat: false });
  });

  test("that is too short has no verdict", () => {
    expect(() => judge("core memory", "memory", [1, 2, 3])).toThrow(RangeError);
  });
});

test("what Linux tells of this process is there", () => {
  for (const of of [fileDescriptors, mappings, threads]) expect(of(process.pid)).toBeGreaterThan(0);
  expect(descendants(process.pid)).not.toContain(process.pid);
});

describe.each(["tools/soak/soak.ts", "tools/footprint/footprint.ts"])("%s", (script) => {
  test.each([["--minutes", "none"], ["--minutes", "-1"], ["--nothing"], ["stray"]])(
    "refuses %s %s",
    async (...args) => {
      const wanted = run(process.execPath, [join(ROOT, script), ...args.filter((arg) => typeof arg === "string")]);
      await expect(wanted).rejects.toMatchObject({
        code: 2,
        stdout: "",
        stderr: expect.stringContaining("usage:") as string,
      });
    },
  );

  test("says what it does", async () => {
    const { stdout } = await run(process.execPath, [join(ROOT, script), "--help"]);
    expect(stdout).toContain("Exit codes: 0");
  });
});
