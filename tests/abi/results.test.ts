/** Every result code that a module can be made to see, and by what. */
import { afterEach, describe, expect, test } from "vitest";
import type { HostReply } from "../../kernel/index.ts";
import { ENDPOINT_RIGHT, KERNEL_PORT, LIMITS, RESULT, RESULT_CODES, resultName } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import type { ProbeOptions } from "../support/probe.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  LOG,
  LOG_IMPORT,
  LOG_SLOT,
  TIMER,
} from "../support/probe.ts";
import { ECHO, watModule } from "../support/modules.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
const REQUEST = `(import "out" "request" (func $request (param i32 i32 i32) (result i32)))`;
const DERIVE = `(import "out" "derive" (func $derive (param i32) (result i32)))`;
const HANDLE_IMPORTS = `(import "handles" "send" (func $hsend (param i32 i32 i32 i32 i32) (result i32)))
  (import "handles" "call" (func $hcall (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "handles" "narrow" (func $narrow (param i32 i32) (result i32)))
  (import "handles" "drop" (func $drop (param i32) (result i32)))`;
const OUT = { out: endpointSlot(["send", "call", "pass"], "in") };
const TO_ECHO: ProbeOptions = { grants: [endpoint("echo.in")], slots: OUT };

const send = (length = 5, address = 8192): string =>
  `(call $send (i32.const ${address}) (i32.const ${length}) (i32.const 0) (i32.const 0))`;
const call = (changes: { at?: number; length?: number; reply?: number; room?: number; ms?: number } = {}): string => {
  const { at = 8192, length = 5, reply = 9000, room = 64, ms = 2000 } = changes;
  const words = [at, length, reply, room, ms].map((word) => `(i32.const ${word})`).join(" ");
  return `(call $call ${words})`;
};

async function withEcho(partitions = ["main", "other"], partition = "main"): Promise<void> {
  running = await startKernel({ partitions });
  await loadModule(running, "echo", watModule("", ECHO), { spec: { partition } });
}

test("the table numbers the codes downward from -1, and names nothing twice", async () => {
  running = await startKernel();
  expect(RESULT_CODES.map(({ code }) => code)).toEqual(RESULT_CODES.map((_, index) => -1 - index));
  expect(new Set(RESULT_CODES.map(({ name }) => name)).size).toBe(RESULT_CODES.length);
  for (const { code, name } of RESULT_CODES) expect(resultName(code)).toBe(name);
});

describe.each(["main", "other"])("at an endpoint whose module is in partition %s", (partition) => {
  test("success is 0 for send, the length for call, 1 or more for request and derive", async () => {
    await withEcho(undefined, partition);
    const got = await evaluate(
      running,
      "probe",
      `${SEND}${CALL}${REQUEST}${DERIVE}`,
      [
        send(),
        call(),
        "(call $request (i32.const 8192) (i32.const 5) (i32.const 1000))",
        `(call $derive (i32.const ${ENDPOINT_RIGHT.send}))`,
        send(0),
        call({ length: 0 }),
      ],
      TO_ECHO,
    );
    expect(got.slice(0, 2)).toEqual([0, 5]);
    expect(got[2]).toBeGreaterThan(0);
    expect(got[3]).toBeGreaterThan(0);
    expect(got.slice(4)).toEqual([0, 0]);
  });

  test("bad-address: message, reply or handles outside the memory", async () => {
    await withEcho(undefined, partition);
    const got = await evaluate(
      running,
      "probe",
      `${SEND}${CALL}${REQUEST}`,
      [
        send(1, 65536),
        send(2, 65535),
        send(65_536, 1),
        send(1, -1),
        call({ at: 65_535 }),
        call({ reply: 65_530 }),
        call({ reply: -8, room: 16 }),
        call({ room: -1 }),
        "(call $request (i32.const 65535) (i32.const 2) (i32.const 10))",
        "(call $send (i32.const 8192) (i32.const 1) (i32.const 65533) (i32.const 1))",
        "(call $send (i32.const 8192) (i32.const 1) (i32.const -4) (i32.const 8))",
      ],
      TO_ECHO,
    );
    expect(got).toEqual(new Array<number>(got.length).fill(RESULT["bad-address"]));
  });

  test("too-large: more than a message, and more than the receiver's inbox or the caller's room", async () => {
    await withEcho(undefined, partition);
    const got = await evaluate(
      running,
      "probe",
      `${SEND}${CALL}`,
      [
        send(LIMITS.payloadBytes + 1, 0),
        send(-1, 0),
        call({ at: 0, length: LIMITS.payloadBytes + 1 }),
        call({ room: 4 }),
      ],
      { ...TO_ECHO, manifest: { memory: 4 } },
    );
    expect(got).toEqual(new Array<number>(got.length).fill(RESULT["too-large"]));
  });

  test("a call of more than the receiver's inbox holds is too-large", async () => {
    await withEcho(undefined, partition);
    expect(await evaluate(running, "probe", CALL, [call({ at: 0, length: 4033 })], TO_ECHO)).toEqual([
      RESULT["too-large"],
    ]);
  });

  test("timeout: a module that does not answer", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const sleeper = watModule(
      `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 3000))) (i64.const 0))`,
    );
    await loadModule(running, "echo", sleeper, {
      grants: [{ ...TIMER, slot: "t" }],
      slots: { t: { interface: "timer", rights: ["use"], port: null } },
      spec: { partition },
    });
    expect(await evaluate(running, "probe", CALL, [call({ ms: 30 })], TO_ECHO)).toEqual([RESULT.timeout]);
  });

  test("dead-peer: a target that is not loaded, held, or without such a port", async () => {
    await withEcho(undefined, partition);
    const toNowhere = { grants: [endpoint("nobody.in")], slots: OUT };
    expect(await evaluate(running, "first", `${SEND}${CALL}`, [send(), call()], toNowhere)).toEqual([
      RESULT["dead-peer"],
      RESULT["dead-peer"],
    ]);
    const noPort = { grants: [endpoint("echo.constructor")], slots: OUT };
    expect(await evaluate(running, "second", `${SEND}${CALL}`, [send(), call()], noPort)).toEqual([
      RESULT["dead-peer"],
      RESULT["dead-peer"],
    ]);
    running.kernel.hold("echo");
    expect(await evaluate(running, "third", CALL, [call()], TO_ECHO)).toEqual([RESULT["dead-peer"]]);
  });

  test("full: a route that refuses", async () => {
    running = await startKernel({ partitions: ["main", "other"] });
    const sleeper = watModule(
      `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 3000))) (i64.const 0))`,
    );
    await loadModule(running, "echo", sleeper, {
      grants: [{ ...TIMER, slot: "t" }],
      slots: { t: { interface: "timer", rights: ["use"], port: null } },
      spec: { partition },
    });
    running.kernel.begin("echo");
    const got = await evaluate(running, "probe", `${SEND}${CALL}`, [send(), send(), call({ ms: 1000 })], {
      grants: [endpoint("echo.in", { depth: 2 })],
      slots: OUT,
    });
    expect(got).toEqual([0, 0, RESULT.full]);
  });
});

