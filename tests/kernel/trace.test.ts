/** A trace tells each message from where it was sent to where it was handled, and there is none unless it is asked for. */
import { afterEach, expect, test } from "vitest";
import type { EndpointGrant } from "../../kernel/index.ts";
import { perfetto } from "../../tools/operate/perfetto.ts";
import type { TraceEvent } from "../../tools/operate/perfetto.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";

let running: TestKernel | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

function out(slot: string, module: string): EndpointGrant {
  const to = [{ module, port: "in" }];
  return { slot, interface: "endpoint", to, rights: ["send", "call"], badge: 0, depth: 64, overflow: "refuse" };
}
const SLOT = { interface: "endpoint", rights: ["send", "call"], port: null };

/** Sends three messages to the near one, calls the far one twice, then the near one twice. */
const SENDER = watModule(
  `(import "near" "send" (func $send (param i32 i32 i32 i32) (result i32)))
   (import "near" "call" (func $callNear (param i32 i32 i32 i32 i32) (result i32)))
   (import "far" "call" (func $callFar (param i32 i32 i32 i32 i32) (result i32)))
   (import "log" "write" (func $log (param i32 i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
     (loop $l
       (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
       (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3))))
     (drop (call $callFar (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 100) (i32.const 2000)))
     (drop (call $callFar (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 100) (i32.const 2000)))
     (drop (call $callNear (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 100) (i32.const 2000)))
     (drop (call $callNear (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 100) (i32.const 2000)))
     (drop (call $log (i32.const 2) (i32.const 8192) (i32.const 1)))
     (i64.const 0))`,
);

async function start(): Promise<TestKernel> {
  const made = await startKernel({ partitions: ["main", "other"] });
  const log = { slot: "log", interface: "log", rights: ["write"], parameters: {} } as const;
  const sender = moduleSpec("sender", [out("near", "near"), out("far", "far"), log]);
  const slots = { near: SLOT, far: SLOT, log: { interface: "log", rights: ["write"], port: null } };
  const near = moduleSpec("near");
  const far = moduleSpec("far", [], { partition: "other" });
  made.kernel.load(near, await admit(watModule("", ECHO), manifestFields("near"), near));
  made.kernel.load(far, await admit(watModule("", ECHO), manifestFields("far"), far));
  made.kernel.load(sender, await admit(SENDER, manifestFields("sender", { slots, fuel: 50_000_000 }), sender));
  running = made;
  return made;
}

function within(slices: readonly TraceEvent[], { pid, tid, ts = 0 }: TraceEvent): TraceEvent | undefined {
  return slices.find((slice) => {
    const begins = slice.ts ?? 0;
    return slice.pid === pid && slice.tid === tid && begins <= ts && ts <= begins + (slice.dur ?? 0);
  });
}

test("each message is an arrow from a slice of its sender to the slice in which it is handled, calls through gates too", async () => {
  const { kernel, logs } = await start();
  await kernel.inspect(true);
  kernel.begin("sender");
  await logs("sender", 1);
  await kernel.top();
  const { traces, modules } = await kernel.inspect(false);
  expect(traces.map(({ name, lost }) => [name, lost])).toEqual([
    ["main", 0],
    ["other", 0],
  ]);
  const named = modules.map(({ module: id, name, partition }) => ({ id, name, partition }));
  const events = JSON.parse(JSON.stringify(perfetto(traces, named))) as TraceEvent[];
  const names = new Map(
    events.filter(({ name }) => name === "thread_name").map(({ tid, args }) => [tid, args?.["name"]]),
  );
  expect([...names.values()].sort()).toEqual(["far", "near", "sender"]);
  const slices = events.filter(({ ph, name }) => ph === "X" && name !== "waiting");
  const arrows = events.filter(({ ph }) => ph === "s");
  const ends = arrows.map(({ id, tid, ts = 0 }) => {
    const end = events.find((event) => event.ph === "f" && event.id === id);
    expect(end?.ts).toBeGreaterThanOrEqual(ts);
    expect(end === undefined ? undefined : within(slices, end)).toBeDefined();
    return `${names.get(tid)} to ${names.get(end?.tid ?? 0)}`;
  });
  expect(ends.filter((end) => end === "sender to near")).toHaveLength(5);
  expect(ends.filter((end) => end === "sender to far")).toHaveLength(2);
  expect(ends).toHaveLength(7);
  for (const arrow of arrows) expect(within(slices, arrow)?.name).toMatch(/notice on port/);
  expect(slices.filter(({ tid }) => names.get(tid) === "far").map(({ name }) => name)).toEqual([
    "call on port 0",
    "call on port 0",
  ]);
  expect(events.filter(({ name }) => name === "waiting").length).toBeGreaterThanOrEqual(2);
  for (const { ts, dur } of slices) expect([Number.isFinite(ts), (dur ?? -1) >= 0]).toEqual([true, true]);
});

test("nothing is recorded before it is asked for, nor after it was ended", async () => {
  const { kernel, logs } = await start();
  kernel.begin("sender");
  await logs("sender", 1);
  const empty = (traces: readonly { records: Float64Array }[]): boolean =>
    traces.every(({ records }) => records.length === 0);
  expect(empty((await kernel.inspect()).traces)).toBe(true);
  expect(empty((await kernel.inspect(true)).traces)).toBe(true);
  expect(empty((await kernel.inspect(false)).traces)).toBe(true);
  kernel.restart("sender");
  await logs("sender", 2);
  expect(empty((await kernel.inspect(false)).traces)).toBe(true);
});
