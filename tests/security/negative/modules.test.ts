/** Hostile modules at run time: the exact result that each attempt gets, and the line that it leaves in the audit log. */
import { describe, expect, it } from "vitest";
import type { EndpointGrant, HostReply } from "../../../kernel/index.ts";
import { encodeCbor, ENDPOINT_RIGHT, HANDLE_COPY, KERNEL_PORT, LIMITS, RESULT } from "../../../kernel/index.ts";
import { admit, ECHO, manifestFields, moduleSpec, watModule } from "../../support/modules.ts";
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
  messagesSeen,
  recorder,
  REPORT_IMPORT,
  TIMER,
  values,
} from "../../support/probe.ts";
import type { Watched } from "./support.ts";
import { watched } from "./support.ts";

const { send: S, call: C, pass: P } = ENDPOINT_RIGHT;
const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
const DERIVE = `(import "out" "derive" (func $derive (param i32) (result i32)))`;
const USE = `(import "handles" "send" (func $hsend (param i32 i32 i32 i32 i32) (result i32)))
  (import "handles" "call" (func $hcall (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "handles" "narrow" (func $narrow (param i32 i32) (result i32)))
  (import "handles" "drop" (func $drop (param i32) (result i32)))`;
const OUT = { out: endpointSlot(["send", "call", "pass"]) };
const WITH_HANDLES = { ...OUT, handles: HANDLES_SLOT };
const HOLD = { restart: { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } } as const;
const sendOf = (address: number, length: number): string =>
  `(call $send (i32.const ${address}) (i32.const ${length}) (i32.const 0) (i32.const 0))`;
const callOf = (timeoutMs: number, length = 3): string =>
  `(call $call (i32.const 8192) (i32.const ${length}) (i32.const 9000) (i32.const 64) (i32.const ${timeoutMs}))`;

/** Bytes as a data segment's text. */
function segment(address: number, bytes: Uint8Array): string {
  return `(data (i32.const ${address}) "${[...bytes].map((byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("")}")`;
}

async function echo(running: Watched, name = "echo"): Promise<void> {
  await loadModule(running, name, watModule("", ECHO));
}

/** A module whose handler is this body; it is begun, and a call to it is made by `asker`. */
async function hostile(running: Watched, body: string, extra = "", reply = "hostile"): Promise<number[]> {
  const wat = watModule(
    "",
    `${extra}(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
    (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0)))) ${body})`,
  );
  await loadModule(running, reply, wat, { spec: HOLD });
  return await evaluate(running, "asker", CALL, [callOf(2000)], { grants: [endpoint(`${reply}.in`)], slots: OUT });
}

