/** Disks that are full, read-only or damaged, and starts that were cut short: something good always runs. */

import { describe, expect, it } from "vitest";
import { RESERVED_BYTES, Store } from "../../gateway/trust/store.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import { Refusal } from "../../kernel/index.ts";
import { FaultDisk, seededRandom } from "../../tools/powercut/fault-disk.ts";
import { Bench, deliveredAs, makeModule } from "./bench.ts";
import type { BenchOptions } from "./bench.ts";

const first = makeModule("threshold", 1);
const second = makeModule("threshold", 2, { size: 70_000 });
const third = makeModule("threshold", 3, { size: 50_000 });
const fourth = makeModule("threshold", 4, { size: 10_000 });
const FOLDER = "/data";
const state = (slot: number) => `${FOLDER}/state.${slot}`;

function disk(): FaultDisk {
  return new FaultDisk(seededRandom(1));
}

function boot(fileSystem: FaultDisk, changes: BenchOptions = {}): Bench {
  return new Bench({ folder: FOLDER, fileSystem, delivered: [deliveredAs(first)], ...changes });
}

/** A disk whose gateway has committed version 2, then version 3: `installed` and `previous` are there. */
async function updatedDisk(): Promise<FaultDisk> {
  const fileSystem = disk();
  const gateway = boot(fileSystem);
  await gateway.result(gateway.push(1, [second]));
  await gateway.result(gateway.push(2, [third]));
  await gateway.agent.stop();
  return fileSystem;
}

function running(gateway: Bench): number | undefined {
  return gateway.boot.modules.get("threshold")?.document.sequence;
}

function flip(at: number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ 0x10;
    return bytes;
  };
}

describe("a damaged disk", () => {
  it("with one corrupt state slot boots from the other", async () => {
    for (const slot of [0, 1]) {
      const fileSystem = await updatedDisk();
      fileSystem.corrupt(state(slot), flip(40));
      const gateway = boot(fileSystem);
      expect(gateway.store.slots[slot]).toBe("corrupt");
      expect(gateway.boot.findings.join()).toContain(`state slot ${slot} is damaged`);
      expect([2, 3]).toContain(running(gateway));
      expect(gateway.boot.source).not.toBe("mixed");
      await gateway.agent.stop();
    }
  });

  it("with both state slots corrupt boots what came with the gateway, and takes the retained plan again", async () => {
    const fileSystem = await updatedDisk();
    fileSystem.corrupt(state(0), () => new Uint8Array());
    fileSystem.corrupt(state(1), flip(3));
    const gateway = boot(fileSystem);
    expect(running(gateway)).toBe(1);
    expect(gateway.boot.source).toBe("delivered");
    expect(await gateway.code(gateway.push(2, [third]))).toBe("OK");
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
    await gateway.agent.stop();
  });

  it("with a deleted blob runs the previous set, and fetches what is missing with the retained plan", async () => {
    const fileSystem = await updatedDisk();
    fileSystem.remove(`${FOLDER}/blobs/${third.blob}`);
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("previous");
    expect(running(gateway)).toBe(2);
    const plan = gateway.push(2, [third]);
    expect(await gateway.code(plan)).toBe("OK");
    await gateway.agent.stop();
    const next = boot(fileSystem);
    expect(next.boot.source).toBe("installed");
    expect(running(next)).toBe(3);
    await next.agent.stop();
  });

  it("with both sets unreadable runs what came with the gateway", async () => {
    const fileSystem = await updatedDisk();
    for (const { blob } of [second, third]) fileSystem.remove(`${FOLDER}/blobs/${blob}`);
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("delivered");
    expect(running(gateway)).toBe(1);
    await gateway.agent.stop();
  });

  it("with a bit flipped in any stored file boots a good set, and quarantines content that lost its digest", async () => {
    const paths = (await updatedDisk()).files;
    expect(paths.some((path) => path.includes("/blobs/"))).toBe(true);
    for (const path of paths) {
      for (const at of [0, 17, 1_000]) {
        const fileSystem = await updatedDisk();
        fileSystem.corrupt(path, flip(at));
        const gateway = boot(fileSystem);
        expect([2, 3], path).toContain(running(gateway));
        expect(sha256Hex(gateway.boot.modules.get("threshold")?.binary ?? new Uint8Array())).toBe(
          running(gateway) === 3 ? third.blob : second.blob,
        );
        const inForce = [third.blob, third.digest, gateway.store.state.installed?.plan ?? "none"];
        const isContent = inForce.some((digest) => path.includes(digest)) && running(gateway) !== undefined;
        expect(
          fileSystem.files.some((name) => name.includes("/quarantine/")),
          path,
        ).toBe(isContent);
        await gateway.agent.stop();
      }
    }
  }, 120_000);

  it("with a damaged download fetches the damaged block and those after it again, and no others", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem);
    gateway.broker.intercept = (topic, payload) => (topic.endsWith(`${second.blob}/2`) ? [] : [payload]);
    expect(await gateway.code(gateway.push(1, [second]))).toBe("E_TIMEOUT");
    await gateway.agent.stop();
    fileSystem.corrupt(`${FOLDER}/parts/${second.blob}`, flip(40_000));
    const part = new Store(fileSystem, FOLDER).part(second.blob, 70_000);
    expect(part.next).toBe(1);
    expect(fileSystem.size(`${FOLDER}/parts/${second.blob}`)).toBe(32_768);
  });
});

