/** The meter stops endless loops and recursion, and leaves results as they were. */

import { describe, expect, it } from "vitest";
import { meter } from "../../kernel/wasm/meter.ts";
import { compileWat, startMetered } from "./support.ts";

describe("the meter", () => {
  it("stops an endless loop", async () => {
    const binary = await compileWat(`(module (func (export "spin") (loop (br 0))))`);
    const guest = startMetered(meter(binary), { fuel: 1_000_000 });
    expect(() => guest.call("spin")).toThrow("fuel exhausted");
    expect(guest.remaining()).toBeLessThan(0);
  });

  it("stops endless recursion before the native stack ends", async () => {
    const binary = await compileWat(`(module (func $down (export "down") (call $down)))`);
    const guest = startMetered(meter(binary), { depth: 200_000 });
    expect(() => guest.call("down")).toThrow("stack overflow");
  });

  it("computes what the guest computes", async () => {
    const binary = await compileWat(`(module
      (func $fib (export "fib") (param i32) (result i32)
        (if (result i32) (i32.lt_s (local.get 0) (i32.const 2))
          (then (local.get 0))
          (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                         (call $fib (i32.sub (local.get 0) (i32.const 2))))))))`);
    const guest = startMetered(meter(binary));
    expect(guest.call("fib", 20)).toBe(6765);
    expect(guest.depth()).toBe(guest.initialDepth);
  });

  it("turns the handler's result into an exact double", async () => {
    const binary = await compileWat(`(module
      (global $r (export "r") (mut i64) (i64.const 0))
      (func (export "bulkhead_handle") (param i32 i32) (result i64) (global.get $r)))`);
    const guest = startMetered(meter(binary));
    const enter = guest.exports["bulkhead:enter"];
    const r = guest.exports["r"] as WebAssembly.Global<"i64">;
    const cases: [bigint, number][] = [
      [0n, 0],
      [-1n, -1],
      [-(2n ** 31n), -(2 ** 31)],
      [-(2n ** 63n), -(2 ** 31)],
      [(5n << 32n) | 7n, 5 * 2 ** 20 + 7],
      [(0x7fff_ffffn << 32n) | 0xffff_ffffn, 0x7fff_ffff * 2 ** 20 + 2 ** 20 - 1],
      [12n, 12],
    ];
    for (const [value, expected] of cases) {
      r.value = value;
      expect(enter(1000, 1000, 0, 0)).toBe(expected);
    }
  });
});
