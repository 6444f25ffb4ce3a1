/** The meter stops endless work, charges what is done, gives back stack, keeps quotas, and refuses what it must. */

import { getHeapStatistics } from "node:v8";
import { describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/errors.ts";
import { meter } from "../../kernel/wasm/meter.ts";
import { describeExternal, readModule } from "../../kernel/wasm/reader.ts";
import { compileWat, startMetered } from "./support.ts";
import { patiently } from "../support/patience.ts";

function refusal(run: () => unknown): Refusal {
  try {
    run();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

/** A module of raw sections: [id, ...content]. */
function sections(...all: number[][]): Uint8Array {
  return Uint8Array.from([...HEADER, ...all.flatMap(([id = 0, ...content]) => [id, content.length, ...content])]);
}

/** A module with one function () -> () of these instructions, `end` included. */
function withCode(...code: number[]): Uint8Array {
  return sections([1, 1, 0x60, 0, 0], [3, 1, 0], [10, 1, code.length + 1, 0, ...code]);
}

describe("endless work", () => {
  it.each([
    ["a loop", `(func (export "f") (loop (br 0)))`],
    ["a loop around a call", `(func $g) (func (export "f") (loop (call $g) (br 0)))`],
    ["a loop of loops", `(func (export "f") (loop $a (loop $b (br_if $b (i32.const 0))) (br $a)))`],
    ["a conditional loop", `(func (export "f") (loop (br_if 0 (i32.const 1))))`],
    ["a branch table back", `(func (export "f") (loop (br_table 0 0 0 (i32.const 1))))`],
    ["a tail call to itself", `(func $f (export "f") (return_call $f))`],
    ["tail calls in turn", `(func $f (export "f") (return_call $g)) (func $g (return_call $f))`],
    [
      "an indirect tail call",
      `(type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)
       (func $f (export "f") (return_call_indirect (type $t) (i32.const 0)))`,
    ],
  ])("is stopped: %s", async (_, body) => {
    const guest = startMetered(meter(await compileWat(`(module ${body})`)), { fuel: 100_000 });
    expect(() => guest.call("f")).toThrow("fuel exhausted");
    expect(guest.remaining()).toBeLessThan(0);
    expect(guest.remaining()).toBeGreaterThan(-1000);
  });

  it.each([
    ["a function that calls itself", `(func $f (export "f") (call $f))`],
    ["functions in turn", `(func $f (export "f") (call $g)) (func $g (call $f))`],
    ["a call in an arm", `(func $f (export "f") (if (i32.eqz (i32.const 0)) (then (call $f))))`],
    ["a call in a loop", `(func $f (export "f") (loop (call $f)))`],
    [
      "an indirect call",
      `(type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)
       (func $f (export "f") (call_indirect (type $t) (i32.const 0)))`,
    ],
  ])("of the stack is stopped before the native stack ends: %s", async (_, body) => {
    const guest = startMetered(meter(await compileWat(`(module ${body})`)));
    expect(() => guest.call("f")).toThrow("stack overflow");
  });

  it("goes on after the host has given more fuel, again and again while there is debt", async () => {
    let refills = 0;
    const wat = `(module (memory 16) (func (export "f") (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))))`;
    const guest = startMetered(meter(await compileWat(wat)), {
      fuel: 0,
      exhausted: () => {
        refills += 1;
        guest.exports["bulkhead:fuel"].value += 1000;
      },
    });
    guest.call("f");
    expect(refills).toBe(Math.ceil(65_536 / 8 / 1000));
  });
});

describe("stack depth", () => {
  const inner = `(func $g (param i32) (result i32) (local.get 0))`;
  it.each([
    ["the end", `(call $g (local.get 0))`],
    ["a return", `(drop (call $g (i32.const 1))) (return (i32.const 2))`],
    ["a return out of a loop", `(drop (call $g (i32.const 1))) (loop (return (i32.const 2))) (unreachable)`],
    ["a branch", `(drop (call $g (i32.const 1))) (br 0 (i32.const 3))`],
    ["a conditional branch", `(drop (call $g (i32.const 1))) (br_if 0 (i32.const 4) (local.get 0))`],
    [
      "a branch table",
      `(drop (call $g (i32.const 1))) (block (br_table 1 1 1 (i32.const 3) (local.get 0))) (i32.const 1)`,
    ],
    ["an arm", `(if (result i32) (local.get 0) (then (call $g (i32.const 1))) (else (i32.const 2)))`],
    [
      "a branch out of an arm",
      `(if (local.get 0) (then (drop (call $g (i32.const 1))) (br 1 (i32.const 2)))) (i32.const 1)`,
    ],
    [
      "a return out of an arm",
      `(if (local.get 0) (then (drop (call $g (i32.const 1))) (return (i32.const 2)))) (i32.const 1)`,
    ],
    ["a branch out of a block", `(block $b (drop (call $g (i32.const 1))) (br $b)) (i32.const 1)`],
    ["a tail call", `(drop (call $g (i32.const 1))) (return_call $g (i32.const 2))`],
    [
      "a return out of a tight loop, in a body with a conditional exit",
      `(drop (call $g (i32.const 1))) (drop (br_if 0 (i32.const 5) (i32.eqz (local.get 0))))
       (loop $l (if (i32.gt_s (local.get 0) (i32.const 10)) (then (return (i32.const 7))))
         (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br $l)) (unreachable)`,
    ],
  ])("is given back at %s", async (_, body) => {
    const wat = `(module ${inner} (func (export "f") (param i32) (result i32) ${body}))`;
    const plain = new WebAssembly.Instance(new WebAssembly.Module(await compileWat(wat)), {}).exports["f"];
    const guest = startMetered(meter(await compileWat(wat)));
    for (const value of [0, 1]) {
      expect(guest.call("f", value)).toBe((plain as (value: number) => number)(value));
      expect(guest.depth()).toBe(guest.initialDepth);
    }
  });
});

describe("a function that calls itself", () => {
  // Small enough for a twin, which neither charges nor counts: every other level does it for both.
  const shapes: [string, string][] = [
    [
      "twice",
      `(if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0)) (else (i32.add
         (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 2))))))`,
    ],
    [
      "before a return",
      `(if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
       (i32.mul (i32.const 3) (call $f (i32.sub (local.get 0) (i32.const 1))))`,
    ],
    [
      "and may leave by a branch",
      `(drop (br_if 0 (i32.const 5) (i32.le_s (local.get 0) (i32.const 0))))
       (i32.add (i32.const 7) (call $f (i32.sub (local.get 0) (i32.const 1))))`,
    ],
    [
      "and others",
      `(if (result i32) (i32.eqz (local.get 0)) (then (call $leaf)) (else
         (i32.xor (call $leaf) (call $f (i32.sub (local.get 0) (i32.const 1))))))`,
    ],
    [
      "until it divides by zero",
      `(i32.add (i32.div_u (i32.const 100) (local.get 0)) (call $f (i32.sub (local.get 0) (i32.const 1))))`,
    ],
    [
      "with a bulk operation",
      `(memory.fill (i32.const 0) (local.get 0) (i32.const 64)) (if (result i32) (local.get 0)
         (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.load8_u (i32.const 9))))`,
    ],
    [
      "by its table",
      `(if (result i32) (local.get 0) (then (call_indirect (type $t)
       (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))) (else (call $leaf)))`,
    ],
  ];

  async function outcomes(
    body: string,
    slice: number,
  ): Promise<{ plain: unknown[]; metered: unknown[]; used: number[] }> {
    const binary = await compileWat(`(module (memory 1) (type $t (func (param i32) (result i32))) (table 1 funcref)
      (elem (i32.const 0) $f) (func $leaf (result i32) (i32.const 21)) (func $f (export "f") (type $t) ${body}))`);
    let granted = 0;
    const exhausted = (): void => {
      granted += slice;
      guest.exports["bulkhead:fuel"].value += slice;
    };
    const guest = startMetered(meter(binary), { exhausted });
    const plain = new WebAssembly.Instance(new WebAssembly.Module(binary)).exports["f"] as (value: number) => unknown;
    const attempt = (run: () => unknown): unknown => {
      try {
        return run();
      } catch (error) {
        return (error as Error).message;
      }
    };
    const found = { plain: [] as unknown[], metered: [] as unknown[], used: [] as number[] };
    for (const value of [0, 1, 2, 3, 8, 13]) {
      granted = slice;
      guest.exports["bulkhead:arm"](slice, guest.initialDepth);
      found.plain.push(attempt(() => plain(value)));
      found.metered.push(attempt(() => guest.call("f", value)));
      found.used.push(granted - guest.remaining());
      if (typeof found.metered.at(-1) === "number") expect(guest.depth()).toBe(guest.initialDepth);
    }
    return found;
  }

  it.each(shapes)("%s gives the same as unmetered, and the same fuel in every slice", async (_, body) => {
    const whole = await outcomes(body, 1_000_000);
    expect(whole.metered).toEqual(whole.plain);
    for (const slice of [1, 7, 1000]) {
      const sliced = await outcomes(body, slice);
      expect(sliced.metered).toEqual(whole.plain);
      expect(sliced.used).toEqual(whole.used);
    }
  });

  it("is charged by the number of its calls", async () => {
    const { used } = await outcomes(shapes[1]?.[1] ?? "", 1_000_000);
    expect((used[5] ?? 0) - (used[4] ?? 0)).toBeGreaterThan(5 * 4);
    expect((used[5] ?? 0) - (used[4] ?? 0)).toBeLessThan(5 * 100);
  });

  it("has one twin at most, and none where it calls itself at its end only", async () => {
    const bodies = async (wat: string): Promise<number> => readModule(meter(await compileWat(wat))).bodies.length;
    const none = await bodies(`(module (func $f (param i32) (result i32) (return_call $f (local.get 0))))`);
    const one = await bodies(
      `(module (func $f (param i32) (result i32) (i32.add (call $f (i32.const 1)) (call $f (i32.const 2)))))`,
    );
    expect(one).toBe(none + 1);
  });
});

describe("fuel", () => {
  it("tracks work: twice the iterations cost twice the fuel", async () => {
    const wat = `(module (func (export "f") (param i32)
      (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))`;
    const guest = startMetered(meter(await compileWat(wat)));
    const cost = (iterations: number): number => {
      const before = guest.remaining();
      guest.call("f", iterations);
      return before - guest.remaining();
    };
    expect(cost(2000) - cost(1000)).toBe(cost(3000) - cost(2000));
    expect(cost(2000) - cost(1000)).toBeGreaterThanOrEqual(3000);
  });

  it.each([
    ["memory.fill", `(memory.fill (i32.const 0) (i32.const 0) (local.get 0))`, 80_000, 10_000],
    ["memory.copy", `(memory.copy (i32.const 0) (i32.const 8) (local.get 0))`, 80_000, 10_000],
    ["memory.init", `(memory.init $d (i32.const 0) (i32.const 0) (local.get 0))`, 16, 2],
    ["memory.grow", `(drop (memory.grow (local.get 0)))`, 3, 3 * 8192],
    ["table.fill", `(table.fill $t (i32.const 0) (ref.null func) (local.get 0))`, 50, 3200],
    ["table.copy", `(table.copy (i32.const 0) (i32.const 1) (local.get 0))`, 50, 3200],
    ["table.grow", `(drop (table.grow $t (ref.null func) (local.get 0)))`, 50, 3200],
    ["table.init", `(table.init $e (i32.const 0) (i32.const 0) (local.get 0))`, 2, 128],
  ])("is charged by length for %s", async (_, instruction, length, units) => {
    const wat = `(module (memory 2) (table $t 100 funcref) (data $d "0123456789abcdef") (elem $e func $f $f)
      (func $f (export "f") (param i32) ${instruction}))`;
    const guest = startMetered(meter(await compileWat(wat)));
    const cost = (value: number): number => {
      const before = guest.remaining();
      guest.call("f", value);
      return before - guest.remaining();
    };
    expect(cost(length) - cost(0)).toBe(units);
  });

  it("is charged before a bulk operation runs, also for one that traps, and never wraps around", async () => {
    const wat = `(module (memory 1) (func (export "f") (memory.fill (i32.const 0) (i32.const 0) (i32.const -1)))
      (func (export "g") (drop (memory.grow (i32.const -1)))))`;
    const guest = startMetered(meter(await compileWat(wat)), { fuel: 1000 });
    expect(() => guest.call("f")).toThrow("fuel exhausted");
    expect(guest.remaining()).toBeLessThan(-500_000_000);
    expect(() => guest.call("g")).toThrow("fuel exhausted");
  });

  it("is exact in the global at a trap inside a loop", async () => {
    const wat = `(module (func (export "f") (param i32) (loop
      (if (i32.eqz (local.get 0)) (then unreachable)) (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br 0))))`;
    const guest = startMetered(meter(await compileWat(wat)));
    const cost = (iterations: number): number => {
      const before = guest.remaining();
      expect(() => guest.call("f", iterations)).toThrow("unreachable");
      return before - guest.remaining();
    };
    expect(cost(200) - cost(100)).toBe(cost(100) - cost(0));
  });
});

describe("the handler's entry", () => {
  it("turns its result into an exact double", async () => {
    const wat = `(module (global $r (export "r") (mut i64) (i64.const 0))
      (func (export "bulkhead_handle") (param i32 i32) (result i64) (global.get $r)))`;
    const guest = startMetered(meter(await compileWat(wat)));
    const result = guest.exports["r"] as WebAssembly.Global<"i64">;
    const cases: [bigint, number][] = [
      [0n, 0],
      [-1n, -1],
      [-(2n ** 31n), -(2 ** 31)],
      [-(2n ** 31n) - 1n, -(2 ** 31)],
      [-(2n ** 63n), -(2 ** 31)],
      [(5n << 32n) | 7n, 5 * 2 ** 20 + 7],
      [(0x7fff_ffffn << 32n) | 0xffff_ffffn, 0x7fff_ffff * 2 ** 20 + 2 ** 20 - 1],
      [12n, 12],
    ];
    for (const [value, expected] of cases) {
      result.value = value;
      expect(guest.exports["bulkhead:enter"](1000, 1000, 0, 0)).toBe(expected);
    }
  });

  it("sets fuel and depth, and hands on port and length", async () => {
    const wat = `(module (func (export "bulkhead_handle") (param i32 i32) (result i64)
      (i64.extend_i32_u (i32.add (i32.mul (local.get 0) (i32.const 100)) (local.get 1)))))`;
    const guest = startMetered(meter(await compileWat(wat)));
    expect(guest.exports["bulkhead:enter"](5000, 700, 3, 21)).toBe(321);
    expect(guest.depth()).toBe(700);
    expect(guest.remaining()).toBeLessThanOrEqual(5000);
  });

  it("is not there where the handler is missing or has another type", async () => {
    for (const wat of [
      "(module)",
      `(module (func (export "bulkhead_handle") (param i32) (result i64) (i64.const 0)))`,
    ]) {
      const { exports } = readModule(meter(await compileWat(wat)));
      expect(exports.map(({ name }) => name)).not.toContain("bulkhead:enter");
    }
  });
});

describe("start and _initialize", () => {
  it("run when the host says so, start first, and metered", async () => {
    const wat = `(module (global $g (export "g") (mut i32) (i32.const 1))
      (func $start (global.set $g (i32.mul (global.get $g) (i32.const 10))))
      (func (export "_initialize") (global.set $g (i32.add (global.get $g) (i32.const 5))))
      (start $start))`;
    const guest = startMetered(meter(await compileWat(wat)));
    expect((guest.exports["g"] as WebAssembly.Global<"i32">).value).toBe(15);
    expect(readModule(meter(await compileWat(wat))).start).toBeUndefined();
  });

  it("are stopped when they do not end", async () => {
    const binary = meter(await compileWat(`(module (func $s (loop (br 0))) (start $s))`));
    expect(() => startMetered(binary, { fuel: 1000 })).toThrow("fuel exhausted");
  });
});

describe("renumbering", () => {
  it("keeps calls, references, tables and exports pointing at the same functions", async () => {
    const wat = `(module
      (import "log" "write" (func $log (param i32)))
      (type $t (func (result i32)))
      (table (export "table") 4 funcref)
      (global $r funcref (ref.func $two))
      (elem (i32.const 0) $one $two)
      (elem (i32.const 2) funcref (ref.func $two) (ref.null func))
      (func $one (export "one") (type $t) (call $log (i32.const 11)) (i32.const 1))
      (func $two (export "two") (type $t) (i32.const 2))
      (func (export "indirect") (param i32) (result i32) (call_indirect (type $t) (local.get 0)))
      (func (export "same") (result i32) (table.set (i32.const 3) (global.get $r)) (call_indirect (type $t) (i32.const 3)))
      (func (export "reference") (result funcref) (ref.func $one)))`;
    const logged: number[] = [];
    const imports = { log: { write: (value: number) => logged.push(value) } };
    const guest = startMetered(meter(await compileWat(wat)), { imports });
    expect([0, 1, 2].map((index) => guest.call("indirect", index))).toEqual([1, 2, 2]);
    expect(guest.call("same")).toBe(2);
    expect(guest.call("reference")).toBe(guest.exports["one"]);
    expect((guest.exports["table"] as WebAssembly.Table).get(1)).toBe(guest.exports["two"]);
    expect(logged).toEqual([11]);
  });

  it("keeps results of many values, also where depth is counted", async () => {
    const wat = `(module (func $g (result i32 i64 i32) (i32.const 1) (i64.const 2) (i32.const 3))
      (func (export "f") (param i32) (result i32 i64 i32) (call $g) (br_if 0 (local.get 0)) (drop) (i32.const 4)))`;
    const guest = startMetered(meter(await compileWat(wat)));
    expect(guest.call("f", 1)).toEqual([1, 2n, 3]);
    expect(guest.call("f", 0)).toEqual([1, 2n, 4]);
  });
});

describe("quotas", () => {
  const quota = { memoryMaximumPages: 4, tableMaximumEntries: 10 };

  it("clamp memory and tables, declared or not", async () => {
    for (const [memory, table] of [
      ["1", "2"],
      ["1 2", "2 3"],
      ["1 1000", "2 1000"],
    ]) {
      const wat = `(module (memory ${memory ?? ""}) (table ${table ?? ""} funcref))`;
      const shape = readModule(meter(await compileWat(wat), quota));
      const [wanted, entries] = memory === "1 2" ? [2, 3] : [4, 10];
      expect(shape.memories[0]?.maximum).toBe(wanted);
      expect(shape.tables[0]?.maximum).toBe(entries);
    }
  });

  it("refuse a minimum above them", async () => {
    const memory = await compileWat("(module (memory 5))");
    expect(refusal(() => meter(memory, quota))).toMatchObject({ code: "E_SIZE", detail: { found: "5" } });
    const table = await compileWat("(module (table 11 funcref))");
    expect(refusal(() => meter(table, quota)).code).toBe("E_SIZE");
  });

  it("of tables hold for all of them together: what is left grows in equal parts, and too much is refused", async () => {
    const maxima = async (...tables: string[]): Promise<(number | undefined)[]> => {
      const text = tables.map((limits) => `(table ${limits} funcref)`).join(" ");
      const shape = readModule(meter(await compileWat(`(module ${text})`), quota));
      return shape.tables.map(({ maximum }) => maximum);
    };
    expect(await maxima("0", "0")).toEqual([5, 5]);
    expect(await maxima("2 3", "2")).toEqual([3, 7]);
    expect(await maxima("4", "5")).toEqual([4, 6]);
    expect(await maxima("10 1000", "0 1000")).toEqual([10, 0]);
    const refused = await maxima("5", "6").catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "E_SIZE", detail: { found: "11" } });
    expect((refused as Refusal).detail.hint).toContain("smaller minima");
  });

  it("of a module's tables bound what they take of the heap", async () => {
    const tables = "(table 4096 funcref)".repeat(16);
    const limits = { ...quota, tableMaximumEntries: 65_536 };
    expect(readModule(meter(await compileWat(`(module ${tables})`), limits)).tables).toHaveLength(16);
    const more = await compileWat(`(module ${tables.replaceAll("4096", "4097")})`);
    expect(refusal(() => meter(more, limits))).toMatchObject({ code: "E_SIZE", detail: { found: `${16 * 4097}` } });
  });

  it("cannot exceed 2 GiB, nor be nonsense", async () => {
    const binary = await compileWat("(module)");
    for (const memoryMaximumPages of [32_769, -1, 1.5, Number.NaN]) {
      expect(refusal(() => meter(binary, { ...quota, memoryMaximumPages })).code).toBe("E_SIZE");
    }
    const huge = await compileWat("(module (memory 32769))");
    expect(refusal(() => meter(huge, { ...quota, memoryMaximumPages: 32_768 })).code).toBe("E_SIZE");
  });
});

describe("bounds on compilation", () => {
  it.each([
    ["body", `(func ${"(drop (i32.const 1000000))".repeat(20_000)})`, "65536 bytes"],
    ["locals", `(func (local ${"i32 ".repeat(501)}))`, "500 parameters and locals"],
    ["merges", `(func (local ${"i32 ".repeat(480)}) ${"(block)".repeat(3000)})`, "1000000 (locals"],
    [
      "operands x blocks",
      `(func ${"i32.const 0 ".repeat(3000)} ${"(block)".repeat(3000)} ${"drop ".repeat(3000)})`,
      "1000000 (locals",
    ],
  ])("refuse a function by its index: too much %s", async (_, body, expected) => {
    const binary = await compileWat(`(module (func) ${body})`);
    const { code, message, detail } = refusal(() => meter(binary));
    expect(code).toBe("E_SIZE");
    expect(message).toContain("function 1");
    expect(detail.expected).toContain(expected);
  });

  it("refuse too many parameters and too many tables", async () => {
    const wide = await compileWat(`(module (type (func (param ${"i32 ".repeat(129)}))))`);
    expect(refusal(() => meter(wide)).code).toBe("E_SIZE");
    const tables = await compileWat(`(module ${"(table 1 funcref)".repeat(17)})`);
    expect(refusal(() => meter(tables)).code).toBe("E_SIZE");
  });

  it("refuse a binary that declares too many things to keep", () => {
    const empty = Uint8Array.from(
      { length: 8 + 3 * 250_001 },
      (_, index) => HEADER[index] ?? ((index - 8) % 3 === 1 ? 1 : 0),
    );
    expect(refusal(() => readModule(empty)).code).toBe("E_SIZE");
  });

  const named = (count: number, make: (index: number) => string): string =>
    Array.from({ length: count }, (_, index) => make(index)).join("");

  /** One function of nested blocks, as bytes: WABT takes too long for them. */
  const nested = (count: number, open: readonly number[]): Uint8Array => {
    const size = (bytes: number): number[] => [(bytes & 0x7f) | 0x80, ((bytes >> 7) & 0x7f) | 0x80, bytes >> 14];
    const opened = new Array<readonly number[]>(count).fill(open).flat();
    const body = [0, ...opened, ...new Array<number>(count + 1).fill(0x0b)];
    const code = [1, ...size(body.length), ...body];
    return Uint8Array.from([...HEADER, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, ...size(code.length), ...code]);
  };

  // Four times the size is four times the work; what is quadratic anywhere takes sixteen times.
  it.each<[string, number, (count: number) => string | Uint8Array]>([
    ["nested blocks", 1500, (count) => nested(count, [0x02, 0x40])],
    ["nested loops with exits", 400, (count) => nested(count, [0x03, 0x40, 0x41, 0x00, 0x0d, 0x00])],
    ["functions", 250, (count) => `(func (param i32) ${"(loop (br_if 0 (local.get 0)))".repeat(40)})`.repeat(count)],
    ["calls", 3000, (count) => `(func $f) (func ${"(call $f)".repeat(count)})`],
    ["branches of one table", 3000, (count) => `(func (block (br_table ${"0 ".repeat(count)} (i32.const 1))))`],
    ["types", 2000, (count) => named(count, (index) => `(type (func (param ${"i32 ".repeat(index % 7)})))`)],
    ["imports", 2000, (count) => named(count, (index) => `(import "m" "f${index}" (func))`)],
    ["exports", 2000, (count) => `(func $f) ${named(count, (index) => `(export "e${index}" (func $f))`)}`],
    ["globals", 2000, (count) => "(global i32 (i32.const 1))".repeat(count)],
    ["data segments", 2000, (count) => `(memory 1) ${'(data (i32.const 0) "abcdefgh")'.repeat(count)}`],
    ["elements", 3000, (count) => `(table 1 funcref) (func $f) (elem func ${"$f ".repeat(count)})`],
  ])("are kept in linear time and memory: %s", { timeout: patiently(60_000) }, async (_, count, make) => {
    const cost = async (size: number): Promise<{ bytes: number; milliseconds: number }> => {
      const text = make(size);
      const binary = typeof text === "string" ? await compileWat(`(module ${text})`) : text;
      const milliseconds: number[] = [];
      const bytes: number[] = [];
      for (let attempt = 0; attempt < 9; attempt++) {
        const used = process.cpuUsage();
        const allocated = getHeapStatistics().total_allocated_bytes;
        meter(binary);
        bytes.push(getHeapStatistics().total_allocated_bytes - allocated);
        const { user, system } = process.cpuUsage(used);
        milliseconds.push((user + system) / 1000);
      }
      return { bytes: Math.min(...bytes), milliseconds: Math.min(...milliseconds) };
    };
    const [small, large] = [await cost(count), await cost(4 * count)];
    expect(large.bytes).toBeLessThan(6 * small.bytes + 65_536);
    // A millisecond of code that is being compiled, or of a neighbour in the cache, is no growth.
    expect(large.milliseconds).toBeLessThan(10 * small.milliseconds + 2);
  });
});

describe("what is refused by name", () => {
  it.each([
    ["threads", withCode(0xfe, 0x03, 0x00, 0x0b), 23],
    ["threads", sections([5, 1, 0x03, 1, 1]), 11],
    ["memory64", sections([5, 1, 0x04, 1]), 11],
    ["custom page sizes", sections([5, 1, 0x08, 1, 0]), 11],
    ["multi-memory", sections([5, 2, 0x00, 1, 0x00, 1]), 13],
    ["multi-memory", withCode(0x3f, 0x01, 0x1a, 0x0b), 24],
    ["garbage collection", sections([1, 1, 0x5f, 0]), 11],
    ["garbage collection", withCode(0xfb, 0x00, 0x0b), 23],
    ["exception handling", sections([13, 1, 0, 0]), 8],
    ["exception handling", withCode(0x06, 0x40, 0x0b, 0x0b), 23],
    ["exception handling", withCode(0x1f, 0x40, 0x00, 0x0b, 0x0b), 23],
    ["relaxed SIMD", withCode(0xfd, 0x80, 0x02, 0x0b), 23],
    ["half precision", withCode(0xfd, 0xa0, 0x02, 0x0b), 23],
    ["wide arithmetic", withCode(0xfc, 0x13, 0x0b), 23],
    ["memory control", withCode(0xfc, 0x12, 0x0b), 23],
    ["typed function references", withCode(0x14, 0x00, 0x0b), 23],
    ["typed function references", sections([1, 1, 0x60, 1, 0x63, 0x70, 0]), 13],
    ["stack switching", withCode(0xe0, 0x00, 0x0b), 23],
    ["custom descriptors", sections([1, 1, 0x4d, 0]), 11],
    ["extended constant expressions", sections([6, 1, 0x7f, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b]), 15],
    ["reference-typed strings", sections([14, 0]), 8],
    ["shared-everything threads", sections([6, 1, 0x7f, 2, 0x41, 0, 0x0b]), 12],
  ])("%s, at its byte", (proposal, binary, at) => {
    const { code, message, detail } = refusal(() => meter(binary));
    expect(code).toBe("E_WASM");
    expect(message).toContain(proposal);
    expect(detail.found).toBe(proposal);
    expect(detail.at).toBe(at);
  });

  it("an import or export that could reach what the rewriter adds", async () => {
    for (const wat of [
      `(module (import "bulkhead:meter" "exhausted" (func)))`,
      `(module (import "bulkhead:other" "x" (global i32)))`,
      `(module (func (export "bulkhead:arm")))`,
    ]) {
      const binary = await compileWat(wat);
      expect(refusal(() => meter(binary))).toMatchObject({
        code: "E_WASM",
        message: expect.stringContaining("reserved") as string,
      });
    }
  });

  it("a binary that was rewritten already", async () => {
    const once = meter(await compileWat("(module)"));
    expect(refusal(() => meter(once)).code).toBe("E_WASM");
  });

  it.each([
    ["nothing", new Uint8Array()],
    ["another file", new TextEncoder().encode("#!/bin/sh\necho no\n")],
    ["a component", Uint8Array.from([0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00])],
    ["a section beyond the end", Uint8Array.from([...HEADER, 1, 200, 1])],
    ["a count without items", sections([1, 0xff, 0xff, 0xff, 0xff, 0x0f])],
    ["a number of six bytes", sections([1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00])],
    ["sections out of order", sections([3, 0], [1, 0])],
    ["a body without end", withCode(0x01)],
    ["bytes after the end", withCode(0x0b, 0x0b)],
    ["a local that the rewriter would add", withCode(0x20, 0x00, 0x1a, 0x0b)],
    ["a global that the rewriter adds", withCode(0x23, 0x00, 0x1a, 0x0b)],
    ["a function that the rewriter adds", withCode(0x10, 0x01, 0x0b)],
    ["a label that the rewriter adds", withCode(0x0c, 0x01, 0x0b)],
    ["a type that the rewriter adds", withCode(0x02, 0x01, 0x0b, 0x0b)],
    ["a minimum above its maximum", sections([5, 1, 1, 9, 3])],
    ["a name that is not UTF-8", sections([0, 2, 0xff, 0xff])],
  ])("%s is refused as malformed", (_, binary) => {
    expect(refusal(() => meter(binary)).code).toBe("E_WASM");
  });
});

describe("the reader", () => {
  it("lists imports, exports and custom sections", async () => {
    const wat = `(module (import "bus" "read" (func (param i32 i64) (result i32))) (import "bus" "speed" (global i32))
      (import "bus" "write" (func (param funcref) (result externref))) (memory (export "memory") 1)
      (func (export "pair") (param f32) (result f64 v128) (unreachable)) (func (export "none")))`;
    const shape = readModule(await compileWat(wat));
    expect(shape.imports).toMatchObject([
      { module: "bus", name: "read", kind: "function", index: 0 },
      { module: "bus", name: "speed", kind: "global", index: 0 },
      { module: "bus", name: "write", kind: "function", index: 1 },
    ]);
    expect(shape.imports.map((item) => describeExternal(shape, item))).toEqual([
      "(i32,i64)->i32",
      "global",
      "(funcref)->externref",
    ]);
    expect(shape.exports.map((item) => [item.name, describeExternal(shape, item)])).toEqual([
      ["memory", "memory"],
      ["pair", "(f32)->(f64,v128)"],
      ["none", "()->()"],
    ]);
    const { customSections } = readModule(sections([0, 1, 0x61, 9, 8, 7], [0, 1, 0x62], [0, 1, 0x61]));
    expect(customSections.map(({ name, bytes }) => [name, ...bytes])).toEqual([["a", 9, 8, 7], ["b"], ["a"]]);
  });
});