test("a call over a route that drops the newest is told that it is full, not left to its deadline", async () => {
  running = await startKernel();
  const sleeper = watModule(
    `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 3000))) (i64.const 0))`,
  );
  await loadModule(running, "echo", sleeper, {
    grants: [{ ...TIMER, slot: "t" }],
    slots: { t: { interface: "timer", rights: ["use"], port: null } },
  });
  running.kernel.begin("echo");
  const got = await evaluate(running, "probe", `${SEND}${CALL}`, [send(), call({ ms: 1000 })], {
    grants: [endpoint("echo.in", { depth: 1, overflow: "drop-newest" })],
    slots: OUT,
  });
  expect(got).toEqual([0, RESULT.full]);
});

describe("denied", () => {
  test("a right that the grant lacks at run time, of an endpoint or a resource", async () => {
    await withEcho();
    const options = { grants: [endpoint("echo.in"), LOG], slots: { ...OUT, log: LOG_SLOT } };
    const write = "(call $log (i32.const 2) (i32.const 8192) (i32.const 1))";
    const expressions = [
      send(),
      `(block (result i32) (drop (call $report (i32.const 0) (i32.const 4))) ${send()})`,
      call(),
      "(call $request (i32.const 8192) (i32.const 5) (i32.const 1000))",
      `(call $derive (i32.const 1))`,
      write,
    ];
    await loadProbeThatIsRevoked(expressions, options);
  });

  async function loadProbeThatIsRevoked(expressions: string[], options: ProbeOptions): Promise<void> {
    const { kernel } = running;
    // The second expression waits for the host, which revokes meanwhile.
    running = await replaceHost(running, () => {
      running.kernel.revoke("probe", "out");
      running.kernel.revoke("probe", "log");
    });
    await kernel.stop();
    await loadModule(running, "echo", watModule("", ECHO), {});
    const { evaluator, reportsOf } = await import("../support/probe.ts");
    await loadProbe(
      running,
      "probe",
      evaluator(`${SEND}${CALL}${REQUEST}${DERIVE}${LOG_IMPORT}`, expressions),
      options,
    );
    running.kernel.begin("probe");
    const report = await running.until(() => reportsOf(running, "probe")[1], "the second report");
    const view = new DataView(report.buffer, report.byteOffset);
    const got = expressions.map((_, index) => view.getInt32(index * 4, true));
    expect(got).toEqual([0, ...new Array<number>(expressions.length - 1).fill(RESULT.denied)]);
  }

  async function replaceHost(_: TestKernel, onFirst: () => void): Promise<TestKernel> {
    let first = true;
    return await startKernel({
      reply: () => {
        if (first) onFirst();
        first = false;
        return { result: 0, bytes: new Uint8Array(0) };
      },
    });
  }

  test("a handle narrowed below what is asked, or widened, or without the right to pass", async () => {
    await withEcho();
    const { send: S, call: C, pass: P } = ENDPOINT_RIGHT;
    const load = "(i32.load (i32.const 60000))";
    const got = await evaluate(
      running,
      "probe",
      `${SEND}${DERIVE}${HANDLE_IMPORTS}`,
      [
        `(call $derive (i32.const ${S}))`,
        `(call $hcall ${load} (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 64) (i32.const 1000))`,
        `(call $narrow ${load} (i32.const ${S | C}))`,
        `(call $narrow ${load} (i32.const ${S | P}))`,
        `(call $derive (i32.const 8))`,
        `(call $derive (i32.const -1))`,
        `(block (result i32) (i32.store (i32.const 9000) ${load})
           (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 1)))`,
        `(call $hsend ${load} (i32.const 8192) (i32.const 5) (i32.const 0) (i32.const 0))`,
      ],
      { grants: [endpoint("echo.in"), HANDLES], slots: { ...OUT, handles: HANDLES_SLOT } },
    );
    expect(got[0]).toBeGreaterThan(0);
    expect(got.slice(1)).toEqual([...new Array<number>(6).fill(RESULT.denied), 0]);
  });
});