describe("memory", () => {
  it.each([
    ["just past the end", 65_530, 8],
    ["negative", -8, 8],
    ["that wraps around", 0xffff_fff0 | 0, 64],
  ])("an address %s is bad-address, and told", async (_, address, length) => {
    const running = await watched();
    await echo(running);
    const got = await evaluate(running, "probe", SEND, [sendOf(address, length)], {
      grants: [endpoint("echo.in")],
      slots: OUT,
    });
    expect(got).toEqual([RESULT["bad-address"]]);
    expect(await running.line("denied", "probe")).toMatchObject({
      subject: "out.send",
      detail: { result: "bad-address" },
    });
  });

  it.each<[string, string, string, (at: string) => string]>([
    [
      "endpoint.call's reply",
      "out",
      "call",
      (at) => `(call $call (i32.const 0) (i32.const 1) ${at} (i32.const 64) (i32.const 9))`,
    ],
    ["a message's handles", "handles", "pass", (at) => `(call $send (i32.const 0) (i32.const 1) ${at} (i32.const 2))`],
    ["random.fill", "r", "fill", (at) => `(call $fill ${at} (i32.const 64))`],
    ["log.write", "l", "write", (at) => `(call $log (i32.const 1) ${at} (i32.const 64))`],
    ["store.get's key", "s", "get", (at) => `(call $get ${at} (i32.const 64) (i32.const 0) (i32.const 64))`],
    ["store.get's value", "s", "get", (at) => `(call $get (i32.const 0) (i32.const 1) ${at} (i32.const 64))`],
  ])("%s outside the memory is bad-address, and told", async (_, slot, operation, expression) => {
    const running = await watched();
    await echo(running);
    const imports = `${CALL}${SEND}${LOG_IMPORT.replace('"log"', '"l"')}
      (import "r" "fill" (func $fill (param i32 i32) (result i32)))
      (import "s" "get" (func $get (param i32 i32 i32 i32) (result i32)))`;
    const got = await evaluate(
      running,
      "probe",
      imports,
      [65_532, -8, 0x7fff_ffff].map((at) => expression(`(i32.const ${at})`)),
      {
        grants: [
          endpoint("echo.in"),
          HANDLES,
          { ...LOG, slot: "l" },
          { slot: "r", interface: "random", rights: ["use"], parameters: {} },
          { slot: "s", interface: "store", rights: ["read"], parameters: { prefix: "probe/", quota: 64 } },
        ],
        slots: {
          ...WITH_HANDLES,
          l: LOG_SLOT,
          r: { interface: "random", rights: ["use"], port: null },
          s: { interface: "store", rights: ["read"], port: null },
        },
      },
    );
    expect(got).toEqual([RESULT["bad-address"], RESULT["bad-address"], RESULT["bad-address"]]);
    expect(await running.line("denied", "probe")).toMatchObject({
      subject: `${slot}.${operation}`,
      detail: { result: "bad-address" },
    });
    expect(running.calls.filter(({ binding }) => binding.slot === slot)).toEqual([]);
  });

  it("an address of a call that a gate would carry is told as any other", async () => {
    const running = await watched();
    await loadModule(running, "echo", watModule("", ECHO), { manifest: { fuel: 10_000 } });
    const bad = "(call $call (i32.const -8) (i32.const 3) (i32.const 9000) (i32.const 8) (i32.const 2000))";
    const reply = "(call $call (i32.const 8192) (i32.const 3) (i32.const 65532) (i32.const 8) (i32.const 2000))";
    const got = await evaluate(running, "probe", CALL, [callOf(2000), callOf(2000), callOf(2000), bad, reply], {
      grants: [endpoint("echo.in")],
      slots: OUT,
    });
    expect(got).toEqual([3, 3, 3, RESULT["bad-address"], RESULT["bad-address"]]);
    await running.line("denied", "probe");
    const told = running.lines("probe").filter(({ kind }) => kind === "denied");
    expect(told.map(({ subject, detail }) => [subject, detail["result"]])).toEqual([
      ["out.call", "bad-address"],
      ["out.call", "bad-address"],
    ]);
  });

  it("a message of 64 KiB + 1 is too-large: a mistake, and no denial", async () => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in")], slots: OUT, manifest: { memory: 4 } };
    const got = await evaluate(running, "probe", SEND, [sendOf(0, LIMITS.payloadBytes + 1)], options);
    expect(got).toEqual([RESULT["too-large"]]);
    expect(running.lines("probe").filter(({ kind }) => kind === "denied")).toEqual([]);
  });

  it("growing beyond the quota fails inside the module", async () => {
    const running = await watched();
    const grow = ["(memory.grow (i32.const 3))", "(memory.grow (i32.const 1))"];
    expect(await evaluate(running, "probe", "", grow)).toEqual([1, -1]);
    expect(running.lines("probe").map(({ kind }) => kind)).not.toContain("fault");
  });
});

describe("a handler", () => {
  it.each<[string, string, string, string, string]>([
    [
      "replies outside its memory",
      "(i64.or (i64.shl (i64.const 65530) (i64.const 32)) (i64.const 64))",
      "",
      "contract",
      "cannot be read",
    ],
    ["returns a result that is the kernel's", "(i64.const -3)", "", "contract", "the kernel's own"],
    ["traps", "unreachable", "", "trap", "unreachable"],
    ["never ends", "(loop (br 0)) (i64.const 0)", "", "budget", "fuel"],
    ["recurses without end", "(call $deep) (i64.const 0)", "(func $deep (call $deep))", "stack", "stack"],
    ["divides by zero", "(i64.div_u (i64.const 1) (i64.const 0))", "", "trap", "divide"],
  ])(
    "that %s is stopped, its caller finds a dead peer, and the fault is kept",
    async (_, body, extra, cause, words) => {
      const running = await watched();
      expect(await hostile(running, body, extra)).toEqual([RESULT["dead-peer"]]);
      const line = await running.line("fault", "hostile");
      expect(line.subject).toBe(cause);
      expect(line.detail["text"]).toContain(words);
      expect(await running.line("held", "hostile")).toBeDefined();
    },
  );

  it.each([
    ["outside the memory", "(i32.const 65000)"],
    ["off by four", "(i32.const 1028)"],
  ])("with an inbox %s never runs", async (_, inbox) => {
    const running = await watched();
    const wat = `(module (memory (export "memory") 1) ${ECHO} (func (export "bulkhead_inbox") (result i32) ${inbox}))`;
    await loadModule(running, "hostile", wat, { spec: HOLD });
    expect((await running.line("fault", "hostile")).detail["text"]).toContain("inbox");
  });

  it("that names another inbox each time is asked once, and gets its messages there", async () => {
    const running = await watched();
    const wat = `(module (memory (export "memory") 1) ${ECHO} (global $at (mut i32) (i32.const 1024))
      (func (export "bulkhead_inbox") (result i32) (global.set $at (i32.add (global.get $at) (i32.const 8192)))
        (i32.sub (global.get $at) (i32.const 8192))))`;
    await loadModule(running, "hostile", wat);
    const options = { grants: [endpoint("hostile.in")], slots: OUT };
    expect(await evaluate(running, "asker", CALL, [callOf(2000), callOf(2000)], options)).toEqual([3, 3]);
    expect(running.lines("hostile").map(({ kind }) => kind)).toEqual(["admitted"]);
  });
});

