/** Calls between modules of one partition go through gates: what a caller sees is the same, whatever its callee does. */
import { afterEach, expect, test } from "vitest";
import type { EndpointGrant, Grant } from "../../kernel/index.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";

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
  to: [{ module: "callee", port: "in" }],
  rights: ["send", "call"],
  badge: 7,
  depth: 64,
  overflow: "refuse",
};
const OUT_SLOT = { interface: "endpoint", rights: ["send", "call"], port: null };

/**
 * At the start calls `count` times with four bytes that begin with the number of the call (from 1), and logs a letter for
 * each result: `A` is 0, `E` is 4 bytes, `?` is -2 (dead-peer). `before` runs before each call.
 */
function caller(count: number, before = ""): string {
  return watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))
     (import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))
     (import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
       (loop $l
         (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (i32.store8 (i32.const 8192) (local.get $i))
         ${before}
         (i32.store8 (i32.add (i32.const 9000) (local.get $i))
           (i32.add (i32.const 65)
             (call $call (i32.const 8192) (i32.const 4) (i32.const 12000) (i32.const 100) (i32.const 2000))))
         (br_if $l (i32.lt_u (local.get $i) (i32.const ${count}))))
       (drop (call $log (i32.const 2) (i32.const 9001) (i32.const ${count})))
       (i64.const 0))`,
  );
}
const CALLER_MANIFEST = manifestFields("caller", { fuel: 50_000_000, slots: { log: LOG_SLOT, out: OUT_SLOT } });

/** A direct callee; `body` runs on port 0 and sees the first payload byte in `$first`. */
function callee(body: string, imports = ""): string {
  return watModule(
    imports,
    `(global $calls (mut i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $first i32)
       (if (local.get $port) (then (return (i64.const 0))))
       (local.set $first (i32.load8_u (i32.const 1088)))
       ${body}
       (i64.or (i64.shl (i64.const 1088) (i64.const 32)) (i64.extend_i32_u (local.get $length))))`,
  );
}

async function start(
  callerWat: string,
  calleeWat: string,
  calleeSlots = {},
  calleeGrants: Grant[] = [],
): Promise<TestKernel> {
  running = await startKernel();
  const { kernel } = running;
  const calleeSpec = moduleSpec("callee", calleeGrants);
  kernel.load(calleeSpec, await admit(calleeWat, manifestFields("callee", { slots: calleeSlots }), calleeSpec));
  const callerSpec = moduleSpec("caller", [LOG, OUT]);
  kernel.load(callerSpec, await admit(callerWat, CALLER_MANIFEST, callerSpec));
  kernel.begin();
  return running;
}

test("many calls in a row all get their reply", async () => {
  const { logs } = await start(caller(200), watModule("", ECHO));
  expect(await logs("caller", 1)).toEqual(["E".repeat(200)]);
});

test("the first call makes the gate, and the others go through it", async () => {
  // A call that waits its turn has a correlation, one through a gate has none: the callee answers nothing to the former.
  const wat = callee("(if (i32.load (i32.const 1044)) (then (return (i64.const 0))))");
  const { logs } = await start(caller(50), wat);
  expect((await logs("caller", 1))[0]).toBe(`A${"E".repeat(49)}`);
});

test("a callee that traps in a gate gives dead-peer, is restarted, and serves the calls that follow", async () => {
  const { logs, waitFor } = await start(
    caller(60),
    callee("(if (i32.eq (local.get $first) (i32.const 20)) (then unreachable))"),
  );
  const [results] = await logs("caller", 1);
  expect(results).toMatch(/^E{19}\?E*$/);
  expect(await waitFor("fault")).toMatchObject({ module: "callee", cause: "trap" });
  expect(await waitFor("restarted")).toMatchObject({ module: "callee" });
});

test("a callee that loops in a gate is stopped by the port's fuel, not by its caller's", async () => {
  const { logs, waitFor, events } = await start(
    caller(30),
    callee("(if (i32.eq (local.get $first) (i32.const 20)) (then (loop $l (br $l))))"),
  );
  expect((await logs("caller", 1))[0]).toMatch(/^E{19}\?/);
  expect(await waitFor("fault")).toMatchObject({ module: "callee", cause: "budget" });
  expect(events.some((event) => event.type === "fault" && event.module === "caller")).toBe(false);
});

test("a kernel code out of a handler is the callee's fault, through a gate too", async () => {
  const { logs, waitFor } = await start(
    caller(30),
    callee("(if (i32.eq (local.get $first) (i32.const 20)) (then (return (i64.const -1))))"),
  );
  expect((await logs("caller", 1))[0]).toMatch(/^E{19}\?/);
  expect(await waitFor("fault")).toMatchObject({ module: "callee", cause: "contract" });
});

test("a call never overtakes what its caller has sent before", async () => {
  const order = watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (local.get $port) (then (return (i64.const 0))))
       ;; The kind, as a letter: B is send, C is call.
       (i32.store8 (i32.const 1088) (i32.add (i32.const 65) (i32.load8_u (i32.const 1026))))
       (drop (call $log (i32.const 2) (i32.const 1088) (i32.const 1)))
       (i64.const 0))`,
  );
  const send = "(drop (call $send (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))";
  const { logs } = await start(caller(20, send), order, { log: LOG_SLOT }, [LOG]);
  expect((await logs("callee", 40)).join("")).toBe("BC".repeat(20));
});

