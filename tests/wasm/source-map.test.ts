/** A trap of a metered module is found at the same byte as unmetered, and in AssemblyScript at its file and line. */

import { describe, expect, it } from "vitest";
import { DEFAULT_METER_OPTIONS, meter } from "../../kernel/wasm/meter.ts";
import { describeFrame, Locator } from "../../tools/source-map/locate.ts";
import { SourceMap } from "../../tools/source-map/source-map.ts";
import { makeProgram } from "./programs.ts";
import { compileScript, compileWat, startMetered } from "./support.ts";
import { patiently } from "../support/patience.ts";

type Run = (...values: number[]) => unknown;

function stackOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return error instanceof WebAssembly.RuntimeError ? error.stack : undefined;
  }
  return undefined;
}

/** V8's own frames of the binary as it was compiled: the truth that the locator must come to. */
function truth(stack: string): { functionIndex: number; offset: number }[] {
  return [...stack.matchAll(/wasm-function\[(\d+)\]:0x([0-9a-f]+)/g)].map(([, index, offset]) => ({
    functionIndex: Number(index),
    offset: Number.parseInt(offset ?? "", 16),
  }));
}

const places = (locator: Locator, stack: string): { functionIndex: number; offset: number }[] =>
  locator.frames(stack).map(({ functionIndex, offset }) => ({ functionIndex, offset }));

function plainExports(binary: Uint8Array<ArrayBuffer>): Record<string, Run> {
  return new WebAssembly.Instance(new WebAssembly.Module(binary), {}).exports as Record<string, Run>;
}

describe("a trap's place", () => {
  it.each([
    ["a load", `(memory 1) (func (export "f") (param i32) (drop (i32.load (local.get 0))))`],
    [
      "a loop",
      `(memory 1) (func (export "f") (param i32) (loop (drop (i32.load (local.get 0)))
       (local.set 0 (i32.add (local.get 0) (i32.const 4096))) (br 0)))`,
    ],
    [
      "a bulk operation",
      `(memory 1) (func (export "f") (param i32) (memory.fill (local.get 0) (i32.const 0) (i32.const 9)))`,
    ],
    [
      "a call in an arm",
      `(func $g (param i32) (drop (i32.div_s (i32.const 1) (i32.sub (local.get 0) (i32.const -1)))))
       (func (export "f") (param i32) (if (local.get 0) (then (nop) (call $g (local.get 0)))))`,
    ],
    [
      "a recursion with a twin",
      `(func $d (param i32) (result i32) (if (result i32) (i32.eqz (local.get 0)) (then (unreachable))
         (else (i32.add (i32.const 1) (call $d (i32.sub (local.get 0) (i32.const 1)))))))
       (func (export "f") (param i32) (drop (call $d (i32.const 5))))`,
    ],
    [
      "an indirect call",
      `(type $t (func (param i32))) (table 2 funcref) (elem (i32.const 0) $g) (func $g (type $t) (unreachable))
       (func (export "f") (param i32) (call_indirect (type $t) (local.get 0) (i32.const 0)))`,
    ],
    [
      "a tail call",
      `(func $g (param i32) (loop (br_if 0 (i32.eqz (local.get 0)))) (unreachable))
       (func $h (param i32) (nop) (return_call $g (local.get 0))) (func (export "f") (param i32) (call $h (local.get 0)))`,
    ],
  ])("is the same as unmetered, and its callers too: %s", async (_, body) => {
    const binary = await compileWat(`(module ${body})`);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS });
    const plain = stackOf(() => plainExports(binary)["f"]?.(-1)) ?? "";
    const metered = stackOf(() => startMetered(meter(binary)).call("f", -1)) ?? "";
    expect(truth(plain).length).toBeGreaterThan(0);
    expect(places(locator, metered)).toEqual(truth(plain));
  });

  it("is the same as unmetered in random programs", { timeout: patiently(60_000) }, async () => {
    let traps = 0;
    for (let seed = 1; seed <= 400; seed += 1) {
      let state = seed * 7919;
      const choose = (bound: number): number => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((state / 4_294_967_296) * bound);
      };
      const binary = await compileWat(makeProgram(choose));
      const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS });
      const plain = plainExports(binary);
      const guest = startMetered(meter(binary));
      for (const name of ["f0", "f1", "f2", "f3", "f4"]) {
        const expected = stackOf(() => plain[name]?.(3, 5));
        const found = stackOf(() => guest.call(name, 3, 5));
        expect(found === undefined).toBe(expected === undefined);
        if (expected === undefined || found === undefined) continue;
        traps += 1;
        expect(places(locator, found)).toEqual(truth(expected));
        guest.exports["bulkhead:arm"](2_000_000_000, guest.initialDepth);
      }
    }
    expect(traps).toBeGreaterThan(50);
  });

  it("is told with the function's name, where the binary has names", async () => {
    const binary = await compileWat(`(module (func) (func $boom (export "f") (unreachable)))`);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS });
    const [frame] = locator.frames(stackOf(() => startMetered(meter(binary)).call("f")) ?? "");
    expect(frame && describeFrame(frame)).toMatch(/^boom \(byte \d+\)$/);
  });

  it("is nothing where the frame is not the guest's", async () => {
    const binary = await compileWat(`(module (func (export "f") (loop (br 0))))`);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS });
    for (const [index, offset] of [
      [0, 10],
      [99, 10],
      [-1, 0],
      [2, 0],
      [2, 1e9],
      [Number.NaN, Number.NaN],
    ] as const) {
      expect(locator.locate(index, offset)).toBeUndefined();
    }
    expect(locator.frames("")).toEqual([]);
    expect(
      locator.frames("Error: wasm-function[2]:0x20, wasm://wasm/x:wasm-function[99999999999]:0xffffffffff"),
    ).toEqual([]);
  });
});