describe("a handle", () => {
  it("that was guessed is bad-handle, and a flood of guesses leaves ten lines a second and a count", async () => {
    const running = await watched();
    const guess = `(block (result i32) (local.set $length (i32.const 0))
      (loop $next (drop (call $drop (local.get $length)))
        (local.set $length (i32.add (local.get $length) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $length) (i32.const 2000)))) (call $drop (i32.const -1)))`;
    const options = { grants: [HANDLES], slots: { handles: HANDLES_SLOT }, manifest: { fuel: 1e8 } };
    expect(await evaluate(running, "probe", USE, [guess], options)).toEqual([RESULT["bad-handle"]]);
    expect(await running.line("denied", "probe")).toMatchObject({
      subject: "handles.drop",
      detail: { result: "bad-handle" },
    });
    expect(running.lines("probe").filter(({ kind }) => kind === "denied").length).toBeLessThanOrEqual(20);
  });

  it("of an earlier instance, or of another module, is nobody's", async () => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in"), HANDLES], slots: WITH_HANDLES };
    const use = `(call $hsend (local.get $length) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0))`;
    const derived = await evaluate(running, "probe", `${DERIVE}${USE}`, [`(call $derive (i32.const ${S}))`], options);
    running.kernel.restart("probe");
    const again = await values(running, "probe", 1);
    expect(again[0]).not.toBe(derived[0]);
    const stale = use.replace("(local.get $length)", `(i32.const ${derived[0]})`);
    expect(await evaluate(running, "second", `${DERIVE}${USE}`, [stale], options)).toEqual([RESULT["bad-handle"]]);
    expect(await running.line("denied", "second")).toMatchObject({ subject: "handles.send" });
  });

  it.each<[string, EndpointGrant["rights"], string, string]>([
    ["derived with a right that the slot lacks", ["send", "pass"], `(call $derive (i32.const ${S | C}))`, "out.narrow"],
    ["derived with all bits set", ["send", "call", "pass"], "(call $derive (i32.const -1))", "out.narrow"],
    [
      "widened",
      ["send", "call", "pass"],
      `(call $narrow (call $derive (i32.const ${S})) (i32.const ${S | C}))`,
      "handles.narrow",
    ],
  ])("%s is denied", async (_, rights, expression, subject) => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in", { rights }), HANDLES], slots: WITH_HANDLES };
    expect(await evaluate(running, "probe", `${DERIVE}${USE}`, [expression], options)).toEqual([RESULT.denied]);
    expect(await running.line("denied", "probe")).toMatchObject({ subject, detail: { result: "denied" } });
  });

  it("derived when the right to pass has been taken away is denied", async () => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in")], slots: OUT };
    const [handle = 0] = await evaluate(running, "probe", DERIVE, [`(call $derive (i32.const ${S}))`], options);
    expect(handle).toBeGreaterThan(0);
    running.kernel.grant("probe", endpoint("echo.in", { rights: ["send"] }));
    running.kernel.restart("probe");
    expect(await values(running, "probe", 1)).toEqual([RESULT.denied]);
    expect(await running.line("denied", "probe")).toMatchObject({ subject: "out.derive" });
  });

  it("that is one too many is refused by quota", async () => {
    const running = await watched();
    await echo(running);
    const fill = `(block (result i32) (local.set $length (i32.const 0))
      (loop $next (drop (call $derive (i32.const ${S}))) (local.set $length (i32.add (local.get $length) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $length) (i32.const ${LIMITS.handles})))) (call $derive (i32.const ${S})))`;
    const options = { grants: [endpoint("echo.in")], slots: OUT, manifest: { fuel: 1e8 } };
    expect(await evaluate(running, "probe", DERIVE, [fill], options)).toEqual([RESULT.quota]);
  });
});

/** Uses the first handle of each message: reports the results of a send and of a call by it. */
const USER = watModule(
  `${REPORT_IMPORT}${USE}`,
  `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
    (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
    (i32.store (i32.const 8200) (call $hsend (i32.load (i32.const 1056)) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
    (i32.store (i32.const 8204) (call $hcall (i32.load (i32.const 1056)) (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 500)))
    (drop (call $report (i32.const 8200) (i32.const 8))) (i64.const 0))`,
);

/** `giver` derives a handle to `echo` with these rights and sends it to `user`. @returns the result of the send. */
async function give(
  running: Watched,
  rights: number,
  toEcho: Partial<EndpointGrant> = {},
  toUser = ["send"],
  user = USER,
): Promise<number> {
  await loadProbe(running, "echo", recorder());
  await loadProbe(running, "user", user, {
    grants: [HANDLES],
    slots: { handles: HANDLES_SLOT },
    spec: { partition: "other" },
  });
  const pass = `(block (result i32)
    (i32.store (i32.const 9000) (i32.or (call $derive (i32.const ${rights})) (i32.const ${HANDLE_COPY | 0})))
    (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 1)))`;
  const got = await evaluate(
    running,
    "giver",
    `${SEND}(import "e" "derive" (func $derive (param i32) (result i32)))`,
    [pass],
    {
      grants: [
        endpoint("user.in", { rights: toUser as EndpointGrant["rights"] }),
        endpoint("echo.in", { slot: "e", badge: 55, ...toEcho }),
        HANDLES,
      ],
      slots: { out: endpointSlot(["send"]), e: endpointSlot(["pass"]), handles: HANDLES_SLOT },
    },
  );
  return got[0] ?? 0;
}

