/** Swaps: state carried over, traffic in order, refusals that leave the old version running, and ways back. */
import { afterEach, describe, expect, test } from "vitest";
import type { AdmittedModule, Grant, ModuleSpec } from "../../kernel/index.ts";
import { admitModule, encodeCbor, KERNEL_PORT, RESULT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import type { ManifestFields } from "../support/modules.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluator,
  loadProbe,
  REPORT,
  REPORT_IMPORT,
  REPORT_SLOT,
  reportsOf,
  TIMER,
  values,
} from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const IN_PORT = { contract: null, fuel: 10_000, stack: 4096 };

/**
 * A counter: each message adds 1 to the state at 8192; a call is answered with version and count, and each message is
 * reported as (version, count). `on` runs first, with the port and the payload's first byte in `$port`, `$byte`.
 */
function counter(version: number, on = "", extra = "", imports = ""): string {
  return watModule(
    `${REPORT_IMPORT}${imports}`,
    `${extra}
     (func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (local $byte i32)
       (local.set $byte (i32.load8_u (i32.const 1088)))
       ${on}
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (i32.store (i32.const 8196) (i32.const ${version}))
       (i32.store (i32.const 8200) (i32.load (i32.const 8192)))
       (i32.store (i32.const 8204) (local.get $byte))
       (drop (call $report (i32.const 8196) (i32.const 12)))
       (i64.const ${(8196n << 32n) | 8n}))`,
  );
}

interface Changes {
  readonly grants?: Grant[];
  readonly slots?: ManifestFields["slots"];
  readonly manifest?: Partial<ManifestFields>;
  readonly spec?: Partial<ModuleSpec>;
}

async function version(wat: string, number: number, changes: Changes = {}, name = "counter"): Promise<AdmittedModule> {
  const fields = manifestFields(name, {
    version: `${number}.0.0`,
    slots: { report: REPORT_SLOT, ...changes.slots },
    state: 64,
    ports: [{ name: "in", ...IN_PORT }],
    ...changes.manifest,
  });
  return await admitModule(moduleBinary(wat, fields), moduleSpec(name, [REPORT, ...(changes.grants ?? [])]));
}

async function loadCounter(wat: string, changes: Changes = {}, name = "counter"): Promise<void> {
  const spec = moduleSpec(name, [REPORT, ...(changes.grants ?? [])], changes.spec);
  running.kernel.load(spec, await version(wat, 1, changes, name));
}

const swap = async (admitted: AdmittedModule, deadlineMs = 1000): Promise<string> =>
  await running.kernel.swap([{ name: "counter", admitted }], deadlineMs).then(
    () => "swapped",
    (error: unknown) => (error as { code: string }).code,
  );

/** (version, count, byte) of each message that a counter has handled. */
function handled(name = "counter"): number[][] {
  return reportsOf(running, name).map((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return [0, 4, 8].map((at) => view.getInt32(at, true));
  });
}

async function untilHandled(count: number, name = "counter"): Promise<number[][]> {
  return await running.until(
    () => (handled(name).length >= count ? handled(name) : undefined),
    `${count} messages of ${name}`,
    8000,
  );
}

const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;

/** Sends `count` messages with bytes 0, 1, 2, ... each time it is started. */
function sender(count: number): string {
  return evaluator(SEND, [
    `(block (result i32) (local.set $length (i32.const 0)) (loop $l
       (i32.store8 (i32.const 8192) (local.get $length))
       (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
       (local.set $length (i32.add (local.get $length) (i32.const 1)))
       (br_if $l (i32.lt_u (local.get $length) (i32.const ${count})))) (local.get $length))`,
  ]);
}

async function loadSender(count: number, changes: Parameters<typeof endpoint>[1] = {}): Promise<void> {
  await loadProbe(running, "sender", sender(count), {
    grants: [endpoint("counter.in", { depth: 1000, ...changes })],
    slots: { out: endpointSlot(["send"]) },
  });
}

