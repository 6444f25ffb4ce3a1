/** The trust worker as the core uses it: a real worker thread behind the client, files on a real disk. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseConfiguration } from "../../gateway/config/index.ts";
import { decodeCapsule } from "../../gateway/wire/capsule.ts";
import { TrustClient } from "../../gateway/wire/trust-client.ts";
import type { TrustHandlers } from "../../gateway/wire/trust-client.ts";
import type { BootReply, UpdateNotice } from "../../gateway/wire/trust-protocol.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { RecordedFailure } from "../../kernel/index.ts";
import { Refusal, RESULT } from "../../kernel/index.ts";
import { GATEWAY, gatewayText, makeModule, makePlan, rootBytes, TEST_TIMES } from "./bench.ts";

const SECOND = Math.floor(Date.now() / 1000);
const fresh = { released: SECOND - 60, expires: SECOND + 86_400 };
const first = makeModule("threshold", 1, { claims: fresh });
const second = makeModule("threshold", 2, { claims: fresh, size: 40_000 });

const OWN = gatewayText(["threshold", "uplink"], (name) => `{ envelope: ${name}.envelope }`);

let folder = "";
let worker: Worker;
let client: TrustClient;
let calls: string[] = [];
let notices: UpdateNotice[] = [];
let policy: readonly Refusal[] = [];

const handlers: TrustHandlers = {
  policy: () => Promise.resolve(policy),
  stage: (changed) => {
    calls.push(`stage ${changed.map(({ document, binary }) => `${document.name} ${binary.length}`).join(" ")}`);
    return Promise.resolve();
  },
  swap: () => Promise.resolve({ pauseMs: 1 }),
  probation: () => Promise.resolve(),
  commit: () => {
    calls.push("commit");
    return Promise.resolve();
  },
  rollback: () => Promise.resolve(),
  subscribe: (topic) => calls.push(`subscribe ${topic}`),
  unsubscribe: () => undefined,
  publish: (topic) => calls.push(`publish ${topic}`),
  caughtUp: () => calls.push("caught up"),
  notice: (notice) => notices.push(notice),
  capsule: ({ module }) => calls.push(`capsule ${module}`),
  finding: (text) => calls.push(`finding ${text}`),
};

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 10_000; !condition(); ) {
    if (Date.now() > deadline) throw new Error(`nothing came of it: ${calls.join(", ")}; ${JSON.stringify(notices)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function boot(): Promise<BootReply> {
  return client.boot({
    configuration: parseConfiguration(OWN, join(folder, "gateway.yaml")),
    times: { ...TEST_TIMES },
  });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-worker-"));
  writeFileSync(join(folder, "root.envelope"), rootBytes);
  writeFileSync(join(folder, "threshold.envelope"), first.whole);
  worker = new Worker(new URL("../../gateway/trust/worker.ts", import.meta.url));
  client = new TrustClient(worker, handlers);
  calls = [];
  notices = [];
  policy = [];
});

afterEach(async () => {
  await worker.terminate();
  rmSync(folder, { recursive: true, force: true });
});

describe("the trust worker", () => {
  it("boots what verifies, and refuses by name what does not", async () => {
    const corrupt = makeModule("uplink", 1, { claims: fresh }).whole.slice();
    corrupt[corrupt.length - 1] = (corrupt.at(-1) ?? 0) ^ 1;
    writeFileSync(join(folder, "uplink.envelope"), corrupt);
    const reply = await boot();
    expect(reply.modules.map(({ name, envelope }) => [name, envelope])).toEqual([["threshold", first.digest]]);
    expect(reply.modules[0]?.binary).toEqual(first.wasm);
    expect(reply.refused).toMatchObject([{ name: "uplink", refusal: { code: "E_DIGEST" } }]);
    expect(reply.source).toBe("delivered");
    expect(reply.gatewayKey).toHaveLength(32);
  });

  it("says which file it cannot read", async () => {
    const reply = await boot();
    expect(reply.refused).toMatchObject([{ name: "uplink", refusal: { code: "E_STORE" } }]);
    expect(reply.refused[0]?.refusal.message).toContain("uplink.envelope");
  });

  it("boots nothing without a root", async () => {
    rmSync(join(folder, "root.envelope"));
    await expect(boot()).rejects.toMatchObject({ code: "E_STORE" });
  });

  it("carries an update through the core's handlers", async () => {
    await boot();
    client.start();
    const plan = makePlan(1, [second], { issued: SECOND, expires: SECOND + 600 });
    client.message(topics.gateway(GATEWAY, "desired"), plan);
    await until(() => calls.includes(`subscribe ${topics.module(second.digest)}`));
    client.message(topics.module(second.digest), second.envelope);
    await until(() => calls.includes(`subscribe ${topics.block(second.blob, 0)}`));
    client.message(topics.block(second.blob, 0), second.wasm.subarray(0, 32_768));
    client.message(topics.block(second.blob, 1), second.wasm.subarray(32_768));
    await until(() => notices.some(({ state }) => state === "committed"));
    expect(calls).toContain("stage threshold 40000");
    expect(calls).toContain("commit");
    await client.stop();
  });

  it("keeps a module's failure as a capsule, and says where", async () => {
    await boot();
    const failure: RecordedFailure = {
      ...{ name: "threshold", generation: 3, sha256: "11".repeat(32), metered: "22".repeat(32), imports: [] },
      ...{ cause: "trap", text: "unreachable", trace: undefined, canonicalNans: false, fuel: 7, sliceFuel: 1000 },
      memoryBytes: 65_536,
      events: { words: new Int32Array(0), before: 0, messages: 0, base: undefined, isWhole: true },
    };
    client.keepFailure(failure);
    await until(() => calls.includes("capsule threshold"));
    const kept = readdirSync(join(folder, "data", "capsules", "threshold"));
    expect(kept).toEqual([expect.stringMatching(/^\d{15}-3\.capsule$/)]);
    const bytes = readFileSync(join(folder, "data", "capsules", "threshold", kept[0] ?? ""));
    expect(decodeCapsule(new Uint8Array(bytes))).toMatchObject({ name: "threshold", fuel: 7, isRedacted: false });
    await client.stop();
  });

  it("lets only so much of a flood wait, and says when the retained messages may be asked for again", async () => {
    await boot();
    client.start();
    const posted: number[] = [];
    const post = worker.postMessage.bind(worker);
    worker.postMessage = (message: { kind: string; payload?: Uint8Array }) => {
      if (message.kind === "message") posted.push(message.payload?.length ?? 0);
      post(message);
    };
    const desired = topics.gateway(GATEWAY, "desired");
    for (let count = 0; count < 200; count++) client.message(desired, new Uint8Array(300_000).fill(count));
    expect(posted).toHaveLength(13);
    await until(() => calls.includes("caught up"));
    client.message(desired, makePlan(1, [second], { issued: SECOND, expires: SECOND + 600 }));
    await until(() => calls.includes(`subscribe ${topics.module(second.digest)}`));
    expect(calls.filter((call) => call === "caught up")).toHaveLength(1);
    await client.stop();
  });

  it("passes the policy's refusal on as the result", async () => {
    await boot();
    client.start();
    policy = [new Refusal("E_CAP", "slot north is not granted")];
    client.message(topics.module(second.digest), second.envelope);
    client.message(
      topics.gateway(GATEWAY, "desired"),
      makePlan(1, [second], { issued: SECOND, expires: SECOND + 600 }),
    );
    await until(() => calls.includes(`subscribe ${topics.module(second.digest)}`));
    client.message(topics.module(second.digest), second.envelope);
    await until(() => notices.some(({ code }) => code !== undefined));
    expect(notices.at(-1)).toMatchObject({ state: "rejected", code: "E_CAP" });
  });

  it("refuses to admit what is not Wasm", async () => {
    await boot();
    const spec = {
      name: "threshold",
      partition: "services",
      priority: 3,
      memoryPages: 16,
      fuelPerPeriod: 1_000_000,
      periodMs: 100,
      activationMs: 1_000,
      checkpointMessages: 0,
      restart: { policy: "restart", intensity: 5, windowMs: 60_000, backoffMs: 10, maximumBackoffMs: 1_000 },
      grants: [],
    } as const;
    await expect(client.admit(Uint8Array.of(1, 2, 3, 4), spec)).rejects.toMatchObject({ code: "E_WASM" });
  });

  it("keeps a module's keys below its prefix, within its quota, across restarts", async () => {
    await boot();
    const mine = { prefix: "uplink/", quota: 64 + "uplink/".length + 16 };
    const key = new TextEncoder().encode("key");
    const value = new TextEncoder().encode("value");
    expect((await client.store("get", mine, key)).result).toBe(RESULT["not-found"]);
    expect((await client.store("set", mine, key, value)).result).toBe(0);
    expect((await client.store("set", mine, new TextEncoder().encode("other"), value)).result).toBe(RESULT.quota);
    for (const quota of [Number.NaN, -1, Infinity, 0.5]) {
      expect((await client.store("set", { prefix: "uplink/", quota }, key, value)).result).toBe(RESULT.denied);
    }
    expect((await client.store("set", { prefix: "", quota: 16 }, key, value)).result).toBe(RESULT.denied);
    expect((await client.store("set", mine, key, new TextEncoder().encode("a longer one"))).result).toBe(0);
    expect((await client.store("get", { prefix: "bme280/", quota: 16 }, key)).result).toBe(RESULT["not-found"]);
    await client.stop();
    await worker.terminate();
    worker = new Worker(new URL("../../gateway/trust/worker.ts", import.meta.url));
    client = new TrustClient(worker, handlers);
    await boot();
    const found = await client.store("get", mine, key);
    expect(new TextDecoder().decode(found.bytes)).toBe("a longer one");
    expect((await client.store("delete", mine, key)).result).toBe(0);
    expect((await client.store("delete", mine, key)).result).toBe(RESULT["not-found"]);
    expect((await client.store("set", mine, new Uint8Array(), value)).result).toBe(RESULT.invalid);
  });
});