describe("delegation", () => {
  it("gives what it says and no more: a call by a handle that only sends is denied", async () => {
    const running = await watched();
    expect(await give(running, S | P)).toBe(0);
    expect(await values(running, "user")).toEqual([0, RESULT.denied]);
    expect(await running.line("denied", "user")).toMatchObject({
      subject: "handles.call",
      detail: { result: "denied" },
    });
  });

  it("without the right to pass is denied at the sender", async () => {
    const running = await watched();
    expect(await give(running, S)).toBe(RESULT.denied);
    expect(await running.line("denied", "giver")).toMatchObject({ subject: "handles.pass" });
  });

  it("of a right to call that would not lead upward is refused where it is passed: level", async () => {
    const running = await watched();
    // `giver` calls `user` and `echo`: they stand on one level, and neither may wait for the other.
    expect(await give(running, S | C | P, {}, ["send", "call"])).toBe(RESULT.level);
    expect(await running.line("denied", "giver")).toMatchObject({ subject: "out.send", detail: { result: "level" } });
  });

  it("that led upward when it was passed and does not any more is refused where it is used: level", async () => {
    const running = await watched();
    await loadModule(running, "late", watModule(CALL, ECHO), {
      slots: OUT,
      grants: [endpoint("echo.in", { rights: ["call"] })],
    });
    await give(running, S | C | P);
    await values(running, "user");
    // Now `late` calls `user` too, so `user` rises to the level of `echo`.
    running.kernel.grant("late", endpoint("user.in", { rights: ["call"] }));
    running.kernel.restart("giver");
    expect(await values(running, "giver", 1)).toEqual([RESULT.level]);
  });

  it("ends with the grant that it came from: revoked, in the other partition too", async () => {
    const running = await watched();
    await give(running, S | P);
    await values(running, "user");
    running.kernel.revoke("giver", "e");
    expect(await running.line("revoked", "giver")).toMatchObject({ subject: "e" });
    running.kernel.restart("giver");
    // The giver can derive nothing any more, so it has nothing to pass.
    expect(await values(running, "giver", 1)).toEqual([RESULT["bad-handle"]]);
  });

  it("carries its badge and its giver's authority, and nothing that the user says changes the sender", async () => {
    const running = await watched();
    await give(running, S | P);
    const [message] = await messagesSeen(running, "echo", 1);
    expect(message).toMatchObject({ badge: 55, senderModule: 2, senderGeneration: 1 });
  });
});

const READING = {
  message: [
    ["sensor", false, "text", 1, 48],
    ["value", false, "number"],
  ],
  reply: [["ok", false, "boolean"]],
};
const CONTRACTED = {
  ports: [{ name: "in", contract: "reading", fuel: 10_000, stack: 4096 }],
  contracts: { reading: READING },
};

/** Sends these bytes to `sink`, by a route with these rules. */
async function sendChecked(running: Watched, bytes: Uint8Array, rules: Partial<EndpointGrant>): Promise<number[]> {
  await loadProbe(running, "sink", recorder(), { manifest: CONTRACTED });
  return await evaluate(running, "probe", SEND, [sendOf(8192, bytes.length)], {
    grants: [endpoint("sink.in", { rights: ["send"], ...rules })],
    slots: { out: endpointSlot(["send"]) },
    extra: segment(8192, bytes),
  });
}