const slowly = (ms: number): string => `(drop (call $sleep (i32.const ${ms})))`;
const SLEEP: Changes = {
  grants: [{ ...TIMER, slot: "t" }],
  slots: { t: { interface: "timer", rights: ["use"], port: null } },
};
const SLEEP_IMPORT = `(import "t" "sleep" (func $sleep (param i32) (result i32)))`;

describe("a swap that succeeds", () => {
  test("carries the state over", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    await loadSender(3);
    running.kernel.begin();
    await untilHandled(3);
    expect(await swap(await version(counter(2), 2))).toBe("swapped");
    running.kernel.restart("sender");
    expect((await untilHandled(6)).slice(3)).toEqual([
      [2, 4, 0],
      [2, 5, 1],
      [2, 6, 2],
    ]);
    running.kernel.settle(["counter"], true);
    expect((await running.waitFor("committed")).modules).toEqual(["counter"]);
    expect((await running.kernel.top()).find(({ name }) => name === "counter")?.version).toBe("2.0.0");
  });

  test.each([
    ["takes the state of an older schema and makes its own of it", 1, "swapped", [2, 31, 0]],
    ["does not take a state of a schema that it does not know: the swap is undone", 7, "E_STATE", [1, 4, 0]],
  ] as const)("a version that %s", async (_, schema, outcome, next) => {
    running = await startKernel();
    await loadCounter(counter(1), { manifest: { schema } });
    await loadSender(3);
    running.kernel.begin();
    await untilHandled(3);
    // Its counts are ten times those of schema 1.
    const migrating = counter(2).replace(
      "(param i32 i32) (result i32) (i32.const 0))",
      `(param i32) (param $schema i32) (result i32)
        (if (i32.ne (local.get $schema) (i32.const 1)) (then (return (i32.const -1))))
        (i32.store (i32.const 8192) (i32.mul (i32.load (i32.const 8192)) (i32.const 10))) (i32.const 0))`,
    );
    expect(await swap(await version(migrating, 2, { manifest: { schema: 2 } }))).toBe(outcome);
    running.kernel.restart("sender");
    expect((await untilHandled(4))[3]).toEqual(next);
  });

  test("hands a full mailbox over, in order and without loss", async () => {
    running = await startKernel();
    // The handler in progress takes 200 ms, and 99 messages wait behind it.
    const slow = counter(1, `(if (i32.eqz (local.get $byte)) (then ${slowly(200)}))`, "", SLEEP_IMPORT);
    await loadCounter(slow, SLEEP);
    await loadSender(100);
    running.kernel.begin("sender");
    await values(running, "sender");
    const { held, pauseMs } = await running.kernel.swap([{ name: "counter", admitted: await version(counter(2), 2) }]);
    expect(held).toBe(99);
    expect(pauseMs).toBeGreaterThan(0);
    const rows = await untilHandled(100);
    expect(rows.map(([, count]) => count)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    expect(rows.map(([, , byte]) => byte)).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect(rows.map(([number]) => number)).toEqual([1, ...new Array<number>(99).fill(2)]);
  });

  test.each(["main", "other"])("under calls from partition %s: no error, nothing lost, in order", async (partition) => {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadCounter(counter(1));
    // Calls 300 times and counts the answers that are not the next in order.
    const caller = evaluator(CALL, [
      `(block (result i32) (local.set $length (i32.const 0)) (i32.store (i32.const 9100) (i32.const 0)) (loop $l
         (i32.store (i32.const 9104) (call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 5000)))
         (local.set $length (i32.add (local.get $length) (i32.const 1)))
         (if (i32.ne (i32.load (i32.const 9104)) (i32.const 8))
           (then (i32.store (i32.const 9100) (i32.add (i32.load (i32.const 9100)) (i32.const 1)))))
         (if (i32.ne (i32.load (i32.const 9004)) (local.get $length))
           (then (i32.store (i32.const 9100) (i32.add (i32.load (i32.const 9100)) (i32.const 1000)))))
         (br_if $l (i32.lt_u (local.get $length) (i32.const 300)))) (i32.load (i32.const 9100)))`,
    ]);
    await loadProbe(running, "caller", caller, {
      grants: [endpoint("counter.in")],
      slots: { out: endpointSlot(["call"]) },
      spec: { partition, activationMs: 20_000 },
    });
    running.kernel.begin("caller");
    const versions = [await version(counter(2), 2), await version(counter(3), 3)];
    let swaps = 0;
    while (reportsOf(running, "caller").length === 0 && swaps < 40) {
      const admitted = versions[swaps++ % 2];
      if (admitted === undefined) break;
      await running.kernel.swap([{ name: "counter", admitted }]);
      running.kernel.settle(["counter"], true);
    }
    expect(swaps).toBeGreaterThan(1);
    expect(await values(running, "caller")).toEqual([0]);
  });

  test("revives a module that was held", async () => {
    running = await startKernel();
    await loadCounter(counter(1, "(unreachable)"), {
      spec: { restart: { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } },
    });
    running.kernel.begin();
    await running.waitFor("held");
    expect(await swap(await version(counter(2), 2))).toBe("swapped");
    await loadSender(1);
    running.kernel.begin("sender");
    expect(await untilHandled(1)).toEqual([[2, 1, 0]]);
  });

  test("turns away what waits and no longer fits the inbox, and counts it as lost", async () => {
    running = await startKernel();
    const slow = counter(1, `(if (i32.eq (local.get $port) (i32.const 0)) (then ${slowly(200)}))`, "", SLEEP_IMPORT);
    await loadCounter(slow, SLEEP);
    const big = "(call $send (i32.const 8192) (i32.const 1000) (i32.const 0) (i32.const 0))";
    const small = "(call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))";
    await loadProbe(running, "sender", evaluator(SEND, [small, big, small]), {
      grants: [endpoint("counter.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.begin("sender");
    await values(running, "sender");
    const reportLost = `(if (i32.load (i32.const 1048)) (then (i32.store (i32.const 8300) (i32.load (i32.const 1048)))
       (drop (call $report (i32.const 8300) (i32.const 4)))))`;
    expect(await swap(await version(counter(2, reportLost), 2, { manifest: { inbox: 256 } }))).toBe("swapped");
    const reports = await running.until(() => {
      const all = reportsOf(running, "counter");
      return all.length >= 3 ? all : undefined;
    }, "three reports");
    expect(reports.map(({ length }) => length)).toEqual([12, 4, 12]);
    expect(reports[1]?.[0]).toBe(1);
  });

  test("takes the new specification's budget", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    const spec = moduleSpec("counter", [REPORT], { activationMs: 100 });
    const hanging = counter(2, `(if (i32.eqz (local.get $port)) (then ${slowly(10_000)}))`, "", SLEEP_IMPORT);
    const admitted = await version(hanging, 2, SLEEP);
    const withSleep = { ...spec, grants: [REPORT, ...(SLEEP.grants ?? [])] };
    await running.kernel.swap([{ name: "counter", admitted, spec: withSleep }]);
    running.kernel.settle(["counter"], true);
    await running.waitFor("committed");
    await loadSender(1);
    running.kernel.begin("sender");
    expect(await running.waitFor("fault")).toMatchObject({ module: "counter", cause: "timeout" });
  });
});

describe("a swap that is refused", () => {
  test("because the handler does not end (E_TIMEOUT), while the old version goes on", async () => {
    running = await startKernel();
    const slow = counter(1, `(if (i32.eqz (local.get $port)) (then ${slowly(600)}))`, "", SLEEP_IMPORT);
    await loadCounter(slow, SLEEP);
    await loadSender(2);
    running.kernel.begin("sender");
    await values(running, "sender");
    expect(await swap(await version(counter(2), 2), 100)).toBe("E_TIMEOUT");
    expect(await untilHandled(2)).toEqual([
      [1, 1, 0],
      [1, 2, 1],
    ]);
  });

  test.each([
    ["traps when it is initialised", `(func (export "_initialize") (unreachable))`],
    ["does not end its initialisation", `(func (export "_initialize") (loop $l (br $l)))`],
  ])("because the new version %s (E_PROBATION)", async (_, extra) => {
    running = await startKernel();
    await loadCounter(counter(1));
    await loadSender(1);
    running.kernel.begin();
    await untilHandled(1);
    expect(await swap(await version(counter(2, "", extra), 2))).toBe("E_PROBATION");
    running.kernel.restart("sender");
    expect((await untilHandled(2))[1]).toEqual([1, 2, 0]);
  });

  test("leaves the old version under supervision: it is restarted when it fails afterwards", async () => {
    running = await startKernel();
    await loadCounter(
      counter(
        1,
        `(if (i32.and (i32.eqz (local.get $port)) (i32.eq (local.get $byte) (i32.const 1))) (then unreachable))`,
      ),
    );
    expect(await swap(await version(counter(2, "", `(func (export "_initialize") (unreachable))`), 2))).toBe(
      "E_PROBATION",
    );
    await loadSender(3);
    running.kernel.begin("sender");
    expect((await running.waitFor("restarted")).module).toBe("counter");
    expect((await untilHandled(2)).map(([, , byte]) => byte)).toEqual([0, 2]);
  });

  test("heals a module that failed while it was being prepared", async () => {
    running = await startKernel();
    const onPort = (body: string): string => `(if (i32.eqz (local.get $port)) (then ${body}))`;
    await loadCounter(counter(1, onPort(`${slowly(100)} unreachable`), "", SLEEP_IMPORT), SLEEP);
    await loadCounter(counter(1, onPort(slowly(3000)), "", SLEEP_IMPORT), SLEEP, "second");
    const both = `${SEND}(import "second" "send" (func $send2 (param i32 i32 i32 i32) (result i32)))`;
    const sends = ["send", "send2"].map(
      (name) => `(call $${name} (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0))`,
    );
    await loadProbe(running, "sender", evaluator(both, sends), {
      grants: [endpoint("counter.in"), endpoint("second.in", { slot: "second" })],
      slots: { out: endpointSlot(["send"]), second: endpointSlot(["send"]) },
    });
    running.kernel.begin("sender");
    await values(running, "sender");
    const requests = [
      { name: "counter", admitted: await version(counter(2), 2) },
      { name: "second", admitted: await version(counter(2), 2, {}, "second") },
    ];
    // The first traps while the second's handler, which does not end in time, is waited for.
    await expect(running.kernel.swap(requests, 500)).rejects.toMatchObject({ code: "E_TIMEOUT" });
    expect(running.events.find(({ type }) => type === "fault")).toMatchObject({ module: "counter", cause: "trap" });
    await running.waitFor("restarted", ({ module }) => module === "counter");
    expect((await running.kernel.top()).find(({ name }) => name === "counter")?.version).toBe("1.0.0");
  });

  test.each([
    ["another swap is in progress", "E_BUSY"],
    ["there is no such module", "E_UNKNOWN"],
    ["the set is empty", "E_UNKNOWN"],
    ["there is no such partition", "E_UNKNOWN"],
    ["the binary asks for more than is granted", "E_CAP"],
    ["the binary is another module's", "E_MANIFEST"],
  ])("because %s (%s), before anything is tried", async (reason, code) => {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadCounter(counter(1));
    running.kernel.begin();
    const admitted = await version(counter(2), 2);
    const request = { name: "counter", admitted };
    if (reason === "another swap is in progress") await running.kernel.swap([request]);
    const log = `(import "log" "write" (func (param i32 i32 i32) (result i32)))`;
    const grants: Grant[] = [{ slot: "log", interface: "log", rights: ["write"], parameters: {} }];
    const slots = { log: { interface: "log", rights: ["write"], port: null } };
    const requests = {
      E_BUSY: [request],
      E_UNKNOWN: {
        "the set is empty": [],
        "there is no such partition": [{ ...request, spec: moduleSpec("counter", [REPORT], { partition: "none" }) }],
      }[reason] ?? [{ ...request, name: "constructor" }],
      E_CAP: [{ ...request, admitted: await version(counter(2, "", "", log), 2, { grants, slots }) }],
      E_MANIFEST: [{ ...request, admitted: await version(counter(2), 2, {}, "other") }],
    }[code];
    await expect(running.kernel.swap(requests ?? [])).rejects.toMatchObject({ code });
  });
});

describe("a way back", () => {
  const TRAP_ON_2 = `(if (i32.and (i32.eqz (local.get $port)) (i32.eq (local.get $byte) (i32.const 2))) (then unreachable))`;

  test("a trap on probation: the old version gets the inputs since the swap, with its state of then", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    await loadSender(2);
    running.kernel.begin();
    await untilHandled(2);
    expect(await swap(await version(counter(2, TRAP_ON_2), 2))).toBe("swapped");
    const over = running.kernel
      .probation(["counter"], 5000)
      .catch((error: unknown) => (error as { code: string }).code);
    await loadProbe(running, "more", sender(4), {
      grants: [endpoint("counter.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.begin("more");
    expect(await over).toBe("E_PROBATION");
    const reverted = await running.waitFor("swap-reverted");
    expect(reverted).toMatchObject({ module: "counter", cause: "trap", replayed: 3 });
    const rows = (await untilHandled(8)).slice(2);
    // The new version handled 0 and 1 and trapped at 2; the old one goes on from count 2 with 0, 1, 2 and 3.
    expect(rows.slice(0, 2)).toEqual([
      [2, 3, 0],
      [2, 4, 1],
    ]);
    expect(rows.slice(2)).toEqual([
      [1, 3, 0],
      [1, 4, 1],
      [1, 5, 2],
      [1, 6, 3],
    ]);
    expect((await running.kernel.top()).find(({ name }) => name === "counter")?.version).toBe("1.0.0");
  });

  test("the caller whose call trapped the new version is answered by the old one", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    expect(await swap(await version(counter(2, `(if (i32.eqz (local.get $port)) (then unreachable))`), 2))).toBe(
      "swapped",
    );
    const call = "(call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 3000))";
    await loadProbe(running, "caller", evaluator(CALL, [call, "(i32.load (i32.const 9000))"]), {
      grants: [endpoint("counter.in")],
      slots: { out: endpointSlot(["call"]) },
    });
    running.kernel.begin("caller");
    expect(await values(running, "caller")).toEqual([8, 1]);
  });

  test("a failed health check on probation goes back too", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    const ill = counter(2, "", `(func (export "bulkhead_health") (result i32) (i32.const 1))`);
    expect(await swap(await version(ill, 2))).toBe("swapped");
    expect(await running.waitFor("swap-reverted")).toMatchObject({ cause: "health" });
  });

  test("by order, with everything that came since", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    expect(await swap(await version(counter(2), 2))).toBe("swapped");
    await loadSender(2);
    running.kernel.begin("sender");
    await untilHandled(2);
    running.kernel.settle(["counter"], false);
    expect(await running.waitFor("swap-reverted")).toMatchObject({ cause: "order", replayed: 2 });
    expect((await untilHandled(4)).slice(2)).toEqual([
      [1, 1, 0],
      [1, 2, 1],
    ]);
  });

  test("a version that was dead before the swap is restarted, one that was held is held again", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    running.kernel.hold("counter");
    expect(await swap(await version(counter(2), 2))).toBe("swapped");
    running.kernel.settle(["counter"], false);
    await running.waitFor("swap-reverted");
    await running.waitFor("held", ({ reason }) => reason.includes("before the swap"));
    running.kernel.restart("counter");
    await loadSender(1);
    running.kernel.begin("sender");
    expect(await untilHandled(1)).toEqual([[1, 1, 0]]);
  });

  test("the state that the new version saved does not reach the old one, nor its restart", async () => {
    running = await startKernel();
    await loadCounter(counter(1), { spec: { checkpointMessages: 1 } });
    await loadSender(1);
    running.kernel.begin();
    await untilHandled(1);
    const greedy = counter(2, `(i32.store (i32.const 8192) (i32.const 1000))`);
    expect(await swap(await version(greedy, 2, { manifest: { schema: 2 } }))).toBe("swapped");
    running.kernel.restart("sender");
    await untilHandled(2);
    running.kernel.settle(["counter"], false);
    // Before the old version has run again, and so before its next checkpoint.
    running.kernel.restart("counter");
    await running.waitFor("swap-reverted");
    expect(await untilHandled(3)).toEqual([
      [1, 1, 0],
      [2, 1001, 0],
      [1, 2, 0],
    ]);
    // It is still under supervision.
    running.kernel.restart("counter");
    await running.waitFor("loaded", ({ generation }) => generation === 4);
  });

  test("once settled, a trap is an ordinary fault and the new version is restarted", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    expect(await swap(await version(counter(2, TRAP_ON_2), 2))).toBe("swapped");
    running.kernel.settle(["counter"], true);
    await running.waitFor("committed");
    await loadSender(4);
    running.kernel.begin("sender");
    await running.waitFor("restarted");
    expect((await untilHandled(3)).map(([number, , byte]) => [number, byte])).toEqual([
      [2, 0],
      [2, 1],
      [2, 3],
    ]);
    expect(running.events.some(({ type }) => type === "swap-reverted")).toBe(false);
  });
});

describe("a set of two", () => {
  async function pair(second: string): Promise<{ name: string; admitted: AdmittedModule }[]> {
    running = await startKernel({ partitions: ["main", "other"] });
    await loadCounter(counter(1));
    await loadCounter(counter(1), { spec: { partition: "other" } }, "second");
    running.kernel.begin();
    return [
      { name: "counter", admitted: await version(counter(2), 2) },
      { name: "second", admitted: await version(second, 2, {}, "second") },
    ];
  }

  const versions = async (): Promise<string[]> =>
    (await running.kernel.top()).map((row) => `${row.name} ${row.version}`).sort();

  test("is swapped as one", async () => {
    const result = await swapSet(await pair(counter(2)));
    expect(result).toBe("swapped");
    expect((await running.waitFor("swapped")).modules).toEqual(["counter", "second"]);
    expect(await versions()).toEqual(["counter 2.0.0", "second 2.0.0"]);
  });

  test("is refused as one", async () => {
    const requests = await pair(counter(2, "", `(func (export "_initialize") (unreachable))`));
    expect(await swapSet(requests)).toBe("E_PROBATION");
    expect(await versions()).toEqual(["counter 1.0.0", "second 1.0.0"]);
  });

  test("goes back as one", async () => {
    const requests = await pair(counter(2, `(if (i32.eqz (local.get $port)) (then unreachable))`));
    expect(await swapSet(requests)).toBe("swapped");
    await loadProbe(running, "sender", sender(1), {
      grants: [endpoint("second.in")],
      slots: { out: endpointSlot(["send"]) },
    });
    running.kernel.begin("sender");
    await running.waitFor("swap-reverted", ({ module }) => module === "counter");
    await running.waitFor("swap-reverted", ({ module }) => module === "second");
    expect((await versions()).slice(0, 2)).toEqual(["counter 1.0.0", "second 1.0.0"]);
    expect(await untilHandled(1, "second")).toEqual([[1, 1, 0]]);
  });

  test("goes back as one where a member traps at its start notice, and is never told to be swapped twice over", async () => {
    const requests = await pair(counter(2, "(unreachable)"));
    const result = await swapSet(requests);
    expect(["swapped", "E_PROBATION"]).toContain(result);
    await running.waitFor("swap-reverted", ({ module }) => module === "counter");
    await running.waitFor("swap-reverted", ({ module }) => module === "second");
    expect(await versions()).toEqual(["counter 1.0.0", "second 1.0.0"]);
    // The coordinator is free for the next one.
    const again = { name: "counter", admitted: await version(counter(3), 3) };
    expect(await swapSet([again])).toBe("swapped");
  });

  async function swapSet(requests: { name: string; admitted: AdmittedModule }[]): Promise<string> {
    return await running.kernel.swap(requests).then(
      () => "swapped",
      (error: unknown) => (error as { code: string }).code,
    );
  }
});

describe("a partition that dies", () => {
  test("while a swap is prepared: the swap is refused and the old version comes back", async () => {
    running = await startKernel({ partitions: ["main", "other"], stuckMs: 200 });
    const slow = counter(1, `(if (i32.eqz (local.get $port)) (then ${slowly(3000)}))`, "", SLEEP_IMPORT);
    await loadCounter(slow, SLEEP);
    await loadProbe(running, "sender", sender(1), {
      grants: [endpoint("counter.in")],
      slots: { out: endpointSlot(["send"]) },
      spec: { partition: "other" },
    });
    running.kernel.begin("sender");
    await values(running, "sender");
    const outcome = swap(await version(counter(2), 2), 10_000);
    running.kernel.freezePartition("main");
    expect(await outcome).toBe("E_PROBATION");
    await running.waitFor("loaded", ({ module, generation }) => module === "counter" && generation > 1, 10_000);
    expect((await running.kernel.top()).find(({ name }) => name === "counter")?.version).toBe("1.0.0");
  });

  test("on probation: the old version comes back with the state of the swap", async () => {
    running = await startKernel({ partitions: ["main"], stuckMs: 200 });
    await loadCounter(counter(1));
    await loadSender(3);
    running.kernel.begin();
    await untilHandled(3);
    expect(await swap(await version(counter(2), 2))).toBe("swapped");
    const over = running.kernel
      .probation(["counter"], 20_000)
      .catch((error: unknown) => (error as { code: string }).code);
    running.kernel.freezePartition("main");
    expect(await over).toBe("E_PROBATION");
    await running.waitFor("partition-replaced", () => true, 10_000);
    const rows = await untilHandled(6);
    expect(rows.slice(3).map(([number, count]) => [number, count])).toEqual([
      [1, 4],
      [1, 5],
      [1, 6],
    ]);
  });
});

describe("authority", () => {
  const LOG: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
  const slots = { log: { interface: "log", rights: ["write"], port: null } };
  const logging = (number: number): string =>
    counter(
      number,
      `(i32.store (i32.const 8300) (call $log (i32.const 2) (i32.const 0) (i32.const 1)))
       (drop (call $report (i32.const 8300) (i32.const 4)))`,
      "",
      `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))`,
    );

  test.each([
    ["a swap", false],
    ["a swap that goes back", true],
  ])("that was revoked is not given back by %s", async (_, goesBack) => {
    running = await startKernel();
    await loadCounter(logging(1), { grants: [LOG], slots });
    running.kernel.revoke("counter", "log");
    const admitted = await version(logging(2), 2, { grants: [LOG], slots });
    expect(await swap(admitted)).toBe("swapped");
    const results = async (count: number): Promise<number[]> =>
      await running.until(() => {
        const bytes = reportsOf(running, "counter");
        return bytes.length >= count ? bytes.map((each) => new DataView(each.buffer).getInt32(0, true)) : undefined;
      }, "a result");
    expect(await results(1)).toEqual([RESULT.denied]);
    running.kernel.settle(["counter"], !goesBack);
    await running.waitFor(goesBack ? "swap-reverted" : "committed");
    // The version that comes back is told to start.
    if (!goesBack) running.kernel.restart("counter");
    expect(await results(2)).toEqual([RESULT.denied, RESULT.denied]);
  });

  test("that only the new specification has is bound for the new version, and let go when it goes back", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    const file: Grant = { slot: "extra", interface: "file", rights: ["read"], parameters: { path: "/extra" } };
    const admitted = await version(counter(2), 2, {
      slots: { extra: { interface: "file", rights: ["read"], port: null } },
    });
    const spec = moduleSpec("counter", [REPORT, file]);
    await running.kernel.swap([{ name: "counter", admitted, spec }]);
    expect(running.bindings.map(({ slot }) => slot).sort()).toEqual(["extra", "report"]);
    running.kernel.settle(["counter"], false);
    await running.waitFor("swap-reverted");
    await running.until(() => (running.bindings.length === 1 ? true : undefined), "the binding's end");
    expect(running.bindings.map(({ slot }) => slot)).toEqual(["report"]);
  });

  test("of a changed grant that is revoked during the swap is let go of both versions", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    expect(running.bindings).toHaveLength(1);
    const spec = moduleSpec("counter", [{ ...REPORT, parameters: { path: "/elsewhere" } } as Grant]);
    const swapped = running.kernel.swap([{ name: "counter", admitted: await version(counter(2), 2), spec }]);
    expect(running.bindings).toHaveLength(2);
    running.kernel.revoke("counter", "report");
    expect(running.bindings).toEqual([]);
    await swapped;
    running.kernel.settle(["counter"], true);
    await running.waitFor("committed");
    expect(running.bindings).toEqual([]);
    expect(running.calls).toEqual([]);
  });

  test("of a changed grant: the old binding serves until the swap and is let go at the commit", async () => {
    running = await startKernel();
    await loadCounter(counter(1));
    running.kernel.begin();
    const before = running.bindings[0]?.id;
    const spec = moduleSpec("counter", [{ ...REPORT, parameters: { path: "/elsewhere" } } as Grant]);
    await running.kernel.swap([{ name: "counter", admitted: await version(counter(2), 2), spec }]);
    expect(running.bindings.map(({ id }) => id)).toContain(before);
    running.kernel.settle(["counter"], true);
    await running.waitFor("committed");
    expect(running.bindings.map(({ parameters }) => parameters)).toEqual([{ path: "/elsewhere" }]);
  });

  test("can't be changed, nor the module stopped or started, while it is being swapped", async () => {
    running = await startKernel();
    const slow = counter(1, `(if (i32.eqz (local.get $port)) (then ${slowly(300)}))`, "", SLEEP_IMPORT);
    await loadCounter(slow, SLEEP);
    await loadSender(1);
    running.kernel.begin("sender");
    await values(running, "sender");
    const outcome = swap(await version(counter(2), 2));
    const busy = expect.objectContaining({ code: "E_BUSY" }) as Error;
    expect(() => running.kernel.grant("counter", REPORT)).toThrow(busy);
    expect(() => running.kernel.restart("counter")).toThrow(busy);
    expect(() => running.kernel.hold("counter")).toThrow(busy);
    expect(await outcome).toBe("swapped");
  });
});

test("a stop of the kernel ends a swap and a probation that wait", async () => {
  running = await startKernel();
  const slow = counter(1, `(if (i32.eqz (local.get $port)) (then ${slowly(5000)}))`, "", SLEEP_IMPORT);
  await loadCounter(slow, SLEEP);
  await loadSender(1);
  running.kernel.begin("sender");
  await values(running, "sender");
  const outcome = swap(await version(counter(2), 2), 10_000);
  await running.stop();
  expect(await outcome).toBe("E_ABORTED");
});

test("the start notice says whether there is a state", async () => {
  running = await startKernel();
  await loadCounter(counter(1));
  running.kernel.begin();
  const report = `(if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT}))
    (then (drop (call $report (i32.const 1088) (local.get $length)))))`;
  expect(await swap(await version(counter(2, report), 2))).toBe("swapped");
  const first = await running.until(() => reportsOf(running, "counter")[0], "the notice");
  expect(first).toEqual(encodeCbor([1, true]));
});
