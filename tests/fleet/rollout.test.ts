/** Rollouts over a real broker: waves, soak, abort, pause, and going on after the tool was killed. */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { topics } from "../../gateway/wire/update-topics.ts";
import { writePrivateKey } from "../../tools/keys/key-file.ts";
import { BrokerSession } from "../../tools/push/broker.ts";
import { readRelease, rollout } from "../../tools/push/index.ts";
import { readRolloutPlan } from "../../tools/push/rollout-plan.ts";
import { bucketOf, pauseTopic, rollOut } from "../../tools/push/rollout.ts";
import type { RolloutOptions, RolloutProgress } from "../../tools/push/rollout.ts";
import { deploy, makeModule } from "../updates/bench.ts";
import { startAedes } from "../updates/mqtt.ts";
import type { TestBroker } from "../updates/mqtt.ts";
import { startFleet, stopFleet } from "./fleet.ts";
import type { FleetGateway, Judge } from "./fleet.ts";
import { runVerb } from "../support/verb.ts";

const first = makeModule("threshold", 1);
const good = makeModule("threshold", 2, { size: 40_000 });
const bad = makeModule("threshold", 3, { size: 40_000 });
const SIZE = 20;
const issued = Math.floor(Date.now() / 1000);

let broker: TestBroker;
let fleet: FleetGateway[] = [];
let session: BrokerSession;
let isBad: Judge = () => false;

function optionsFor(changes: Partial<RolloutOptions> = {}): RolloutOptions {
  return {
    session,
    id: "autumn-1",
    issued,
    validSeconds: 86_400,
    version: issued,
    modules: [readRelease(good.whole)],
    gateways: fleet.map(({ id, publicKey }) => ({ id, key: publicKey })),
    waves: [0.1, 0.5, 1],
    soakMs: 20,
    timeoutMs: 10_000,
    abortShare: 0.1,
    deployKey: deploy,
    ...changes,
  };
}

function versions(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { sequence } of fleet) counts[String(sequence)] = (counts[String(sequence)] ?? 0) + 1;
  return counts;
}

beforeEach(async () => {
  isBad = () => false;
  broker = await startAedes();
  fleet = await startFleet(SIZE, broker.url, [first], (id, sequence) => isBad(id, sequence));
  session = await BrokerSession.connect({ url: broker.url });
});

afterEach(async () => {
  await session.close();
  await stopFleet(fleet);
  await broker.close();
});