describe("content", () => {
  const good = encodeCbor({ value: 1.5, sensor: "bme280" });

  it("that the contract allows passes", async () => {
    const running = await watched();
    expect(await sendChecked(running, good, { check: true })).toEqual([0]);
    expect((await messagesSeen(running, "sink", 1))[0]?.payload).toEqual(good);
    expect(running.lines("probe").map(({ kind }) => kind)).not.toContain("contract");
  });

  it.each<[string, Uint8Array, string]>([
    ["a value of another type", encodeCbor({ value: "1.5", sensor: "x" }), "the field value"],
    ["a field missing", encodeCbor({ value: 1 }), "no field sensor"],
    ["a field too many", encodeCbor({ value: 1, sensor: "x", root: true }), "does not have"],
    [
      "__proto__ as a field",
      encodeCbor(
        new Map<string, number | string>([
          ["value", 1],
          ["__proto__", 1],
        ]),
      ),
      "does not have",
    ],
    ["a text that is too long", encodeCbor({ value: 1, sensor: "x".repeat(49) }), "the field sensor"],
    ["one field twice", Uint8Array.from(Buffer.from("a26576616c7565016576616c756502", "hex")), "duplicate-key"],
    ["a bignum", Uint8Array.from(Buffer.from("a26576616c7565c249010000000000000000", "hex")), "tag-not-allowed"],
    ["no map", encodeCbor([1, 2]), "not a map"],
    ["thousands of nested arrays", new Uint8Array(3000).fill(0x81), "too-deep"],
    ["bytes that are no CBOR", Uint8Array.of(0xff, 0xfe), "at byte"],
    ["nothing", new Uint8Array(0), "truncated"],
  ])("with %s is refused to its sender, never reaches the port, and is told: contract", async (_, bytes, words) => {
    const running = await watched();
    expect(await sendChecked(running, bytes, { check: true })).toEqual([RESULT.contract]);
    const line = await running.line("contract", "probe");
    expect(line).toMatchObject({ subject: "out.send", detail: { result: "contract" } });
    expect(line.detail["text"]).toContain(words);
    expect(running.calls.filter(({ binding }) => binding.module === "sink")).toEqual([]);
  });

  it("without what the route requires is refused and told", async () => {
    const running = await watched();
    const require = [{ field: "sensor", test: { below: "site/7/#" } }];
    expect(await sendChecked(running, good, { require })).toEqual([RESULT.contract]);
    expect((await running.line("contract", "probe")).detail["text"]).toContain(
      "the field sensor, which the route requires",
    );
  });

  it("is checked wherever the route's handle has gone: a delegated one goes round no rule", async () => {
    const running = await watched();
    expect(await give(running, S | P, { require: [{ field: "sensor", test: {} }] })).toBe(0);
    expect((await values(running, "user"))[0]).toBe(RESULT.contract);
    expect(await running.line("contract", "user")).toMatchObject({ subject: "handles.send" });
  });

  it("of a reply that is not what the contract says does not reach the caller", async () => {
    const running = await watched();
    await loadModule(running, "sink", watModule("", ECHO), { manifest: CONTRACTED });
    const got = await evaluate(running, "probe", CALL, [callOf(2000, good.length)], {
      grants: [endpoint("sink.in", { rights: ["call"], check: true })],
      slots: { out: endpointSlot(["call"]) },
      extra: segment(8192, good),
    });
    expect(got).toEqual([RESULT.contract]);
    expect((await running.line("contract", "probe")).detail["text"]).toContain("the reply");
  });

  it("of a call that would be carried by a gate is checked as well", async () => {
    const running = await watched();
    await loadModule(running, "sink", watModule("", ECHO), { manifest: { ...CONTRACTED, fuel: 10_000 } });
    const calls = Array.from({ length: 4 }, () => callOf(2000, 2));
    const got = await evaluate(running, "probe", CALL, calls, {
      grants: [endpoint("sink.in", { rights: ["call"], check: true })],
      slots: { out: endpointSlot(["call"]) },
    });
    expect(got).toEqual(calls.map(() => RESULT.contract));
  });

  it("to a port without a contract passes nothing where it is to be checked", async () => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in", { check: true })], slots: OUT };
    expect(await evaluate(running, "probe", SEND, [sendOf(8192, 1)], options)).toEqual([RESULT.contract]);
    expect((await running.line("contract", "probe")).detail["text"]).toContain("no contract");
  });
});

describe("contract confusion", () => {
  const other = {
    message: [
      ["sensor", false, "text", 1, 48],
      ["value", false, "text", 0, 8],
    ],
  };

  it("at a link is refused with the field that differs: E_CONTRACT", async () => {
    const running = await watched();
    await loadProbe(running, "sink", recorder(), { manifest: CONTRACTED });
    const slots = { out: { ...endpointSlot(["send"]), contract: "other" } };
    const loading = loadModule(running, "probe", watModule(SEND, ECHO), {
      grants: [endpoint("sink.in", { rights: ["send"] })],
      slots,
      manifest: { contracts: { other } } as never,
    });
    await expect(loading).rejects.toMatchObject({
      code: "E_CONTRACT",
      detail: { found: expect.stringContaining("message.value is text") as string },
    });
    expect(running.lines("probe")).toEqual([]);
  });

  it("by an update whose ports stand elsewhere is refused: a handle never leads to another port", async () => {
    const running = await watched();
    await echo(running);
    const port = (name: string) => ({ name, contract: null, fuel: 10_000, stack: 4096 });
    const spec = moduleSpec("echo");
    const next = await admit(
      watModule("", ECHO),
      manifestFields("echo", { version: "2.0.0", ports: [port("control"), port("in")] }),
      spec,
    );
    await expect(running.kernel.swap([{ name: "echo", admitted: next }])).rejects.toMatchObject({ code: "E_CONTRACT" });
  });
});

