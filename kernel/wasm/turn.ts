/** Generates the turn: the small Wasm loop in which a module handles its messages; a blocking one enters it under JSPI once, and stays. */
import { assemble, bodies, F64, I32, I64 } from "./assembly.ts";
import { ByteWriter } from "./bytes.ts";

/** What `turn.next` gives: port * 2^LENGTH_BITS + length, exactly; the kernel's own port would be too large for an i32. */
const LENGTH_BITS = 20;
const MAXIMUM_LENGTH = 2 ** LENGTH_BITS - 1;

export function packInput(port: number, length: number): number {
  return port * 2 ** LENGTH_BITS + length;
}

/**
 * The binary of every loop of turns; it holds no guest code. V8 gives the address space of a stack back to nobody, so a blocking
 * module keeps the one it has from message to message: see kernel/RATIONALE.md.
 *
 * | import | type | what the kernel gives |
 * | --- | --- | --- |
 * | `turn.enter` | (fuel, depth, port, length) -> f64 | `bulkhead:enter` of the module |
 * | `turn.fuel` | mutable i32 | `bulkhead:fuel` of the module |
 * | `turn.next` | (result: f64, fuel left) -> f64 | settles that activation and begins the next as `packInput`; below 0 it does neither |
 * | `turn.idle` | (result: f64) -> f64 | where `next` was below 0: as `packInput` when there is a next one; below 0 ends the turn |
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `run` | (fuel, depth, port, length) -> () | one activation after the other, until there is no next one, one of them traps, or the kernel throws |
 */
export function makeTurn(): Uint8Array<ArrayBuffer> {
  const types = new ByteWriter().raw(4, 0x60, 4, I32, I32, I32, I32, 1, F64, 0x60, 1, F64, 1, F64);
  types.raw(0x60, 4, I32, I32, I32, I32, 0, 0x60, 2, F64, I32, 1, F64);
  const imports = new ByteWriter().u32(4).name("turn", "enter").raw(0, 0).name("turn", "next").raw(0, 3);
  imports.name("turn", "idle").raw(0, 1).name("turn", "fuel").raw(3, I32, 1);
  const [port, length, result, next, input] = [2, 3, 4, 5, 6];
  const isNegative = [0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x63, 0x04, 0x40];
  const code = new ByteWriter().raw(2, 2, F64, 1, I64, 0x03, 0x40);
  code.raw(0x20, 0, 0x20, 1, 0x20, port, 0x20, length, 0x10, 0, 0x22, result, 0x23, 0, 0x10, 1, 0x22, next);
  code.raw(...isNegative, 0x20, result, 0x10, 2, 0x22, next, ...isNegative, 0x0f, 0x0b, 0x0b);
  code.raw(0x20, next, 0xb1, 0x22, input, 0x42, LENGTH_BITS, 0x88, 0xa7, 0x21, port);
  code.raw(0x20, input, 0xa7, 0x41).s32(MAXIMUM_LENGTH);
  code.raw(0x71, 0x21, length, 0x0c, 0, 0x0b);
  return assemble([
    [1, types],
    [2, imports],
    [3, new ByteWriter().raw(1, 2)],
    [7, new ByteWriter().u32(1).name("run").raw(0, 3)],
    bodies(code),
  ]);
}
