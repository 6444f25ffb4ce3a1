/** A swap that moves a module to another partition: everything that it holds goes with it, and comes back with it. */
import { afterEach, describe, expect, test } from "vitest";
import type { AdmittedModule, Grant, ModuleSpec } from "../../kernel/index.ts";
import { admitModule, KERNEL_PORT, KIND } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import type { ManifestFields } from "../support/modules.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluator,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  REPORT,
  REPORT_IMPORT,
  REPORT_SLOT,
  reportsOf,
  TIMER,
} from "../support/probe.ts";
import { patiently } from "../support/patience.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

/**
 * All that a module can hold. Each message is reported as (version, count, kind, port, first word of the payload, handle),
 * and counted in the state, which is count and handle. On port 0 its first byte says what to do besides:
 * 1 sleeps 2 s, 2 asks a slow peer, 3 sets a timer of 4 s, 4 sends through its handle, 5 traps.
 */
function holder(version: number, trapsOn = 5): string {
  const byte = (value: number, body: string): string =>
    `(if (i32.and (i32.eqz (local.get $port)) (i32.eq (i32.load8_u (i32.const 1088)) (i32.const ${value}))) (then ${body}))`;
  return watModule(
    `${REPORT_IMPORT}
     (import "t" "sleep" (func $sleep (param i32) (result i32)))
     (import "timer" "after" (func $after (param i32) (result i32)))
     (import "peer" "request" (func $request (param i32 i32 i32) (result i32)))
     (import "handles" "send" (func $send (param i32 i32 i32 i32 i32) (result i32)))`,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0008))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (if (i32.load8_u offset=3 (i32.const 1024)) (then (i32.store (i32.const 8196) (i32.load (i32.const 1056)))))
       ${byte(1, "(drop (call $sleep (i32.const 2000)))")}
       ${byte(2, "(drop (call $request (i32.const 1088) (i32.const 4) (i32.const 20000)))")}
       ${byte(3, "(drop (call $after (i32.const 4000)))")}
       ${byte(4, "(drop (call $send (i32.load (i32.const 8196)) (i32.const 1088) (i32.const 4) (i32.const 0) (i32.const 0)))")}
       ${byte(trapsOn, "unreachable")}
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (i32.store (i32.const 9000) (i32.const ${version}))
       (i32.store (i32.const 9004) (i32.load (i32.const 8192)))
       (i32.store (i32.const 9008) (i32.load8_u (i32.const 1026)))
       (i32.store (i32.const 9012) (local.get $port))
       (i32.store (i32.const 9016) (i32.load (i32.const 1088)))
       (drop (call $report (i32.const 9000) (i32.const 20)))
       (i64.const ${(9000n << 32n) | 8n}))`,
  );
}

const FIELDS: Partial<ManifestFields> = {
  state: 64,
  ports: ["in", "answers", "ticks"].map((name) => ({ name, contract: null, fuel: 10_000, stack: 4096 })),
  slots: {
    report: REPORT_SLOT,
    t: { interface: "timer", rights: ["use"], port: null },
    timer: { interface: "timer", rights: ["use"], port: "ticks" },
    peer: endpointSlot(["call"], "answers"),
    handles: HANDLES_SLOT,
  },
};
const GRANTS: Grant[] = [
  REPORT,
  { ...TIMER, slot: "t" },
  TIMER,
  { ...endpoint("peer.in", { rights: ["call"] }), slot: "peer" },
  HANDLES,
];
const specIn = (partition: string, changes: Partial<ModuleSpec> = {}): ModuleSpec =>
  moduleSpec("holder", GRANTS, { partition, ...changes });

async function version(number: number, trapsOn?: number): Promise<AdmittedModule> {
  const fields = manifestFields("holder", { version: `${number}.0.0`, ...FIELDS });
  return await admitModule(moduleBinary(holder(number, trapsOn), fields), specIn("main"));
}

/** Answers each call with its payload, 4 s later. */
const SLOW_ECHO = watModule(
  `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
  ECHO.replace(
    "(result i64)",
    `(result i64) (if (i32.eqz (local.get $port)) (then (drop (call $sleep (i32.const 4000)))))`,
  ),
);

async function start(): Promise<void> {
  running = await startKernel({ partitions: ["main", "other", "third"] });
  await loadModule(running, "peer", SLOW_ECHO, {
    grants: [{ ...TIMER, slot: "t" }],
    slots: { t: { interface: "timer", rights: ["use"], port: null } },
    spec: { partition: "third" },
  });
  running.kernel.load(specIn("main"), await version(1));
  await loadProbe(running, "sink", watModule(REPORT_IMPORT, sinkHandler), { spec: { partition: "third" } });
}

/** Reports each message's first word. */
const sinkHandler = `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
  (if (i32.eqz (local.get $port)) (then (drop (call $report (i32.const 1088) (i32.const 4))))) (i64.const 0))`;

let senders = 0;

