/** The fault campaign itself: it injects what its model says, repeats by number, and finds what it must find. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, describe, expect, test } from "vitest";
import { inspectModule } from "../../kernel/index.ts";
import { Random } from "../../tools/fuzz/random.ts";
import { MUTATIONS, mutateCode, withInjection } from "./binary.ts";
import { Campaign, runRange } from "./campaign.ts";
import { KINDS, pickKind } from "./kinds.ts";
import { System } from "./system.ts";

const MODULES = join(import.meta.dirname, "../../build/modules");
const binaries = readdirSync(MODULES).filter((file) => file.endsWith(".wasm"));
const read = (file: string): Uint8Array => new Uint8Array(readFileSync(join(MODULES, file)));

let system: System | undefined;
afterEach(async () => {
  await system?.stop();
  system = undefined;
});

describe("instrumented binaries", () => {
  test.each(binaries)("%s stays a module, with one port more", (file) => {
    const injected = withInjection(read(file));
    expect(WebAssembly.validate(injected)).toBe(true);
    const ports = (binary: Uint8Array): string[] => inspectModule(binary).manifest.ports.map(({ name }) => name);
    expect(ports(injected)).toEqual([...ports(read(file)), "inject"]);
  });

  test("mutations of every sort are valid, differ from the original and repeat by their seed", () => {
    const binary = withInjection(read("bme280.wasm"));
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const mutant = mutateCode(binary, new Random(seed));
      expect(mutant).toEqual(mutateCode(binary, new Random(seed)));
      if (mutant === undefined) continue;
      seen.add(mutant.mutation);
      expect(Buffer.compare(mutant.binary, binary)).not.toBe(0);
    }
    expect([...seen].sort()).toEqual(Object.keys(MUTATIONS).sort());
  });
});

test("every kind of fault comes up, each for some module", async () => {
  system = await System.start();
  const kinds = new Set<string>();
  const random = new Random(1);
  for (let count = 0; count < 20_000; count++) kinds.add(pickKind(random, random.pick(system.victims)).name);
  expect([...kinds].sort()).toEqual(KINDS.map(({ name }) => name).sort());
});

test("a run reports its counts as JSON, and the three that must be 0", async () => {
  const command = join(import.meta.dirname, "faults.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [command, "--count", "3000", "--seed", "7", "--json"]);
  const report = JSON.parse(stdout) as Record<string, number>;
  expect(report).toMatchObject({ injected: 3000, seed: 7, kernelFailures: 0, neighboursDisturbed: 0, hangs: 0 });
  expect(report["activated"]).toBeGreaterThan(0);
  expect(report["recovered"]).toBeGreaterThan(0);
}, 120_000);

test("a partition that is lost is replaced, and the far neighbours never notice", async () => {
  system = await System.start();
  const lose = KINDS.find(({ name }) => name === "partition");
  const [victim] = system.victims;
  if (lose === undefined || victim === undefined) throw new Error("no such kind");
  system.expectsLoss = true;
  await lose.run({ system, victim, random: new Random(1), from: "feeder-far" }, 1);
  expect(await system.barrier(victim, "feeder-far")).toBe(0);
  expect(system.disturbances).toEqual([]);
}, 60_000);

describe("what must be found", () => {
  test("a neighbour that misses a message", async () => {
    const { neighboursDisturbed } = await runRange(1, 0, 500, () => undefined, "gap");
    expect(neighboursDisturbed.map(({ what }) => what).join("\n")).toMatch(/\d+ was due, \d+ came/);
  }, 60_000);

  test("a partition that is lost where none should be", async () => {
    system = await System.start();
    system.kernel.freezePartition("victims");
    await system.replaced(0);
    expect(system.disturbances.map(({ what }) => what).join()).toMatch(/lost: (no|it runs without a) sign of life/);
  }, 60_000);

  test("a trial that throws", async () => {
    system = await System.start();
    const campaign = new Campaign(system, 1);
    system.victims.splice(0);
    await expect(campaign.trial(0, 10)).rejects.toThrow("nothing to pick from");
  });
});