describe("re-entry", () => {
  it("by a cycle through three modules ends at the innermost deadline, and each goes on", async () => {
    const running = await watched();
    // Each calls the next when it is called, the first when it is started; the last waits for the first in vain.
    const ring = [
      ["one", "two", 3000],
      ["two", "three", 2000],
      ["three", "one", 100],
    ] as const;
    for (const [name, next, ms] of ring) {
      const when = `(i32.${name === "one" ? "ne" : "eq"} (local.get $port) (i32.const ${KERNEL_PORT}))`;
      const wat = watModule(
        `${REPORT_IMPORT}${CALL}`,
        `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
          (if ${when} (then (return (i64.const 0))))
          (i32.store (i32.const 8200) ${callOf(ms)}) (drop (call $report (i32.const 8200) (i32.const 4))) (i64.const 0))`,
      );
      await loadProbe(running, name, wat, {
        grants: [endpoint(`${next}.in`)],
        slots: OUT,
        spec: { partition: name === "two" ? "other" : "main" },
      });
    }
    running.kernel.begin("one");
    expect(await values(running, "three")).toEqual([RESULT.timeout]);
    expect([await values(running, "two"), await values(running, "one")]).toEqual([[0], [0]]);
    for (const [name] of ring) {
      const kinds = running.lines(name).map(({ kind }) => kind);
      expect(kinds.filter((kind) => !["admitted", "granted"].includes(kind))).toEqual([]);
    }
  });
});

