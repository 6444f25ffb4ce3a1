/** Failures that are run again: the same end at the same fuel, images, changed binaries. */
import { describe, expect, it } from "vitest";
import { readEvents } from "../../gateway/wire/capsule-events.ts";
import { replay } from "../../tools/replay/replay.ts";
import { watModule } from "../support/modules.ts";
import { capsuleOf, failureOf, found, numbers, victim } from "./support.ts";

/** Takes a page with each message and never gives one back: at its 208th there is none, and it writes all the same. */
const LEAK = watModule(
  "",
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $page i32)
     (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
     (local.set $page (memory.grow (i32.const 1)))
     (i32.store (i32.mul (local.get $page) (i32.const 65536)) (local.get $length))
     (i64.const 0))`,
  1,
);

describe("a module that leaks until it traps at its 208th message", () => {
  it("replays to the same trap at the same fuel in each try", async () => {
    // The start notice is its first message; the 208th finds 208 - 1 pages taken.
    const leaking = victim(LEAK, { memory: 207 }, { memoryPages: 207 });
    const failure = await failureOf(leaking, numbers(300));
    expect(failure).toMatchObject({ cause: "trap", text: "memory access out of bounds" });
    expect(failure.events.messages).toBe(208);
    const replayed = await replay(capsuleOf(failure), found(leaking.binary));
    expect(replayed.divergence).toBeUndefined();
    expect(replayed.outcome).toBe("reproduced");
    expect(replayed.endings.map(({ cause, fuel }) => [cause, fuel])).toEqual(
      Array.from({ length: 3 }, () => ["trap", failure.fuel]),
    );
  });

  it("can be stopped before any message, with its memory as it was then", async () => {
    const leaking = victim(LEAK, { memory: 207 }, { memoryPages: 207 });
    const capsule = capsuleOf(await failureOf(leaking, numbers(300)));
    const { outcome, state } = await replay(capsule, found(leaking.binary), { until: 100 });
    expect(outcome).toBe("stopped");
    expect(state).toMatchObject({ message: 100, memoryBytes: 99 * 65_536 });
    await expect(replay(capsule, found(leaking.binary), { until: 209 })).rejects.toThrow("no message 209");
  });

  it("diverges where the binary has been changed, and says where", async () => {
    const leaking = victim(LEAK, { memory: 207 }, { memoryPages: 207 });
    const capsule = capsuleOf(await failureOf(leaking, numbers(300)));
    const mended = victim(LEAK.replace("memory.grow (i32.const 1)", "i32.const 0"), { memory: 207 });
    const { outcome, isSameBinary, divergence } = await replay(capsule, found(mended.binary));
    expect([outcome, isSameBinary]).toEqual(["diverged", false]);
    expect(divergence).toMatchObject({ message: 208, expected: "no more memory" });
    expect(divergence?.found).toMatch(/^the handler ended with 0/);
  });
});

it("a recording that is full begins anew from an image, and replays from there", async () => {
  const counting = watModule(
    "",
    `(global $count (mut i64) (i64.const 0)) (global $sum (mut f64) (f64.const 0.5))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (global.set $count (i64.add (global.get $count) (i64.const 1)))
       (global.set $sum (f64.add (global.get $sum) (f64.const 1.5)))
       (i64.store (i32.const 8192) (global.get $count))
       (if (i64.ge_u (global.get $count) (i64.const 200)) (then (unreachable)))
       (i64.const 0))`,
  );
  const module = victim(counting, { inbox: 8192 - 1024 });
  const payloads = Array.from({ length: 250 }, () => new Uint8Array(4000).fill(0x60));
  const failure = await failureOf(module, payloads);
  expect(failure.events).toMatchObject({ messages: 200, isWhole: true });
  expect(failure.events.before).toBeGreaterThan(100);
  const replayed = await replay(capsuleOf(failure), found(module.binary));
  expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
  expect(replayed.endings[0]?.fuel).toBe(failure.fuel);
  const { state } = await replay(capsuleOf(failure), found(module.binary), { until: 200 });
  expect(state?.globals).toEqual(["199", "299"]);
});

it("a module that changes its tables is whole from its start only, and says so once its recording was full", async () => {
  const changing = watModule(
    "",
    `(global $count (mut i32) (i32.const 0)) (table 1 funcref) (elem declare func $f) (func $f)
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (table.set (i32.const 0) (ref.func $f))
       (global.set $count (i32.add (global.get $count) (i32.const 1)))
       (if (i32.ge_u (global.get $count) (i32.const LAST)) (then (unreachable)))
       (i64.const 0))`,
  );
  const payloads = Array.from({ length: 120 }, () => new Uint8Array(4000).fill(0x60));
  const early = victim(changing.replace("LAST", "10"), { inbox: 8192 - 1024 });
  const whole = capsuleOf(await failureOf(early, payloads));
  expect((await replay(whole, found(early.binary))).outcome).toBe("reproduced");
  const late = victim(changing.replace("LAST", "100"), { inbox: 8192 - 1024 });
  const truncated = capsuleOf(await failureOf(late, payloads));
  expect(truncated.events).toMatchObject({ isWhole: false, messages: 100 });
  await expect(replay(truncated, found(late.binary))).rejects.toThrow("its recording is not whole");
});

describe("what a host answers", () => {
  const slots = {
    clock: { interface: "clock", rights: ["use"], port: null },
    bus: { interface: "i2c-device", rights: ["read", "write"], port: null },
  };
  const grants = [
    { slot: "clock", interface: "clock", rights: ["use"], parameters: {} },
    { slot: "bus", interface: "i2c-device", rights: ["read", "write"], parameters: { bus: 1, address: 0x76 } },
  ] as const;
  const imports = `(import "clock" "wall" (func $wall (result i64)))
    (import "bus" "read" (func $read (param i32 i32) (result i32)))`;
  /** Traps once the host gives it 13; spins a while, so that it needs more than a slice. */
  const reader = watModule(
    imports,
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
       (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
       (i64.store (i32.const 8200) (call $wall))
       (local.set $n (i32.const 3000))
       (loop $spin (br_if $spin (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
       (drop (call $read (i32.const 8192) (i32.const 4)))
       (if (i32.eq (i32.load8_u (i32.const 8192)) (i32.const 13)) (then
         (i64.store (i32.wrap_i64 (call $wall)) (i64.const 1)) (unreachable)))
       (i64.const 0))`,
  );
  const reading = victim(reader, { slots }, { grants });
  let given = 0;
  const reply = (): { result: number; bytes: Uint8Array } => {
    given++;
    return { result: 4, bytes: Uint8Array.of(given === 5 ? 13 : given, 0, 0, 0) };
  };

  it("is given again: clocks, devices, the slices between, in a blocking module", async () => {
    given = 0;
    const failure = await failureOf(reading, numbers(20), { sliceFuel: 5000, reply });
    expect(failure.cause).toBe("trap");
    const kinds = readEvents(failure.events.words, failure.imports).map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(["entered", "message", "called", "wrote", "refuelled"]));
    const replayed = await replay(capsuleOf(failure), found(reading.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings.map(({ fuel }) => fuel)).toEqual([failure.fuel, failure.fuel, failure.fuel]);
  });

  it.each([
    ["another import", "(drop (call $read (i32.const 8192) (i32.const 4)))", "(drop (call $wall))"],
    ["other arguments", "(call $read (i32.const 8192) (i32.const 4))", "(call $read (i32.const 8192) (i32.const 2))"],
    ["another result", "", ""],
  ])("shows where a changed binary uses it otherwise: %s", async (what, before, after) => {
    given = 0;
    const capsule = capsuleOf(await failureOf(reading, numbers(20), { sliceFuel: 5000, reply }));
    const changed =
      what === "another result"
        ? reader.replace(/\(i64\.const 0\)\)\)$/, "(i64.const -2000)))")
        : reader.replace(before, after);
    expect(changed).not.toBe(reader);
    const { outcome, divergence } = await replay(capsule, found(victim(changed, { slots }).binary));
    expect(outcome).toBe("diverged");
    expect(divergence?.message).toBe(2);
    expect(`${divergence?.expected} / ${divergence?.found}`).toMatch(
      {
        "another import": /bus\.read.*clock\.wall/,
        "other arguments": /, 4\).*, 2\)/,
        "another result": /ended with 0.*-2000/,
      }[what] ?? /never/,
    );
  });
});

