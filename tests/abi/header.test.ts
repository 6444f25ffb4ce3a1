/** Every field of the header, as a module finds it in its inbox. */
import { afterEach, expect, test } from "vitest";
import { ABI_VERSION, encodeCbor, ENDPOINT_RIGHT, KERNEL_PORT, KIND, NOTICE, RESULT } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  evaluator,
  HANDLES,
  HANDLES_SLOT,
  loadProbe,
  messagesSeen,
  recorder,
  REPORT_IMPORT,
  seen,
  values,
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
const SEND_HELLO = `(call $send (i32.const 8192) (i32.const 5) (i32.const 0) (i32.const 0))`;
const HELLO = `(data (i32.const 8192) "hello")`;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

test("the start notice: version, kind notice, kernel port, sender 0, payload [1, false]", async () => {
  running = await startKernel();
  await loadProbe(running, "probe", recorder());
  running.kernel.begin();
  const [notice] = await seen(running, "probe", 1);
  expect(notice).toEqual({
    port: KERNEL_PORT,
    argumentLength: 3,
    version: ABI_VERSION,
    kind: KIND.notice,
    handles: 0,
    length: 3,
    senderModule: 0,
    senderGeneration: 0,
    badge: 0,
    correlation: 0,
    lost: 0,
    reserved: 0,
    handleList: [0, 0, 0, 0, 0, 0, 0, 0],
    payload: encodeCbor([NOTICE.start, false]),
  });
});

test.each(["main", "other"])("a send from partition %s: kind, length, sender, generation, badge", async (partition) => {
  running = await startKernel({ partitions: ["main", "other"] });
  await loadProbe(running, "probe", recorder());
  const grants = [endpoint("probe.in", { badge: 0xdead_beef })];
  const sent = await evaluate(running, "sender", SEND, [SEND_HELLO], {
    grants,
    slots: { out: endpointSlot(["send"]) },
    extra: HELLO,
    spec: { partition },
  });
  expect(sent).toEqual([0]);
  const [message] = await messagesSeen(running, "probe", 1);
  expect(message).toMatchObject({ port: 0, argumentLength: 5, version: ABI_VERSION, kind: KIND.send, handles: 0 });
  expect(message).toMatchObject({ length: 5, senderModule: 2, senderGeneration: 1, badge: 0xdead_beef, lost: 0 });
  expect(message).toMatchObject({ correlation: 0, reserved: 0, handleList: [0, 0, 0, 0, 0, 0, 0, 0] });
  expect(text(message?.payload ?? new Uint8Array())).toBe("hello");
});

test.each(["main", "other"])(
  "a call from partition %s has the kind call and its reply gets back",
  async (partition) => {
    running = await startKernel({ partitions: ["main", "other"] });
    const reply = `(i64.or (i64.shl (i64.const 1088) (i64.const 32)) (i64.extend_i32_u (local.get $length)))`;
    await loadProbe(running, "probe", recorder("", reply));
    const called = await evaluate(
      running,
      "caller",
      CALL,
      [
        `(call $call (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 50) (i32.const 2000))`,
        `(i32.load (i32.const 9000))`,
      ],
      { grants: [endpoint("probe.in")], slots: { out: endpointSlot(["call"]) }, extra: HELLO, spec: { partition } },
    );
    expect(called).toEqual([5, new DataView(new TextEncoder().encode("hell").buffer).getInt32(0, true)]);
    expect((await messagesSeen(running, "probe", 1))[0]).toMatchObject({ kind: KIND.call, senderModule: 2, badge: 7 });
  },
);

test("an event of the host: kind event, sender 0, on the slot's port", async () => {
  running = await startKernel();
  const uart = { slot: "serial", interface: "uart", rights: ["read"], parameters: {} } as const;
  await loadProbe(running, "probe", recorder(), {
    grants: [uart],
    slots: { serial: { interface: "uart", rights: ["read"], port: "serial" } },
    manifest: {
      ports: ["in", "serial"].map((name) => ({ name, contract: null, fuel: 1000, stack: 1024 })),
    },
  });
  running.kernel.begin();
  const binding = running.bindings.find(({ slot }) => slot === "serial")?.id ?? -1;
  running.kernel.event(binding, new Uint8Array([1, 2, 3]));
  const [event] = await messagesSeen(running, "probe", 1);
  expect(event).toMatchObject({ port: 1, kind: KIND.event, senderModule: 0, senderGeneration: 0, badge: 0, length: 3 });
  expect(event?.payload).toEqual(new Uint8Array([1, 2, 3]));
});

