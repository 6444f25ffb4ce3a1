/** Who runs when: fixed priorities, first in first out within one, and what starves or is turned away is seen in `top`. */
import { afterEach, expect, test } from "vitest";
import type { ModuleRow } from "../../kernel/index.ts";
import { LIMITS, RESULT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { ECHO, watModule } from "../support/modules.ts";
import { endpoint, endpointSlot, evaluate, loadModule, loadProbe, recorder, seen, TIMER } from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const SPIN = watModule(
  "",
  `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`,
);
const ENDLESS = { manifest: { fuel: 1e12 }, spec: { activationMs: 60_000 } };
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function row(name: string): Promise<ModuleRow> {
  const found = (await running.kernel.top()).find((one) => one.name === name);
  if (found === undefined) throw new Error(`${name} is not in top`);
  return found;
}

/** Asks `top` until the row satisfies. */
async function rowThat(name: string, satisfies: (row: ModuleRow) => boolean): Promise<ModuleRow> {
  for (let tries = 0; tries < 400; tries++) {
    const found = await row(name);
    if (satisfies(found)) return found;
    await pause(10);
  }
  throw new Error(`the row never came: ${JSON.stringify(await row(name))}`);
}

test("nothing of a lower priority runs while something higher is ready, and top shows who starves", async () => {
  running = await startKernel();
  await loadModule(running, "greedy", SPIN, { manifest: { fuel: 1e12 }, spec: { priority: 0, activationMs: 60_000 } });
  await loadProbe(running, "starved", recorder(), { spec: { priority: 7 } });
  running.kernel.begin("greedy");
  await rowThat("greedy", ({ fuel }) => fuel > LIMITS.sliceFuel);
  running.kernel.begin("starved");
  const waits = await rowThat("starved", ({ waitingMs }) => waitingMs > 50);
  expect(waits).toMatchObject({ activations: 0, longestWaitMs: 0 });
  const later = await rowThat("starved", ({ waitingMs }) => waitingMs > waits.waitingMs + 50);
  expect(later.activations).toBe(0);
  running.kernel.hold("greedy");
  await seen(running, "starved", 1);
  const fed = await row("starved");
  expect(fed.activations).toBe(1);
  expect(fed.longestWaitMs).toBeGreaterThanOrEqual(later.waitingMs);
});

test("of one priority, each gets its slice in turn", async () => {
  running = await startKernel();
  const names = ["first", "second", "third"];
  for (const name of names) await loadModule(running, name, SPIN, ENDLESS);
  running.kernel.begin();
  // They do not start at the same instant: what they use is compared from when all three run.
  await rowThat("third", ({ fuel }) => fuel > LIMITS.sliceFuel);
  const before = await running.kernel.top();
  await rowThat("third", ({ fuel }) => fuel > 50 * LIMITS.sliceFuel);
  const used = (await running.kernel.top()).map(({ fuel }, index) => fuel - (before[index]?.fuel ?? 0));
  expect(used).toHaveLength(3);
  expect(Math.max(...used) - Math.min(...used)).toBeLessThanOrEqual(2 * LIMITS.sliceFuel);
});

test("timers are looked at after each slice: a spinning neighbour does not hold up those that have become ready", async () => {
  // A slice of about a millisecond: after each, some tick of the neighbour's timer is due.
  const sliceFuel = 2_000_000;
  running = await startKernel({ sliceFuel });
  const ticker = watModule(
    `(import "timer" "every" (func $every (param i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (local.get $port) (then (drop (call $every (i32.const 1))))) (i64.const 0))`,
  );
  await loadModule(running, "ticker", ticker, {
    grants: [TIMER],
    slots: { timer: { interface: "timer", rights: ["use"], port: "in" } },
  });
  await loadModule(running, "spinner", SPIN, ENDLESS);
  running.kernel.begin();
  await rowThat("ticker", ({ activations }) => activations > 5);
  const [before, spun] = [await row("ticker"), await row("spinner")];
  const after = await rowThat("ticker", ({ activations }) => activations > before.activations + 50);
  const slices = ((await row("spinner")).fuel - spun.fuel) / sliceFuel;
  expect(slices / (after.activations - before.activations)).toBeLessThan(20);
});

test("an activation that computes longer than its wall-clock limit is stopped, whatever its fuel", async () => {
  running = await startKernel();
  await loadModule(running, "spinner", SPIN, { manifest: { fuel: 1e12 }, spec: { activationMs: 100 } });
  running.kernel.begin();
  expect(await running.waitFor("fault")).toMatchObject({ module: "spinner", cause: "timeout" });
});

test("a module that has used up its period is shown as throttled, and for how long it waits", async () => {
  running = await startKernel();
  await loadModule(running, "greedy", SPIN, {
    manifest: { fuel: 1e12 },
    spec: { fuelPerPeriod: 100_000, periodMs: 60_000, activationMs: 60_000 },
  });
  running.kernel.begin();
  const throttled = await rowThat("greedy", ({ isThrottled }) => isThrottled);
  const later = await rowThat("greedy", ({ waitingMs }) => waitingMs > throttled.waitingMs + 20);
  expect(later.fuel).toBe(throttled.fuel);
});

test.each([
  ["refuse", { accepted: 3, refused: 7, dropped: 0, lost: 0 }],
  ["drop-oldest", { accepted: 10, refused: 0, dropped: 7, lost: 7 }],
  ["drop-newest", { accepted: 3, refused: 0, dropped: 7, lost: 7 }],
  ["latest", { accepted: 10, refused: 0, dropped: 9, lost: 0 }],
] as const)("what a route's policy %s has done is counted in top", async (overflow, counts) => {
  running = await startKernel();
  await loadModule(running, "receiver", watModule("", ECHO));
  const send = "(call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))";
  const codes = await evaluate(
    running,
    "sender",
    `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`,
    new Array<string>(10).fill(send),
    {
      grants: [endpoint("receiver.in", { depth: 3, overflow })],
      slots: { out: endpointSlot(["send"]) },
    },
  );
  expect(codes.filter((code) => code === RESULT.full)).toHaveLength(counts.refused);
  expect(await row("receiver")).toMatchObject(counts);
});
