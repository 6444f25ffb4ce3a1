/**
 * Suspends handlers again and again, and kills them or lets them go on: `suspensions.ts <kill|wake> <count>` reports the size of
 * this process after the first tenth and at the end. A stack that is left behind shows in its addresses and mappings.
 */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { startKernel } from "./kernel.ts";
import { watModule } from "./modules.ts";
import { loadModule, TIMER } from "./probe.ts";

/** Kilobytes of this process, and its mapped regions. */
interface Size {
  readonly resident: number;
  readonly addresses: number;
  readonly mappings: number;
}

/** What a campaign found after its first tenth, and at its end. */
export interface Sizes {
  readonly count: number;
  readonly before: Size;
  readonly after: Size;
}

/** Modules that are killed at once, no more than V8 keeps stacks for; and those that sleep and wake together. */
const VICTIMS = 4;
const SLEEPERS = 40;
const SLOTS = { t: { interface: "timer", rights: ["use"], port: null } };
const SLEEP_IMPORT = `(import "t" "sleep" (func $sleep (param i32) (result i32)))`;
/** Sleeps in its start notice for ever, in the middle of a call chain. */
const SLEEPER = watModule(
  SLEEP_IMPORT,
  `(func $inner (result i32) (call $sleep (i32.const 2147483647)))
   (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.extend_i32_s (call $inner)))`,
);

function size(): Size {
  const status = readFileSync("/proc/self/status", "utf8");
  const kilobytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  const mappings = readFileSync("/proc/self/maps", "utf8").split("\n").length;
  return { resident: kilobytes("VmRSS"), addresses: kilobytes("VmSize"), mappings };
}

/** Every kill is of a handler that was seen suspended: the row in `top` says so before each round. */
export async function killMany(count: number): Promise<Sizes> {
  let loaded = 0;
  let awaited = 0;
  let enough: () => void = () => undefined;
  const running = await startKernel({
    onEvent: (event) => {
      if (event.type === "loaded" && ++loaded === awaited) enough();
    },
  });
  const names = Array.from({ length: VICTIMS }, (_, index) => `victim${index}`);
  for (const name of names) {
    await loadModule(running, name, SLEEPER, {
      grants: [{ ...TIMER, slot: "t" }],
      slots: SLOTS,
      manifest: { fuel: 1e9 },
    });
  }
  running.kernel.begin();
  let before = size();
  for (let kills = 0; kills < count; kills += VICTIMS) {
    while (!(await running.kernel.top()).every(({ state }) => state === "suspended"));
    if (kills <= count / 10) before = size();
    const all = new Promise<void>((resolve) => {
      enough = resolve;
    });
    awaited = loaded + VICTIMS;
    for (const name of names) running.kernel.restart(name);
    await all;
    // What the recording kernel remembers is no part of the product.
    running.events.length = 0;
  }
  const after = size();
  await running.stop();
  return { count, before, after };
}

/** Every millisecond all of them wake, handle a tick, sleep in it, and come to rest: as drivers of one bus do. */
export async function wakeMany(count: number): Promise<Sizes> {
  const running = await startKernel();
  const wat = watModule(
    `${SLEEP_IMPORT}(import "tick" "every" (func $every (param i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (local.get $port) (then (return (i64.extend_i32_s (call $every (i32.const 1))))))
       (i64.extend_i32_s (call $sleep (i32.const 1))))`,
  );
  for (let index = 0; index < SLEEPERS; index++) {
    await loadModule(running, `sleeper${index}`, wat, {
      grants: [
        { ...TIMER, slot: "t" },
        { ...TIMER, slot: "tick" },
      ],
      slots: { ...SLOTS, tick: { interface: "timer", rights: ["use"], port: "in" } },
    });
  }
  running.kernel.begin();
  let before = size();
  for (let woken = 0; woken < count; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    woken = (await running.kernel.top()).reduce((sum, { activations }) => sum + activations, 0);
    if (woken <= count / 10) before = size();
  }
  const after = size();
  await running.stop();
  return { count, before, after };
}

const CAMPAIGNS: Readonly<Record<string, (count: number) => Promise<Sizes>>> = { kill: killMany, wake: wakeMany };
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [campaign = "", count = "1000000"] = process.argv.slice(2);
  const run = CAMPAIGNS[campaign];
  if (run === undefined) throw new TypeError("usage: suspensions.ts <kill|wake> [count]");
  process.stdout.write(`${JSON.stringify(await run(Number(count)))}\n`);
}