describe("a full disk", () => {
  it("is found out before the download: E_STORE, and tried again until there is room", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem);
    fileSystem.limitFree(2_000_000);
    const asked: string[] = [];
    gateway.broker.intercept = (topic, payload) => {
      asked.push(topic);
      return [payload];
    };
    const plan = gateway.push(1, [second]);
    const result = await gateway.result(plan);
    expect(result).toMatchObject({ code: "E_STORE", final: false });
    expect(result.reason).toContain("free some space");
    expect(asked.some((topic) => topic.includes("/blob/"))).toBe(false);
    fileSystem.limitFree(100_000_000);
    await gateway.agent.idle();
    while (!gateway.events.some((event) => event.code === "OK")) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(gateway.runtime.running.get("threshold")).toBe(second.digest);
    await gateway.agent.stop();
  });

  it("is no reason to give up a download of which only the end is missing", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem, { times: { stallMs: 30 } });
    const lastBlock = topics.block(second.blob, 2);
    gateway.broker.intercept = (topic, payload) => (topic === lastBlock ? [] : [payload]);
    const plan = gateway.push(1, [second]);
    expect(await gateway.result(plan)).toMatchObject({ code: "E_TIMEOUT", final: false });
    fileSystem.limitFree(RESERVED_BYTES + 20_000);
    gateway.broker.intercept = (_topic, payload) => [payload];
    while (!gateway.events.some(({ code }) => code === "OK")) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(gateway.events.map(({ code }) => code)).not.toContain("E_STORE");
    await gateway.agent.stop();
  });

  it("loses what lies in quarantine before an update is refused for want of room", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem);
    const evidence = `${FOLDER}/quarantine/blobs-${"ab".repeat(32)}`;
    fileSystem.write(evidence, new Uint8Array(10_000));
    fileSystem.limitFree(RESERVED_BYTES + 100_000);
    expect(await gateway.code(gateway.push(1, [second]))).toBe("OK");
    expect(fileSystem.size(evidence)).toBe(10_000);
    fileSystem.limitFree(RESERVED_BYTES + 1_000);
    expect(await gateway.code(gateway.push(2, [third]))).toBe("E_STORE");
    expect(fileSystem.size(evidence)).toBeUndefined();
    await gateway.agent.stop();
  });

  it("at any moment of an update ends with the old or the new set, and the update ends once there is room", async () => {
    for (let bytes = 0; bytes < 160_000; bytes += 9_973) {
      const fileSystem = disk();
      const gateway = boot(fileSystem);
      // What the check sees is not what the writes will find: others write to this disk, too.
      const freeBytes = fileSystem.freeBytes.bind(fileSystem);
      fileSystem.freeBytes = () => 1e9;
      fileSystem.limitFree(bytes);
      const plan = gateway.push(1, [second]);
      const { code } = await gateway.result(plan);
      expect(["OK", "E_STORE"]).toContain(code);
      const expected = code === "OK" ? second.digest : first.digest;
      expect(gateway.runtime.running.get("threshold")).toBe(expected);
      fileSystem.freeBytes = freeBytes;
      fileSystem.limitFree(1e9);
      while (gateway.runtime.running.get("threshold") !== second.digest)
        await new Promise((resolve) => setTimeout(resolve, 5));
      await gateway.agent.stop();
    }
  }, 60_000);

  it("keeps a gateway whose disk was full at the commit on the old set: nothing unrecorded stays", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem);
    gateway.runtime.holdProbation = false;
    const swap = gateway.runtime.swap.bind(gateway.runtime);
    gateway.runtime.swap = () => {
      fileSystem.failWith("ENOSPC");
      return swap();
    };
    expect(await gateway.result(gateway.push(1, [second]))).toMatchObject({ code: "E_STORE", state: "rolled-back" });
    expect(gateway.runtime.running.get("threshold")).toBe(first.digest);
    await gateway.agent.stop();
  });
});

