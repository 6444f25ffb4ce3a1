/** What a partition counts and says of itself on a module's behalf. */
import { expect, test } from "vitest";
import { admitModule, RESULT } from "../../kernel/index.ts";
import { SharedCounters } from "../../kernel/ipc/shared.ts";
import { Incarnation, ModuleCell } from "../../kernel/partition/cell.ts";
import { PostOffice } from "../../kernel/partition/post.ts";
import type { PartitionData, Report } from "../../kernel/partition/protocol.ts";
import type { Environment } from "../../kernel/partition/runner.ts";
import { Runner } from "../../kernel/partition/runner.ts";
import { Timers } from "../../kernel/partition/timers.ts";
import { instantiateModule, promising } from "../../kernel/wasm/engine.ts";
import { moduleOrder, ModuleRecord } from "../../kernel/supervisor/modules.ts";
import { TIMER } from "../support/probe.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watBinary, watModule } from "../support/modules.ts";

const TARGET = { edge: 1, module: 2, partition: 0, port: 0, via: [] };

test("an instance that goes takes its own open requests off its module's count, and no call", () => {
  // SAFETY: the post office reads no more of it than this.
  const data = { index: 0, life: 1, revocations: new SharedCounters(4).buffer } as PartitionData;
  const cell = new ModuleCell({ id: 1, inbox: 4096 } as never, () => undefined);
  const post = new PostOffice(
    data,
    new Map([[1, cell]]),
    new Timers(),
    () => 0,
    () => undefined,
  );
  const [old, next] = [new Incarnation(cell, cell.order, true), new Incarnation(cell, cell.order, true)];
  const results: number[] = [];
  const settle = (result: number): void => void results.push(result);
  post.pending.expect(old, TARGET, 1000, settle, 3);
  cell.pendingRequests++;
  post.pending.expect(next, TARGET, 1000, settle);
  post.pending.expect(next, TARGET, 1000, settle, 3);
  cell.pendingRequests++;
  post.pending.forgetAllOf(cell, next);
  expect(cell.pendingRequests).toBe(1);
  post.pending.fail(({ module }) => module === 2, RESULT["dead-peer"]);
  expect(results).toEqual([RESULT["dead-peer"]]);
});

test("the watch is asked for patience while an instance is made, also where a swap makes it, and while it is initialised", async () => {
  const spec = moduleSpec("echo");
  const admitted = await admitModule(moduleBinary(watModule("", ECHO), { name: "echo" }), spec);
  const asked: boolean[] = [];
  // SAFETY: what makes an instance without imports uses no more of it than this.
  const environment = {
    sliceFuel: 200_000,
    askPatience: (isAsked: boolean) => void asked.push(isAsked),
  } as Environment;
  const runner = new Runner(environment);
  const order = moduleOrder(new ModuleRecord(1, spec, admitted, 0), []);
  const incarnation = runner.incarnate(new ModuleCell(order, () => undefined), order);
  expect(asked).toEqual([true, false]);
  runner.initialize(incarnation);
  expect(asked).toEqual([true, false, true, false]);
});

