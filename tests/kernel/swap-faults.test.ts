/**
 * Each step of a swap fails: before it, in it and after it, by a trap, a refusal, a loop, the death of its partition and that of
 * the process. Whatever happens, one version serves, the whole of it, and callers lose nothing and get nothing twice.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { SWAP_STEPS } from "../../kernel/partition/swap.ts";
import { RESULT } from "../../kernel/index.ts";
import type { SwapFault } from "../support/swap-faults.ts";
import type { SwapCase, SwapOutcome } from "./swap-faults-process.ts";
import { patiently } from "../support/patience.ts";

const folder = mkdtempSync(join(tmpdir(), "bulkhead-swap-faults-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const WHEN = ["before", "in", "after"] as const;

/** Every row of the table, for a swap in place and for one that moves the module. */
function casesOf(
  kinds: readonly SwapFault["kind"][],
  roles: readonly string[],
  whens: readonly SwapFault["when"][] = WHEN,
): SwapCase[] {
  return SWAP_STEPS.flatMap((step) =>
    step.roles.flatMap((role) =>
      roles.includes(role)
        ? whens.flatMap((when) =>
            kinds.map((kind) => ({ step: step.name, role, when, kind, to: role === "stay" ? "main" : "other" })),
          )
        : [],
    ),
  );
}

let runs = 0;

/** What a process with the fault-making code in each thread says of these cases, and how it ended. */
async function play(
  cases: readonly SwapCase[],
  home = "",
): Promise<{ outcomes: SwapOutcome[]; signal: string | null }> {
  const preload = new URL("../support/swap-faults.ts", import.meta.url).href;
  const script = join(import.meta.dirname, "swap-faults-process.ts");
  const flags = ["--disable-warning=ExperimentalWarning", "--import", preload];
  const child = spawn(process.execPath, [...flags, script, JSON.stringify(cases), home], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, SWAP_FAULT: join(folder, `fault-${++runs}`) },
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const signal = await new Promise<string | null>((resolve) => child.once("close", (_, by) => resolve(by)));
  const lines = text.split("\n").filter((line) => line !== "");
  return { outcomes: lines.map((line) => JSON.parse(line) as SwapOutcome), signal };
}

const CODES: readonly number[] = Object.values(RESULT);

/** One version serves, the one that the outcome names, and every answer was the next one or a coded error. */
function expectWhole(
  { name, isStruck, outcome, serving, answering, partition, errors }: SwapOutcome,
  to: string,
): void {
  const [verdict = "", version = ""] = outcome.split(" ");
  expect({ name, isStruck }).toEqual({ name, isStruck: true });
  expect(verdict, name).toMatch(/^(committed|reverted|E_STATE|E_PROBATION)$/);
  expect({ name, serving, answering }).toEqual({ name, serving: `${version}.0.0`, answering: Number(version) });
  expect(partition, name).toBe(verdict === "committed" ? to : "main");
  for (const error of errors) expect(CODES, name).toContain(error);
}

describe.each([
  ["in its partition", ["stay"]],
  ["into another", ["leave", "arrive"]],
])("a swap %s", { timeout: patiently(600_000) }, (_, roles) => {
  test("survives a trap and a refusal before, in and after each of its steps: callers notice nothing, nothing is left behind", async () => {
    // What has begun to leave, or is over, is taken back by the partition's end: see the next test.
    const cases = casesOf(["trap", "refusal"], roles).filter(({ step }) => step !== "leave" && step !== "finish");
    const { outcomes, signal } = await play(cases);
    expect(signal).toBeNull();
    expect(outcomes).toHaveLength(cases.length);
    for (const [index, outcome] of outcomes.entries()) {
      expectWhole(outcome, cases[index]?.to ?? "");
      const { name, errors, skipped, before, after } = outcome;
      expect({ name, errors, skipped }).toEqual({ name, errors: [], skipped: 0 });
      expect(outcome.outcome, name).not.toMatch(/^committed/);
      expect({ name, held: after }).toEqual({ name, held: before });
    }
  });

  test("survives the death of the partition before, in and after each of its steps", async () => {
    // A loop of the kernel's own is ended by the watch, as the partition's death.
    const cases = [...casesOf(["death"], roles), ...casesOf(["loop"], roles, ["in"])];
    const { outcomes } = await play(cases);
    expect(outcomes).toHaveLength(cases.length);
    for (const [index, outcome] of outcomes.entries()) expectWhole(outcome, cases[index]?.to ?? "");
  });

  test("survives the death of the process before, in and after each of its steps: the next one has version and state", async () => {
    const home = mkdtempSync(join(folder, "home-"));
    const cases = casesOf(["kill"], roles);
    for (const each of cases) {
      const { signal } = await play([each], home);
      expect({ ...each, signal }).toEqual({ ...each, signal: "SIGKILL" });
    }
    const [outcome] = (await play([{ step: "make", role: "stay", when: "before", kind: "trap", to: "main" }], home))
      .outcomes;
    expect(outcome).toMatchObject({ skipped: 0, errors: [], isStruck: true });
    // Each process has had three answers at least before its end, and what they counted was kept.
    expect(outcome?.resumed).toBeGreaterThan(2 * cases.length);
  });
});