describe("a read-only disk", () => {
  it("runs what is on it, refuses updates with E_STORE, and says why", async () => {
    const fileSystem = await updatedDisk();
    fileSystem.failWith("EROFS");
    const gateway = boot(fileSystem);
    expect(running(gateway)).toBe(3);
    const result = await gateway.result(gateway.push(3, [fourth]));
    expect(result).toMatchObject({ code: "E_STORE", final: false });
    expect(result.reason).toContain("read-only");
    fileSystem.failWith(undefined);
    while (gateway.runtime.running.get("threshold") !== fourth.digest)
      await new Promise((resolve) => setTimeout(resolve, 5));
    await gateway.agent.stop();
  });

  it("starts no candidate whose start it cannot record", async () => {
    const fileSystem = await candidateDisk();
    fileSystem.failWith("EROFS");
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("installed");
    expect(running(gateway)).toBe(2);
    await gateway.agent.stop();
  });

  it("from the first start on runs what came with the gateway", async () => {
    const fileSystem = disk();
    fileSystem.failWith("EROFS");
    const gateway = boot(fileSystem);
    expect(running(gateway)).toBe(1);
    await gateway.agent.stop();
  });
});

/** A disk whose gateway lost its power while version 3 was on probation. */
async function candidateDisk(): Promise<FaultDisk> {
  const fileSystem = disk();
  const gateway = boot(fileSystem);
  await gateway.result(gateway.push(1, [second]));
  gateway.runtime.holdProbation = true;
  gateway.push(2, [third]);
  while (!gateway.runtime.calls.slice(-1).includes("probation")) await new Promise((resolve) => setTimeout(resolve, 2));
  await gateway.agent.stop();
  return fileSystem;
}

