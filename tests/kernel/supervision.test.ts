/** Supervision: restarts with state, poisoned state, backoff and hold, orders of the operator, lost partitions. */
import { afterEach, describe, expect, test } from "vitest";
import type { KernelEvent, RestartRule } from "../../kernel/index.ts";
import { KERNEL_PORT, RESULT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  evaluator,
  loadModule,
  loadProbe,
  messagesSeen,
  recorder,
  REPORT_IMPORT,
  reportsOf,
  TIMER,
  values,
} from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
const REQUEST = `(import "out" "request" (func $request (param i32 i32 i32) (result i32)))`;
const SLEEP_IMPORT = `(import "t" "sleep" (func $sleep (param i32) (result i32)))`;
const SLEEP = {
  grants: [{ ...TIMER, slot: "t" }],
  slots: { t: { interface: "timer", rights: ["use"], port: null } },
};
const RULE: RestartRule = { policy: "restart", intensity: 3, windowMs: 60_000, backoffMs: 40, maximumBackoffMs: 1000 };

const events = <Type extends KernelEvent["type"]>(type: Type): Extract<KernelEvent, { type: Type }>[] =>
  running.events.filter((event): event is Extract<KernelEvent, { type: Type }> => event.type === type);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Traps at each start, and at each message where `onMessage`. */
const crashing = (onStart = true): string =>
  watModule(
    "",
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eq (local.get $port) (i32.const ${onStart ? KERNEL_PORT : 0})) (then unreachable)) (i64.const 0))`,
  );

/** A module with a state at 8192 that counts messages, traps where the state is `poison`, and reports the count. */
function keeper(poison: number, trapWhenRestored = false): string {
  return watModule(
    REPORT_IMPORT,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32)
       ${trapWhenRestored ? "(unreachable)" : "(i32.const 0)"})
     (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (if (i32.eq (i32.load (i32.const 8192)) (i32.const ${poison})) (then unreachable))
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (drop (call $report (i32.const 8192) (i32.const 4)))
       (i64.const 0))`,
  );
}

const sendMany = (count: number): string =>
  evaluator(
    SEND,
    new Array<string>(count).fill("(call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))"),
  );

