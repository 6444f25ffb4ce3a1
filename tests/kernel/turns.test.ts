/** A module handles what waits for it in turns: what each message gets, and what its neighbours see, is as if each came alone. */
import { afterEach, expect, test } from "vitest";
import type { EndpointGrant, Grant } from "../../kernel/index.ts";
import { makeTurn, packInput } from "../../kernel/wasm/turn.ts";
import { Scheduler } from "../../kernel/scheduler/scheduler.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { admit, manifestFields, moduleSpec, watModule } from "../support/modules.ts";

let running: TestKernel | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const LOG: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
const LOG_SLOT = { interface: "log", rights: ["write"], port: null };
const OUT: EndpointGrant = {
  slot: "out",
  interface: "endpoint",
  to: [{ module: "receiver", port: "in" }],
  rights: ["send"],
  badge: 1,
  depth: 64,
  overflow: "refuse",
};

/** Sends the letters from `a` on, one each, at its start. */
const SENDER = watModule(
  `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
     (loop $l
       (i32.store8 (i32.const 8192) (i32.add (i32.const 97) (local.get $i)))
       (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
       (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 20))))
     (i64.const 0))`,
);

/** Logs each letter; `body` runs before it with the letter in `$letter`. More fuel than a slice makes it a blocking module. */
function receiver(body: string): string {
  return watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))`,
    `(func $spin (param $n i32)
       (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $letter i32)
       (if (local.get $port) (then (return (i64.const 0))))
       (local.set $letter (i32.load8_u (i32.const 1088)))
       ${body}
       (drop (call $log (i32.const 2) (i32.const 1088) (i32.const 1)))
       (i64.const 0))`,
  );
}

async function start(body: string, fuel: number, changes = {}): Promise<TestKernel> {
  running = await startKernel();
  const { kernel } = running;
  const spec = moduleSpec("receiver", [LOG], changes);
  kernel.load(spec, await admit(receiver(body), manifestFields("receiver", { fuel, slots: { log: LOG_SLOT } }), spec));
  const senderSpec = moduleSpec("sender", [OUT]);
  const slots = { out: { interface: "endpoint", rights: ["send"], port: null } };
  kernel.load(senderSpec, await admit(SENDER, manifestFields("sender", { slots }), senderSpec));
  kernel.begin();
  return running;
}

const letters = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => String.fromCodePoint(97 + from + index));

test.each([
  ["direct", 100_000],
  ["blocking", 50_000_000],
])("every message of a turn reaches a %s module, in order", async (_, fuel) => {
  const { logs } = await start("", fuel);
  expect(await logs("receiver", 20)).toEqual(letters(0, 20));
});

test.each([
  ["direct", 100_000],
  ["blocking", 50_000_000],
])(
  "a trap in the middle of a turn of a %s module takes one message with it, and the rest are handled",
  async (_, fuel) => {
    const { logs, waitFor } = await start("(if (i32.eq (local.get $letter) (i32.const 104)) (then unreachable))", fuel);
    expect(await logs("receiver", 19)).toEqual([...letters(0, 7), ...letters(8, 20)]);
    expect(await waitFor("fault")).toMatchObject({ module: "receiver", cause: "trap" });
  },
);

test.each([
  ["direct", 100_000],
  ["blocking", 50_000_000],
])("a kernel result in the middle of a turn of a %s module is its fault", async (_, fuel) => {
  const { waitFor, logs } = await start(
    "(if (i32.eq (local.get $letter) (i32.const 104)) (then (return (i64.const -2))))",
    fuel,
  );
  expect(await waitFor("fault")).toMatchObject({ module: "receiver", cause: "contract" });
  expect(await logs("receiver", 19)).toEqual([...letters(0, 7), ...letters(8, 20)]);
});

test("each message of a turn has its whole budget, and no more", async () => {
  // Each letter takes about 700,000 fuel, more than three slices; the budget is for one letter, not for the turn.
  const spin = "(call $spin (i32.const 70000))";
  const { logs, events } = await start(spin, 1_500_000);
  expect(await logs("receiver", 20)).toEqual(letters(0, 20));
  expect(events.filter(({ type }) => type === "fault")).toEqual([]);
  await running?.stop();
  const { waitFor } = await start(
    "(if (i32.eq (local.get $letter) (i32.const 99)) (then (loop $l (br $l))))",
    1_500_000,
  );
  expect(await waitFor("fault")).toMatchObject({ module: "receiver", cause: "budget" });
});

test("somebody of a higher priority who waits is known at once", () => {
  interface Item {
    readonly priority: number;
    enqueued: boolean;
    behind: Item | undefined;
  }
  const scheduler = new Scheduler<Item>();
  const item = (priority: number): Item => ({ priority, enqueued: false, behind: undefined });
  const [low, high, higher] = [item(5), item(2), item(0)];
  scheduler.ready(low);
  expect([scheduler.hasAbove(5), scheduler.hasAbove(6)]).toEqual([false, true]);
  scheduler.ready(high);
  scheduler.ready(higher);
  expect([scheduler.hasAbove(0), scheduler.hasAbove(1), scheduler.hasAbove(5)]).toEqual([false, true, true]);
  expect([scheduler.next(), scheduler.next(), scheduler.next(), scheduler.next()]).toEqual([
    higher,
    high,
    low,
    undefined,
  ]);
  expect(scheduler.hasAbove(7)).toBe(false);
});

test("the loop of turns hands on ports and lengths, rests where nothing waits, and ends where the kernel says so or throws", () => {
  const seen: number[][] = [];
  const settled: [number, number][] = [];
  const rested: number[] = [];
  const inputs = [packInput(63, 65_536), packInput(0, 0), -1, packInput(1, 2), -1, -1];
  const rests = [packInput(0xffff, 65_535), -1];
  const fuel = new WebAssembly.Global({ value: "i32", mutable: true }, 500);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(makeTurn()), {
    turn: {
      fuel,
      enter: (...parameters: number[]) => {
        fuel.value -= 100;
        return seen.push(parameters);
      },
      next: (result: number, left: number) => {
        settled.push([result, left]);
        return inputs.shift() ?? -1;
      },
      idle: (result: number) => {
        rested.push(result);
        const next = rests.shift();
        if (next === undefined) throw new Error("the end");
        return next;
      },
    },
  });
  const run = exports["run"] as (...parameters: number[]) => void;
  run(1000, 2000, 0xffff, 7);
  expect(seen).toEqual([
    [1000, 2000, 0xffff, 7],
    [1000, 2000, 63, 65_536],
    [1000, 2000, 0, 0],
    [1000, 2000, 0xffff, 65_535],
    [1000, 2000, 1, 2],
  ]);
  const left = [400, 300, 200, 100, 0];
  expect(settled).toEqual(left.map((each, index) => [index + 1, each]));
  expect(rested).toEqual([3, 5]);
  expect(() => {
    run(1000, 2000, 0, 0);
  }).toThrow("the end");
});

test.each([
  ["direct", 100_000],
  ["blocking", 50_000_000],
])("a %s module that came to rest is woken again and again", async (_, fuel) => {
  running = await startKernel();
  const { kernel, logs } = running;
  const tick: Grant = { slot: "tick", interface: "timer", rights: ["use"], parameters: {} };
  const wat = watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))
     (import "tick" "every" (func $every (param i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (local.get $port) (then (drop (call $every (i32.const 2))) (return (i64.const 0))))
       (i32.store8 (i32.const 0) (i32.add (i32.const 1) (i32.load8_u (i32.const 0))))
       (i32.store8 (i32.const 9000) (i32.add (i32.const 64) (i32.load8_u (i32.const 0))))
       (drop (call $log (i32.const 2) (i32.const 9000) (i32.const 1)))
       (i64.const 0))`,
  );
  const slots = { log: LOG_SLOT, tick: { interface: "timer", rights: ["use"], port: "in" } };
  const spec = moduleSpec("ticker", [LOG, tick]);
  kernel.load(spec, await admit(wat, manifestFields("ticker", { fuel, slots }), spec));
  kernel.begin();
  expect((await logs("ticker", 12)).slice(0, 12).join("")).toBe("ABCDEFGHIJKL");
});