describe("a rollout", () => {
  it("brings the whole fleet to the release, wave by wave", async () => {
    const progress: RolloutProgress[] = [];
    const result = await rollOut(optionsFor(), (step) => progress.push(step));
    expect(result).toMatchObject({ outcome: "done", waves: 3, counts: { committed: SIZE, failed: 0 } });
    expect(versions()).toEqual({ 2: SIZE });
    const waves = progress.flatMap((step) => (step.kind === "wave" ? [step.gateways] : []));
    expect(waves).toEqual([2, 8, 10]);
  });

  it("stops at the wave whose failures pass the threshold, and leaves the others alone", async () => {
    isBad = (_id, sequence) => sequence === 3;
    const result = await rollOut(optionsFor({ modules: [readRelease(bad.whole)] }));
    expect(result).toMatchObject({ outcome: "aborted", waves: 1 });
    expect(result.codes["E_PROBATION"]).toBeGreaterThan(0);
    expect(result.counts.waiting).toBeGreaterThanOrEqual(SIZE - 2);
    await Promise.all(fleet.map(({ agent }) => agent.idle()));
    expect(versions()).toEqual({ 1: SIZE });
  });

  it("goes on over failures below the threshold", async () => {
    const [unlucky] = [...fleet].sort((a, b) => bucketOf("autumn-1", b.id) - bucketOf("autumn-1", a.id));
    isBad = (id) => id === unlucky?.id;
    const result = await rollOut(optionsFor());
    expect(result).toMatchObject({ outcome: "done", counts: { committed: SIZE - 1, failed: 1 } });
    expect(versions()).toEqual({ 1: 1, 2: SIZE - 1 });
  });

  it("goes on where it was after the tool was killed, without a second update of anybody", async () => {
    const controller = new AbortController();
    const stopped = await rollOut(optionsFor({ signal: controller.signal, soakMs: 60_000 }), (step) => {
      if (step.kind === "soak") controller.abort();
    });
    expect(stopped).toMatchObject({ outcome: "stopped", waves: 1, counts: { committed: 2 } });
    expect(versions()).toEqual({ 1: SIZE - 2, 2: 2 });
    const soaks: number[] = [];
    const resume = async (changes: Partial<RolloutOptions>, onSoak: (wave: number) => void) => {
      const resumed = await BrokerSession.connect({ url: broker.url });
      const result = await rollOut(optionsFor({ session: resumed, ...changes }), (step) => {
        if (step.kind !== "soak") return;
        soaks.push(step.wave);
        onSoak(step.wave);
      });
      await resumed.close();
      return result;
    };
    // Nobody knows whether the first wave has soaked, so it soaks again; once the second has begun, it has.
    const second = new AbortController();
    const again = await resume({ signal: second.signal }, (wave) => {
      if (wave === 2) second.abort();
    });
    expect(again).toMatchObject({ outcome: "stopped", waves: 2, counts: { committed: SIZE / 2 } });
    const result = await resume({}, () => undefined);
    expect(result).toMatchObject({ outcome: "done", counts: { committed: SIZE } });
    expect(soaks).toEqual([1, 2, 2]);
  });

  it("knows, killed and started again, which gateways had failed", async () => {
    isBad = (_id, sequence) => sequence === 3;
    await rollOut(optionsFor({ modules: [readRelease(bad.whole)] }));
    isBad = () => false;
    const again = await BrokerSession.connect({ url: broker.url });
    const result = await rollOut(optionsFor({ session: again, modules: [readRelease(bad.whole)] }));
    await again.close();
    expect(result).toMatchObject({ outcome: "aborted", waves: 1 });
    expect(result.codes["E_PROBATION"]).toBeGreaterThan(0);
  });

  it("begins no wave while it is paused", async () => {
    await session.retain(pauseTopic("autumn-1"), new TextEncoder().encode("paused"));
    const running = rollOut(optionsFor());
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(versions()).toEqual({ 1: SIZE });
    await session.clear(pauseTopic("autumn-1"));
    expect(await running).toMatchObject({ outcome: "done", counts: { committed: SIZE } });
  });

  it("does not wait for ever for gateways that are off or that nobody has ever seen", async () => {
    const [sleeper] = fleet;
    await sleeper?.agent.stop();
    const stranger = { id: "gw-none", key: sleeper?.publicKey ?? new Uint8Array(32) };
    const gateways = [...fleet.map(({ id, publicKey }) => ({ id, key: publicKey })), stranger];
    const result = await rollOut(optionsFor({ gateways, timeoutMs: 6_000, waves: [1] }));
    expect(result.counts).toEqual({ committed: SIZE - 1, failed: 0, late: 1, absent: 1, waiting: 0 });
  });

  it("begins no second wave while nobody of the first has answered", async () => {
    const [sleeper] = [...fleet].sort((a, b) => bucketOf("autumn-1", a.id) - bucketOf("autumn-1", b.id));
    await sleeper?.agent.stop();
    const result = await rollOut(optionsFor({ timeoutMs: 1_000, waves: [0.05, 1] }));
    expect(result).toMatchObject({ outcome: "aborted", waves: 1, counts: { committed: 0, late: 1 } });
  });

  it("takes its plan back, where it stops, from gateways that are off", async () => {
    isBad = (_id, sequence) => sequence === 3;
    const [sleeper] = fleet;
    await sleeper?.agent.stop();
    const release = { modules: [readRelease(bad.whole)], timeoutMs: 2_000, waves: [1], abortShare: 1 };
    const desired: Uint8Array[] = [];
    await session.subscribe(topics.gateway(sleeper?.id ?? "", "desired"), (payload) => desired.push(payload));
    expect((await rollOut(optionsFor(release))).counts).toMatchObject({ failed: SIZE - 1, late: 1 });
    expect(desired.at(-1)?.length).toBeGreaterThan(0);
    const stopped = await rollOut(optionsFor({ ...release, id: "autumn-2", version: issued + 1, abortShare: 0.1 }));
    expect(stopped.outcome).toBe("aborted");
    await expect.poll(() => desired.at(-1)?.length).toBe(0);
  });

  it("follows another rollout over the same session", async () => {
    await rollOut(optionsFor({ waves: [1] }));
    const next = { id: "autumn-2", version: issued + 1, modules: [readRelease(bad.whole)], waves: [1] };
    expect(await rollOut(optionsFor(next))).toMatchObject({ outcome: "done", counts: { committed: SIZE } });
  });

  it("puts a gateway into the same wave whoever asks, and spreads a fleet evenly", () => {
    const buckets = Array.from({ length: 10_000 }, (_, index) => bucketOf("autumn-1", `gw-${index}`));
    expect(bucketOf("autumn-1", "gw-7")).toBe(buckets[7]);
    expect(bucketOf("autumn-2", "gw-7")).not.toBe(buckets[7]);
    const inFirstTenth = buckets.filter((bucket) => bucket < 0.1).length;
    expect(inFirstTenth).toBeGreaterThan(900);
    expect(inFirstTenth).toBeLessThan(1_100);
  });
});