test("a request's reply and failure carry its correlation, as reply and notice", async () => {
  running = await startKernel();
  await loadProbe(running, "echo", watModule(REPORT_IMPORT, ECHO));
  const slots = { out: endpointSlot(["call"], "in"), silent: endpointSlot(["call"], "in") };
  await loadProbe(
    running,
    "silent",
    recorder(
      `(import "t" "sleep" (func $sleep (param i32) (result i32)))`,
      "(drop (call $sleep (i32.const 60000))) (i64.const 0)",
    ),
    {
      grants: [{ slot: "t", interface: "timer", rights: ["use"], parameters: {} }],
      slots: { t: { interface: "timer", rights: ["use"], port: null } },
    },
  );
  const after = `(if (i32.eq (local.get $port) (i32.const ${KERNEL_PORT})) (then
      (i32.store (i32.const 9000) (call $request (i32.const 8192) (i32.const 5) (i32.const 2000)))
      (i32.store (i32.const 9004) (call $request2 (i32.const 8192) (i32.const 5) (i32.const 50)))
      (drop (call $report (i32.const 9000) (i32.const 8)))))
    (i64.const 0)`;
  const imports = `${REQUEST}(import "silent" "request" (func $request2 (param i32 i32 i32) (result i32)))`;
  await loadProbe(running, "probe", recorder(imports, after, HELLO), {
    grants: [endpoint("echo.in"), endpoint("silent.in", { slot: "silent" })],
    slots,
  });
  running.kernel.begin();
  await running.until(
    () => running.calls.filter(({ binding }) => binding.module === "probe").length >= 4 || undefined,
    "4 reports",
  );
  const [first = 0, second = 0] = await values(running, "probe", 1);
  expect(first).toBeGreaterThan(0);
  expect(second).toBeGreaterThan(0);
  expect(second).not.toBe(first);
  const answers = (await seen(running, "probe", 3)).slice(1);
  expect(answers[0]).toMatchObject({ port: 0, kind: KIND.reply, correlation: first, length: 5, senderModule: 0 });
  expect(text(answers[0]?.payload ?? new Uint8Array())).toBe("hello");
  expect(answers[1]).toMatchObject({ port: 0, kind: KIND.notice, correlation: second, senderModule: 0 });
  expect(answers[1]?.payload).toEqual(encodeCbor(RESULT.timeout));
});

test("the generation grows with each restart, for receivers and after a fault", async () => {
  running = await startKernel();
  await loadProbe(running, "probe", recorder());
  await loadProbe(running, "sender", evaluator(SEND, [SEND_HELLO], HELLO), {
    grants: [endpoint("probe.in")],
    slots: { out: endpointSlot(["send"]) },
  });
  running.kernel.begin();
  await messagesSeen(running, "probe", 1);
  running.kernel.restart("sender");
  await messagesSeen(running, "probe", 2);
  running.kernel.restart("sender");
  const messages = await messagesSeen(running, "probe", 3);
  expect(messages.map(({ senderGeneration }) => senderGeneration)).toEqual([1, 2, 3]);
  expect(new Set(messages.map(({ senderModule }) => senderModule)).size).toBe(1);
});

test("lost counts what the port lost since the last one delivered, and starts again", async () => {
  running = await startKernel();
  await loadProbe(running, "probe", recorder());
  // Ten messages in one activation over a route that holds four: six are dropped before the receiver runs.
  const sent = await evaluate(running, "sender", SEND, [...new Array<string>(10).fill(SEND_HELLO)], {
    grants: [endpoint("probe.in", { depth: 4, overflow: "drop-oldest" })],
    slots: { out: endpointSlot(["send"]) },
    extra: HELLO,
  });
  expect(sent).toEqual(new Array<number>(10).fill(0));
  const messages = await messagesSeen(running, "probe", 4);
  expect(messages.map(({ lost }) => lost)).toEqual([6, 0, 0, 0]);
});

test("handles: their count, values for this module only, and zeros beyond them", async () => {
  running = await startKernel({ partitions: ["main", "other"] });
  await loadProbe(running, "target", recorder());
  const holds = { grants: [HANDLES], slots: { handles: HANDLES_SLOT } };
  await loadProbe(running, "probe", recorder(), { ...holds, spec: { partition: "other" } });
  const result = await evaluate(
    running,
    "sender",
    `${SEND}${DERIVE}(import "handles" "drop" (func $drop (param i32) (result i32)))`,
    [
      `(call $derive (i32.const ${ENDPOINT_RIGHT.send | ENDPOINT_RIGHT.pass}))`,
      `(block (result i32) (i32.store (i32.const 9000) (i32.load (i32.const 60000)))
         (i32.store (i32.const 9004) (call $derive (i32.const ${ENDPOINT_RIGHT.send | ENDPOINT_RIGHT.pass})))
         (call $send (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 2)))`,
      `(call $drop (i32.load (i32.const 9000)))`,
    ],
    {
      grants: [endpoint("probe.in"), HANDLES],
      slots: { out: endpointSlot(["send", "pass"]), handles: HANDLES_SLOT },
      extra: HELLO,
    },
  );
  // The moved handle is no longer the sender's.
  expect(result.slice(1)).toEqual([0, RESULT["bad-handle"]]);
  expect(result[0]).toBeGreaterThan(0);
  const [message] = await messagesSeen(running, "probe", 1);
  expect(message?.handles).toBe(2);
  expect(message?.handleList.slice(2)).toEqual([0, 0, 0, 0, 0, 0]);
  const [first = 0, second = 0] = message?.handleList ?? [];
  expect(first).toBeGreaterThan(0);
  expect(second).toBeGreaterThan(0);
  expect(second).not.toBe(first);
});

test("bytes that a module writes over its own inbox never reach another", async () => {
  running = await startKernel();
  await loadProbe(running, "probe", recorder());
  const forged = `(block (result i32)
     (memory.fill (i32.const 1024) (i32.const 255) (i32.const 64)) ${SEND_HELLO})`;
  await evaluate(running, "forger", SEND, [forged], {
    grants: [endpoint("probe.in")],
    slots: { out: endpointSlot(["send"]) },
    extra: HELLO,
  });
  const [message] = await messagesSeen(running, "probe", 1);
  expect(message).toMatchObject({ kind: KIND.send, senderModule: 2, senderGeneration: 1, badge: 7, reserved: 0 });
});
