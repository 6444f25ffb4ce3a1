/** Running: budgets, periods, priorities, deadlines, timers, floods, growth, and handles on their way. */
import { afterEach, describe, expect, test } from "vitest";
import type { Grant } from "../../kernel/index.ts";
import { ENDPOINT_RIGHT, HANDLE_COPY, KERNEL_PORT, KIND, LIMITS, RESULT } from "../../kernel/index.ts";
import { inspectModule } from "../../kernel/admission.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { ECHO, manifestFields, moduleBinary, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  evaluator,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  LOG,
  LOG_IMPORT,
  LOG_SLOT,
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
const DERIVE = `(import "out" "derive" (func $derive (param i32) (result i32)))`;
const SLEEP_IMPORT = `(import "t" "sleep" (func $sleep (param i32) (result i32)))`;
const SLEEP = {
  grants: [{ ...TIMER, slot: "t" }],
  slots: { t: { interface: "timer", rights: ["use"], port: null } },
};
const SEND_ONE = "(call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))";
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
/** `times` runs of an i32 expression; its last value. */
const repeat = (times: number, expression: string): string =>
  `(block (result i32) (local.set $length (i32.const 0)) (loop $l
     (i32.store (i32.const 9900) ${expression})
     (local.set $length (i32.add (local.get $length) (i32.const 1)))
     (br_if $l (i32.lt_u (local.get $length) (i32.const ${times})))) (i32.load (i32.const 9900)))`;

async function fuelOf(name: string): Promise<number> {
  return (await running.kernel.top()).find((row) => row.name === name)?.fuel ?? 0;
}