describe("a flood", () => {
  it.each([
    ["of handles leaves a receiver without the slot none, and room for its own", [], {}, 0],
    ["of handles leaves a receiver half of what it may hold for its own", [HANDLES], { handles: HANDLES_SLOT }, 512],
  ])("%s", async (_, grants, slots, kept) => {
    const running = await watched();
    await loadProbe(running, "echo", recorder());
    // Counts the handles that came, and at the end derives as many as it can.
    const wat = watModule(
      `${REPORT_IMPORT}(import "own" "derive" (func $derive (param i32) (result i32)))`,
      `(global $kept (mut i32) (i32.const 0))
      (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64) (local $i i32)
        (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
        (if (i32.load8_u (i32.const 1027)) (then
          (loop $next
            (if (i32.load (i32.add (i32.const 1056) (i32.shl (local.get $i) (i32.const 2))))
              (then (global.set $kept (i32.add (global.get $kept) (i32.const 1)))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 8))))
          (return (i64.const 0))))
        (loop $more (if (i32.gt_s (call $derive (i32.const ${S})) (i32.const 0))
          (then (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $more))))
        (i32.store (i32.const 8200) (global.get $kept)) (i32.store (i32.const 8204) (local.get $i))
        (drop (call $report (i32.const 8200) (i32.const 8))) (i64.const 0))`,
    );
    await loadProbe(running, "victim", wat, {
      grants: [endpoint("echo.in", { slot: "own" }), ...grants],
      slots: { own: endpointSlot(["pass"]), ...slots },
      manifest: { fuel: 1e7 },
    });
    const copies = Array.from({ length: 8 }, (_, index) => {
      const handle = `(i32.or (call $derive (i32.const ${S | P})) (i32.const ${HANDLE_COPY | 0}))`;
      return `(i32.store (i32.const ${9000 + 4 * index}) ${handle})`;
    });
    const flood = `(block (result i32) ${copies.join(" ")} (local.set $length (i32.const 130))
      (loop $next (drop (call $send (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1))) (br_if $next (local.get $length)))
      ${sendOf(8192, 1)})`;
    const options = {
      grants: [endpoint("victim.in", { depth: 200 }), endpoint("echo.in", { slot: "e" })],
      slots: { out: endpointSlot(["send"]), e: endpointSlot(["pass"]) },
      manifest: { fuel: 1e7 },
    };
    const imports = `${SEND}(import "e" "derive" (func $derive (param i32) (result i32)))`;
    expect(await evaluate(running, "hostile", imports, [flood], options)).toEqual([0]);
    expect(await values(running, "victim")).toEqual([kept, LIMITS.handles - kept]);
  });

  it("on one port leaves the other ports their room, and is no denial", async () => {
    const running = await watched();
    const two = { ports: ["in", "control"].map((name) => ({ name, contract: null, fuel: 10_000, stack: 4096 })) };
    await loadModule(running, "echo", watModule("", ECHO), { manifest: two });
    const other = `(import "other" "send" (func $other (param i32 i32 i32 i32) (result i32)))`;
    const expressions = [...[1, 2, 3].map(() => sendOf(8192, 1)), sendOf(8192, 1).replace("$send", "$other")];
    const got = await evaluate(running, "probe", SEND + other, expressions, {
      grants: [endpoint("echo.in", { depth: 2 }), endpoint("echo.control", { slot: "other", depth: 2 })],
      slots: { ...OUT, other: endpointSlot(["send"]) },
    });
    expect(got).toEqual([0, 0, RESULT.full, 0]);
    expect(running.lines("probe").filter(({ kind }) => kind === "denied")).toEqual([]);
  });

  it("of messages fills its own route and no more: full", async () => {
    const running = await watched();
    await echo(running);
    const options = { grants: [endpoint("echo.in", { depth: 2 })], slots: OUT };
    const got = await evaluate(
      running,
      "probe",
      SEND,
      [1, 2, 3].map(() => sendOf(8192, 1)),
      options,
    );
    expect(got).toEqual([0, 0, RESULT.full]);
  });

  it("of denials is cut by the second, and what was left out is counted", async () => {
    const running = await watched();
    await echo(running);
    const wat = watModule(
      `${SEND}${USE}(import "t" "every" (func $every (param i32) (result i32)))`,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $n i32)
        (drop (call $every (i32.const 200))) (local.set $n (i32.const 50))
        (loop $more (drop ${sendOf(-8, 8)}) (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))
        (drop (call $drop (i32.const 5)))
        (i64.const 0))`,
    );
    await loadModule(running, "flood", wat, {
      grants: [endpoint("echo.in"), { ...TIMER, slot: "t" }, HANDLES],
      slots: { ...WITH_HANDLES, t: { interface: "timer", rights: ["use"], port: "in" } },
    });
    running.kernel.begin("flood");
    const counted = await running.waitFor("denied", ({ untold }) => untold > 0);
    expect(counted.untold).toBeGreaterThanOrEqual(30);
    const kept = running.lines("flood").filter(({ kind }) => kind === "denied");
    expect(kept.length).toBeLessThanOrEqual(22);
    expect(kept.filter(({ subject }) => subject === "handles.drop").length).toBeGreaterThanOrEqual(1);
    expect(kept.some(({ detail }) => Number(detail["untold"]) >= 30)).toBe(true);
    // And it hides neither another of its own nor anybody else's.
    const options = { grants: [HANDLES], slots: { handles: HANDLES_SLOT } };
    await evaluate(running, "quiet", USE, ["(call $drop (i32.const 5))"], options);
    expect(await running.line("denied", "quiet")).toBeDefined();
  });

  it("of log lines is cut, told once, and is nothing for the audit log", async () => {
    const running = await watched();
    const many = `(block (result i32) (local.set $length (i32.const 500))
      (loop $next (drop (call $log (i32.const 2) (i32.const 8192) (i32.const 4)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1))) (br_if $next (local.get $length)))
      (call $log (i32.const 2) (i32.const 8192) (i32.const 4)))`;
    await evaluate(running, "probe", LOG_IMPORT, [many], {
      grants: [LOG],
      slots: { log: LOG_SLOT },
      manifest: { fuel: 1e7 },
    });
    expect(running.events.filter(({ type }) => type === "log").length).toBeLessThanOrEqual(
      2 * LIMITS.logLinesPerSecond,
    );
    expect(running.lines("probe").map(({ kind }) => kind)).not.toContain("log");
  });

  it("of timers leaves one: each replaces the one before", async () => {
    const running = await watched();
    const imports = `(import "t" "after" (func $after (param i32) (result i32)))`;
    const many = `(block (result i32) (local.set $length (i32.const 100000))
      (loop $next (drop (call $after (i32.const 1000000))) (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br_if $next (local.get $length))) (call $after (i32.const -1)))`;
    const options = {
      grants: [{ ...TIMER, slot: "t" }],
      slots: { t: { interface: "timer", rights: ["use"], port: "in" } },
      manifest: { fuel: 1e9 },
    };
    expect(await evaluate(running, "probe", imports, [many], options)).toEqual([RESULT.invalid]);
  });
});

describe("what a host process does not give", () => {
  it.each<[string, number]>([
    ["denied", RESULT.denied],
    ["quota", RESULT.quota],
  ])("is told as %s, and floods of it are counted", async (name, result) => {
    const running = await watched(["main", "other"], () => ({ result, bytes: new Uint8Array(0) }));
    const set = `(call $set (i32.const 8192) (i32.const 3) (i32.const 8192) (i32.const 64))`;
    const imports = `${LOG_IMPORT}(import "s" "set" (func $set (param i32 i32 i32 i32) (result i32)))`;
    const wat = watModule(
      imports,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $n i32) (local.set $n (i32.const 40))
        (loop $more (drop ${set}) (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $more (local.get $n)))
        (i32.store8 (i32.const 8192) (i32.sub (i32.const 0x30) ${set}))
        (drop (call $log (i32.const 1) (i32.const 8192) (i32.const 1))) (i64.const 0))`,
    );
    await loadModule(running, "probe", wat, {
      grants: [LOG, { slot: "s", interface: "store", rights: ["write"], parameters: { prefix: "probe/", quota: 64 } }],
      slots: { log: LOG_SLOT, s: { interface: "store", rights: ["write"], port: null } },
      manifest: { fuel: 1e6 },
    });
    running.kernel.begin("probe");
    expect(await running.logs("probe", 1)).toEqual([String.fromCharCode(0x30 - result)]);
    expect(await running.line("denied", "probe")).toMatchObject({ subject: "s.set", detail: { result: name } });
    expect(running.lines("probe").filter(({ kind }) => kind === "denied").length).toBeLessThanOrEqual(20);
  });
});