/** Sends these words to the holder when it begins, the last one with a handle to the sink if asked. */
async function send(words: readonly number[], partition = "third", withHandle = false): Promise<void> {
  const name = `sender${++senders}`;
  const sends = words.map(
    (word, index) => `(block (result i32) (i32.store (i32.const 8192) (i32.const ${word}))
      ${withHandle && index === 0 ? "(i32.store (i32.const 8300) (call $derive (i32.const 5)))" : ""}
      (call $send (i32.const 8192) (i32.const 4) (i32.const 8300) (i32.const ${withHandle && index === 0 ? 1 : 0})))`,
  );
  await loadProbe(
    running,
    name,
    evaluator(
      `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))
       (import "sink" "derive" (func $derive (param i32) (result i32)))`,
      sends,
    ),
    {
      grants: [endpoint("holder.in", { depth: 1000 }), { ...endpoint("sink.in"), slot: "sink" }],
      slots: { out: endpointSlot(["send"]), sink: endpointSlot(["send", "pass"]) },
      spec: { partition },
    },
  );
  running.kernel.begin(name);
  await running.until(() => reportsOf(running, name)[0], `the end of ${name}`, 20_000);
}

interface Row {
  readonly version: number;
  readonly count: number;
  readonly kind: number;
  readonly port: number;
  readonly word: number;
}

const rows = (): Row[] =>
  reportsOf(running, "holder").map((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const [number = 0, count = 0, kind = 0, port = 0, word = 0] = [0, 4, 8, 12, 16].map((at) =>
      view.getInt32(at, true),
    );
    return { version: number, count, kind, port, word };
  });
const untilRows = async (count: number): Promise<Row[]> =>
  await running.until(() => (rows().length >= count ? rows() : undefined), `${count} messages of the holder`, 15_000);
const sunk = (): number[] =>
  reportsOf(running, "sink").map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true));

const move = async (partition: string, number: number, trapsOn?: number): Promise<number> =>
  (await running.kernel.swap([{ name: "holder", admitted: await version(number, trapsOn), spec: specIn(partition) }]))
    .held;

const place = async (): Promise<string> => {
  const found = (await running.kernel.top()).filter(({ name }) => name === "holder");
  return found.map(({ partition, version: number }) => `${partition} ${number}`).join("; ");
};

describe("a module with a full mailbox, an open request, a timer and a handle", { timeout: patiently(60_000) }, () => {
  test.each(["main", "other"])("is swapped into partition %s with all of them", async (partition) => {
    await start();
    running.kernel.begin();
    // A handle, a request whose answer comes after the swap, a timer that fires after it, and a handler that takes its time.
    await send([0, 2, 3, 1], "third", true);
    await untilRows(3);
    const words = Array.from({ length: 200 }, (_, index) => 0x100 * (index + 1));
    await send(words, "main");
    await send(words, "other");
    await send(words);
    expect(await move(partition, 2)).toBe(600);
    await send([4]);
    const all = await untilRows(4 + 600 + 1 + 2);
    expect(all.map(({ count }) => count)).toEqual(all.map((_, index) => index + 1));
    expect(all.map(({ version: number }) => number)).toEqual([1, 1, 1, 1, ...new Array<number>(603).fill(2)]);
    const sent = all.filter(({ kind, word }) => kind === KIND.send && word >= 0x100);
    expect(sent).toHaveLength(600);
    for (const word of words) expect(sent.filter((row) => row.word === word)).toHaveLength(3);
    // Each sender's in their order: two are never exchanged.
    const firsts = words.map((word) => sent.findIndex((row) => row.word === word));
    expect(firsts).toEqual(firsts.toSorted((a, b) => a - b));
    expect(all.filter(({ kind }) => kind === KIND.reply)).toMatchObject([{ port: 1, word: 2 }]);
    expect(all.filter(({ kind }) => kind === KIND.event)).toMatchObject([{ port: 2 }]);
    expect(sunk()).toEqual([4]);
    running.kernel.settle(["holder"], true);
    await running.waitFor("committed");
    expect(await place()).toBe(`${partition} 2.0.0`);
  });

  test("goes back to its partition with all of them, and what came since", async () => {
    await start();
    running.kernel.begin();
    await send([0, 2, 3, 1], "third", true);
    await untilRows(3);
    await send([0x100, 0x200], "main");
    expect(await move("other", 2, 6)).toBe(2);
    await untilRows(6);
    await send([0x300, 6, 0x400, 4], "main");
    expect(await running.waitFor("swap-reverted")).toMatchObject({ cause: "trap" });
    await running.until(
      () => (rows().filter(({ kind }) => kind === KIND.reply).length > 0 ? true : undefined),
      "the answer",
      20_000,
    );
    await running.until(
      () => (rows().filter(({ kind }) => kind === KIND.event).length > 0 ? true : undefined),
      "the tick",
      20_000,
    );
    await running.until(() => sunk().at(-1), "a message by the handle", 20_000);
    const old = rows().filter((row, index) => row.version === 1 && index > 3);
    expect(old.map(({ count }) => count)).toEqual(old.map((_, index) => index + 5));
    expect(old.filter(({ kind }) => kind === KIND.send).map(({ word }) => word)).toEqual([
      0x100, 0x200, 0x300, 6, 0x400, 4,
    ]);
    expect(await place()).toBe("main 1.0.0");
    // The set has ended: the next one may begin.
    expect(await move("third", 3)).toBe(0);
    expect(await place()).toBe("third 3.0.0");
  });

  test("by order goes back, too", async () => {
    await start();
    running.kernel.begin();
    await send([0x100]);
    await untilRows(1);
    await move("other", 2);
    await send([0x200]);
    await untilRows(2);
    running.kernel.settle(["holder"], false);
    await running.waitFor("swap-reverted", ({ cause, replayed }) => cause === "order" && replayed === 1);
    const all = await untilRows(3);
    expect(all.map(({ version: number, count }) => [number, count])).toEqual([
      [1, 1],
      [2, 2],
      [1, 2],
    ]);
    expect(await place()).toBe("main 1.0.0");
  });
});

