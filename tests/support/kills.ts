/**
 * Kills suspended handlers, again and again: `kills.ts <count>` reports the size of this process before and after. What a kill
 * leaves behind shows in both figures: an abandoned suspension keeps a stack of its own for ever.
 */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { startKernel } from "./kernel.ts";
import { watModule } from "./modules.ts";
import { loadModule, TIMER } from "./probe.ts";

/** Kilobytes of this process. */
export interface Size {
  readonly resident: number;
  readonly addresses: number;
}

export interface Kills {
  readonly kills: number;
  /** After the first tenth, and at the end. */
  readonly before: Size;
  readonly after: Size;
}

/** Victims that are killed in turn: each sleeps in its start notice, in the middle of a call chain. */
const VICTIMS = 200;
const SLEEPER = watModule(
  `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
  `(func $inner (result i32) (call $sleep (i32.const 2147483647)))
   (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.extend_i32_s (call $inner)))`,
);

function size(): Size {
  const status = readFileSync("/proc/self/status", "utf8");
  const kilobytes = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  return { resident: kilobytes("VmRSS"), addresses: kilobytes("VmSize") };
}

/** Every kill is of a handler that was seen suspended: the row in `top` says so before each round. */
export async function killMany(count: number): Promise<Kills> {
  let loaded = 0;
  let awaited = 0;
  let enough: () => void = () => undefined;
  const running = await startKernel({
    onEvent: (event) => {
      if (event.type === "loaded" && ++loaded === awaited) enough();
    },
  });
  const names = Array.from({ length: VICTIMS }, (_, index) => `victim${index}`);
  const slots = { t: { interface: "timer", rights: ["use"], port: null } };
  for (const name of names) {
    await loadModule(running, name, SLEEPER, { grants: [{ ...TIMER, slot: "t" }], slots, manifest: { fuel: 1e9 } });
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
  return { kills: count, before, after };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  process.stdout.write(`${JSON.stringify(await killMany(Number(process.argv[2] ?? 1_000_000)))}\n`);
}
