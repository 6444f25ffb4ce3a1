/** Errors of the host itself: a module gets a code or is restarted for them, and the kernel goes on. */
import { afterEach, describe, expect, test } from "vitest";
import type { Grant, HostReply } from "../../kernel/index.ts";
import { Refusal, RESULT } from "../../kernel/index.ts";
import { describeFault, GuestStopped } from "../../kernel/partition/fault.ts";
import type { TestKernel } from "../support/kernel.ts";
import { startKernel } from "../support/kernel.ts";
import { watBinary } from "../support/modules.ts";
import { evaluate } from "../support/probe.ts";

let running: TestKernel | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const READ = `(import "bus" "read" (func $read (param i32 i32) (result i32)))`;
const BUS: Grant = { slot: "bus", interface: "i2c-device", rights: ["read"], parameters: { bus: 1, address: 1 } };
const FOUR = new Uint8Array([1, 2, 3, 4]);

/** What a module gets from a read of four bytes, twice, of a host that answers this way first and rightly afterwards. */
async function readTwice(first: () => unknown): Promise<number[]> {
  let asked = 0;
  running = await startKernel({
    reply: ({ binding }) => {
      if (binding.slot !== "bus") return { result: 0, bytes: new Uint8Array(0) };
      return asked++ === 0 ? (first() as HostReply) : { result: 4, bytes: FOUR };
    },
  });
  const read = "(call $read (i32.const 9000) (i32.const 4))";
  return await evaluate(running, "probe", READ, [read, read, "(i32.load (i32.const 9000))"], {
    grants: [BUS],
    slots: { bus: { interface: "i2c-device", rights: ["read"], port: null } },
  });
}

describe("a host that fails gives its module an I/O error, and serves it afterwards", () => {
  test.each<[what: string, answer: () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("planned");
      },
    ],
    ["rejects", () => Promise.reject(new Error("planned"))],
    ["answers nothing", () => undefined],
    ["answers null", () => null],
    ["answers without bytes", () => ({ result: 4 })],
    ["answers with a list for bytes", () => ({ result: 4, bytes: [1, 2, 3, 4] })],
    ["answers with a text for a result", () => ({ result: "4", bytes: FOUR })],
    ["answers with a fraction", () => ({ result: 0.5, bytes: FOUR })],
    ["answers with a code that there is not", () => ({ result: -999, bytes: FOUR })],
    ["answers beyond an i32", () => ({ result: 2 ** 31, bytes: FOUR })],
  ])("%s", async (_, answer) => {
    expect(await readTwice(answer)).toEqual([RESULT.io, 4, 0x0403_0201]);
    expect(running?.events.filter(({ type }) => type === "fault" || type === "partition-lost")).toEqual([]);
  });
});

describe("what ends an activation is given to whom it belongs", () => {
  const thrown = (run: () => unknown): unknown => {
    try {
      run();
    } catch (error) {
      return error;
    }
    throw new Error("nothing was thrown");
  };
  const call = async (body: string): Promise<unknown> => {
    const { instance } = await WebAssembly.instantiate(
      new Uint8Array(watBinary(`(module (func $run (export "run") ${body}))`)),
    );
    return thrown(instance.exports["run"] as () => void);
  };

  test("the guest's: a trap, and a stack that V8 finds too deep", async () => {
    expect(describeFault(await call("unreachable"))).toMatchObject({ cause: "trap", text: "unreachable" });
    expect(describeFault(await call("call $run")).cause).toBe("stack");
    expect(describeFault(new Refusal("E_STATE", "no")).cause).toBe("state");
    expect(describeFault(new Refusal("E_CBOR", "no")).cause).toBe("contract");
    expect(describeFault(new GuestStopped("budget", "over"))).toEqual({ cause: "budget", text: "over" });
  });

  test("the host's: everything else that is thrown below an import", () => {
    const broken = thrown(() => (undefined as unknown as { field: number }).field);
    expect(describeFault(broken)).toMatchObject({
      cause: "host",
      text: expect.stringContaining("undefined") as string,
    });
    expect(describeFault("a text")).toEqual({ cause: "host", text: "unknown" });
    expect(describeFault(undefined)).toEqual({ cause: "host", text: "unknown" });
  });
});