describe("state", () => {
  async function load(poison: number, checkpointMessages: number, messages: number, trap = false): Promise<void> {
    running = await startKernel();
    await loadProbe(running, "keeper", keeper(poison, trap), {
      manifest: { state: 64 },
      spec: { checkpointMessages, restart: { ...RULE, intensity: 10, backoffMs: 1 } },
    });
    await loadProbe(running, "sender", sendMany(messages), {
      grants: [endpoint("keeper.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.begin();
  }

  const counts = (): number[] =>
    reportsOf(running, "keeper").map((bytes) => new DataView(bytes.buffer).getInt32(0, true));

  test("of the last checkpoint comes back at a restart; what came after it is lost", async () => {
    await load(-1, 2, 4);
    await running.until(() => (counts().length >= 4 ? true : undefined), "four counts");
    await pause(30);
    running.kernel.restart("keeper");
    running.kernel.restart("sender");
    await running.until(() => (counts().length >= 8 ? true : undefined), "eight counts");
    // The start notice and three messages make two checkpoints: the state of the third message.
    expect(counts().slice(0, 5)).toEqual([1, 2, 3, 4, 4]);
  });

  test("that crashes again right after it was restored is dropped once, and the module goes on without", async () => {
    // At count 3 every message traps: the restored state of 3 is poisoned.
    await load(3, 1, 6);
    await running.waitFor("restarted", ({ generation }) => generation === 3);
    expect(events("fault").map(({ generation }) => generation)).toEqual([1, 2]);
    expect(
      events("loaded")
        .filter(({ module }) => module === "keeper")
        .map(({ restored }) => restored),
    ).toEqual([false, true, false]);
    await running.until(() => (counts().at(-1) === 1 ? true : undefined), "a fresh count");
  });

  test("that is poisoned a second time holds the module", async () => {
    await load(3, 1, 12);
    const held = await running.waitFor("held");
    expect(held).toMatchObject({ module: "keeper", reason: expect.stringContaining("state") as string });
    expect(events("fault").length).toBe(4);
  });

  test("whose restoration traps is dropped, and the module starts without", async () => {
    await load(-1, 1, 1, true);
    await running.until(() => (counts().length >= 1 ? true : undefined), "a count");
    await pause(30);
    running.kernel.restart("keeper");
    await running.waitFor("fault");
    await running.waitFor("loaded", ({ generation, restored }) => generation === 3 && !restored);
    expect(events("held")).toEqual([]);
  });
});

describe("restarts", () => {
  test("come at once, then after 40 and 80 ms, then never: the module is held", async () => {
    running = await startKernel();
    await loadModule(running, "probe", crashing(), { spec: { restart: RULE } });
    const begun = performance.now();
    running.kernel.begin();
    await running.waitFor("held");
    expect(performance.now() - begun).toBeGreaterThanOrEqual(120);
    expect(events("fault").map(({ generation }) => generation)).toEqual([1, 2, 3, 4]);
    await pause(150);
    expect(events("fault")).toHaveLength(4);
    expect((await running.kernel.top())[0]).toMatchObject({ state: "held", restarts: 3 });
  });

  test("that wait are undone by an order to hold", async () => {
    running = await startKernel();
    await loadModule(running, "probe", crashing(), { spec: { restart: { ...RULE, backoffMs: 300 } } });
    running.kernel.begin();
    await running.waitFor("fault", ({ generation }) => generation === 2);
    running.kernel.hold("probe");
    await pause(500);
    expect(events("loaded").at(-1)?.generation).toBe(2);
    expect((await running.kernel.top())[0]?.state).toBe("held");
  });

  test("that wait are undone by an order to restart", async () => {
    running = await startKernel();
    await loadProbe(running, "sender", sendMany(2), {
      grants: [endpoint("probe.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    await loadModule(running, "probe", crashing(false), { spec: { restart: { ...RULE, backoffMs: 300 } } });
    running.kernel.begin();
    await running.waitFor("fault", ({ generation }) => generation === 2);
    running.kernel.restart("probe");
    await pause(500);
    expect(
      events("loaded")
        .filter(({ module }) => module === "probe")
        .map(({ generation }) => generation),
    ).toEqual([1, 2, 3]);
  });

  test("take the fuel of what crashed into account", async () => {
    running = await startKernel();
    // Each start uses most of its fuel and traps: a crash loop that must not be free of charge.
    const costly = watModule(
      "",
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
        (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 5000))))
        unreachable)`,
    );
    await loadModule(running, "probe", costly, { spec: { restart: { ...RULE, policy: "hold" } } });
    running.kernel.begin();
    await running.waitFor("held");
    expect((await running.kernel.top())[0]?.fuel).toBeGreaterThan(20_000);
  });

  test("count what runs outside a handler", async () => {
    running = await startKernel();
    const costly = watModule(
      "",
      `(func (export "_initialize") (local $i i32)
        (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 5000)))))
       (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`,
    );
    await loadModule(running, "probe", costly);
    await running.waitFor("loaded");
    expect((await running.kernel.top())[0]?.fuel).toBeGreaterThan(20_000);
  });

  test("again and again take no more than the module's share of fuel, and its neighbour goes on", async () => {
    running = await startKernel();
    // Its initialisation uses some 2 million fuel, its start notice traps.
    const costly = watModule(
      "",
      `(func (export "_initialize") (local $i i32)
        (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 300000)))))
       (func (export "bulkhead_handle") (param i32 i32) (result i64) unreachable)`,
    );
    const share = { fuelPerPeriod: 200_000, periodMs: 20 };
    const restart = { ...RULE, intensity: 1_000_000, backoffMs: 1, maximumBackoffMs: 1 };
    await loadModule(running, "probe", costly, { spec: { ...share, restart }, manifest: { fuel: 10_000_000 } });
    await loadProbe(running, "neighbour", recorder(), {
      grants: [{ ...TIMER, slot: "t" }],
      slots: { t: { interface: "timer", rights: ["use"], port: "in" } },
    });
    await loadProbe(running, "sender", sendMany(40), {
      grants: [endpoint("neighbour.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    const begun = performance.now();
    running.kernel.begin();
    await running.waitFor("fault", ({ generation }) => generation === 4, 20_000);
    expect(await messagesSeen(running, "neighbour", 40)).toHaveLength(40);
    const { fuel = 0, restarts } = (await running.kernel.top()).find(({ name }) => name === "probe") ?? {};
    const periods = (performance.now() - begun) / share.periodMs;
    expect(restarts).toBeGreaterThanOrEqual(3);
    // Two periods' fuel and one start are what it may be ahead.
    expect(fuel).toBeLessThan((periods + 3) * share.fuelPerPeriod + 4_000_000);
    expect(fuel).toBeGreaterThan(4 * 1_000_000);
  });

  test("leave messages that came meanwhile for the successor, of any size that its inbox takes", async () => {
    running = await startKernel();
    const wat = recorder("", `(if (i32.eq (local.get $length) (i32.const 1)) (then unreachable)) (i64.const 0)`);
    await loadProbe(running, "probe", wat, { spec: { restart: { ...RULE, backoffMs: 200 } } });
    const send = (length: number): string =>
      `(call $send (i32.const 8192) (i32.const ${length}) (i32.const 0) (i32.const 0))`;
    // Two crashes make the second restart wait 200 ms; the third message finds nobody there.
    const got = await evaluate(
      running,
      "sender",
      `${SEND}${SLEEP_IMPORT}`,
      [send(1), send(1), "(call $sleep (i32.const 100))", send(2000), send(0)],
      { grants: [endpoint("probe.in"), ...SLEEP.grants], slots: { out: endpointSlot(["send"]), ...SLEEP.slots } },
    );
    expect(got).toEqual([0, 0, 0, 0, 0]);
    const messages = await messagesSeen(running, "probe", 4);
    expect(messages.map(({ length }) => length)).toEqual([1, 1, 2000, 0]);
  });
});

describe("a caller", () => {
  test("of a held module gets dead-peer at once, also for what waits in the mailbox", async () => {
    running = await startKernel();
    await loadModule(
      running,
      "slow",
      watModule(
        SLEEP_IMPORT,
        `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 10000))) (i64.const 0))`,
      ),
      { ...SLEEP, spec: { activationMs: 60_000 } },
    );
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 9000))";
    for (const name of ["first", "second"]) {
      await loadProbe(running, name, evaluator(CALL, [call]), {
        grants: [endpoint("slow.in")],
        slots: { out: endpointSlot(["call"]) },
        spec: { activationMs: 20_000 },
      });
    }
    running.kernel.begin();
    await pause(100);
    const begun = performance.now();
    running.kernel.hold("slow");
    expect([await values(running, "first"), await values(running, "second")]).toEqual([
      [RESULT["dead-peer"]],
      [RESULT["dead-peer"]],
    ]);
    expect(performance.now() - begun).toBeLessThan(1000);
  });

  test("that is restarted does not get the answers to its predecessor's requests", async () => {
    running = await startKernel();
    const slowEcho = watModule(
      SLEEP_IMPORT,
      `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
        (if (i32.eqz (local.get $port)) (then (drop (call $sleep (i32.const 200)))))
        (i64.or (i64.shl (i64.const 1088) (i64.const 32)) (i64.extend_i32_u (local.get $length))))`,
    );
    await loadModule(running, "echo", slowEcho, SLEEP);
    const asks = recorder(
      REQUEST,
      `(if (i32.and (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (i32.eqz (i32.load8_u (i32.const 8200))))
         (then (drop (call $request (i32.const 8192) (i32.const 5) (i32.const 2000)))))
       (i64.const 0)`,
    );
    await loadProbe(running, "probe", asks, {
      grants: [endpoint("echo.in")],
      slots: { out: endpointSlot(["call"], "in") },
    });
    running.kernel.begin("probe");
    await running.until(() => (reportsOf(running, "probe").length >= 1 ? true : undefined), "the start");
    await pause(50);
    running.kernel.restart("probe");
    // Both instances ask once; only the second one's answer comes, and to itself.
    await pause(600);
    const seen = await messagesSeen(running, "probe", 1);
    expect(seen).toHaveLength(1);
  });
});

describe("a partition", () => {
  test("that is lost gives its modules' callers elsewhere dead-peer, and its modules their state back", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 200 });
    await loadProbe(running, "keeper", keeper(-1), {
      manifest: { state: 64 },
      spec: { checkpointMessages: 1, partition: "other" },
    });
    await loadModule(
      running,
      "slow",
      watModule(
        SLEEP_IMPORT,
        `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
          (if (i32.eqz (local.get $port)) (then (drop (call $sleep (i32.const 20000))))) (i64.const 0))`,
      ),
      { ...SLEEP, spec: { activationMs: 60_000, partition: "other" } },
    );
    await loadProbe(running, "sender", sendMany(2), {
      grants: [endpoint("keeper.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 20000))";
    await loadProbe(running, "caller", evaluator(CALL, [call]), {
      grants: [endpoint("slow.in")],
      slots: { out: endpointSlot(["call"]) },
      spec: { activationMs: 30_000 },
    });
    running.kernel.begin();
    await running.until(() => (reportsOf(running, "keeper").length >= 2 ? true : undefined), "two counts");
    await pause(50);
    running.kernel.freezePartition("other");
    expect(await values(running, "caller")).toEqual([RESULT["dead-peer"]]);
    await running.waitFor("partition-replaced", () => true, 10_000);
    running.kernel.restart("sender");
    await running.until(() => (reportsOf(running, "keeper").length >= 3 ? true : undefined), "a third count");
    expect(new DataView((reportsOf(running, "keeper")[2] ?? new Uint8Array(4)).buffer).getInt32(0, true)).toBe(3);
  });

  test("that was replaced leaves a held module held, until an order or a new version brings it back", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 200 });
    const { kernel } = running;
    const spec = moduleSpec("echo", [], { partition: "other" });
    const admitted = await admit(watModule("", ECHO), manifestFields("echo"), spec);
    kernel.load(spec, admitted);
    const ask = "(call $call (i32.const 8192) (i32.const 4) (i32.const 9000) (i32.const 8) (i32.const 20000))";
    await loadProbe(running, "caller", evaluator(CALL, [ask]), {
      grants: [endpoint("echo.in")],
      slots: { out: endpointSlot(["call"]) },
    });
    kernel.begin();
    let asked = 0;
    const answer = async (): Promise<number[]> => {
      if (asked > 0) kernel.restart("caller");
      return await values(running, "caller", asked++);
    };
    expect(await answer()).toEqual([4]);
    const comeBack: readonly (() => Promise<void>)[] = [
      () => {
        kernel.restart("echo");
        return Promise.resolve();
      },
      async () => {
        await kernel.swap([{ name: "echo", admitted }], 1000);
      },
    ];
    for (const [round, act] of comeBack.entries()) {
      kernel.hold("echo");
      kernel.freezePartition("other");
      await running.until(() => events("partition-replaced")[round], "a new partition");
      expect((await kernel.top()).find(({ name }) => name === "echo")).toMatchObject({ state: "held" });
      expect(await answer()).toEqual([RESULT["dead-peer"]]);
      await act();
      expect(await answer()).toEqual([4]);
      kernel.settle(["echo"], true);
    }
  });

  test("is given as many times as long as the kernel has patience, for an emulated processor", async () => {
    const patient = await startKernel({ partitions: ["main", "other"], patience: 1000 });
    try {
      running = await startKernel({ partitions: ["main", "other"], patience: 1 });
      for (const { kernel } of [patient, running]) kernel.freezePartition("other");
      await running.waitFor("partition-lost");
      expect(patient.events).toEqual([]);
    } finally {
      await patient.stop();
    }
  });

  test("that was replaced does not take an answer for its predecessor as its own", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 200 });
    // Answers the first call after 1.5 s with 99; the second partition is replaced meanwhile.
    const late = watModule(
      SLEEP_IMPORT,
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
        (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
        (drop (call $sleep (i32.const 1500))) (i32.store (i32.const 9000) (i32.const 99)) (i64.const ${(9000n << 32n) | 4n}))`,
    );
    await loadModule(running, "late", late, SLEEP);
    const prompt = watModule(
      SLEEP_IMPORT,
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
        (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
        (drop (call $sleep (i32.const 4000))) (i64.const 0))`,
    );
    await loadModule(running, "other-one", prompt, SLEEP);
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 2500))";
    await loadProbe(running, "caller", evaluator(CALL, [call]), {
      grants: [endpoint("late.in")],
      slots: { out: endpointSlot(["call"]) },
      spec: { partition: "other", activationMs: 20_000 },
    });
    running.kernel.begin("caller");
    await pause(200);
    // The successor's first call has the same correlation, and goes to a module that does not answer in time.
    running.kernel.freezePartition("other");
    running.kernel.grant("caller", endpoint("other-one.in"));
    await running.waitFor("partition-replaced", () => true, 10_000);
    expect(await values(running, "caller")).toEqual([RESULT.timeout]);
  });

  test("whose start takes longer than the limit for silence is not taken for stuck", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 100 });
    running.kernel.freezePartition("other");
    await running.waitFor("partition-replaced", () => true, 15_000);
    await pause(300);
    expect(events("partition-lost")).toHaveLength(1);
  });

  test("that dies again and again comes back more slowly each time", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 100 });
    const times: number[] = [];
    for (let round = 1; round <= 4; round++) {
      running.kernel.freezePartition("other");
      await running.until(() => (events("partition-lost").length >= round ? true : undefined), "the loss", 15_000);
      const since = performance.now();
      await running.until(
        () => (events("partition-replaced").length >= round ? true : undefined),
        "its return",
        15_000,
      );
      times.push(performance.now() - since);
    }
    // The first comes back at once, the fourth after 200 ms more than its start takes.
    expect(times[3]).toBeGreaterThan(200);
  });
});

test("a stop with everything in flight leaves no worker and no timer", async () => {
  running = await startKernel({ partitions: ["main", "other"], reply: () => new Promise(() => undefined) });
  await loadModule(running, "crasher", crashing(), { spec: { restart: { ...RULE, intensity: 100 } } });
  await loadModule(running, "echo", watModule("", ECHO), { spec: { partition: "other" } });
  const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 9000))";
  await loadProbe(running, "caller", evaluator(CALL, [call, call]), {
    grants: [endpoint("echo.in")],
    slots: { out: endpointSlot(["call"]) },
  });
  const spin = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`;
  await loadModule(running, "spinner", watModule("", spin), { manifest: { fuel: 1e12 }, spec: { partition: "other" } });
  running.kernel.begin();
  await pause(100);
  await running.stop();
  const workers = process.getActiveResourcesInfo().filter((name) => name === "Worker" || name === "MessagePort");
  expect(workers.filter((name) => name === "Worker")).toEqual([]);
  const before = running.events.length;
  await pause(200);
  expect(running.events.length).toBe(before);
  await running.stop();
});

test("starting twice is refused", async () => {
  running = await startKernel();
  await expect(running.kernel.start([])).rejects.toMatchObject({ code: "E_BUSY" });
});
