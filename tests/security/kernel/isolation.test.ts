/** Hostile modules at run time: what each attempt gets, which event it leaves, and that a neighbour does not feel it. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Grant, InterfaceName } from "../../../kernel/index.ts";
import {
  ENDPOINT_RIGHT,
  findOperation,
  interfaceDefinition,
  INTERFACES,
  KERNEL_PORT,
  KIND,
  LIMITS,
  operationType,
  RESULT,
} from "../../../kernel/index.ts";
import type { TestKernel } from "../../support/kernel.ts";
import { startKernel } from "../../support/kernel.ts";
import { ECHO, watModule } from "../../support/modules.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  HANDLES,
  HANDLES_SLOT,
  loadModule,
  loadProbe,
  messagesSeen,
  recorder,
  REPORT_IMPORT,
  reportsOf,
  TIMER,
  values,
} from "../../support/probe.ts";

let running: TestKernel;
beforeEach(async () => {
  running = await startKernel({ partitions: ["main", "other"], stuckMs: 2000 });
});
afterEach(async () => {
  // Whatever a test did, no partition was lost and a neighbour still answers.
  expect(running.events.filter(({ type }) => type === "partition-lost")).toEqual([]);
  await loadModule(running, "neighbour", watModule("", ECHO));
  const call = "(call $call (i32.const 8192) (i32.const 3) (i32.const 9000) (i32.const 8) (i32.const 3000))";
  const answer = await evaluate(running, "asks-neighbour", CALL, [call], {
    grants: [endpoint("neighbour.in")],
    slots: { out: endpointSlot(["call"]) },
  });
  expect(answer).toEqual([3]);
  await running.stop();
});

const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
const DERIVE = `(import "out" "derive" (func $derive (param i32) (result i32)))`;
const USE = `(import "handles" "send" (func $hsend (param i32 i32 i32 i32 i32) (result i32)))
  (import "handles" "narrow" (func $narrow (param i32 i32) (result i32)))
  (import "handles" "drop" (func $drop (param i32) (result i32)))`;
const SLEEP_IMPORT = `(import "t" "sleep" (func $sleep (param i32) (result i32)))`;
const SLEEP = {
  grants: [{ ...TIMER, slot: "t" }],
  slots: { t: { interface: "timer", rights: ["use"], port: null } },
};
const HOLD = { restart: { policy: "hold", intensity: 0, windowMs: 1, backoffMs: 1, maximumBackoffMs: 1 } } as const;
const OUT = { out: endpointSlot(["send", "call", "pass"]) };
const EDGES = [0, 1, 7, 8, 63, 64, 65_535, 65_536, 65_537, 0x7fff_ffff, -0x8000_0000, -65_536, -8, -2, -1];

async function echo(name = "echo"): Promise<void> {
  await loadModule(running, name, watModule("", ECHO));
}

test("pointers and lengths at every edge: success only where the range lies inside, never a crash", async () => {
  await echo();
  const pairs = EDGES.flatMap((address) => EDGES.map((length) => [address, length] as const));
  const got = await evaluate(
    running,
    "probe",
    SEND,
    pairs.map(([a, n]) => `(call $send (i32.const ${a}) (i32.const ${n}) (i32.const 0) (i32.const 0))`),
    { grants: [endpoint("echo.in", { depth: 1000 })], slots: OUT, manifest: { fuel: 1e6 } },
  );
  pairs.forEach(([address, length], index) => {
    const isTooLong = length >>> 0 > LIMITS.payloadBytes;
    const isInside = (address >>> 0) + (length >>> 0) <= 65_536;
    const inside = length > 4096 - 64 ? RESULT["too-large"] : 0;
    const wanted = isTooLong ? RESULT["too-large"] : isInside ? inside : RESULT["bad-address"];
    expect([address, length, got[index]]).toEqual([address, length, wanted]);
  });
});

test("every host operation of every interface, with every argument at every edge: a code, never a crash", async () => {
  const names = Object.keys(INTERFACES) as InterfaceName[];
  await echo();
  const imports: string[] = [];
  const slots: Record<string, { interface: string; rights: string[]; port: string | null }> = {};
  const expressions: string[] = [];
  const list: Grant[] = [];
  for (const name of names) {
    const definition = interfaceDefinition(name);
    slots[name] = {
      interface: name,
      rights: [...definition.rights],
      port: definition.eventRight === null ? null : "in",
    };
    list.push(
      name === "endpoint"
        ? endpoint("echo.in", { slot: name })
        : { slot: name, interface: name, rights: [...definition.rights], parameters: {} },
    );
    for (const operationName of Object.keys(definition.operations)) {
      const operation = findOperation(name, operationName);
      // Sleeping for days is what it says; and everything else answers at once.
      if (operation === undefined || operationName === "sleep") continue;
      const [parameters = "", result = ""] = operationType(operation).slice(1).split(")->");
      const types = parameters === "" ? [] : parameters.split(",");
      const label = `$${name}-${operationName}`;
      imports.push(
        `(import "${name}" "${operationName}" (func ${label} (param ${types.join(" ")}) (result ${result})))`,
      );
      for (const edge of [0, 65_535, 65_536, 0x7fff_ffff, -0x8000_0000, -1]) {
        const call = `(call ${label} ${types.map((type) => `(${type}.const ${edge})`).join(" ")})`;
        expressions.push(result === "i64" ? `(i32.wrap_i64 ${call})` : call);
      }
    }
  }
  const got = await evaluate(running, "probe", imports.join("\n"), expressions, {
    grants: list,
    slots,
    manifest: { fuel: 1e7 },
    spec: { activationMs: 20_000 },
  });
  expect(got).toHaveLength(expressions.length);
  expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
});

test("handle guessing over the whole number range finds nothing but its own handle", async () => {
  await echo();
  await loadProbe(running, "secret", recorder());
  const { send: S } = ENDPOINT_RIGHT;
  // 20,000 guesses spread over all 2^32 numbers, and all of the first 5,000.
  const guesses = (count: number, step: number): string =>
    `(block (result i32) (local.set $length (i32.const 0)) (i32.store (i32.const 9900) (i32.const 0)) (loop $l
      (if (i32.eqz (call $hsend (i32.mul (local.get $length) (i32.const ${step})) (i32.const 8192) (i32.const 0) (i32.const 0) (i32.const 0)))
        (then (i32.store (i32.const 9900) (i32.add (i32.load (i32.const 9900)) (i32.const 1)))))
      (local.set $length (i32.add (local.get $length) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $length) (i32.const ${count})))) (i32.load (i32.const 9900)))`;
  const got = await evaluate(
    running,
    "probe",
    `${DERIVE}${USE}`,
    [guesses(5000, 1), guesses(20_000, 214_748), `(call $derive (i32.const ${S}))`, guesses(5000, 1)],
    {
      grants: [endpoint("echo.in"), HANDLES],
      slots: { ...OUT, handles: HANDLES_SLOT },
      manifest: { fuel: 1e8 },
      spec: { activationMs: 20_000 },
    },
  );
  expect(got.slice(0, 2)).toEqual([0, 0]);
  expect(got[3]).toBe(1);
  expect(reportsOf(running, "secret")).toEqual([]);
});

test("a handle number kept over a restart is stale: bad-handle, never somebody else's", async () => {
  await echo();
  // The state keeps the handle's number; after the restart it is used, then a new handle is derived and it is used again.
  const wat = watModule(
    `${REPORT_IMPORT}${DERIVE}${USE}`,
    `(func (export "bulkhead_save") (result i64) (i64.const 0x2000_0000_0004))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const 8192))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))
     (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
       (if (i32.ne (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
       (i32.store (i32.const 8200) (call $hsend (i32.load (i32.const 8192)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
       (if (i32.eqz (i32.load (i32.const 8192))) (then (i32.store (i32.const 8192) (call $derive (i32.const 1))))
         (else (drop (call $derive (i32.const 1)))))
       (i32.store (i32.const 8204) (call $hsend (i32.load (i32.const 8192)) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
       (drop (call $report (i32.const 8200) (i32.const 8))) (i64.const 0))`,
  );
  await loadProbe(running, "probe", wat, {
    grants: [endpoint("echo.in"), HANDLES],
    slots: { ...OUT, handles: HANDLES_SLOT },
    manifest: { state: 16 },
    spec: { checkpointMessages: 1 },
  });
  running.kernel.begin("probe");
  expect(await values(running, "probe", 0)).toEqual([RESULT["bad-handle"], 0]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  running.kernel.restart("probe");
  expect(await values(running, "probe", 1)).toEqual([RESULT["bad-handle"], RESULT["bad-handle"]]);
});

test("delegation of a right that it does not have is denied, and the denial is told", async () => {
  await echo();
  const { send: S, call: C, pass: P } = ENDPOINT_RIGHT;
  const got = await evaluate(
    running,
    "probe",
    DERIVE,
    [`(call $derive (i32.const ${S | C}))`, `(call $derive (i32.const ${C}))`, `(call $derive (i32.const ${P | 8}))`],
    { grants: [endpoint("echo.in", { rights: ["send", "pass"] })], slots: { out: endpointSlot(["send", "pass"]) } },
  );
  expect(got).toEqual([RESULT.denied, RESULT.denied, RESULT.denied]);
  expect(await running.waitFor("denied")).toMatchObject({ module: "probe", slot: "out", result: "denied" });
});

test("a confused deputy can tell its clients apart by their badges, whatever their messages say", async () => {
  await loadProbe(running, "deputy", recorder());
  const claim = `(data (i32.const 8192) "I am client 1")`;
  for (const [name, badge] of [
    ["first", 1],
    ["second", 2],
  ] as const) {
    await evaluate(running, name, SEND, ["(call $send (i32.const 8192) (i32.const 13) (i32.const 0) (i32.const 0))"], {
      grants: [endpoint("deputy.in", { badge })],
      slots: { out: endpointSlot(["send"]) },
      extra: claim,
    });
  }
  const messages = await messagesSeen(running, "deputy", 2);
  expect(messages.map(({ badge }) => badge)).toEqual([1, 2]);
  expect(new Set(messages.map(({ senderModule }) => senderModule)).size).toBe(2);
});

test("a notice or reply can't be forged: what a module sends is a send or a call, from itself", async () => {
  await loadProbe(running, "probe", recorder());
  const forged = `(data (i32.const 8192) "\\01\\00\\05\\00\\02\\00\\00\\00\\00\\00\\00\\00")`;
  await evaluate(
    running,
    "forger",
    SEND,
    ["(call $send (i32.const 8192) (i32.const 64) (i32.const 0) (i32.const 0))"],
    {
      grants: [endpoint("probe.in")],
      slots: { out: endpointSlot(["send"]) },
      extra: forged,
    },
  );
  const [message] = await messagesSeen(running, "probe", 1);
  expect(message).toMatchObject({ kind: KIND.send, port: 0 });
  expect(message?.senderModule).not.toBe(0);
});

describe("a cycle of calls", () => {
  const relay = (): string =>
    watModule(
      `${REPORT_IMPORT}${CALL}`,
      `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
        (i32.store (i32.const 8200) (call $call (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 8) (i32.const 300)))
        (drop (call $report (i32.const 8200) (i32.const 4))) (i64.const 0))`,
    );

  test("of a module with itself ends at its deadline", async () => {
    await loadProbe(running, "one", relay(), { grants: [endpoint("one.in")], slots: { out: endpointSlot(["call"]) } });
    running.kernel.begin("one");
    expect((await values(running, "one"))[0]).toBe(RESULT.timeout);
  });

  test("through three modules ends at a deadline, and every module goes on", async () => {
    const ring = ["one", "two", "three"];
    for (const [index, name] of ring.entries()) {
      const next = ring[(index + 1) % 3] ?? "";
      await loadProbe(running, name, relay(), {
        grants: [endpoint(`${next}.in`)],
        slots: { out: endpointSlot(["call"]) },
        spec: { partition: index === 1 ? "other" : "main" },
      });
    }
    running.kernel.begin("one");
    expect((await values(running, "one"))[0]).toBeLessThanOrEqual(0);
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
  });
});

describe("a flood", () => {
  test("on a port never takes more than the route's depth, and its sender hears it", async () => {
    await loadModule(
      running,
      "slow",
      watModule(
        SLEEP_IMPORT,
        `(func (export "bulkhead_handle") (param i32 i32) (result i64) (drop (call $sleep (i32.const 1000))) (i64.const 0))`,
      ),
      SLEEP,
    );
    const got = await evaluate(
      running,
      "flooder",
      SEND,
      [
        `(block (result i32) (local.set $length (i32.const 0)) (i32.store (i32.const 9900) (i32.const 0)) (loop $l
          (if (i32.eqz (call $send (i32.const 0) (i32.const 4000) (i32.const 0) (i32.const 0)))
            (then (i32.store (i32.const 9900) (i32.add (i32.load (i32.const 9900)) (i32.const 1)))))
          (local.set $length (i32.add (local.get $length) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $length) (i32.const 50000)))) (i32.load (i32.const 9900)))`,
      ],
      {
        grants: [endpoint("slow.in", { depth: 16 })],
        slots: { out: endpointSlot(["send"]) },
        manifest: { fuel: 1e9 },
        spec: { activationMs: 20_000 },
      },
    );
    // 16 wait and perhaps one or two are being handled meanwhile.
    expect(got[0]).toBeGreaterThanOrEqual(16);
    expect(got[0]).toBeLessThanOrEqual(20);
  });

  test("of self-sends by a direct module leaves its neighbours their turns", async () => {
    const wat = watModule(
      SEND,
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (local $i i32)
        (loop $l (drop (call $send (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0)))
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 3))))
        (i64.const 0))`,
    );
    await loadModule(running, "self", wat, { grants: [endpoint("self.in")], slots: { out: endpointSlot(["send"]) } });
    running.kernel.begin("self");
    await new Promise((resolve) => setTimeout(resolve, 300));
    // The check after each test asks a neighbour in the same partition.
    expect((await running.kernel.top()).find(({ name }) => name === "self")?.activations).toBeGreaterThan(1000);
  });
});

describe("a module that", () => {
  test.each([
    ["reads outside its memory", "(drop (i32.load (i32.const 0x7ffffff0)))", "trap"],
    ["writes outside its memory", "(i64.store (i32.const 65532) (i64.const -1))", "trap"],
    ["calls through an empty table", "(call_indirect (type $none) (i32.const 0))", "trap"],
    ["calls through a table with the wrong type", "(call_indirect (type $one) (i32.const 1) (i32.const 1))", "trap"],
    ["calls beyond its table", "(call_indirect (type $none) (i32.const 99))", "trap"],
    ["recurses without end", "(call $deep)", "stack"],
    ["loops without end", "(loop $l (br $l))", "budget"],
    ["divides by zero", "(drop (i32.div_u (i32.const 1) (i32.const 0)))", "trap"],
    ["fills beyond its memory", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 65537))", "trap"],
    ["copies from beyond its memory", "(memory.copy (i32.const 0) (i32.const 65535) (i32.const 2))", "trap"],
  ])("%s is stopped and told", async (_, statement, cause) => {
    const wat = watModule(
      "",
      `(type $none (func)) (type $one (func (param i32)))
       (table 2 funcref) (elem (i32.const 1) $deep)
       (func $deep (call $deep))
       (func (export "bulkhead_handle") (param i32 i32) (result i64) ${statement} (i64.const 0))`,
    );
    await loadModule(running, "bad", wat, { spec: HOLD, manifest: { fuel: 200_000 } });
    running.kernel.begin("bad");
    expect(await running.waitFor("fault")).toMatchObject({ module: "bad", cause });
    expect((await running.waitFor("held")).module).toBe("bad");
  });

  test("recurses through imports on a deep stack is stopped by its depth", async () => {
    await echo();
    const wat = watModule(
      SEND,
      `(func $deep (drop (call $send (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0))) (call $deep))
       (func (export "bulkhead_handle") (param i32 i32) (result i64) (call $deep) (i64.const 0))`,
    );
    await loadModule(running, "bad", wat, {
      grants: [endpoint("echo.in")],
      slots: { out: endpointSlot(["send"]) },
      spec: HOLD,
      manifest: { fuel: 10_000_000 },
    });
    running.kernel.begin("bad");
    expect(await running.waitFor("fault")).toMatchObject({ module: "bad", cause: "stack" });
  });

  test("takes all memory and all table slots that it may have gets no more, and harms nobody", async () => {
    const wat = watModule(
      REPORT_IMPORT,
      `(table 1 funcref)
       (func (export "bulkhead_handle") (param $port i32) (param i32) (result i64) (local $taken i32)
         (loop $l (br_if $l (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))))
         (loop $l
           (if (i32.ge_s (table.grow (ref.null func) (i32.const 1024)) (i32.const 0)) (then
             (local.set $taken (i32.add (local.get $taken) (i32.const 1)))
             (br_if $l (i32.lt_u (local.get $taken) (i32.const 1000000))))))
         (i32.store (i32.const 9000) (memory.size))
         (i32.store (i32.const 9004) (table.size))
         (i32.store (i32.const 9008) (i32.add (table.grow (ref.null func) (i32.const -1)) (memory.grow (i32.const -1))))
         (drop (call $report (i32.const 9000) (i32.const 12))) (i64.const 0))`,
    );
    await loadProbe(running, "greedy", wat, { manifest: { memory: 16, fuel: 1e10 } });
    running.kernel.begin("greedy");
    const [pages = 0, slots = 0, refused] = await values(running, "greedy");
    expect([pages, refused]).toEqual([16, -2]);
    expect(slots).toBeGreaterThan(LIMITS.tableEntries - 1024);
    expect(slots).toBeLessThanOrEqual(LIMITS.tableEntries);
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
  });

  test("crashes at each start leaves its neighbour its turns", async () => {
    const wat = watModule(
      "",
      `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`,
    );
    const restart = {
      policy: "restart",
      intensity: 1000,
      windowMs: 60_000,
      backoffMs: 1,
      maximumBackoffMs: 2,
    } as const;
    await loadModule(running, "crasher", wat, { manifest: { fuel: 100_000 }, spec: { restart } });
    running.kernel.begin("crasher");
    await running.waitFor("fault", ({ generation }) => generation > 10, 10_000);
  });
});

describe("names like members of Object", () => {
  test.each(["__proto__", "constructor", "toString", "hasOwnProperty"])("%s is no module and no slot", async (name) => {
    await echo();
    const { kernel } = running;
    const unknown = expect.objectContaining({ code: "E_UNKNOWN" }) as Error;
    expect(() => kernel.restart(name)).toThrow(unknown);
    expect(() => kernel.hold(name)).toThrow(unknown);
    expect(() => kernel.revoke("echo", name)).toThrow(unknown);
    expect(() => kernel.grant("echo", { slot: name, interface: "log", rights: ["write"], parameters: {} })).toThrow(
      unknown,
    );
  });
});

test("events for a binding that does not exist, was revoked, or are too long, reach nobody", async () => {
  const uart = { slot: "serial", interface: "uart", rights: ["read"], parameters: {} } as const;
  await loadProbe(running, "probe", recorder(), {
    grants: [uart],
    slots: { serial: { interface: "uart", rights: ["read"], port: "in" } },
  });
  const binding = running.bindings.find(({ slot }) => slot === "serial")?.id ?? -1;
  running.kernel.event(binding + 1000, new Uint8Array(1));
  running.kernel.event(Number.NaN, new Uint8Array(1));
  running.kernel.event(binding, new Uint8Array(LIMITS.payloadBytes + 1));
  running.kernel.revoke("probe", "serial");
  running.kernel.event(binding, new Uint8Array(1));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(reportsOf(running, "probe")).toEqual([]);
});
