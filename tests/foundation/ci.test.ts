/** `.ci/run`, with an npm that only pretends: what it counts, and that nothing failed can look like a pass. */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { plant, ROOT, temporaryFolder } from "./support.ts";

const GOOD_DEMO = {
  readings: { received: 120, lost: 0, duplicated: 0, reordered: 0 },
  swap: { committed: true, pauseMs: 1.4, lost: 0 },
  refused: ["E_DIGEST", "E_KEY", "E_ROLLBACK", "E_CAP", "E_CAP"].map((code) => ({ attempt: `attack ${code}`, code })),
  recovered: [
    { module: "bme280", cause: "trap", ms: 3 },
    { module: "saboteur", cause: "fuel", ms: 9 },
  ],
  seconds: 14,
};

interface Pretended {
  /** Exit codes of `npm ci`, `npm run check`, `npm test`, the tests on arm64, the demo, the faults and the soak. */
  readonly ci?: number;
  readonly check?: number;
  readonly test?: number;
  readonly arm64?: number;
  readonly demo?: number;
  readonly faults?: number;
  readonly soak?: number;
  readonly counts?: { readonly passed: number; readonly failed: number; readonly pending: number } | "no report";
  readonly observed?: object;
}

/** Answers as npm would, and writes vitest's report where it was asked to. */
function pretendedNpm({
  ci = 0,
  check = 0,
  test: tests = 0,
  arm64 = 0,
  demo = 0,
  faults = 0,
  soak = 0,
  counts,
  observed = GOOD_DEMO,
}: Pretended): string {
  const { passed, failed, pending } = counts === undefined || counts === "no report" ? DEFAULT_COUNTS : counts;
  const report = { numPassedTests: passed, numFailedTests: failed, numPendingTests: pending };
  const find = `for word in "$@"; do file=\${word#--outputFile.json=}; done`;
  const write = counts === "no report" ? ":" : `echo '${JSON.stringify(report)}' >"$file"`;
  const emulated = { numPassedTests: 7 - arm64, numFailedTests: arm64, numPendingTests: 0 };
  return `#!/bin/bash
case "$*" in
  "run --silent faults "*) exit ${faults} ;;
  "run --silent soak "*) exit ${soak} ;;
  "run --silent arm64 "*) ${find}; echo '${JSON.stringify(emulated)}' >"$file"; exit ${arm64} ;;
esac
case "$1 $2" in
  "ci ") exit ${ci} ;;
  "run check") exit ${check} ;;
  "test --") ${find}; ${write}; exit ${tests} ;;
  "run --silent") echo '${JSON.stringify(observed)}'; exit ${demo} ;;
esac
exit 99
`;
}

const DEFAULT_COUNTS = { passed: 40, failed: 0, pending: 1 };

/** The commands that .ci/run would install Debian packages for, were they not there. */
function systemCommands(): string[] {
  const [, list = ""] = /^SYSTEM_PACKAGES=\(([^)]*)\)/m.exec(readFileSync(path.join(ROOT, ".ci/run"), "utf8")) ?? [];
  return [...list.matchAll(/"(\S+) [^"]+"/g)].map(([, command]) => String(command));
}

/** Runs a copy of .ci/run; gives its exit code and its last line. */
function runCi(pretended: Pretended): { status: number | null; last: string | undefined; output: string } {
  const folder = temporaryFolder();
  cpSync(path.join(ROOT, ".ci"), path.join(folder, ".ci"), { recursive: true });
  const commands: Record<string, string> = {
    "bin/npm": pretendedNpm(pretended),
    "bin/node": `#!/bin/sh\nexec "${process.execPath}" "$@"\n`,
  };
  for (const installed of systemCommands()) commands[`bin/${installed}`] = "";
  plant(folder, commands);
  for (const name of Object.keys(commands)) chmodSync(path.join(folder, name), 0o755);
  const outcome = spawnSync("bash", [path.join(folder, ".ci/run")], {
    encoding: "utf8",
    env: { PATH: `${path.join(folder, "bin")}:/usr/bin:/bin`, CI: "true" },
  });
  const output = outcome.stdout + outcome.stderr;
  return { status: outcome.status, last: outcome.stdout.trimEnd().split("\n").at(-1), output };
}

test("everything passed: the tests of vitest, here and on arm64, and one each for npm ci, the check, the demo, the faults and the soak", () => {
  expect(runCi({})).toMatchObject({ status: 0, last: "52 passed, 0 failed" });
});

test("a failure on arm64 is one", () => {
  expect(runCi({ arm64: 1 })).toMatchObject({ status: 1, last: "51 passed, 1 failed" });
});

test("vitest's failures are counted one by one", () => {
  const counts = { passed: 38, failed: 2, pending: 0 };
  expect(runCi({ test: 1, counts })).toMatchObject({ status: 1, last: "50 passed, 2 failed" });
});

test.each<[string, Pretended, string]>([
  ["the check fails", { check: 1 }, "51 passed, 1 failed"],
  ["a test file could not be loaded, so that no test failed", { test: 1 }, "52 passed, 1 failed"],
  ["vitest wrote no report", { test: 1, counts: "no report" }, "12 passed, 1 failed"],
  ["vitest ran no test", { counts: { passed: 0, failed: 0, pending: 0 } }, "12 passed, 1 failed"],
  ["the demo fails", { demo: 1 }, "51 passed, 1 failed"],
  ["a fault reached the kernel", { faults: 1 }, "51 passed, 1 failed"],
  ["the soak did not end as it began", { soak: 1 }, "51 passed, 1 failed"],
  ["nothing could be installed", { ci: 1 }, "0 passed, 1 failed"],
])("%s: not a pass", (_what, pretended, last) => {
  expect(runCi(pretended)).toMatchObject({ status: 1, last });
});

test.each<[string, object]>([
  ["a reading was lost", { readings: { ...GOOD_DEMO.readings, lost: 1 } }],
  ["a reading came twice", { readings: { ...GOOD_DEMO.readings, duplicated: 1 } }],
  ["readings were reordered", { readings: { ...GOOD_DEMO.readings, reordered: 2 } }],
  ["none was received", { readings: { ...GOOD_DEMO.readings, received: 0 } }],
  ["the update was not committed", { swap: { ...GOOD_DEMO.swap, committed: false } }],
  ["the swap lost a message", { swap: { ...GOOD_DEMO.swap, lost: 1 } }],
  ["the pause was not measured", { swap: { committed: true, lost: 0 } }],
  ["an attack was not tried", { refused: GOOD_DEMO.refused.slice(1) }],
  ["an attack was not refused by a code", { refused: [...GOOD_DEMO.refused, { attempt: "a", code: "OK" }] }],
  ["only one module recovered", { recovered: GOOD_DEMO.recovered.slice(1) }],
  ["it took half a minute", { seconds: 30.5 }],
])("a demo that ends well although %s: not a pass", (_what, change) => {
  const outcome = runCi({ observed: { ...GOOD_DEMO, ...change } });
  expect(outcome).toMatchObject({ status: 1, last: "51 passed, 1 failed" });
  expect(outcome.output).toContain("AssertionError");
});
