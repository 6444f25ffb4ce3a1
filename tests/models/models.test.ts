/** The kernel's own protocols, checked by spin for every interleaving within the bounds that each model states. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const MODELS = ["ring", "swap"] as const;
const has = (command: string): boolean => spawnSync(command, ["-V"]).error === undefined;
const isChecked = has("spin") && has("cc");
const describeChecked = isChecked
  ? describe
  : (name: string, define: () => void) => {
      describe.skip(`${name} (skipped: apt-get install spin gcc libc6-dev)`, define);
    };

const source = (model: string): string => readFileSync(join(import.meta.dirname, `${model}.pml`), "utf8");

/** The bugs that a model can be given: each is named in its opening comment and used in an #ifdef. */
const plants = (model: string): string[] =>
  [...source(model).matchAll(/^ \* -D(PLANT_\w+)/gm)].map(([, name]) => name ?? "");

interface Verdict {
  readonly errors: number;
  readonly states: number;
  /** True where the search covered every state within the bounds. */
  readonly isExhaustive: boolean;
}

function check(model: string, ...plant: string[]): Verdict {
  const folder = mkdtempSync(join(tmpdir(), "bulkhead-model-"));
  try {
    const options = { cwd: folder, encoding: "utf8" } as const;
    const path = join(import.meta.dirname, `${model}.pml`);
    execFileSync("spin", [...plant.map((name) => `-D${name}`), "-a", path], options);
    execFileSync("cc", ["-O2", "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c"], options);
    const report = execFileSync("./pan", ["-m100000", "-w22"], options);
    const number = (pattern: RegExp): number => Number(pattern.exec(report)?.[1] ?? Number.NaN);
    return {
      errors: number(/errors: (\d+)/),
      states: number(/(\d+) states, stored/),
      isExhaustive: report.includes("Full statespace search") && !report.includes("max search depth too small"),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describeChecked("model of the", () => {
  test.each(MODELS)("%s holds for every interleaving", (model) => {
    const { errors, states, isExhaustive } = check(model);
    expect({ errors, isExhaustive }).toEqual({ errors: 0, isExhaustive: true });
    expect(states).toBeGreaterThan(10_000);
  });

  test.each(MODELS.flatMap((model) => plants(model).map((plant) => [model, plant] as const)))(
    "%s fails with %s",
    (model, plant) => {
      expect(source(model)).toMatch(new RegExp(`#ifn?def ${plant}`));
      expect(check(model, plant).errors).toBeGreaterThan(0);
    },
  );
});

test("each model can be given at least three bugs", () => {
  for (const model of MODELS) expect(plants(model).length, model).toBeGreaterThanOrEqual(3);
});
