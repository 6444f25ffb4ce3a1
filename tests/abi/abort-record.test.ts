/** What a fault tells its author: the words that the module left, V8's frames, and the message that was being handled. */
import { afterEach, expect, test } from "vitest";
import { encodeCbor, LIMITS } from "../../kernel/index.ts";
import type { KernelEvent } from "../../kernel/index.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { watModule } from "../support/modules.ts";
import { endpoint, endpointSlot, evaluator, loadModule, loadProbe } from "../support/probe.ts";

let running: TestKernel;
afterEach(async () => {
  await running.stop();
});

/** The record of a module whose inbox is at 1024 begins at 768. */
function record(line: number, column: number, length: number, text: string): string {
  const bytes = new Uint8Array(new TextEncoder().encode(`BKAB${"\0".repeat(12)}${text}`));
  const view = new DataView(bytes.buffer);
  view.setUint32(4, line, true);
  view.setUint32(8, column, true);
  view.setUint32(12, length, true);
  const escaped = Array.from(bytes, (byte) => `\\${byte.toString(16).padStart(2, "0")}`).join("");
  return `(data (i32.const 768) "${escaped}")`;
}

const TRAPS = `(func (export "bulkhead_handle") (param i32 i32) (result i64) unreachable)`;

async function faultOf(body: string): Promise<Extract<KernelEvent, { type: "fault" }>> {
  running = await startKernel();
  await loadModule(running, "broken", watModule("", body));
  running.kernel.begin();
  return await running.waitFor("fault");
}

test("file, line, column and message", async () => {
  const { text, cause } = await faultOf(`${record(12, 7, 17, "index.ts: too hot")}${TRAPS}`);
  expect({ text, cause }).toEqual({ text: "unreachable; index.ts:12:7: too hot", cause: "trap" });
});

test("a message and a code, where there is no column", async () => {
  expect((await faultOf(`${record(-18 >>> 0, 0, 9, "the timer and more")}${TRAPS}`)).text).toBe(
    "unreachable; the timer (-18)",
  );
});

test.each([
  [
    "a length beyond the record",
    record(1, 1, 0xffff_ffff, `f: ${"x".repeat(230)}\u0001`),
    `f:1:1: ${"x".repeat(230)}?`,
  ],
  ["control characters and line ends", record(1, 0, 240, "a\u001b[2Jb\r\nc\u2028d\u202ee"), "a?[2Jb??c?d?e"],
  ["bytes that are no UTF-8", `${record(1, 0, 3, "abc")}(data (i32.const 785) "\\ff")`, "a\ufffdc (1)"],
])("%s", async (_, data, shown) => {
  const { text } = await faultOf(`${data}${TRAPS}`);
  expect(text.startsWith(`unreachable; ${shown}`)).toBe(true);
  expect(text.length).toBeLessThan(300);
  expect(text).not.toMatch(/[\p{Cc}\u2028\u202e]/u);
});

test("without a record, and with the inbox where none can be, the trap alone", async () => {
  expect((await faultOf(TRAPS)).text).toBe("unreachable");
  await running.stop();
  running = await startKernel();
  const atZero = `(module (memory (export "memory") 1) (func (export "bulkhead_inbox") (result i32) i32.const 128) ${TRAPS})`;
  await loadModule(running, "broken", atZero);
  running.kernel.begin();
  expect((await running.waitFor("fault")).text).toBe("unreachable");
});

test("a record is not for faults of another kind", async () => {
  const loop = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (loop $l (br $l)) (i64.const 0))`;
  const { text, cause } = await faultOf(`${record(12, 7, 5, "a: b")}${loop}`);
  expect(cause).toBe("budget");
  expect(text).not.toContain("a:12:7");
});

test("the frames of a trap, the innermost first", async () => {
  const { trace } = await faultOf(`(func $deep unreachable)
    (func (export "bulkhead_handle") (param i32 i32) (result i64) (call $deep) (i64.const 0))`);
  const frames = trace?.split(" ") ?? [];
  expect(frames.length).toBeGreaterThan(1);
  for (const frame of frames) expect(frame).toMatch(/^wasm:\/\/wasm\/\S+:wasm-function\[\d+\]:0x[0-9a-f]+$/);
});

test("the port and the payload of the message, cut, without its header", async () => {
  running = await startKernel();
  const broken = watModule(
    "",
    `(func (export "bulkhead_handle") (param $port i32) (param i32) (result i64)
      (if (i32.eqz (local.get $port)) (then unreachable)) (i64.const 0))`,
  );
  await loadModule(running, "broken", broken);
  const SEND = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
  const send = `(call $send (i32.const 8192) (i32.const 1500) (i32.const 0) (i32.const 0))`;
  await loadProbe(running, "sender", evaluator(SEND, [send], `(data (i32.const 8192) "\\18\\2a")`), {
    grants: [endpoint("broken.in")],
    slots: { out: endpointSlot(["send"]) },
  });
  running.kernel.begin();
  const { input } = await running.waitFor("fault");
  expect(input?.port).toBe(0);
  expect(input?.payload.length).toBe(LIMITS.faultInputBytes);
  expect(input?.payload.slice(0, 2)).toEqual(encodeCbor(42));
});