test("invalid: deadlines below 1, more handles than a message carries, a level or period out of range", async () => {
  await withEcho();
  const got = await evaluate(
    running,
    "probe",
    `${SEND}${CALL}${REQUEST}${LOG_IMPORT}
     (import "timer" "every" (func $every (param i32) (result i32)))
     (import "timer" "after" (func $after (param i32) (result i32)))
     (import "timer" "sleep" (func $sleep (param i32) (result i32)))`,
    [
      call({ ms: 0 }),
      call({ ms: -1 }),
      "(call $request (i32.const 8192) (i32.const 5) (i32.const 0))",
      "(call $send (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 9))",
      "(call $send (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const -1))",
      "(call $log (i32.const 4) (i32.const 8192) (i32.const 5))",
      "(call $log (i32.const -1) (i32.const 8192) (i32.const 5))",
      "(call $every (i32.const 0))",
      "(call $every (i32.const -5))",
      "(call $after (i32.const -1))",
      "(call $sleep (i32.const -1))",
    ],
    {
      grants: [endpoint("echo.in"), LOG, TIMER],
      slots: { ...OUT, log: LOG_SLOT, timer: { interface: "timer", rights: ["use"], port: "in" } },
    },
  );
  expect(got).toEqual(new Array<number>(got.length).fill(RESULT.invalid));
});

test("bad-handle: never given, closed, negative, and one handle twice in a message", async () => {
  await withEcho();
  const use = (handle: string): string =>
    `(call $hsend ${handle} (i32.const 8192) (i32.const 5) (i32.const 0) (i32.const 0))`;
  const load = "(i32.load (i32.const 60000))";
  const got = await evaluate(
    running,
    "probe",
    `${SEND}${DERIVE}${HANDLE_IMPORTS}`,
    [
      `(call $derive (i32.const 7))`,
      `(block (result i32) (i32.store (i32.const 9000) ${load}) (i32.store (i32.const 9004) ${load})
         (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 2)))`,
      `(block (result i32) (i32.store (i32.const 9000) ${load})
         (i32.store (i32.const 9004) (i32.or ${load} (i32.const 0x80000000)))
         (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 2)))`,
      use("(i32.const 0)"),
      use("(i32.const -1)"),
      use(`(i32.add ${load} (i32.const 1))`),
      use(`(i32.add ${load} (i32.const 2048))`),
      use(`(i32.or ${load} (i32.const 0x80000000))`),
      `(i32.add (call $drop ${load}) (i32.const ${RESULT["bad-handle"]}))`,
      use(load),
      `(call $drop ${load})`,
      `(call $narrow ${load} (i32.const 1))`,
    ],
    { grants: [endpoint("echo.in"), HANDLES], slots: { ...OUT, handles: HANDLES_SLOT } },
  );
  expect(got[0]).toBeGreaterThan(0);
  expect(got.slice(1)).toEqual(new Array<number>(got.length - 1).fill(RESULT["bad-handle"]));
});