const SOURCE = `
function divide(a: i32, b: i32): i32 {
  return a / b;
}

function walk(depth: i32): i32 {
  if (depth == 0) unreachable();
  return walk(depth - 1) + 1;
}

export function run(what: i32): i32 {
  if (what == 0) {
    return divide(7, what);
  }
  const numbers = new Array<i32>(4);
  return what == 1 ? walk(6) : numbers[what];
}
`;

describe("the place in AssemblyScript", () => {
  it("is file, line and column, under the module's folder", { timeout: patiently(60_000) }, async () => {
    const { binary, sourceMap } = await compileScript(SOURCE, ["--debug", "--sourceMap"]);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS, sourceMap, folder: "modules/x/" });
    const trace = (what: number): string[] =>
      locator.frames(stackOf(() => startMetered(meter(binary)).call("run", what)) ?? "").map(describeFrame);
    expect(trace(0)[0]).toBe("module/divide (modules/x/module.ts:3:10)");
    expect(trace(0)[1]).toBe("module/run (modules/x/module.ts:13:12)");
    expect(trace(1)[0]).toBe("module/walk (modules/x/module.ts:7:19)");
    expect(trace(1).slice(1, 7)).toEqual(Array.from({ length: 6 }, () => "module/walk (modules/x/module.ts:8:10)"));
    // The bounds check is the library's own code: its path is left as it is.
    expect(trace(9)[0]).toMatch(/\(~lib\/array\.ts:\d+:\d+\)$/);
  });

  it("holds for optimized code without names", { timeout: patiently(60_000) }, async () => {
    const { binary, sourceMap } = await compileScript(SOURCE, ["-O3", "--sourceMap"]);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS, sourceMap });
    const [frame] = locator.frames(stackOf(() => startMetered(meter(binary)).call("run", 0)) ?? "");
    expect(frame?.functionName).toBeUndefined();
    expect(frame?.place).toEqual({ file: "module.ts", line: 3, column: 10 });
    expect(frame?.near).toBeUndefined();
  });

  it("says where a library's code was inlined, which has no frame of its own", {
    timeout: patiently(60_000),
  }, async () => {
    const source =
      "export function run(what: i32): i32 {\n  const list: i32[] = [1, 2];\n  return list.at(what) + 1;\n}\n";
    const { binary, sourceMap } = await compileScript(source, ["-O3", "--sourceMap"]);
    const locator = new Locator({ binary, options: DEFAULT_METER_OPTIONS, sourceMap, folder: "modules/x" });
    const frames = locator.frames(stackOf(() => startMetered(meter(binary)).call("run", 9)) ?? "").map(describeFrame);
    expect(frames.join("\n")).toMatch(/\(~lib\/array\.ts:\d+:\d+, inlined at modules\/x\/module\.ts:3:\d+\)/);
  });
});

describe("a source map", () => {
  it.each([
    ["nothing", ""],
    ["another document", "[]"],
    ["no mappings", `{"version":3,"sources":[]}`],
    ["mappings of other signs", `{"version":3,"sources":["a.ts"],"mappings":"A A!"}`],
  ])("that is not one is refused: %s", (_, text) => {
    expect(() => new SourceMap(text)).toThrow(/source map|JSON/);
  });

  it("says nothing of code before its first mapping, nor of another function's", () => {
    const map = new SourceMap(`{"version":3,"sources":["a.ts"],"mappings":"kBASG,KAAM"}`);
    expect(map.find(17, 0)).toBeUndefined();
    expect(map.find(18, 18)).toEqual({ file: "a.ts", line: 10, column: 4 });
    expect(map.find(30, 0)).toEqual({ file: "a.ts", line: 10, column: 10 });
    expect(map.find(30, 24)).toBeUndefined();
  });
});