test("what would wait outside its handler begins nothing, and is no handler that was interrupted", async () => {
  const health = `(func (export "bulkhead_health") (result i32) (call $sleep (i32.const 1000)))`;
  const wat = watModule(`(import "timer" "sleep" (func $sleep (param i32) (result i32)))`, `${ECHO}${health}`);
  const spec = moduleSpec("sleeper", [TIMER]);
  const slots = { timer: { interface: "timer", rights: ["use"], port: null } };
  const admitted = await admitModule(moduleBinary(wat, manifestFields("sleeper", { slots })), spec);
  const [reports, waits]: [Report[], number[]] = [[], []];
  const cells = new Map<number, ModuleCell>();
  const timers = new Timers();
  const at = timers.at.bind(timers);
  timers.at = (time, action) => {
    waits.push(time);
    return at(time, action);
  };
  // SAFETY: the post office reads no more of it than this.
  const data = { index: 0, life: 1, revocations: new SharedCounters(4).buffer } as PartitionData;
  const post = new PostOffice(
    data,
    cells,
    timers,
    () => 0,
    () => undefined,
  );
  // SAFETY: a look at a module's health uses no more of it than this.
  const environment = {
    ...{ post, timers, sliceFuel: 200_000, now: () => 0, coarseNow: () => 0 },
    ...{ askPatience: () => undefined, ready: () => undefined, gates: { invalidate: () => undefined } },
    report: (report: Report) => void reports.push(report),
  } as unknown as Environment;
  const runner = new Runner(environment);
  const order = moduleOrder(new ModuleRecord(1, spec, admitted, 0), [
    { slot: "timer", interface: "timer", rights: ["use"], eventPort: -1, binding: 0, edges: [], badge: 0 },
  ]);
  const cell = new ModuleCell(order, () => undefined);
  cells.set(cell.id, cell);
  cell.incarnation = runner.incarnate(cell, order);
  runner.initialize(cell.incarnation);
  cell.state = "idle";
  const { granted } = cell.activation;
  // As where another module's handler, which could be suspended, is what led here: V8 refuses before it makes the call.
  const below = await WebAssembly.compile(
    watBinary(
      `(module (import "t" "look" (func $look)) (func (export "run") (call $look)))`,
    ) as Uint8Array<ArrayBuffer>,
  );
  const { run } = instantiateModule(below, { t: { look: () => runner.checkHealth(cell, 1) } }).exports;
  await promising(run)(0, 0, 0, 0);
  expect(reports).toMatchObject([{ type: "fault", cause: "contract", input: undefined }]);
  expect([waits, cell.wait, cell.activation.granted]).toEqual([[], undefined, granted]);
});

test("one state of a module is on its way to the supervisor, and the newest follows it; each is paid for", async () => {
  const [states, length] = [[] as (Uint8Array | undefined)[], 64_000];
  const wat = watModule(
    "",
    `(global $saves (mut i32) (i32.const 0))
     (func (export "bulkhead_save") (result i64)
       (global.set $saves (i32.add (global.get $saves) (i32.const 1)))
       (i32.store8 (i32.const 1500) (global.get $saves))
       (i64.const ${(1500n << 32n) + BigInt(length)}))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 1500))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     ${ECHO}`,
  );
  const spec = moduleSpec("keeper");
  const admitted = await admitModule(moduleBinary(wat, manifestFields("keeper", { state: length, inbox: 400 })), spec);
  // SAFETY: saving a state uses no more of it than this.
  const environment = {
    ...{ sliceFuel: 200_000, coarseNow: () => 0, askPatience: () => undefined },
    report: (report: Report) => states.push(report.type === "checkpoint" ? report.state.bytes : undefined),
  } as unknown as Environment;
  const runner = new Runner(environment);
  const order = moduleOrder(new ModuleRecord(1, spec, admitted, 0), []);
  const cell = new ModuleCell(order, () => undefined);
  cell.incarnation = runner.incarnate(cell, order);
  runner.initialize(cell.incarnation);
  cell.state = "idle";
  const before = cell.fuelUsed;
  for (let count = 0; count < 10; count++) runner.save(cell);
  const sent = (): unknown[] => states.map((bytes) => bytes?.[0]);
  expect(sent()).toEqual([1]);
  expect(cell.fuelUsed - before).toBeGreaterThanOrEqual((10 * length) / 8);
  runner.kept(cell);
  expect(sent()).toEqual([1, 10]);
  runner.kept(cell);
  expect(sent()).toEqual([1, 10]);
  // The next one goes at once; one that fails meanwhile takes its newest along until it is well.
  runner.save(cell);
  runner.save(cell);
  cell.state = "dead";
  runner.kept(cell);
  expect(sent()).toEqual([1, 10, 11]);
  cell.state = "idle";
  runner.save(cell);
  runner.save(cell);
  expect(sent()).toEqual([1, 10, 11, 13]);
  // At a stop nobody waits: this may be the last that is heard of it.
  cell.isStopping = true;
  runner.save(cell);
  expect(sent()).toEqual([1, 10, 11, 13, 15]);
});