test("a module whose partition is being replaced is not moved: a dead partition would answer nothing", async () => {
  running = await startKernel({ partitions: ["main", "other"] });
  const restart = {
    policy: "restart-partition",
    intensity: 100,
    windowMs: 1000,
    backoffMs: 1,
    maximumBackoffMs: 1,
  } as const;
  const bomb = watModule("", `(func (export "bulkhead_handle") (param i32 i32) (result i64) unreachable)`);
  await loadModule(running, "bomb", bomb, { spec: { restart } });
  await loadModule(running, "mover", watModule("", ECHO));
  const spec = moduleSpec("mover", [], { partition: "other" });
  const admitted = await admitModule(moduleBinary(watModule("", ECHO), manifestFields("mover")), spec);
  running.kernel.begin();
  // The first is replaced at once, the second after a while.
  const losses = (): number => running.events.filter(({ type }) => type === "partition-lost").length;
  await running.until(() => (losses() >= 2 ? true : undefined), "a second loss");
  await expect(running.kernel.swap([{ name: "mover", admitted, spec }])).rejects.toMatchObject({ code: "E_BUSY" });
  // Nothing is in progress: it may be stopped and started.
  running.kernel.hold("mover");
});

describe("under traffic from every partition", () => {
  /** Calls again and again, and counts what is no answer or not the next one; reports when it is told to by a timer. */
  const caller = evaluator(`(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`, [
    `(block (result i32) (i32.store (i32.const 9100) (i32.const 0)) (local.set $length (i32.const 0)) (loop $l
         (i32.store8 (i32.const 8192) (i32.const 0))
         (if (i32.ne (call $call (i32.const 8192) (i32.const 4) (i32.const 9000) (i32.const 8) (i32.const 5000)) (i32.const 8))
           (then (i32.store (i32.const 9100) (i32.add (i32.load (i32.const 9100)) (i32.const 1)))))
         (local.set $length (i32.add (local.get $length) (i32.const 1)))
         (br_if $l (i32.lt_u (local.get $length) (i32.const 200)))) (i32.load (i32.const 9100)))`,
  ]);

  test("no call fails and none is handled twice while it goes from partition to partition", {
    timeout: patiently(60_000),
  }, async () => {
    await start();
    const names = ["main", "other", "third"];
    for (const partition of names) {
      await loadProbe(running, `caller-${partition}`, caller, {
        grants: [endpoint("holder.in")],
        slots: { out: endpointSlot(["call"]) },
        spec: { partition, activationMs: 50_000 },
      });
    }
    running.kernel.begin();
    const done = (): boolean => names.every((name) => reportsOf(running, `caller-${name}`).length > 0);
    let moves = 0;
    while (!done()) {
      moves++;
      await move(names[moves % 3] ?? "", 2 + (moves % 2));
      // Each fourth goes back to where it came from.
      running.kernel.settle(["holder"], moves % 4 !== 0);
      await running.kernel.settled();
    }
    expect(moves).toBeGreaterThan(2);
    for (const name of names) {
      const [report = new Uint8Array(4)] = reportsOf(running, `caller-${name}`);
      expect(new DataView(report.buffer, report.byteOffset).getInt32(0, true)).toBe(0);
    }
  });
});

describe("a partition that dies", () => {
  test.each([
    ["the one that it has left", "main"],
    ["the one where it has arrived", "other"],
  ])(
    "on probation (%s): the old version is there again with the state of the swap",
    { timeout: patiently(60_000) },
    async (_, dies) => {
      await start();
      running.kernel.begin();
      await send([0x100, 0x200]);
      await untilRows(2);
      await move("other", 2);
      await send([0x300]);
      await untilRows(3);
      const over = running.kernel
        .probation(["holder"], 30_000)
        .catch((error: unknown) => (error as { code: string }).code);
      running.kernel.freezePartition(dies);
      expect(await over).toBe("E_PROBATION");
      await running.waitFor("partition-replaced", () => true, 20_000);
      await running.kernel.settled();
      await send([0x400]);
      const all = await untilRows(4);
      expect(all.at(-1)).toMatchObject({ version: 1, count: 3, word: 0x400 });
      expect(await place()).toBe("main 1.0.0");
    },
  );
});
