/** No guest runs far beyond its fuel: between two checks little is charged, and what takes time costs fuel. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { meter } from "../../kernel/wasm/meter.ts";
import { patiently, repeatedly } from "../support/patience.ts";
import { compileWat, type Guest, startMetered } from "./support.ts";

const times = (count: number, text: string): string => Array.from({ length: count }, () => text).join(" ");
/** Straight-line code of 8 fuel each. */
const roots = (count: number): string =>
  `(global.set $x (global.get $x)) global.get $x ${times(count, "f64.sqrt")} global.set $x`;
const moduleOf = (body: string): string => `(module (global $x (mut f64) (f64.const 2)) (memory 1) ${body})`;

/** Runs `f` with what `exhausted` makes of it; it keeps how far below 0 each check has found the counter. */
async function debtsOf(body: string, value?: number): Promise<{ debts: number[]; guest: Guest }> {
  const debts: number[] = [];
  // Left at 0: the next check finds all that has been charged since this one.
  const exhausted = (): void => {
    debts.push(-guest.remaining());
    guest.exports["bulkhead:fuel"].value = 0;
  };
  const guest = startMetered(meter(await compileWat(moduleOf(body))), { fuel: 0, exhausted });
  guest.call("f", value ?? 0);
  return { debts, guest };
}

describe("between two checks no more is charged than a body and what it calls cost", () => {
  const ROOTS = 2000;
  it.each([
    ["in leaves", `(func $g ${roots(ROOTS)}) (func (export "f") (param i32) ${times(300, "(call $g)")})`],
    [
      "in an arm of leaves whose callers pay",
      `(func $g (param i32) (if (local.get 0) (then ${roots(ROOTS)})))
       (func (export "f") (param i32) ${times(300, "(call $g (i32.const 1))")})`,
    ],
    [
      "before an arm that holds the calls",
      `(func $g (param i32) ${roots(ROOTS)} (if (local.get 0) (then (call $g (i32.const 0)))))
       (func (export "f") (param i32) ${times(300, "(call $g (i32.const 0))")})`,
    ],
    [
      "on the way back out of a recursion",
      `(func $g (param i32) (if (local.get 0) (then (call $g (i32.sub (local.get 0) (i32.const 1)))))
         (if (i32.load (i32.const 8)) (then (nop)) (else ${roots(ROOTS)})))
       (func (export "f") (param i32) (call $g (i32.const 300)))`,
    ],
    [
      "in a tight loop that is left at once",
      `(func $g (param i32) (block $out (loop $l (if (local.get 0) (then ${roots(ROOTS)} (br $out))) (br $l))))
       (func (export "f") (param i32) ${times(300, "(call $g (i32.const 1))")})`,
    ],
    [
      "behind loops",
      `(func $g (param i32) (loop (if (local.get 0) (then (local.set 0 (i32.const 0)) (br 1))))
         (if (i32.eqz (local.get 0)) (then ${roots(ROOTS)})))
       (func (export "f") (param i32) ${times(300, "(call $g (i32.const 1))")})`,
    ],
  ])("%s", async (_, body) => {
    const { debts } = await debtsOf(body);
    expect(debts.length).toBeGreaterThanOrEqual(290);
    expect(Math.max(...debts)).toBeLessThan(2 * (8 * ROOTS + 300 * 40));
    expect(debts.reduce((sum, debt) => sum + debt, 0)).toBeGreaterThanOrEqual(299 * 8 * ROOTS);
  });

  it("so that a slice's counter stops the longest of leaves at the first, and cannot wrap around", async () => {
    const body = `(func $g ${roots(60_000)}) (func (export "f") ${times(9000, "(call $g)")})`;
    const guest = startMetered(meter(await compileWat(moduleOf(body))), { fuel: 200_000 });
    expect(() => guest.call("f")).toThrow("fuel exhausted");
    expect(guest.remaining()).toBeLessThan(0);
    expect(guest.remaining()).toBeGreaterThan(-1_000_000);
  });

  it("for any shape of calls, arms, loops and recursions", { timeout: patiently(60_000) }, async () => {
    interface Piece {
      readonly text: string;
      readonly cost: number;
    }
    const heavy = fc.integer({ min: 0, max: 200 }).map((count): Piece => ({ text: roots(count), cost: 8 * count + 4 }));
    const calls = (callee: number): fc.Arbitrary<Piece> =>
      fc.integer({ min: 1, max: 40 }).map((count) => ({
        text: times(count, `(call $g${callee} (i32.sub (local.get 0) (i32.const 1)))`),
        cost: count * 40,
      }));
    const pieces = (callees: readonly number[], depth: number): fc.Arbitrary<Piece> => {
      const inner = (): fc.Arbitrary<Piece> => (depth === 0 ? heavy : pieces(callees, depth - 1));
      const wrap = (before: string, after: string): fc.Arbitrary<Piece> =>
        inner().map(({ text, cost }) => ({ text: `${before} ${text} ${after}`, cost: cost + 20 }));
      const any = fc.oneof(
        heavy,
        wrap("(if (i32.gt_s (local.get 0) (i32.const 0)) (then", "))"),
        wrap("(if (i32.and (local.get 0) (i32.const 1)) (then) (else", "))"),
        wrap(
          "(local.set 1 (i32.const 2)) (block (loop (local.set 1 (i32.sub (local.get 1) (i32.const 1)))",
          "(br_if 1 (i32.eqz (local.get 1))) (br 0)))",
        ),
        wrap("(block (loop (if (i32.ne (local.get 0) (i32.const 5)) (then", "(br 2))) (unreachable)))"),
        ...callees.map(calls),
      );
      return fc.array(any, { minLength: 1, maxLength: 4 }).map((list) => ({
        text: list.map(({ text }) => text).join(" "),
        cost: list.reduce((sum, { cost }) => sum + cost, 0),
      }));
    };
    const guarded = (index: number, { text }: Piece): string =>
      `(func $g${index} (param i32) (local i32) (if (i32.gt_s (local.get 0) (i32.const 0)) (then ${text})))`;
    const bodies = fc.tuple(pieces([], 1), pieces([0], 2), pieces([0, 1], 2), pieces([0, 1, 2, 3], 1));
    await fc.assert(
      fc.asyncProperty(bodies, async (list) => {
        const functions = list.map((piece, index) => guarded(index, piece)).join("\n");
        const all = list.map((_, index) => times(30, `(call $g${index} (local.get 0))`)).join(" ");
        const { debts } = await debtsOf(`${functions} (func (export "f") (param i32) ${all})`, 2);
        const longest = Math.max(list.length * 30 * 30, ...list.map(({ cost }) => cost + 60));
        expect(debts.reduce((most, debt) => Math.max(most, debt), 0)).toBeLessThanOrEqual(2 * longest);
      }),
      { numRuns: repeatedly(60), seed: 20_261_122, endOnFailure: true },
    );
  });
});

