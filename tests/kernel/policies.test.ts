/** What follows a failure: restart-partition, safe-state, notices to peers, the spare thread; and how often links are told. */
import { MessagePort } from "node:worker_threads";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { RestartRule } from "../../kernel/index.ts";
import { decodeCbor, encodeCbor, KERNEL_PORT, KIND, NOTICE } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluator,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  messagesSeen,
  recorder,
  seen,
} from "../support/probe.ts";
import { patiently } from "../support/patience.ts";

const CBOR = { maxBytes: 64, maxDepth: 2, maxItems: 8, tags: [], deterministic: true };
const RULE: RestartRule = { policy: "restart", intensity: 3, windowMs: 60_000, backoffMs: 40, maximumBackoffMs: 1000 };
const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
/** Traps at each message, not at its start. */
const CRASHING = watModule(
  "",
  `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
    (if (i32.eqz (local.get $port)) (then unreachable)) (i64.const 0))`,
);

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

/** Sends one message to a module's port as it starts. */
async function strike(target: string, name = "sender", isAlone = false): Promise<void> {
  const send = "(call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))";
  await loadProbe(running, name, evaluator(SEND, [send]), {
    grants: [endpoint(`${target}.in`)],
    slots: { out: endpointSlot(["send"]) },
  });
  running.kernel.begin(isAlone ? name : undefined);
}

describe("restart-partition", () => {
  test("replaces every module of the partition, and none of another", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const spec = { partition: "other" };
    await loadModule(running, "bad", CRASHING, {
      spec: { ...spec, restart: { ...RULE, policy: "restart-partition" } },
    });
    await loadModule(running, "beside", watModule("", ECHO), { spec });
    await loadModule(running, "elsewhere", watModule("", ECHO));
    await strike("bad");
    expect(await running.waitFor("partition-lost")).toMatchObject({
      partition: "other",
      reason: expect.stringContaining("bad failed") as string,
    });
    await running.waitFor("restarted", ({ module }) => module === "beside", 15_000);
    await running.waitFor("restarted", ({ module }) => module === "bad", 15_000);
    expect(running.events.filter((event) => event.type === "restarted" && event.module === "elsewhere")).toEqual([]);
    expect(running.events.filter((event) => event.type === "held")).toEqual([]);
  });

  test("is held past its intensity, and its partition goes on without it", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const restart: RestartRule = { ...RULE, policy: "restart-partition", intensity: 0 };
    await loadModule(running, "bad", CRASHING, { spec: { partition: "other", restart } });
    await strike("bad");
    expect(await running.waitFor("held")).toMatchObject({ module: "bad" });
    expect(running.events.filter((event) => event.type === "partition-lost")).toEqual([]);
  });
});

describe("safe-state", () => {
  const final = { to: { module: "relay", port: "in" }, payload: encodeCbor("off") };

  test("holds the module at its first failure and sends the final message from the kernel", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadProbe(running, "relay", recorder(), { spec: { partition: "other" } });
    await loadModule(running, "pump", CRASHING, { spec: { restart: { ...RULE, policy: "safe-state", final } } });
    await strike("pump");
    expect(await running.waitFor("held")).toMatchObject({ module: "pump" });
    expect(await running.waitFor("final-message")).toMatchObject({ module: "pump", to: "relay.in", isSent: true });
    const [message] = await messagesSeen(running, "relay", 1);
    expect(message).toMatchObject({ port: 0, kind: KIND.send, senderModule: 0, senderGeneration: 0 });
    expect(decodeCbor(message?.payload ?? new Uint8Array(0), CBOR)).toBe("off");
  });

  test("says so where nobody is there to get the final message", async () => {
    running = await startKernel();
    await loadProbe(running, "relay", recorder());
    await loadModule(running, "pump", CRASHING, { spec: { restart: { ...RULE, policy: "safe-state", final } } });
    running.kernel.hold("relay");
    await strike("pump");
    expect(await running.waitFor("final-message")).toMatchObject({ isSent: false });
  });
});

