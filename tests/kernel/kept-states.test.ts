/** States that outlive the process: told when they change, handed to the first instance, forgotten where they are bad. */
import { afterEach, expect, test } from "vitest";
import type { HostReply, SavedState } from "../../kernel/index.ts";
import { admitModule, KERNEL_PORT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
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
} from "../support/probe.ts";
import { patiently } from "../support/patience.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

type Told = { readonly module: string; readonly state: SavedState | undefined }[];

/** Adds 1 to its state for each message, and reports it. `onRestore` is what restoring gives. */
function counter(onRestore = "(i32.const 0)"): string {
  return watModule(
    REPORT_IMPORT,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) ${onRestore})
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (i32.store (i32.const 8192) (i32.add (i32.load (i32.const 8192)) (i32.const 1)))
       (drop (call $report (i32.const 8192) (i32.const 4)))
       (i64.const 0))`,
  );
}

async function start(
  wat: string,
  state?: SavedState,
  checkpointMessages = 0,
  checkpointMs = 0,
  reply: () => HostReply | Promise<HostReply> = () => ({ result: 0, bytes: new Uint8Array(0) }),
): Promise<Told> {
  const told: Told = [];
  running = await startKernel({ onState: (module, kept) => told.push({ module, state: kept }), reply });
  const fields = manifestFields("counter", { slots: { report: REPORT_SLOT }, state: 64 });
  const restart = { policy: "restart", intensity: 5, windowMs: 60_000, backoffMs: 1, maximumBackoffMs: 10 } as const;
  const spec = moduleSpec("counter", [REPORT], { checkpointMessages, checkpointMs, restart });
  running.kernel.load(spec, await admitModule(moduleBinary(wat, fields), spec), state);
  const twice = `(block (result i32) ${`(drop (call $send (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))`.repeat(2)} (i32.const 0))`;
  const send = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
  await loadProbe(running, "sender", evaluator(send, [twice]), {
    grants: [endpoint("counter.in")],
    slots: { out: endpointSlot(["send"]) },
  });
  running.kernel.begin();
  return told;
}

const counts = async (count: number): Promise<number[]> =>
  await running.until(() => {
    const reports = reportsOf(running, "counter");
    return reports.length >= count
      ? reports.map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true))
      : undefined;
  }, "counts");

/** A report is seen before its handler has ended. */
async function idle(): Promise<void> {
  const stateOf = async (): Promise<string | undefined> =>
    (await running.kernel.top()).find(({ name }) => name === "counter")?.state;
  await expect.poll(stateOf).toBe("idle");
}

const state = (count: number): SavedState => ({ schema: 1, bytes: Uint8Array.of(count, 0, 0, 0) });

test("the state of an earlier process is where the first instance goes on", async () => {
  await start(counter(), state(40));
  expect(await counts(2)).toEqual([41, 42]);
});

test("each checkpoint is told", async () => {
  const told = await start(counter(), undefined, 1);
  await counts(2);
  await idle();
  expect(told.slice(-2)).toEqual([
    { module: "counter", state: state(1) },
    { module: "counter", state: state(2) },
  ]);
});

test("a checkpoint by time comes when messages have come, and not again without", async () => {
  const told = await start(counter(), undefined, 0, 60);
  await expect.poll(() => told.at(-1)?.state?.bytes[0], { timeout: patiently(5000) }).toBe(2);
  const before = told.length;
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(told).toHaveLength(before);
  expect(told.every(({ module }) => module === "counter")).toBe(true);
});

test("of number and time, whichever comes first makes the checkpoint", async () => {
  const told = await start(counter(), undefined, 1, 86_400_000);
  await expect.poll(() => told.at(-1)?.state?.bytes[0], { timeout: patiently(5000) }).toBe(2);
});

test("a stop asks for the state that no checkpoint has told yet", async () => {
  const told = await start(counter());
  await counts(2);
  await idle();
  expect(told).toEqual([]);
  await running.stop();
  expect(told).toEqual([{ module: "counter", state: state(2) }]);
});

test("one that is at work at a stop saves when it has ended, and what waited for it then", async () => {
  const later = async (): Promise<HostReply> => {
    await new Promise((resolve) => setTimeout(resolve, 40));
    return { result: 0, bytes: new Uint8Array(0) };
  };
  const told = await start(counter(), undefined, 0, 0, later);
  await counts(1);
  await running.stop();
  expect(told.map(({ state: kept }) => kept?.bytes[0])).toEqual([1, 2]);
});

test("one that never ends what it does is not waited for", async () => {
  const told = await start(counter(), undefined, 0, 0, () => new Promise(() => undefined));
  await counts(1);
  await running.stop();
  expect(told).toEqual([]);
});

test.each([
  ["refuses", "(i32.const -1000)"],
  ["traps at", "(unreachable)"],
])("a state that the module %s is forgotten once, and it starts without one", async (_, onRestore) => {
  const told = await start(counter(onRestore), state(40));
  expect(await counts(2)).toEqual([1, 2]);
  expect(told).toEqual([{ module: "counter", state: undefined }]);
});

test("a module that is taken away leaves no state behind", async () => {
  const told = await start(counter(), undefined, 1);
  await counts(2);
  running.kernel.unload("counter");
  await running.kernel.top();
  expect(told.at(-1)).toEqual({ module: "counter", state: undefined });
});