describe("what the kernel decides", () => {
  const handler = (body: string): string =>
    watModule("", `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) ${body})`);

  it.each([
    ["budget", handler("(loop $forever (br $forever)) (i64.const 0)")],
    [
      "stack",
      handler("(call $deep (i32.const 1)) (i64.const 0)").replace(
        "(func",
        "(func $deep (param i32) (call $deep (local.get 0)) (drop (i32.add (local.get 0) (i32.const 1)))) (func",
      ),
    ],
    ["contract", handler("(i64.const -5)")],
  ])("replays too: %s", async (cause, wat) => {
    const module = victim(wat);
    const failure = await failureOf(module, numbers(3));
    expect(failure.cause).toBe(cause);
    const replayed = await replay(capsuleOf(failure), found(module.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings[0]).toMatchObject({ cause, fuel: failure.fuel });
  });

  it("replays a call that never came back to its end there: a deadline", async () => {
    const sleeper = watModule(
      `(import "timer" "sleep" (func $sleep (param i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
         (drop (call $sleep (select (i32.const 600000) (i32.const 1) (i32.eqz (local.get $port)))))
         (i64.const 0))`,
    );
    const slots = { timer: { interface: "timer", rights: ["use"], port: null } };
    const grants = [{ slot: "timer", interface: "timer", rights: ["use"], parameters: {} }] as const;
    const module = victim(sleeper, { slots }, { grants, activationMs: 100 });
    const failure = await failureOf(module, numbers(1));
    expect(failure.cause).toBe("timeout");
    const kinds = readEvents(failure.events.words, failure.imports).map(({ kind }) => kind);
    expect(kinds).toEqual(["entered", "message", "called", "message", "called"]);
    const replayed = await replay(capsuleOf(failure), found(module.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings[0]).toMatchObject({ cause: "timeout", fuel: failure.fuel });
  });

  it("and a module that was not recorded leaves no capsule", async () => {
    const module = victim(handler("unreachable"), {}, { record: false });
    await expect(failureOf(module, numbers(3))).rejects.toThrow("no failure");
  });
});

describe("a call through a gate", () => {
  const handler = (imports: string, body: string): string =>
    watModule(
      imports,
      `(global $count (mut i32) (i32.const 0))
       (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) ${body})`,
    );
  /** Calls with what it got, and traps once the answer is 9 bytes or more, or a failure. */
  const caller = handler(
    `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`,
    `(if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
     (i32.store8 (i32.const 8191) (i32.load8_u (i32.const 1088)))
     (if (i32.ge_u (call $call (i32.const 1088) (local.get $length) (i32.const 8192) (i32.const 64) (i32.const 1000))
       (i32.const 9)) (then (unreachable)))
     (i64.const 0)`,
  );
  /** Answers with as many bytes as it has been called; `trap` at the sixth. */
  const callee = (last: string): string =>
    handler(
      "",
      `(if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
       (global.set $count (i32.add (global.get $count) (i32.const 1)))
       (i32.store8 (i32.add (i32.const 4999) (global.get $count)) (global.get $count))
       (if (i32.eq (global.get $count) (i32.const 6)) (then ${last}))
       (i64.or (i64.shl (i64.const 5000) (i64.const 32)) (i64.extend_i32_u (global.get $count)))`,
    );
  const slots = { out: { interface: "endpoint", rights: ["call"], port: null } };
  const out = {
    slot: "out",
    interface: "endpoint",
    to: [{ module: "callee", port: "in" }],
    rights: ["call"],
    badge: 3,
    depth: 4,
    overflow: "refuse",
  } as const;
  const calling = victim(caller, { slots, fuel: 10_000_000 }, { grants: [out] });
  const called = (last: string): ReturnType<typeof victim> =>
    victim(callee(last), { name: "callee" }, { name: "callee" });

  it("is recorded at the caller: its replies and what they cost", async () => {
    const failure = await failureOf(calling, numbers(20), { others: [called("(nop)")] });
    const calls = readEvents(failure.events.words, failure.imports).filter(({ kind }) => kind === "called");
    expect(calls.map((event) => (event.kind === "called" ? event.returned?.result : 0n))).toEqual(
      Array.from({ length: 9 }, (_, index) => BigInt(index + 1)),
    );
    const replayed = await replay(capsuleOf(failure), found(calling.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings[0]?.fuel).toBe(failure.fuel);
  });

  it("is recorded at the callee, which fails alone", async () => {
    const callee = called("(unreachable)");
    const failure = await failureOf(calling, numbers(20), { others: [callee], of: "callee" });
    const kinds = readEvents(failure.events.words, failure.imports).map(({ kind }) => kind);
    expect(kinds).toContain("gated");
    const replayed = await replay(capsuleOf(failure), found(callee.binary));
    expect(replayed).toMatchObject({ outcome: "reproduced", divergence: undefined });
    expect(replayed.endings.map(({ fuel }) => fuel)).toEqual([failure.fuel, failure.fuel, failure.fuel]);
  });
});

it("a module is restored and saved in its replay as it was", async () => {
  const saving = watModule(
    "",
    `(global $count (mut i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0))))
       (global.set $count (i32.add (global.get $count) (i32.const 1)))
       (if (i32.eq (global.get $count) (i32.const 14)) (then (unreachable)))
       (i64.const 0))
     (func (export "bulkhead_save") (result i64)
       (i32.store8 (i32.const 8192) (global.get $count)) (i64.or (i64.shl (i64.const 8192) (i64.const 32)) (i64.const 1)))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32)
       (global.set $count (i32.load8_u (i32.const 8192))) (i32.const 0))`,
  );
  const module = victim(saving, { state: 16 }, { checkpointMessages: 3 });
  const failure = await failureOf(module, numbers(40));
  const first = await replay(capsuleOf(failure), found(module.binary));
  expect(first.outcome).toBe("reproduced");
  const { state } = await replay(capsuleOf(failure), found(module.binary), { until: 10 });
  expect(state?.state).toEqual(Uint8Array.of(8));
});