test("quota: requests without an answer, and handles", async () => {
  running = await startKernel();
  const sleeper = watModule(
    `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
    `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 3000))) (i64.const 0))`,
  );
  await loadModule(running, "echo", sleeper, {
    grants: [{ ...TIMER, slot: "t" }],
    slots: { t: { interface: "timer", rights: ["use"], port: null } },
  });
  const repeat = (times: number, expression: string): string =>
    `(block (result i32) (local.set $length (i32.const 0)) (loop $l
       (i32.store (i32.const 9000) ${expression})
       (local.set $length (i32.add (local.get $length) (i32.const 1)))
       (br_if $l (i32.lt_u (local.get $length) (i32.const ${times})))) (i32.load (i32.const 9000)))`;
  const request = "(call $request (i32.const 8192) (i32.const 1) (i32.const 60000))";
  const derive = "(call $derive (i32.const 1))";
  const got = await evaluate(
    running,
    "probe",
    `${REQUEST}${DERIVE}`,
    [repeat(LIMITS.pendingRequests, request), request, repeat(LIMITS.handles, derive), derive],
    { grants: [endpoint("echo.in", { depth: 1000 })], slots: OUT },
  );
  expect(got[0]).toBeGreaterThan(0);
  expect(got[1]).toBe(RESULT.quota);
  expect(got[2]).toBeGreaterThan(0);
  expect(got[3]).toBe(RESULT.quota);
});

describe("what the host answers", () => {
  async function hostAnswers(reply: () => HostReply | Promise<HostReply>): Promise<number> {
    running = await startKernel({
      reply: (asked) => (asked.binding.slot === "bus" ? reply() : { result: 0, bytes: new Uint8Array(0) }),
    });
    const [value = 0] = await evaluate(
      running,
      "probe",
      `(import "bus" "read" (func $read (param i32 i32) (result i32)))`,
      ["(call $read (i32.const 9000) (i32.const 8))"],
      {
        grants: [{ slot: "bus", interface: "i2c-device", rights: ["read"], parameters: { bus: 1, address: 0x76 } }],
        slots: { bus: { interface: "i2c-device", rights: ["read"], port: null } },
      },
    );
    return value;
  }

  test.each(RESULT_CODES.map(({ name, code }) => [name, code] as const))(
    "%s (%d) reaches the module",
    async (_, code) => {
      expect(await hostAnswers(() => ({ result: code, bytes: new Uint8Array(0) }))).toBe(code);
    },
  );

  test("success with bytes is their length", async () => {
    expect(await hostAnswers(() => ({ result: 3, bytes: new Uint8Array([1, 2, 3]) }))).toBe(3);
  });

  test("more bytes than were asked for are io, and are told", async () => {
    expect(await hostAnswers(() => ({ result: 9, bytes: new Uint8Array(9) }))).toBe(RESULT.io);
    expect(await running.waitFor("denied")).toMatchObject({ slot: "bus", operation: "read", result: "too-large" });
  });

  test("an error that it throws, and a promise that it rejects, are io", async () => {
    expect(
      await hostAnswers(() => {
        throw new Error("the bus is gone");
      }),
    ).toBe(RESULT.io);
    await running.stop();
    expect(await hostAnswers(() => Promise.reject(new Error("the bus is gone")))).toBe(RESULT.io);
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["no result", { bytes: new Uint8Array(0) }],
    ["a result that is no integer", { result: 1.5, bytes: new Uint8Array(0) }],
    ["a result that is not a number", { result: Number.NaN, bytes: new Uint8Array(0) }],
    ["a result beyond i32", { result: 2 ** 32, bytes: new Uint8Array(0) }],
    ["a negative result that is no code", { result: -700, bytes: new Uint8Array(0) }],
    ["a module's own error", { result: -1000, bytes: new Uint8Array(0) }],
    ["no bytes", { result: 0 }],
    ["bytes that are text", { result: 0, bytes: "abc" }],
  ])("%s is io", async (_, answer) => {
    expect(await hostAnswers(() => answer as unknown as HostReply)).toBe(RESULT.io);
  });
});

test("a slot of a host that is asked outside the granted memory gets bad-address before the host hears of it", async () => {
  running = await startKernel();
  const got = await evaluate(
    running,
    "probe",
    `(import "bus" "write-read" (func $both (param i32 i32 i32 i32) (result i32)))`,
    [
      "(call $both (i32.const 65536) (i32.const 1) (i32.const 0) (i32.const 1))",
      "(call $both (i32.const 0) (i32.const 1) (i32.const 65535) (i32.const 2))",
      "(call $both (i32.const -1) (i32.const -1) (i32.const -1) (i32.const -1))",
    ],
    {
      grants: [{ slot: "bus", interface: "i2c-device", rights: ["read"], parameters: { bus: 1, address: 1 } }],
      slots: { bus: { interface: "i2c-device", rights: ["read"], port: null } },
    },
  );
  expect(got).toEqual(new Array<number>(3).fill(RESULT["bad-address"]));
  expect(running.calls.filter(({ binding }) => binding.slot === "bus")).toEqual([]);
  expect(KERNEL_PORT).toBe(0xffff);
});
