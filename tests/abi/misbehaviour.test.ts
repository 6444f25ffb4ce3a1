/** Modules whose exports have the right types and do the wrong things: the fault that each one gets. */
import { afterEach, describe, expect, test } from "vitest";
import type { KernelEvent } from "../../kernel/index.ts";
import { FIRST_MODULE_ERROR, RESULT, RESULT_CODES, resultName } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import type { ProbeOptions } from "../support/probe.ts";
import {
  endpoint,
  endpointSlot,
  evaluate,
  loadModule,
  messagesSeen,
  recorder,
  REPORT,
  REPORT_SLOT,
} from "../support/probe.ts";
import { watModule } from "../support/modules.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

const SILENT = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`;
const ONCE = { restart: { policy: "hold", intensity: 1, windowMs: 1000, backoffMs: 1, maximumBackoffMs: 1 } } as const;
type Fault = Extract<KernelEvent, { type: "fault" }>;

/** A module of one page whose inbox is wherever `inbox` says. */
function withInbox(inbox: string, pages = 1): string {
  return `(module (memory (export "memory") ${pages})
    (func (export "bulkhead_inbox") (result i32) ${inbox}) ${SILENT})`;
}

async function faultOf(wat: string, options: ProbeOptions = {}, imports = ""): Promise<Fault> {
  running = await startKernel();
  const spec = { ...ONCE, ...options.spec };
  await loadModule(running, "probe", imports === "" ? wat : wat.replace("(module", `(module ${imports}`), {
    ...options,
    spec,
  });
  running.kernel.begin();
  return await running.waitFor("fault");
}

describe("the inbox", () => {
  test.each([
    ["that is not aligned", "(i32.const 1025)"],
    ["that starts outside the memory", "(i32.const 65536)"],
    ["that ends outside the memory", "(i32.const 61448)"],
    ["at the end of the address space", "(i32.const -8)"],
    ["at a negative address", "(i32.const -2147483648)"],
  ])("%s is refused", async (_, inbox) => {
    expect(await faultOf(withInbox(inbox))).toMatchObject({ cause: "contract", generation: 1 });
    expect((await running.waitFor("held")).module).toBe("probe");
  });

  test("that traps is a trap", async () => {
    expect(await faultOf(withInbox("(unreachable)"))).toMatchObject({ cause: "trap" });
  });

  test("that spins is stopped by its budget", async () => {
    expect(await faultOf(withInbox("(loop $l (br $l)) (i32.const 1024)"))).toMatchObject({ cause: "budget" });
  });

  test.each([
    ["at the very end of the memory", 65536 - 4096],
    ["at address 0", 0],
  ])("%s works", async (_, address) => {
    running = await startKernel();
    const wat = `(module (import "report" "write" (func $report (param i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "bulkhead_inbox") (result i32) (i32.const ${address}))
      (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
        (drop (call $report (i32.const ${address}) (i32.add (i32.const 64) (local.get $length)))) (i64.const 0)))`;
    await loadModule(running, "probe", wat, { grants: [REPORT], slots: { report: REPORT_SLOT } });
    running.kernel.begin();
    const bytes = await running.until(() => running.calls[0]?.bytes[0], "the header");
    expect([...bytes.subarray(0, 4)]).toEqual([1, 0, 5, 0]);
    expect(bytes.length).toBe(67);
  });

  test("is asked for once: a module that changes its mind gets its messages at the first address", async () => {
    running = await startKernel();
    const wat = recorder().replace(
      "i32.const 1024)",
      `(global.set $asked (i32.add (global.get $asked) (i32.const 1))) (i32.mul (i32.const 1024) (global.get $asked)))
       (global $asked (mut i32) (i32.const 0))`,
    );
    await loadModule(running, "probe", wat, { grants: [REPORT], slots: { report: REPORT_SLOT } });
    const send = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
    const hello = `(call $send (i32.const 8192) (i32.const 5) (i32.const 0) (i32.const 0))`;
    await evaluate(running, "sender", send, [hello, hello], {
      grants: [endpoint("probe.in")],
      slots: { out: endpointSlot(["send"]) },
      extra: `(data (i32.const 8192) "hello")`,
    });
    for (const { payload } of await messagesSeen(running, "probe", 2)) {
      expect(new TextDecoder().decode(payload)).toBe("hello");
    }
  });
});

describe("_initialize", () => {
  const initialize = (body: string): string => watModule("", `${SILENT}(func (export "_initialize") ${body})`);

  test("that traps is a trap", async () => {
    expect(await faultOf(initialize("(unreachable)"))).toMatchObject({ cause: "trap" });
  });

  test("that spins is stopped by its budget", async () => {
    expect(await faultOf(initialize("(loop $l (br $l))"))).toMatchObject({ cause: "budget" });
  });

  test("that recurses without end is stopped by its stack", async () => {
    const wat = watModule("", `${SILENT}(func $deep (export "_initialize") (call $deep))`);
    expect(await faultOf(wat, { manifest: { fuel: 200_000 } })).toMatchObject({ cause: "stack" });
  });

  test.each([
    ["a sleep", `(import "t" "sleep" (func $block (param i32) (result i32)))`, `(call $block (i32.const 5))`],
    [
      "a host operation",
      `(import "report" "write" (func $block (param i32 i32) (result i32)))`,
      `(call $block (i32.const 0) (i32.const 1))`,
    ],
    [
      "a call",
      `(import "out" "call" (func $block (param i32 i32 i32 i32 i32) (result i32)))`,
      `(call $block (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100))`,
    ],
  ])("that blocks in %s is at fault", async (_, imports, expression) => {
    const wat = watModule(imports, `${SILENT}(func (export "_initialize") (drop ${expression}))`);
    const fault = await faultOf(wat, {
      grants: [REPORT, { slot: "t", interface: "timer", rights: ["use"], parameters: {} }, endpoint("probe.in")],
      slots: {
        report: REPORT_SLOT,
        t: { interface: "timer", rights: ["use"], port: null },
        out: endpointSlot(["call"]),
      },
    });
    expect(fault).toMatchObject({ cause: "contract", text: expect.stringContaining("blocking import") as string });
    expect(running.calls).toEqual([]);
  });

  test("of a module that may block is stopped by its budget like any other", async () => {
    const wat = watModule(
      `(import "t" "sleep" (func (param i32) (result i32)))`,
      `${SILENT}(func (export "_initialize") (loop $l (br $l)))`,
    );
    const fault = await faultOf(wat, {
      grants: [{ slot: "t", interface: "timer", rights: ["use"], parameters: {} }],
      slots: { t: { interface: "timer", rights: ["use"], port: null } },
    });
    expect(fault).toMatchObject({ cause: "budget" });
  });

  test("that spins on a budget of minutes is stopped long before its partition would be taken for stuck", async () => {
    const begun = performance.now();
    const fault = await faultOf(initialize("(loop $l (br $l))"), { manifest: { fuel: 1e12 } });
    expect(fault).toMatchObject({ cause: "budget" });
    expect(performance.now() - begun).toBeLessThan(3000);
    await running.waitFor("held");
    expect(running.events.filter(({ type }) => type === "partition-lost")).toEqual([]);
  });

  test("and a start section are both run, the start section first", async () => {
    running = await startKernel();
    const wat = watModule(
      `(import "report" "write" (func $report (param i32 i32) (result i32)))`,
      `(start $s) (func $s (i32.store (i32.const 8192) (i32.const 7)))
       (func (export "_initialize") (i32.store (i32.const 8196) (i32.add (i32.load (i32.const 8192)) (i32.const 1))))
       (func (export "bulkhead_handle") (param i32 i32) (result i64)
         (drop (call $report (i32.const 8192) (i32.const 8))) (i64.const 0))`,
    );
    await loadModule(running, "probe", wat, { grants: [REPORT], slots: { report: REPORT_SLOT } });
    running.kernel.begin();
    const bytes = await running.until(() => running.calls[0]?.bytes[0], "the report");
    expect([...bytes.subarray(0, 8)]).toEqual([7, 0, 0, 0, 8, 0, 0, 0]);
  });

  test("a start section that traps is a trap, and one that spins is stopped", async () => {
    const wat = watModule("", `${SILENT}(start $s) (func $s (unreachable))`);
    expect(await faultOf(wat)).toMatchObject({ cause: "trap" });
    await running.stop();
    const spin = watModule("", `${SILENT}(start $s) (func $s (loop $l (br $l)))`);
    expect(await faultOf(spin)).toMatchObject({ cause: "budget" });
  });
});

describe("the handler", () => {
  const CALL = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;

  /** Calls a module whose handler, on its port, gives `result`; gives what the caller gets. */
  async function called(result: string): Promise<number> {
    running = await startKernel();
    const wat = watModule(
      "",
      `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
        (if (i32.ne (local.get $port) (i32.const 0)) (then (return (i64.const 0)))) ${result})`,
    );
    await loadModule(running, "probe", wat, { spec: ONCE });
    const expression = `(call $call (i32.const 8192) (i32.const 5) (i32.const 9000) (i32.const 8) (i32.const 2000))`;
    const [value = 0] = await evaluate(running, "caller", CALL, [expression], {
      grants: [endpoint("probe.in")],
      slots: { out: endpointSlot(["call"]) },
    });
    return value;
  }

  test.each(RESULT_CODES.map(({ name, code }) => [name, code] as const))(
    "that returns the kernel's %s (%d) is at fault, and its caller gets dead-peer",
    async (name, code) => {
      expect(await called(`(i64.const ${code})`)).toBe(RESULT["dead-peer"]);
      const fault = await running.waitFor("fault");
      expect(fault).toMatchObject({ module: "probe", cause: "contract" });
      expect(fault.text).toContain(name);
    },
  );

  test("that returns -999 is at fault too", async () => {
    expect(await called("(i64.const -999)")).toBe(RESULT["dead-peer"]);
    expect((await running.waitFor("fault")).cause).toBe("contract");
  });

  test.each([FIRST_MODULE_ERROR, FIRST_MODULE_ERROR - 1, -70_000, -(2 ** 31)])(
    "may return its own error %d, which its caller gets",
    async (code) => {
      expect(await called(`(i64.const ${code})`)).toBe(code);
      expect(resultName(code)).toBe(`module error ${code}`);
      expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
    },
  );

  test("an error beyond i32 is cut to the lowest", async () => {
    expect(await called("(i64.const -9223372036854775808)")).toBe(-(2 ** 31));
  });

  test.each([
    ["that starts outside the memory", 65_536n, 1n],
    ["that ends outside the memory", 65_533n, 4n],
    ["at the highest address", 0x7fff_ffffn, 1n],
    ["longer than a message may be", 0n, 65_537n],
    ["of the greatest length", 0n, 0xffff_ffffn],
    ["of a length that is 0 in its lower bits", 0n, 0x0010_0000n],
  ])("a reply %s is its fault", async (_, address, length) => {
    expect(await called(`(i64.const ${(address << 32n) | length})`)).toBe(RESULT["dead-peer"]);
    expect(await running.waitFor("fault")).toMatchObject({ module: "probe", cause: "contract" });
  });

  test("a reply at the very end of the memory arrives", async () => {
    expect(await called(`(i64.const ${(65_528n << 32n) | 8n})`)).toBe(8);
  });

  test("a reply of length 0, and none, both give 0", async () => {
    expect(await called(`(i64.const ${100n << 32n})`)).toBe(0);
    await running.stop();
    expect(await called("(i64.const 0)")).toBe(0);
  });

  test("a reply longer than the caller's room is too-large and nobody's fault", async () => {
    expect(await called(`(i64.const ${(0n << 32n) | 9n})`)).toBe(RESULT["too-large"]);
    expect(running.events.filter(({ type }) => type === "fault")).toEqual([]);
  });

  test.each([
    ["trap", "(unreachable)"],
    ["trap", "(i64.load (i32.const -1))"],
    ["trap", "(i64.div_s (i64.const 1) (i64.const 0))"],
    ["budget", "(loop $l (br $l)) (i64.const 0)"],
  ])("that fails (%s) gives its caller dead-peer", async (cause, body) => {
    expect(await called(body)).toBe(RESULT["dead-peer"]);
    expect((await running.waitFor("fault")).cause).toBe(cause);
  });
});