describe("the verb rollout", () => {
  let folder = "";
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "bulkhead-rollout-"));
    writeFileSync(join(folder, "threshold.envelope"), good.whole);
    await writePrivateKey(join(folder, "deploy.key"), deploy, undefined);
    for (const { id, publicKey } of fleet) writeFileSync(join(folder, `${id}.pub`), pemOf(publicKey));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Writes the file of the rollout, and gives the words of the command line after `rollout`. */
  function planned(waves: string, soak: string): string[] {
    const plan = join(folder, "plan.yaml");
    const ids = fleet.map(({ id }) => id).join(", ");
    const dates = `issued: ${new Date(issued * 1000).toISOString()}\nsoak: ${soak}\nwaves: ${waves}\n`;
    writeFileSync(plan, `rollout: autumn-1\n${dates}modules: [threshold.envelope]\ngateways: [${ids}]\nkeys: .\n`);
    return [plan, "--deploy-key", join(folder, "deploy.key"), "--broker", broker.url, "--json"];
  }

  async function run(words: readonly string[]): Promise<{ exit: number; json: Record<string, unknown> }> {
    const { code, out } = await runVerb(rollout, words);
    return { exit: code, json: JSON.parse(out) as Record<string, unknown> };
  }

  const committed = { exit: 0, json: { ok: true, outcome: "done", counts: { committed: SIZE } } };

  it("reads its file, and exits with 0 only where every gateway committed", async () => {
    expect(await run(planned("[50%, 100%]", "10ms"))).toMatchObject(committed);
  });

  it("pauses and resumes a rollout that runs elsewhere", async () => {
    const [plan = "", ...words] = planned("[50%, 100%]", "10ms");
    const at = ["--broker", broker.url, "--json"];
    expect(await run(["pause", plan, ...at])).toMatchObject({ exit: 0, json: { rollout: "autumn-1", paused: true } });
    const running = run([plan, ...words]);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(versions()).toEqual({ 1: SIZE });
    expect(await run(["resume", plan, ...at])).toMatchObject({ exit: 0, json: { paused: false } });
    expect(await running).toMatchObject(committed);
  });

  it("goes on where it was after its process was killed", { timeout: 120_000 }, async () => {
    const launcher = fileURLToPath(new URL("../../tools/launch/bulkhead.js", import.meta.url));
    const words = planned("[50%, 100%]", "1h");
    // It soaks for an hour, so nothing goes beyond the first wave before it is killed.
    const child = spawn(process.execPath, [launcher, "rollout", ...words], { stdio: "ignore", detached: true });
    await expect.poll(() => versions()["2"], { timeout: 90_000 }).toBe(SIZE / 2);
    // The launcher and the verb are one group of processes.
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await new Promise((resolve) => child.once("close", resolve));
    expect(versions()).toEqual({ 1: SIZE / 2, 2: SIZE / 2 });
    expect(await run(planned("[50%, 100%]", "10ms"))).toMatchObject(committed);
    expect(versions()).toEqual({ 2: SIZE });
  });

  it("names the field of its file that is wrong", () => {
    const rest = "issued: 2026-11-21T10:00:00Z\nmodules: [a]\ngateways: [gw-1]\nkeys: .\n";
    expect(readRolloutPlan(`rollout: a\n${rest}`, "plan.yaml")).toMatchObject({ id: "a", waves: [0.01, 0.1, 0.5, 1] });
    for (const [text, field] of [
      [`rollout: a b\n${rest}`, "rollout"],
      [`rollout: a\nwaves: [50%, 10%]\n${rest}`, "waves"],
      [`rollout: a\nwaves: [50%]\n${rest}`, "waves"],
      [`rollout: a\nabort: 5\n${rest}`, "abort"],
      [`rollout: a\nsoak: soon\n${rest}`, "soak"],
      [`rollout: a\nweaves: [1%]\n${rest}`, "weaves"],
      ["rollout: a\nissued: never\n", "issued"],
      ["[", "is not YAML"],
      ["7", "is not a map"],
    ] as const) {
      expect(() => readRolloutPlan(text, "plan.yaml")).toThrow(field);
    }
  });
});

function pemOf(publicKey: Uint8Array): string {
  const der = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), publicKey]);
  return `-----BEGIN PUBLIC KEY-----\n${der.toString("base64")}\n-----END PUBLIC KEY-----\n`;
}