describe("fuel", () => {
  const SPIN = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`;

  test("of a period bounds what a module uses, and a neighbour goes on as if it were alone", async () => {
    running = await startKernel();
    await loadModule(running, "greedy", watModule("", SPIN), {
      manifest: { fuel: 1e12 },
      spec: { fuelPerPeriod: 1_000_000, periodMs: 100, activationMs: 60_000 },
    });
    await loadModule(running, "echo", watModule("", ECHO));
    running.kernel.begin("greedy");
    await pause(50);
    const before = await fuelOf("greedy");
    const begun = performance.now();
    await pause(1000);
    const used = (await fuelOf("greedy")) - before;
    const periods = (performance.now() - begun) / 100;
    // At most one slice more than allowed in each period, and it does get its share.
    expect(used).toBeLessThan((periods + 1) * (1_000_000 + LIMITS.sliceFuel * 1.1));
    expect(used).toBeGreaterThan(1_000_000);
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 1000))";
    const calls = await evaluate(running, "caller", CALL, [repeat(200, call)], {
      grants: [endpoint("echo.in")],
      slots: { out: endpointSlot(["call"]) },
      manifest: { fuel: 1_000_000 },
    });
    expect(calls).toEqual([1]);
  });

  test("charged for bulk work is owed: a large fill is not had for one slice", async () => {
    running = await startKernel();
    // Each fill of 15 pages costs 122,880; three of them are more than the 350,000 of the activation.
    const fill = "(memory.fill (i32.const 8192) (i32.const 0) (i32.const 983040))";
    const wat = watModule(
      "",
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) ${fill} ${fill} ${fill} (i64.const 0))`,
      16,
    );
    await loadModule(running, "filler", wat, { manifest: { memory: 16, fuel: 350_000 } });
    running.kernel.begin();
    expect(await running.waitFor("fault")).toMatchObject({ module: "filler", cause: "budget" });
  });

  test("is charged for the bytes that the host works on: random bytes can't hold up a neighbour", async () => {
    running = await startKernel({ partitions: ["main"], stuckMs: 400 });
    const random: Grant = { slot: "random", interface: "random", rights: ["use"], parameters: {} };
    const wat = watModule(
      `(import "random" "fill" (func $fill (param i32 i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64)
        (loop $l (drop (call $fill (i32.const 0) (i32.const 65536))) (br $l)) (i64.const 0))`,
    );
    await loadModule(running, "noisy", wat, {
      grants: [random],
      slots: { random: { interface: "random", rights: ["use"], port: null } },
      spec: { restart: { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } },
    });
    running.kernel.begin();
    expect(await running.waitFor("fault")).toMatchObject({ module: "noisy", cause: "budget" });
    expect(running.events.filter(({ type }) => type === "partition-lost")).toEqual([]);
  });

  test("is owed for operations of the host in a straight line up to a bound: where no meter looks, the host does", async () => {
    running = await startKernel({ partitions: ["main"] });
    const random: Grant = { slot: "random", interface: "random", rights: ["use"], parameters: {} };
    // No loop and no function of its own, so no place where the meter looks.
    const wat = watModule(
      `(import "random" "fill" (func $fill (param i32 i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param $no i32) (param $all i32) (result i64)
        (local.set $no (i32.const 0)) (local.set $all (i32.const 65536))
        ${"(drop (call $fill (local.get $no) (local.get $all)))".repeat(6000)} (i64.const 0))`,
    );
    await loadModule(running, "straight", wat, {
      grants: [random],
      manifest: { fuel: 1_000_000_000 },
      slots: { random: { interface: "random", rights: ["use"], port: null } },
      spec: { restart: { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } },
    });
    running.kernel.begin();
    expect(await running.waitFor("fault")).toMatchObject({ module: "straight", cause: "budget" });
  });

  test("of a period pays for the copy from which a recording that is full begins anew", async () => {
    running = await startKernel();
    // The start fills the recording with results; the tick after it finds it full.
    const wat = watModule(
      `(import "clock" "monotonic" (func $now (result i64)))
       (import "timer" "after" (func $after (param i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64) (local $i i32)
        (if (i32.eqz (local.get $port)) (then (return (i64.const 0))))
        (loop $l (drop (call $now))
          (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 17000))))
        (drop (call $after (i32.const 1)))
        (i64.const 0))`,
      64,
    );
    for (const [name, record] of [
      ["plain", false],
      ["recorded", true],
    ] as const) {
      await loadModule(running, name, wat, {
        grants: ["clock", "timer"].map(
          (slot): Grant => ({ slot, interface: slot as "clock", rights: ["use"], parameters: {} }),
        ),
        slots: {
          clock: { interface: "clock", rights: ["use"], port: null },
          timer: { interface: "timer", rights: ["use"], port: "in" },
        },
        manifest: { memory: 64, fuel: 10_000_000 },
        spec: { record, memoryPages: 64 },
      });
      running.kernel.begin(name);
    }
    const handled = async (): Promise<boolean> =>
      (await running.kernel.top()).every(({ activations }) => activations >= 2);
    while (!(await handled())) await pause(5);
    const [plain, recorded] = [await fuelOf("plain"), await fuelOf("recorded")];
    expect(recorded - plain).toBeGreaterThanOrEqual((64 * 65_536) / 8);
  });

  test("of two endless loops is shared: both are sliced, and a third module answers", async () => {
    running = await startKernel();
    for (const name of ["first", "second"]) {
      await loadModule(running, name, watModule("", SPIN), {
        manifest: { fuel: 1e12 },
        spec: { activationMs: 60_000 },
      });
    }
    await loadModule(running, "echo", watModule("", ECHO));
    running.kernel.begin();
    await pause(100);
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 2000))";
    expect(
      await evaluate(running, "caller", CALL, [call], {
        grants: [endpoint("echo.in")],
        slots: { out: endpointSlot(["call"]) },
      }),
    ).toEqual([1]);
    const [first, second] = [await fuelOf("first"), await fuelOf("second")];
    expect(Math.min(first, second) / Math.max(first, second)).toBeGreaterThan(0.5);
  });
});

test("a higher priority runs first, whatever came first", async () => {
  running = await startKernel();
  // Both get a message in one activation of the sender, the urgent one last.
  await loadProbe(running, "calm", recorder(), { spec: { priority: 6 } });
  await loadProbe(running, "urgent", recorder(), { spec: { priority: 1 } });
  const both = `${SEND}(import "urgent" "send" (func $send2 (param i32 i32 i32 i32) (result i32)))`;
  await evaluate(
    running,
    "sender",
    both,
    [SEND_ONE, "(call $send2 (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))"],
    {
      grants: [endpoint("calm.in"), endpoint("urgent.in", { slot: "urgent" })],
      slots: { out: endpointSlot(["send"]), urgent: endpointSlot(["send"]) },
      spec: { priority: 0 },
    },
  );
  await messagesSeen(running, "calm", 1);
  await messagesSeen(running, "urgent", 1);
  const order = running.calls.map(({ binding }) => binding.module).filter((name) => name !== "sender");
  expect(order).toEqual(["urgent", "calm"]);
});