describe("who asks for it", () => {
  async function watcher(notify: boolean): Promise<unknown[]> {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadModule(running, "bad", CRASHING, { spec: { partition: "other", restart: RULE } });
    await loadProbe(running, "watcher", recorder(SEND), {
      grants: [endpoint("bad.in", { notify })],
      slots: { out: endpointSlot(["send"]) },
    });
    await strike("bad");
    await running.waitFor("restarted", ({ module }) => module === "bad");
    // A start notice may overtake news that is still on its way.
    await seen(running, "watcher", notify ? 3 : 1);
    await strike("watcher", "second");
    const all = await seen(running, "watcher", notify ? 4 : 2);
    return all
      .filter(({ port, kind }) => port === KERNEL_PORT && kind === KIND.notice)
      .map(({ payload }) => decodeCbor(payload, CBOR));
  }

  test("is told by the slot's name that its peer is gone, and that it is there again", async () => {
    expect((await watcher(true)).slice(1, 3)).toEqual([
      [NOTICE.peerLost, "out"],
      [NOTICE.peerBack, "out"],
    ]);
  });

  test("is told by the handle where it holds one, and not where it has not asked", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadModule(running, "bad", CRASHING, { spec: { partition: "other", restart: RULE } });
    const asked = { ...HANDLES, parameters: { notify: true } };
    for (const [name, grant] of [
      ["holder", asked],
      ["silent", HANDLES],
    ] as const) {
      await loadProbe(running, name, recorder(`(import "handles" "drop" (func (param i32) (result i32)))`), {
        grants: [grant],
        slots: { handles: HANDLES_SLOT },
      });
      const derive = `(import "bad" "derive" (func $derive (param i32) (result i32)))`;
      const pass = `(block (result i32) (i32.store (i32.const 8300) (call $derive (i32.const 5)))
        (call $send (i32.const 8192) (i32.const 1) (i32.const 8300) (i32.const 1)))`;
      await loadProbe(running, `giver-${name}`, evaluator(`${SEND}${derive}`, [pass]), {
        grants: [endpoint(`${name}.in`), { ...endpoint("bad.in"), slot: "bad" }],
        slots: { out: endpointSlot(["send"]), bad: endpointSlot(["send", "pass"]) },
      });
    }
    running.kernel.begin();
    const [, given] = await seen(running, "holder", 2);
    await seen(running, "silent", 2);
    await strike("bad", "sender", true);
    await running.waitFor("restarted", ({ module }) => module === "bad");
    const told = (await seen(running, "holder", 4)).filter(({ port }) => port === KERNEL_PORT);
    const [handle] = given?.handleList ?? [];
    expect(told.map(({ payload }) => decodeCbor(payload, CBOR)).slice(-2)).toEqual([
      [NOTICE.peerLost, "handles", handle],
      [NOTICE.peerBack, "handles", handle],
    ]);
    await strike("silent", "last", true);
    const others = (await seen(running, "silent", 3)).map(({ payload }) => payload[1]);
    expect(others).not.toContain(NOTICE.peerLost);
  });

  test("is told that it is there again where a new version takes the place of a held one", async () => {
    running = await startKernel();
    const spec = moduleSpec("good");
    const admitted = await admit(watModule("", ECHO), manifestFields("good"), spec);
    running.kernel.load(spec, admitted);
    await loadProbe(running, "watcher", recorder(SEND), {
      grants: [endpoint("good.in", { notify: true })],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.begin();
    running.kernel.hold("good");
    await running.kernel.swap([{ name: "good", admitted }], 1000);
    const notices = (await seen(running, "watcher", 3)).map(({ payload }) => decodeCbor(payload, CBOR));
    expect(notices.slice(1)).toEqual([
      [NOTICE.peerLost, "out"],
      [NOTICE.peerBack, "out"],
    ]);
  });

  test("is the only one who is told", async () => {
    expect((await watcher(false)).filter((notice) => (notice as number[])[0] !== NOTICE.start)).toEqual([]);
  });
});

test("whom a module calls is started before it, in whatever order they were loaded", async () => {
  running = await startKernel();
  const slots = { out: endpointSlot(["call"]) };
  const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
  for (const [name, callee] of [
    ["first", "second.in"],
    ["second", "third.in"],
  ] as const) {
    await loadProbe(running, name, recorder(CALL), { grants: [endpoint(callee, { rights: ["call"] })], slots });
  }
  await loadProbe(running, "third", recorder());
  running.kernel.begin();
  const started = (): string[] => running.calls.map(({ binding }) => binding.module);
  await running.until(() => (started().length >= 3 ? true : undefined), "three starts");
  expect(started()).toEqual(["third", "second", "first"]);
});

describe("links", () => {
  test("of modules that are loaded together are told once, not once for each that comes", async () => {
    running = await startKernel();
    const count = 200;
    const slots = { out: endpointSlot(["send"]) };
    const admitted = await admit(
      watModule(SEND, ECHO),
      manifestFields("chain", { slots }),
      moduleSpec("chain", [endpoint("m0.in", { rights: ["send"] })]),
    );
    const posted = vi.spyOn(MessagePort.prototype, "postMessage");
    posted.mockClear();
    for (let index = 0; index < count; index++) {
      const grants = [endpoint(`m${(index + 1) % count}.in`, { rights: ["send"] })];
      const manifest = { ...admitted.manifest, name: `m${index}` };
      running.kernel.load(moduleSpec(`m${index}`, grants), { ...admitted, manifest });
    }
    running.kernel.begin();
    const orders = posted.mock.calls.map(([order]) => order as { type?: string });
    posted.mockClear();
    expect(orders.filter(({ type }) => type === "load")).toHaveLength(count);
    expect(orders.filter(({ type }) => type === "link")).toHaveLength(count);
    // One more touches itself and whoever leads to it.
    running.kernel.grant("m7", endpoint("m9.in", { rights: ["send"] }));
    running.kernel.begin("m7");
    const after = posted.mock.calls.map(([order]) => order as { type?: string });
    posted.mockRestore();
    expect(after.filter(({ type }) => type === "link")).toHaveLength(2);
  });
});

test("a spare thread takes the place of a partition that is lost, and another one is made", async () => {
  running = await startKernel({ partitions: ["main", "other"], spare: true });
  const hasSpare = (wanted: boolean): Promise<boolean> =>
    vi.waitUntil(() => running.kernel.hasSpare === wanted, { timeout: patiently(20_000), interval: 5 });
  await hasSpare(true);
  await loadModule(running, "echo", watModule("", ECHO), { spec: { partition: "other" } });
  running.kernel.freezePartition("other");
  await running.waitFor("partition-lost", () => true, 20_000);
  expect(running.kernel.hasSpare).toBe(false);
  await running.waitFor("restarted", ({ module }) => module === "echo", 20_000);
  await hasSpare(true);
});