describe("what costs time costs fuel", () => {
  const COUNT = 400;
  async function fuelOf(body: string, passes: number): Promise<number> {
    const guest = startMetered(meter(await compileWat(body)));
    const before = guest.remaining();
    guest.call("f", passes);
    return before - guest.remaining();
  }
  const looped = (locals: string, code: string, around = ""): string =>
    `(module (table $t 9 funcref) (memory 1) ${around} (func $f (export "f") (param i32) ${locals}
      (loop ${times(COUNT, code)} (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))`;
  const many = `(type $many (func (param ${times(100, "i32")}) (result ${times(100, "i32")})))
    (func $push (result ${times(100, "i32")}) ${times(100, "(i32.const 1)")})`;

  it.each([
    ["a local that is set", looped("(local i64 i64)", "(local.set 1 (local.get 2))"), 0.5],
    ["a constant that is set", looped("(local i64)", "(local.set 1 (i64.const 1))"), 0.5],
    ["a constant that is dropped", looped("", "(drop (f64.const 1))"), 1],
    ["a table's entry", looped("", "(table.set $t (i32.const 0) (ref.func $f))"), 75],
    ["a reference to a function", looped("", "(drop (ref.func $f))"), 15],
    ["a table that is filled", looped("", "(table.fill $t (i32.const 0) (ref.null func) (i32.const 0))"), 60],
    ["a table that is copied", looped("", "(table.copy (i32.const 0) (i32.const 0) (i32.const 0))"), 60],
    ["a memory that grows by nothing", looped("", "(drop (memory.grow (i32.const 0)))"), 200],
    ["a table that grows by nothing", looped("", "(drop (table.grow $t (ref.null func) (i32.const 0)))"), 200],
    ["a memory that is filled", looped("", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))"), 50],
    [
      "operands that branches move",
      looped("", `(call $push) (block (type $many) (br 0)) ${times(100, "drop")}`, many),
      60,
    ],
    ["locals that are cleared", looped("", "(call $g)", `(func $g (local ${times(200, "i64")}))`), 100],
  ])("%s", async (_, body, atLeast) => {
    const fuel = (await fuelOf(body, 5)) - (await fuelOf(body, 4));
    expect(fuel).toBeGreaterThanOrEqual(COUNT * atLeast);
  });

  it("and code that has other work costs no more for its local traffic", async () => {
    const body = looped("(local i32)", "(local.set 1 (i32.add (i32.mul (local.get 1) (local.get 0)) (local.get 1)))");
    const fuel = (await fuelOf(body, 5)) - (await fuelOf(body, 4));
    expect(fuel).toBe(COUNT * 2 + 3);
  });
});