test("an activation that waits longer than it may is stopped, and its caller told", async () => {
  running = await startKernel();
  await loadModule(
    running,
    "sleeper",
    watModule(
      SLEEP_IMPORT,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 2147483647))) (i64.const 0))`,
    ),
    { ...SLEEP, spec: { activationMs: 150 } },
  );
  const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 9000))";
  const got = await evaluate(running, "caller", CALL, [call], {
    grants: [endpoint("sleeper.in")],
    slots: { out: endpointSlot(["call"]) },
    spec: { activationMs: 20_000 },
  });
  expect(got).toEqual([RESULT["dead-peer"]]);
  expect(await running.waitFor("fault")).toMatchObject({ module: "sleeper", cause: "timeout" });
});

describe("overflow", () => {
  /** Sends bytes 0 to 9 over a route that holds 3, in one activation, and gives what arrives. */
  async function tenOver(overflow: "refuse" | "drop-oldest" | "drop-newest" | "latest"): Promise<{
    codes: number[];
    bytes: (number | undefined)[];
    lost: number[];
  }> {
    running = await startKernel();
    await loadProbe(running, "receiver", recorder());
    const sends = Array.from(
      { length: 10 },
      (_, index) => `(block (result i32) (i32.store8 (i32.const 8192) (i32.const ${index})) ${SEND_ONE})`,
    );
    const codes = await evaluate(running, "sender", SEND, sends, {
      grants: [endpoint("receiver.in", { depth: 3, overflow })],
      slots: { out: endpointSlot(["send"]) },
    });
    await pause(100);
    const messages = await messagesSeen(running, "receiver", 1);
    return { codes, bytes: messages.map(({ payload }) => payload[0]), lost: messages.map(({ lost }) => lost) };
  }

  const ok = (count: number): number[] => new Array<number>(count).fill(0);

  test("refuse tells the sender, and nothing is lost", async () => {
    const { codes, bytes, lost } = await tenOver("refuse");
    expect(codes).toEqual([...ok(3), ...new Array<number>(7).fill(RESULT.full)]);
    expect([bytes, lost]).toEqual([[0, 1, 2], ok(3)]);
  });

  test("drop-oldest keeps the last ones and counts", async () => {
    const { codes, bytes, lost } = await tenOver("drop-oldest");
    expect([codes, bytes, lost]).toEqual([ok(10), [7, 8, 9], [7, 0, 0]]);
  });

  test("drop-newest keeps the first ones and counts", async () => {
    const { codes, bytes, lost } = await tenOver("drop-newest");
    expect([codes, bytes, lost]).toEqual([ok(10), [0, 1, 2], [7, 0, 0]]);
  });

  test("latest keeps one, and what it replaces is not lost", async () => {
    const { codes, bytes, lost } = await tenOver("latest");
    expect([codes, bytes, lost]).toEqual([ok(10), [9], [0]]);
  });
});

describe("timers", () => {
  const IMPORTS = `(import "timer" "after" (func $after (param i32) (result i32)))
    (import "timer" "every" (func $every (param i32) (result i32)))
    (import "timer" "cancel" (func $cancel (result i32)))
    ${SLEEP_IMPORT}
    (import "clock" "monotonic" (func $now (result i64)))`;
  const OPTIONS = {
    grants: [TIMER, ...SLEEP.grants, { slot: "clock", interface: "clock", rights: ["use"], parameters: {} } as Grant],
    slots: {
      timer: { interface: "timer", rights: ["use"], port: "in" },
      ...SLEEP.slots,
      clock: { interface: "clock", rights: ["use"], port: null },
    },
  };
  const onStart = (body: string): string =>
    recorder(IMPORTS, `(if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then ${body})) (i64.const 0)`);

  test("after comes once, with the count 1", async () => {
    running = await startKernel();
    await loadProbe(running, "probe", onStart("(drop (call $after (i32.const 20)))"), OPTIONS);
    running.kernel.begin();
    const [tick] = await messagesSeen(running, "probe", 1);
    expect(tick).toMatchObject({ kind: 3, port: 0, length: 1, senderModule: 0 });
    expect([...(tick?.payload ?? [])]).toEqual([1]);
    await pause(100);
    expect(await messagesSeen(running, "probe", 1)).toHaveLength(1);
  });

  test("every comes again and again without drift, and its counts add up", async () => {
    running = await startKernel();
    await loadProbe(running, "probe", onStart("(drop (call $every (i32.const 10)))"), OPTIONS);
    running.kernel.begin();
    await messagesSeen(running, "probe", 1);
    const begun = performance.now();
    await pause(1000);
    const ticks = await messagesSeen(running, "probe", 2);
    const elapsed = performance.now() - begun;
    const total = ticks.reduce((sum, { payload }) => sum + (payload[0] ?? 0), 0);
    expect(total).toBeGreaterThanOrEqual(Math.floor(elapsed / 10) - 6);
    expect(total).toBeLessThanOrEqual(Math.ceil(elapsed / 10) + 3);
  });

  test("ticks that a busy module missed are one message with their number", async () => {
    running = await startKernel();
    const waits = "(drop (call $every (i32.const 10))) (drop (call $sleep (i32.const 200)))";
    await loadProbe(running, "probe", onStart(waits), OPTIONS);
    running.kernel.begin();
    const [tick] = await messagesSeen(running, "probe", 1);
    expect(tick?.payload[0]).toBeGreaterThanOrEqual(15);
  });

  test("cancel takes back what is set and what waits", async () => {
    running = await startKernel();
    const body = `(drop (call $every (i32.const 5))) (drop (call $sleep (i32.const 50))) (drop (call $cancel))`;
    await loadProbe(running, "probe", onStart(body), OPTIONS);
    running.kernel.begin();
    await pause(250);
    expect(reportsOf(running, "probe")).toHaveLength(1);
  });

  test("sleep takes as long as it says, and clocks go forward", async () => {
    running = await startKernel();
    const got = await evaluate(
      running,
      "probe",
      IMPORTS,
      [
        "(i32.wrap_i64 (i64.div_u (call $now) (i64.const 1000)))",
        "(call $sleep (i32.const 50))",
        "(i32.wrap_i64 (i64.div_u (call $now) (i64.const 1000)))",
      ],
      OPTIONS,
    );
    expect(((got[2] ?? 0) - (got[0] ?? 0)) | 0).toBeGreaterThanOrEqual(49_000);
  });

  test("set and replaced a hundred thousand times leave the partition well", async () => {
    running = await startKernel({ partitions: ["main"], stuckMs: 2000 });
    const got = await evaluate(running, "probe", IMPORTS, [repeat(100_000, "(call $after (i32.const 2147483647))")], {
      ...OPTIONS,
      manifest: { fuel: 1e9 },
    });
    expect(got).toEqual([0]);
    expect(running.events.filter(({ type }) => type === "partition-lost")).toEqual([]);
  });

  test("of a revoked slot stop", async () => {
    running = await startKernel();
    await loadProbe(running, "probe", onStart("(drop (call $every (i32.const 5)))"), OPTIONS);
    running.kernel.begin();
    await messagesSeen(running, "probe", 2);
    running.kernel.revoke("probe", "timer");
    await pause(100);
    const before = reportsOf(running, "probe").length;
    await pause(200);
    expect(reportsOf(running, "probe").length).toBeLessThanOrEqual(before + 1);
  });
});

describe("floods", () => {
  test("of log lines are cut, counted and told", async () => {
    running = await startKernel();
    const line = "(call $log (i32.const 2) (i32.const 8192) (i32.const 4))";
    await evaluate(
      running,
      "probe",
      `${LOG_IMPORT}${SLEEP_IMPORT}`,
      [repeat(500, line), "(call $sleep (i32.const 1100))", line],
      {
        grants: [LOG, ...SLEEP.grants],
        slots: { log: LOG_SLOT, ...SLEEP.slots },
        manifest: { fuel: 1e6 },
      },
    );
    const texts = await running.logs("probe", 1);
    const told = texts.filter((text) => text.includes("suppressed"));
    expect(told.length).toBeGreaterThanOrEqual(1);
    expect(texts.length).toBeLessThan(2 * LIMITS.logLinesPerSecond + 5);
    const suppressed = told.reduce((sum, text) => sum + Number.parseInt(text, 10), 0);
    expect(suppressed + texts.length - told.length).toBe(501);
  });

  test("of denials are cut and counted", async () => {
    running = await startKernel();
    await loadModule(running, "echo", watModule("", ECHO));
    const got = await evaluate(running, "probe", `${SEND}${DERIVE}`, [repeat(500, "(call $derive (i32.const 8))")], {
      grants: [endpoint("echo.in")],
      slots: { out: endpointSlot(["send", "pass"]) },
      manifest: { fuel: 1e6 },
    });
    expect(got).toEqual([RESULT.denied]);
    const denied = running.events.filter(({ type }) => type === "denied");
    expect(denied.length).toBeGreaterThan(0);
    expect(denied.length).toBeLessThanOrEqual(2 * LIMITS.denialsPerSecond);
  });
});

describe("answers", () => {
  test("that find the ring full are owed and paid, though nobody rings; one that finds no room is told as full", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    // 60 answers of 64 KiB are four rings full.
    const big = `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0)))) (i64.const 65536))`;
    await loadModule(running, "big", watModule("", big, 2), { spec: { partition: "other" } });
    // After its requests it fills 60 MiB: its partition reads no channel for milliseconds.
    const asks = watModule(
      `${REPORT_IMPORT}${REQUEST}`,
      `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $i i32)
        (if (i32.ne (local.get $port) (i32.const ${KERNEL_PORT})) (then
          (drop (call $report (i32.const 16384) (i32.const 66))) (return (i64.const 0))))
        (loop $l (drop (call $request (i32.const 0) (i32.const 1) (i32.const 20000)))
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 60))))
        (memory.fill (i32.const 131072) (i32.const 1) (i32.const 62914560))
        (i64.const 0))`,
      1000,
    ).replace("i32.const 1024)", "i32.const 16384)");
    await loadProbe(running, "asker", asks, {
      grants: [endpoint("big.in", { depth: 64 })],
      slots: { out: endpointSlot(["call"], "in") },
      manifest: { inbox: 65_600, fuel: 1e9, memory: 1000 },
      spec: { activationMs: 30_000, memoryPages: 1000 },
    });
    running.kernel.begin();
    const reports = await running.until(
      () => (reportsOf(running, "asker").length >= 60 ? reportsOf(running, "asker") : undefined),
      "sixty answers",
      15_000,
    );
    // A header's third byte is the kind; a notice's payload is the code.
    const kinds = new Set(reports.map((bytes) => bytes[2]));
    expect([...kinds].every((kind) => kind === KIND.reply || kind === KIND.notice)).toBe(true);
    expect(kinds).toContain(KIND.reply);
    for (const bytes of reports) if (bytes[2] === KIND.notice) expect(bytes[64]).toBe(0x20 - 1 - RESULT.full);
  });

  test("that are larger than the asker's inbox come as a notice, too-large", async () => {
    running = await startKernel();
    const big = `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0)))) (i64.const 5000))`;
    await loadModule(running, "big", watModule("", big));
    const asks = recorder(
      REQUEST,
      `(if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT}))
        (then (drop (call $request (i32.const 0) (i32.const 1) (i32.const 1000))))) (i64.const 0)`,
    );
    await loadProbe(running, "asker", asks, {
      grants: [endpoint("big.in")],
      slots: { out: endpointSlot(["call"], "in") },
    });
    running.kernel.begin();
    const [answer] = await messagesSeen(running, "asker", 1);
    expect(answer).toMatchObject({ kind: 5, length: 1 });
    expect(answer?.payload[0]).toBe(0x20 + -1 - RESULT["too-large"]);
  });
});

describe("memory", () => {
  test("grows to the quota and no further", async () => {
    running = await startKernel();
    const got = await evaluate(
      running,
      "probe",
      "",
      ["(memory.grow (i32.const 2))", "(memory.grow (i32.const 2))", "(memory.grow (i32.const 1))", "(memory.size)"],
      { manifest: { memory: 4 } },
    );
    expect(got).toEqual([1, -1, 3, 4]);
  });

  test("that has grown is used at its new size at once", async () => {
    running = await startKernel();
    await loadModule(running, "echo", watModule("", ECHO));
    const got = await evaluate(
      running,
      "probe",
      SEND,
      [
        "(call $send (i32.const 65536) (i32.const 4) (i32.const 0) (i32.const 0))",
        "(memory.grow (i32.const 1))",
        "(call $send (i32.const 65536) (i32.const 4) (i32.const 0) (i32.const 0))",
      ],
      { grants: [endpoint("echo.in")], slots: { out: endpointSlot(["send"]) } },
    );
    expect(got).toEqual([RESULT["bad-address"], 1, 0]);
  });

  test("of a maximum message arrives whole, one byte more is refused", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const sums = watModule(
      REPORT_IMPORT,
      `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
        (i32.store (i32.const 8) (local.get $length))
        (i32.store (i32.const 12) (i32.load8_u (i32.add (i32.const 1087) (local.get $length))))
        (drop (call $report (i32.const 8) (i32.const 8))) (i64.const 0))`,
      2,
    );
    await loadProbe(running, "sums", sums, { manifest: { inbox: 65_600 }, spec: { partition: "other" } });
    const send = (length: number): string =>
      `(call $send (i32.const 0) (i32.const ${length}) (i32.const 0) (i32.const 0))`;
    const got = await evaluate(
      running,
      "probe",
      SEND,
      [
        "(memory.grow (i32.const 1))",
        "(block (result i32) (i32.store8 (i32.const 65535) (i32.const 42)) (i32.const 0))",
        send(65_536),
        send(65_537),
      ],
      { grants: [endpoint("sums.in")], slots: { out: endpointSlot(["send"]) } },
    );
    expect(got.slice(2)).toEqual([0, RESULT["too-large"]]);
    const report = await running.until(() => reportsOf(running, "sums")[0], "the report");
    expect([...new Uint32Array(report.slice().buffer)]).toEqual([65_536, 42]);
  });
});

describe("handles", () => {
  const { send: S, call: C, pass: P } = ENDPOINT_RIGHT;
  const USE = `(import "handles" "send" (func $hsend (param i32 i32 i32 i32 i32) (result i32)))
    (import "handles" "call" (func $hcall (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "handles" "narrow" (func $narrow (param i32 i32) (result i32)))
    (import "handles" "drop" (func $drop (param i32) (result i32)))`;
  /** Stores the handle of result 0 at 9000, with these bits, and sends it. */
  const pass = (bits = 0): string => `(block (result i32)
    (i32.store (i32.const 9000) (i32.or (i32.load (i32.const 60000)) (i32.const ${bits})))
    (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 1)))`;
  const useFirst =
    "(call $hsend (i32.load (i32.const 60000)) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))";

  /** Uses a handle as soon as it comes, and reports the two results: of a send and of a call. */
  const user = watModule(
    `${REPORT_IMPORT}${USE}`,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
      (i32.store (i32.const 8200) (call $hsend (i32.load (i32.const 1056)) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
      (i32.store (i32.const 8204) (call $hcall (i32.load (i32.const 1056)) (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 500)))
      (drop (call $report (i32.const 8200) (i32.const 8))) (i64.const 0))`,
  );

  /** `giver` has an endpoint to `echo` (slot e) and one to `user` (slot out). */
  async function give(expressions: string[], partition = "other"): Promise<number[]> {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadProbe(running, "echo", recorder());
    await loadProbe(running, "user", user, {
      grants: [HANDLES],
      slots: { handles: HANDLES_SLOT },
      spec: { partition },
    });
    return await evaluate(
      running,
      "giver",
      `${SEND}${USE}(import "e" "derive" (func $derive (param i32) (result i32)))`,
      expressions,
      {
        // Not `call`: `user` must stand below `echo` to call it by a handle.
        grants: [endpoint("user.in", { rights: ["send"] }), endpoint("echo.in", { slot: "e", badge: 55 }), HANDLES],
        slots: { out: endpointSlot(["send"]), e: endpointSlot(["pass", "send", "call"]), handles: HANDLES_SLOT },
      },
    );
  }

  const used = async (): Promise<number[]> => await values(running, "user");

  test.each(["main", "other"])(
    "passed to partition %s carry their rights and badge, and no more",
    async (partition) => {
      const got = await give([`(call $derive (i32.const ${S | P}))`, pass()], partition);
      expect(got[1]).toBe(0);
      expect(await used()).toEqual([0, RESULT.denied]);
      expect((await messagesSeen(running, "echo", 1))[0]).toMatchObject({ badge: 55, senderModule: 2 });
    },
  );

  test("moved are gone from the giver; copied they stay", async () => {
    expect((await give([`(call $derive (i32.const ${S | C | P}))`, pass(), useFirst])).slice(1)).toEqual([
      0,
      RESULT["bad-handle"],
    ]);
    await running.stop();
    expect((await give([`(call $derive (i32.const ${S | C | P}))`, pass(HANDLE_COPY), useFirst])).slice(1)).toEqual([
      0, 0,
    ]);
    expect((await used())[0]).toBe(0);
  });

  test("without the right to pass stay where they are", async () => {
    expect((await give([`(call $derive (i32.const ${S | C}))`, pass(), pass(HANDLE_COPY), useFirst])).slice(1)).toEqual(
      [RESULT.denied, RESULT.denied, 0],
    );
  });

  test("in a message that is refused stay the giver's", async () => {
    running = await startKernel();
    await loadModule(
      running,
      "user",
      watModule(
        SLEEP_IMPORT,
        `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 2000))) (i64.const 0))`,
      ),
      SLEEP,
    );
    await loadProbe(running, "echo", recorder());
    running.kernel.begin("user");
    const got = await evaluate(
      running,
      "giver",
      `${SEND}${USE}(import "e" "derive" (func $derive (param i32) (result i32)))`,
      [`(call $derive (i32.const ${S | P}))`, SEND_ONE, pass(), useFirst],
      {
        grants: [endpoint("user.in", { depth: 1 }), endpoint("echo.in", { slot: "e" }), HANDLES],
        slots: { out: endpointSlot(["send"]), e: endpointSlot(["pass", "send"]), handles: HANDLES_SLOT },
      },
    );
    expect(got.slice(1)).toEqual([0, RESULT.full, 0]);
  });

  test("that were derived are dead when the slot they come from is revoked, in whatever partition they are", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadProbe(running, "echo", recorder());
    // Uses the handle each 20 ms and reports each result.
    const again = watModule(
      `${REPORT_IMPORT}${USE}${SLEEP_IMPORT}`,
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64) (local $handle i32)
        (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
        (local.set $handle (i32.load (i32.const 1056)))
        (loop $l
          (i32.store (i32.const 8200) (call $hsend (local.get $handle) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
          (drop (call $report (i32.const 8200) (i32.const 4)))
          (drop (call $sleep (i32.const 20))) (br $l)) (i64.const 0))`,
    );
    await loadProbe(running, "user", again, {
      grants: [HANDLES, ...SLEEP.grants],
      slots: { handles: HANDLES_SLOT, ...SLEEP.slots },
      spec: { partition: "other", activationMs: 20_000 },
    });
    await evaluate(
      running,
      "giver",
      `${SEND}(import "e" "derive" (func $derive (param i32) (result i32)))`,
      [`(call $derive (i32.const ${S | P}))`, pass()],
      {
        grants: [endpoint("user.in"), endpoint("echo.in", { slot: "e" })],
        slots: { out: endpointSlot(["send"]), e: endpointSlot(["pass", "send"]) },
      },
    );
    await messagesSeen(running, "echo", 2);
    running.kernel.revoke("giver", "e");
    const from = reportsOf(running, "user").length + 1;
    await running.until(() => (reportsOf(running, "user").length >= from + 3 ? true : undefined), "later uses");
    const results = reportsOf(running, "user").map((bytes) => new DataView(bytes.buffer).getInt32(0, true));
    expect(results[0]).toBe(0);
    expect(results.slice(from)).toEqual(new Array<number>(results.length - from).fill(RESULT.denied));
    // Granting the slot anew does not bring back what was derived before.
    running.kernel.grant("giver", endpoint("echo.in", { slot: "e" }));
    const later = reportsOf(running, "user").length + 1;
    await running.until(() => (reportsOf(running, "user").length >= later + 2 ? true : undefined), "still later uses");
    const last = reportsOf(running, "user").at(-1) ?? new Uint8Array(4);
    expect(new DataView(last.buffer).getInt32(0, true)).toBe(RESULT.denied);
  });
});

describe("revocation", () => {
  test("ends a call in flight with denied", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const slow = `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eqz (local.get $port)) (then (drop (call $sleep (i32.const 5000))))) (i64.const 0))`;
    await loadModule(running, "slow", watModule(SLEEP_IMPORT, slow), { ...SLEEP, spec: { partition: "other" } });
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 9000))";
    await loadProbe(running, "caller", evaluator(CALL, [call]), {
      grants: [endpoint("slow.in")],
      slots: { out: endpointSlot(["call"]) },
      spec: { activationMs: 20_000 },
    });
    running.kernel.begin("caller");
    await pause(150);
    const begun = performance.now();
    running.kernel.revoke("caller", "out");
    expect(await values(running, "caller")).toEqual([RESULT.denied]);
    expect(performance.now() - begun).toBeLessThan(1500);
    expect(running.events.filter(({ type }) => type === "revoked")).toHaveLength(1);
  });

  test("is undone by a new grant, with its own depth", async () => {
    running = await startKernel();
    await loadProbe(running, "receiver", recorder());
    await loadProbe(running, "sender", evaluator(SEND, new Array<string>(4).fill(SEND_ONE)), {
      grants: [endpoint("receiver.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.revoke("sender", "out");
    running.kernel.begin("sender");
    expect(await values(running, "sender")).toEqual(new Array<number>(4).fill(RESULT.denied));
    running.kernel.grant("sender", endpoint("receiver.in", { depth: 2 }));
    running.kernel.restart("sender");
    expect(await values(running, "sender", 1)).toEqual([0, 0, RESULT.full, RESULT.full]);
  });

  test("of a slot that does not exist, or of a module, is refused", async () => {
    running = await startKernel();
    await loadModule(running, "echo", watModule("", ECHO));
    expect(() => running.kernel.revoke("echo", "__proto__")).toThrow(expect.objectContaining({ code: "E_UNKNOWN" }));
    expect(() => running.kernel.revoke("constructor", "out")).toThrow(expect.objectContaining({ code: "E_UNKNOWN" }));
    expect(() => running.kernel.grant("echo", LOG)).toThrow(expect.objectContaining({ code: "E_UNKNOWN" }));
  });
});

test("late answers of the host reach nobody: neither the killed handler nor its successor", async () => {
  const answers: (() => void)[] = [];
  running = await startKernel({
    reply: (call) =>
      call.binding.slot === "report"
        ? { result: 0, bytes: new Uint8Array(0) }
        : new Promise((resolve) => {
            answers.push(() => resolve({ result: 4, bytes: new Uint8Array([9, 9, 9, 9]) }));
          }),
  });
  const bus: Grant = { slot: "bus", interface: "i2c-device", rights: ["read"], parameters: { bus: 1, address: 1 } };
  await loadProbe(
    running,
    "probe",
    evaluator(`(import "bus" "read" (func $read (param i32 i32) (result i32)))`, [
      "(call $read (i32.const 9000) (i32.const 4))",
      "(i32.load (i32.const 9000))",
    ]),
    {
      grants: [bus],
      slots: { bus: { interface: "i2c-device", rights: ["read"], port: null } },
      spec: { activationMs: 2000 },
    },
  );
  running.kernel.begin();
  await running.waitFor("fault");
  await running.until(() => (running.calls.length >= 2 ? true : undefined), "the successor's request");
  await pause(20);
  answers[0]?.();
  await pause(50);
  expect(reportsOf(running, "probe")).toEqual([]);
  answers[1]?.();
  expect(await values(running, "probe")).toEqual([4, 0x0909_0909]);
});

test("an operation that is imported five thousand times is linked and recorded once", async () => {
  running = await startKernel();
  const log: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
  const wat = watModule(
    Array.from(
      { length: 5000 },
      (_, at) => `(import "log" "write" (func $log${at} (param i32 i32 i32) (result i32)))`,
    ).join(""),
    `(func (export "bulkhead_handle") (param i32 i32) (result i64)
      (drop (call $log0 (i32.const 2) (i32.const 8192) (i32.const 1)))
      (drop (call $log4999 (i32.const 2) (i32.const 8193) (i32.const 1))) (i64.const 0))
     (data (i32.const 8192) "ab")`,
  );
  const slots = { log: { interface: "log", rights: ["write"], port: null } };
  expect(inspectModule(moduleBinary(wat, manifestFields("again", { slots }))).imports).toHaveLength(1);
  await loadModule(running, "again", wat, {
    grants: [log],
    slots,
    spec: { record: true },
  });
  running.kernel.begin();
  expect(await running.logs("again", 2)).toEqual(["a", "b"]);
});