test("a revoked call is denied, though a gate was open", async () => {
  const ticking = watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))
     (import "tick" "every" (func $every (param i32) (result i32)))
     (import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (local.get $port) (then (drop (call $every (i32.const 5))) (return (i64.const 0))))
       (i32.store8 (i32.const 9000)
         (i32.add (i32.const 65) (call $call (i32.const 8192) (i32.const 4) (i32.const 12000) (i32.const 100) (i32.const 2000))))
       (drop (call $log (i32.const 2) (i32.const 9000) (i32.const 1)))
       (i64.const 0))`,
  );
  running = await startKernel();
  const { kernel, logs, events } = running;
  const calleeSpec = moduleSpec("callee");
  kernel.load(calleeSpec, await admit(watModule("", ECHO), manifestFields("callee"), calleeSpec));
  const tick: Grant = { slot: "tick", interface: "timer", rights: ["use"], parameters: {} };
  const spec = moduleSpec("caller", [LOG, OUT, tick]);
  const slots = { log: LOG_SLOT, out: OUT_SLOT, tick: { interface: "timer", rights: ["use"], port: "in" } };
  kernel.load(spec, await admit(ticking, manifestFields("caller", { slots }), spec));
  kernel.begin();
  const before = await logs("caller", 10);
  expect(new Set(before)).toEqual(new Set(["E"]));
  kernel.revoke("caller", "out");
  const after = (await logs("caller", before.length + 10)).slice(-5);
  // 65 - 1: denied.
  expect(new Set(after)).toEqual(new Set(["@"]));
  expect(events.some((event) => event.type === "denied" && event.slot === "out")).toBe(true);
});

test("a swapped callee serves the next call, and probation sees it", async () => {
  const replier = (letter: number): string => callee(`(i32.store8 (i32.const 1088) (i32.const ${letter}))`);
  const ticking = watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))
     (import "tick" "every" (func $every (param i32) (result i32)))
     (import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (local.get $port) (then (drop (call $every (i32.const 5))) (return (i64.const 0))))
       (drop (call $call (i32.const 8192) (i32.const 4) (i32.const 12000) (i32.const 100) (i32.const 2000)))
       (drop (call $log (i32.const 2) (i32.const 12000) (i32.const 1)))
       (i64.const 0))`,
  );
  running = await startKernel();
  const { kernel, logs } = running;
  const calleeSpec = moduleSpec("callee");
  kernel.load(calleeSpec, await admit(replier(88), manifestFields("callee"), calleeSpec));
  const tick: Grant = { slot: "tick", interface: "timer", rights: ["use"], parameters: {} };
  const spec = moduleSpec("caller", [LOG, OUT, tick]);
  const slots = { log: LOG_SLOT, out: OUT_SLOT, tick: { interface: "timer", rights: ["use"], port: "in" } };
  kernel.load(spec, await admit(ticking, manifestFields("caller", { slots }), spec));
  kernel.begin();
  expect(new Set(await logs("caller", 10))).toEqual(new Set(["X"]));
  await kernel.swap([
    { name: "callee", admitted: await admit(replier(89), manifestFields("callee", { version: "2.0.0" }), calleeSpec) },
  ]);
  const seen = (await logs("caller", 30)).length;
  expect((await logs("caller", seen + 10)).at(-1)).toBe("Y");
  kernel.settle(["callee"], false);
  await running.waitFor("swap-reverted");
  const later = (await logs("caller", seen + 20)).length;
  expect((await logs("caller", later + 10)).at(-1)).toBe("X");
});