describe("a start after a power cut on probation", () => {
  it("starts the candidate again, and commits it when it proves itself", async () => {
    const fileSystem = await candidateDisk();
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("candidate");
    expect(running(gateway)).toBe(3);
    expect(await gateway.code(gateway.boot.set.plan ?? "")).toBe("OK");
    expect(gateway.runtime.calls).toEqual(["probation", "commit"]);
    expect(gateway.store.state.candidate).toBeUndefined();
    expect(gateway.store.state.installed?.modules.get("threshold")?.sequence).toBe(3);
    await gateway.agent.stop();
  });

  it("puts the old set back when the candidate fails, and remembers the reason", async () => {
    const fileSystem = await candidateDisk();
    const runtime = boot(await updatedDisk()).runtime;
    runtime.calls.length = 0;
    runtime.probationFailure = new Refusal("E_PROBATION", "module threshold trapped");
    const gateway = boot(fileSystem, { runtime });
    const plan = gateway.boot.set.plan ?? "";
    expect(await gateway.result(plan)).toMatchObject({ code: "E_PROBATION", state: "rolled-back" });
    expect(gateway.runtime.running.get("threshold")).toBe(second.digest);
    expect(gateway.runtime.calls).toEqual(["probation", "rollback", "stage threshold@2 configured", "swap", "commit"]);
    await gateway.agent.stop();
    const next = boot(fileSystem);
    expect(running(next)).toBe(2);
    expect(next.store.state.rejected.get(plan)?.reason).toContain("trapped");
    await next.agent.stop();
  });

  it("gives the candidate up after three starts without a commit: E_PROBATION", async () => {
    const fileSystem = await candidateDisk();
    for (const tries of [2, 3]) {
      const gateway = boot(fileSystem, { times: { probationMs: 60_000 } });
      expect(gateway.boot.source).toBe("candidate");
      expect(gateway.store.state.candidate?.tries).toBe(tries);
      await gateway.agent.stop();
    }
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("installed");
    expect(running(gateway)).toBe(2);
    expect(gateway.boot.findings.join()).toContain("started 3 times and never committed");
    const last = gateway.store.state.last;
    expect(last?.code).toBe("E_PROBATION");
    expect(gateway.reports.at(-1)?.last).toMatchObject({ code: "E_PROBATION", plan: last?.plan });
    await gateway.agent.stop();
  });

  it("does not start a candidate that the disk has damaged, and fetches it again", async () => {
    const fileSystem = await candidateDisk();
    fileSystem.corrupt(`${FOLDER}/blobs/${third.blob}`, flip(9));
    const gateway = boot(fileSystem);
    expect(gateway.boot.source).toBe("installed");
    expect(running(gateway)).toBe(2);
    expect(await gateway.code(gateway.push(2, [third]))).toBe("OK");
    await gateway.agent.stop();
  });
});

describe("the store", () => {
  it("never collects what a rollback needs, and does collect the rest", async () => {
    const fileSystem = disk();
    const gateway = boot(fileSystem);
    await gateway.result(gateway.push(1, [second]));
    await gateway.result(gateway.push(2, [third]));
    await gateway.result(gateway.push(3, [fourth]));
    // One more write, so that no slot remembers the set before the previous one.
    gateway.store.save({});
    gateway.store.save({});
    gateway.store.collect(new Set());
    expect(gateway.store.has("blobs", fourth.blob)).toBe(true);
    expect(gateway.store.has("blobs", third.blob)).toBe(true);
    expect(gateway.store.has("blobs", second.blob)).toBe(false);
    await gateway.agent.stop();
  });

  it("makes no path of what is not a digest", () => {
    const store = new Store(disk(), FOLDER);
    for (const name of ["../../etc/passwd", "", "a".repeat(63), "A".repeat(64), `${"a".repeat(64)}/x`]) {
      expect(() => store.read("blobs", name)).toThrow(Refusal);
    }
  });

  it("refuses to put bytes under a digest that they do not have", () => {
    const store = new Store(disk(), FOLDER);
    expect(() => {
      store.put("blobs", second.blob, third.wasm);
    }).toThrow("do not have the digest");
  });

  it("counts reports upward over restarts and power cuts", async () => {
    const fileSystem = disk();
    let highest = 0;
    for (let life = 0; life < 4; life++) {
      const gateway = boot(fileSystem);
      const counters = gateway.reports.map(({ counter }) => counter);
      expect(Math.min(...counters)).toBeGreaterThan(highest);
      highest = Math.max(...counters);
      await gateway.agent.stop();
      fileSystem.restart();
    }
  });
});
