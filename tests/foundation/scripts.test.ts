/** The commands behind npm run check, fuzz, bench and generate: what they say, and how they end. */
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Outcome, ROOT } from "./support.ts";

function run(script: string, ...parameters: string[]): Outcome {
  return spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", path.join(ROOT, script), ...parameters],
    {
      cwd: ROOT,
      encoding: "utf8",
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
    },
  );
}

describe("npm run check", () => {
  test("runs what was asked for, a line each, and counts", () => {
    const { stdout } = run("tools/check/check.ts", "kernel", "openings");
    expect(stdout).toMatch(/^(ok {2}|FAIL) kernel {4}.* \d+ of 6000 lines, \d+ of them code, in \d+ files(: .*)?$/m);
    expect(stdout).toMatch(/^(ok {2}|FAIL) openings {2}/m);
    expect(stdout).toMatch(/\n\d of 2 checks passed\n$/);
  });

  test("names what there is where a check is unknown", () => {
    const outcome = run("tools/check/check.ts", "layers", "spelling");
    expect(outcome).toMatchObject({ status: 2, stdout: "" });
    expect(outcome.stderr).toMatch(/^no such check: spelling; there are lint, types, .*openings\n$/);
  });
});

describe("npm run fuzz", () => {
  test("tries every parser, and the same seed gives the same inputs", () => {
    const outcome = run("tools/fuzz/fuzz.ts", "--count", "200", "--seed", "7", "--json");
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    const reports = JSON.parse(outcome.stdout) as Record<
      string,
      { count: number; accepted: number; failures: unknown[] }
    >;
    expect(Object.keys(reports)).toEqual(["envelope", "wasm"]);
    for (const report of Object.values(reports)) expect(report).toMatchObject({ count: 200, failures: [] });
    const again = run("tools/fuzz/fuzz.ts", "wasm", "--count", "200", "--seed", "7", "--json");
    const { wasm } = JSON.parse(again.stdout) as typeof reports;
    expect(wasm?.accepted).toBe(reports["wasm"]?.accepted);
  });

  test.each([
    [["spelling"], "no target spelling; there are envelope, wasm"],
    [["--count", "none"], "--count is a whole number of 1 or more"],
    [["--fast"], "Unknown option '--fast'"],
  ])("%j is wrong usage", (parameters, message) => {
    const outcome = run("tools/fuzz/fuzz.ts", ...parameters);
    expect(outcome).toMatchObject({ status: 2, stdout: "" });
    expect(outcome.stderr).toContain(`fuzz: ${message}`);
  });
});

describe("npm run bench", () => {
  test("lists its rows without measuring, and refuses a wrong command line", () => {
    const list = run("tests/bench/bench.ts", "--list");
    expect(list).toMatchObject({ status: 0, stderr: "" });
    expect(list.stdout).toMatch(/^meter\.overhead/m);
    const wrong = run("tests/bench/bench.ts", "--slow");
    expect(wrong).toMatchObject({ status: 2, stdout: "" });
    expect(wrong.stderr).toContain("--slow");
  });
});
