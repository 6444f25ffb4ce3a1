/** What the kernel tells of its partitions, modules and routes while they run. */
import { afterEach, expect, test, vi } from "vitest";
import type { EndpointGrant, OverflowPolicy } from "../../kernel/index.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { patiently } from "../support/patience.ts";

let running: TestKernel | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

function out(slot: string, module: string, depth = 64, overflow: OverflowPolicy = "refuse"): EndpointGrant {
  const to = [{ module, port: "in" }];
  return { slot, interface: "endpoint", to, rights: ["send", "call"], badge: 0, depth, overflow };
}
const SLOT = { interface: "endpoint", rights: ["send", "call"], port: null };

/** At the start calls the near one five times and sends seven messages to the far one. */
const SENDER = watModule(
  `(import "near" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))
   (import "far" "send" (func $send (param i32 i32 i32 i32) (result i32)))
   (import "log" "write" (func $log (param i32 i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
     (loop $l
       (drop (call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 100) (i32.const 2000)))
       (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 5))))
     (local.set $i (i32.const 0))
     (loop $m
       (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
       (br_if $m (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 7))))
     (drop (call $log (i32.const 2) (i32.const 8192) (i32.const 1)))
     (i64.const 0))`,
);

test("routes are counted wherever they lead, calls through a gate included", async () => {
  running = await startKernel({ partitions: ["main", "other"] });
  const { kernel } = running;
  const log = { slot: "log", interface: "log", rights: ["write"], parameters: {} } as const;
  const sender = moduleSpec("sender", [out("near", "near"), out("far", "far", 3, "drop-newest"), log]);
  const slots = { near: SLOT, far: SLOT, log: { interface: "log", rights: ["write"], port: null } };
  const near = moduleSpec("near");
  const far = moduleSpec("far", [], { partition: "other" });
  kernel.load(near, await admit(watModule("", ECHO), manifestFields("near"), near));
  kernel.load(far, await admit(watModule("", ECHO), manifestFields("far"), far));
  kernel.load(sender, await admit(SENDER, manifestFields("sender", { slots, fuel: 50_000_000 }), sender));
  kernel.begin("sender");
  await running.logs("sender", 1);
  // The far partition takes what has crossed when it wakes up.
  const inspection = await vi.waitFor(async () => {
    const now = await kernel.inspect();
    expect(now.routes.reduce((sum, { sent, dropped }) => sum + sent + dropped, 0)).toBe(12);
    return now;
  }, patiently(10_000));
  expect(inspection.partitions.map(({ name, answers }) => [name, answers])).toEqual([
    ["main", true],
    ["other", true],
  ]);
  expect(inspection.modules.map(({ name, partition }) => `${partition}/${name}`).sort()).toEqual([
    "main/near",
    "main/sender",
    "other/far",
  ]);
  const [first, second, ...others] = inspection.routes;
  expect(others).toEqual([]);
  expect(first).toEqual({ from: "sender", slot: "near", to: "near.in", sent: 5, refused: 0, dropped: 0, queued: 0 });
  expect(second).toMatchObject({ from: "sender", slot: "far", to: "far.in", refused: 0 });
  // What the far partition has not handled yet when more comes than its route is deep is dropped, and counted.
  expect((second?.sent ?? 0) + (second?.dropped ?? 0)).toBe(7);
  // A gate that is taken away leaves its count behind.
  kernel.restart("near");
  await vi.waitFor(async () => {
    const { modules, routes } = await kernel.inspect();
    expect(modules.find(({ name }) => name === "near")).toMatchObject({ generation: 2, state: "idle" });
    expect(routes[0]).toEqual(first);
  }, patiently(10_000));
});

test("a partition that is stuck does not answer, and a revoked slot is neither a route nor an authority", async () => {
  running = await startKernel({ partitions: ["main", "other"], stuckMs: 60_000 });
  const { kernel } = running;
  const sender = moduleSpec("sender", [out("near", "near"), out("far", "near")]);
  const near = moduleSpec("near");
  kernel.load(near, await admit(watModule("", ECHO), manifestFields("near"), near));
  const manifest = manifestFields("sender", { slots: { near: SLOT, far: SLOT } });
  kernel.load(sender, await admit(watModule("", ECHO), manifest, sender));
  expect(kernel.authority("sender").grants.map(({ slot }) => slot)).toEqual(["near", "far"]);
  kernel.revoke("sender", "far");
  expect(kernel.authority("sender").grants.map(({ slot }) => slot)).toEqual(["near"]);
  expect((await kernel.inspect()).routes.map(({ slot }) => slot)).toEqual(["near"]);
  expect(() => kernel.authority("nobody")).toThrow(/no module nobody/);
  kernel.freezePartition("other", "native");
  const { partitions } = await kernel.inspect();
  expect(partitions.map(({ name, answers }) => [name, answers])).toEqual([
    ["main", true],
    ["other", false],
  ]);
});