describe("an event", () => {
  const serial = { slot: "serial", interface: "uart", rights: ["write"], parameters: {} } as const;

  it("does not reach a module whose grant may only write, and an empty right opens nothing", async () => {
    const running = await watched();
    await loadProbe(running, "probe", recorder(), {
      grants: [serial],
      slots: { serial: { interface: "uart", rights: ["read", "write"], port: "in" } },
    });
    const binding = running.bindings.find(({ slot }) => slot === "serial")?.id ?? -1;
    running.kernel.event(binding, Uint8Array.of(0x41, 1));
    running.kernel.grant("probe", { ...serial, rights: ["read"] });
    const now = running.bindings.find(({ slot }) => slot === "serial")?.id ?? -1;
    running.kernel.event(now, Uint8Array.of(0x41, 2));
    const messages = await messagesSeen(running, "probe", 1);
    expect(messages.map(({ payload }) => [...payload])).toEqual([[0x41, 2]]);
  });
});

describe("what the operator does", () => {
  it("is kept too: admission with the digest, each grant, each revocation", async () => {
    const running = await watched();
    await loadModule(running, "probe", watModule(SEND, ECHO), { grants: [endpoint("a.in")], slots: OUT });
    running.kernel.revoke("probe", "out");
    expect(running.lines("probe").map(({ kind, subject }) => `${kind} ${subject}`)).toEqual([
      "admitted 1.0.0",
      "granted out",
      "revoked out",
    ]);
    const [admitted, granted] = running.lines("probe");
    expect(String(admitted?.detail["sha256"])).toMatch(/^[0-9a-f]{64}$/);
    expect(granted?.detail).toEqual({ interface: "endpoint", reaches: "a.in (send, call, pass)" });
  });

  it("lets nothing through that a resource answers after its grant was revoked: denied", async () => {
    let answer: (reply: HostReply) => void = () => undefined;
    const running = await watched(["main", "other"], ({ binding }) =>
      binding.slot === "s"
        ? new Promise<HostReply>((resolve) => (answer = resolve))
        : { result: 0, bytes: new Uint8Array(0) },
    );
    const get = "(call $get (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8))";
    const asked = evaluate(
      running,
      "probe",
      `(import "s" "get" (func $get (param i32 i32 i32 i32) (result i32)))`,
      [get, "(i32.load (i32.const 9000))"],
      {
        grants: [{ slot: "s", interface: "store", rights: ["read"], parameters: { prefix: "probe/", quota: 64 } }],
        slots: { s: { interface: "store", rights: ["read"], port: null } },
      },
    );
    await running.until(() => running.calls.find(({ binding }) => binding.slot === "s"), "a request of the store");
    running.kernel.revoke("probe", "s");
    answer({ result: 4, bytes: Uint8Array.of(1, 2, 3, 4) });
    expect(await asked).toEqual([RESULT.denied, 0]);
    expect(await running.line("denied", "probe")).toMatchObject({ subject: "s.get", detail: { result: "denied" } });
  });

  it("ends a call in flight: denied, before the callee answers", async () => {
    const running = await watched();
    await loadProbe(
      running,
      "slow",
      watModule(
        `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
        `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 60000))) (i64.const 0))`,
      ),
      {
        grants: [{ ...TIMER, slot: "t" }],
        slots: { t: { interface: "timer", rights: ["use"], port: null } },
        spec: { activationMs: 60_000 },
      },
    );
    const asked = evaluate(
      running,
      "probe",
      `${CALL}${LOG_IMPORT}`,
      [`(block (result i32) (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))) ${callOf(50_000)})`],
      {
        grants: [endpoint("slow.in"), LOG],
        slots: { ...OUT, log: LOG_SLOT },
      },
    );
    await running.logs("probe", 1);
    running.kernel.revoke("probe", "out");
    expect(await asked).toEqual([RESULT.denied]);
    expect(await running.line("revoked", "probe")).toMatchObject({ subject: "out" });
  });

  it("by revoking a module's handles takes back what it has passed on, and nothing else", async () => {
    const running = await watched();
    // Keeps the first handle that it ever got, and uses it and the newest one.
    const keeper = watModule(
      `${REPORT_IMPORT}${USE}`,
      `(global $kept (mut i32) (i32.const 0))
      (func $use (param i32) (result i32) (call $hsend (local.get 0) (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 0)))
      (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
        (if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
        (if (i32.eqz (global.get $kept)) (then (global.set $kept (i32.load (i32.const 1056)))))
        (i32.store (i32.const 8200) (call $use (global.get $kept)))
        (i32.store (i32.const 8204) (call $use (i32.load (i32.const 1056))))
        (drop (call $report (i32.const 8200) (i32.const 8))) (i64.const 0))`,
    );
    await give(running, S | P, {}, ["send"], keeper);
    expect(await values(running, "user")).toEqual([0, 0]);
    running.kernel.revoke("giver", "handles");
    running.kernel.restart("giver");
    // The giver's own slot still derives: that is another grant.
    expect(await values(running, "giver", 1)).toEqual([0]);
    expect(await values(running, "user", 1)).toEqual([RESULT.denied, 0]);
    expect(await running.line("denied", "user")).toMatchObject({ subject: "handles.send" });
  });
});