/** Names of what happens in a client that calls as it should not; `call` stands for a call of four bytes. */
const CALL_FOUR = "(call $call (i32.const 8192) (i32.const 4) (i32.const 12000) (i32.const 100) (i32.const 2000))";
const WORST = "(call $call (i32.const -8) (i32.const 16) (i32.const 12000) (i32.const 100) (i32.const 2000))";
const MISPLACED = "(call $call (i32.const 8192) (i32.const 4) (i32.const 65530) (i32.const -1) (i32.const 2000))";

test.each<[string, number, string, string, string | undefined]>([
  ["keeps too little fuel for its server", 30_000, "", `(loop $l (drop ${CALL_FOUR}) (br $l))`, "budget"],
  [
    "calls at every level of a recursion without end",
    50_000_000,
    `(func $deep (drop ${CALL_FOUR}) (call $deep))`,
    "(call $deep)",
    "stack",
  ],
  [
    "gives addresses that lead nowhere",
    50_000_000,
    "",
    `(drop ${CALL_FOUR}) (drop ${WORST}) (drop ${MISPLACED}) (drop ${WORST})`,
    undefined,
  ],
  [
    "grows its memory between calls",
    50_000_000,
    "",
    `(drop ${CALL_FOUR}) (drop (memory.grow (i32.const 1))) (drop ${CALL_FOUR})
    (drop (memory.grow (i32.const 1))) (drop (call $call (i32.const 131072) (i32.const 4) (i32.const 131080) (i32.const 100) (i32.const 2000)))`,
    undefined,
  ],
  ["traps right after its call", 50_000_000, "", `(drop ${CALL_FOUR}) (drop ${CALL_FOUR}) unreachable`, "trap"],
])("a client that %s harms no server: it goes on with what it has counted", async (_, fuel, functions, body, cause) => {
  running = await startKernel();
  const { kernel, logs, events, waitFor } = running;
  // It counts its calls before and after a piece of work, and traps where the two differ: it was then stopped in between.
  const server = callee(
    `(if (i32.ne (global.get $calls) (i32.load (i32.const 9000))) (then unreachable))
     (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
     (local.set $first (i32.const 20))
     (loop $w (br_if $w (local.tee $first (i32.sub (local.get $first) (i32.const 1)))))
     (i32.store (i32.const 9000) (global.get $calls))`,
  );
  const calleeSpec = moduleSpec("callee");
  kernel.load(calleeSpec, await admit(server, manifestFields("callee"), calleeSpec));
  const client = watModule(
    `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))
     (import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
    `${functions}
     (func (export "bulkhead_handle") (param i32 i32) (result i64)
       ${body} (drop (call $log (i32.const 2) (i32.const 8192) (i32.const 1))) (i64.const 0))`,
  );
  const hold = { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } as const;
  const spec = moduleSpec("client", [LOG, OUT], { restart: hold });
  const slots = { log: LOG_SLOT, out: OUT_SLOT };
  kernel.load(spec, await admit(client, manifestFields("client", { fuel, slots }), spec));
  kernel.begin();
  if (cause === undefined) await logs("client", 1);
  else expect(await waitFor("fault")).toMatchObject({ module: "client", cause });
  const goodSpec = moduleSpec("caller", [LOG, OUT]);
  kernel.load(goodSpec, await admit(caller(30), CALLER_MANIFEST, goodSpec));
  kernel.begin("caller");
  expect(await logs("caller", 1)).toEqual(["E".repeat(30)]);
  expect(events.filter((event) => event.type === "fault" && event.module === "callee")).toEqual([]);
});
