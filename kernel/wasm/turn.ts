/** Generates the turn: the small Wasm loop in which a module handles its messages; a blocking one enters it under JSPI once, and stays. */
import { Assembly, assemble, bodies, F64, FUNCTION_TYPE, I32, I64, OP } from "./assembly.ts";
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
  const types = new ByteWriter().raw(4, FUNCTION_TYPE, 4, I32, I32, I32, I32, 1, F64, FUNCTION_TYPE, 1, F64, 1, F64);
  types.raw(FUNCTION_TYPE, 4, I32, I32, I32, I32, 0, FUNCTION_TYPE, 2, F64, I32, 1, F64);
  const imports = new ByteWriter().u32(4).name("turn", "enter").raw(0, 0).name("turn", "next").raw(0, 3);
  imports.name("turn", "idle").raw(0, 1).name("turn", "fuel").raw(3, I32, 1);
  const [fuel, depth, port, length, result, given, input] = [0, 1, 2, 3, 4, 5, 6];
  const [enter, next, idle, left] = [0, 1, 2, 0];
  const code = new Assembly().raw(2, 2, F64, 1, I64, OP.loop, OP.empty);
  const ifNegative = (): Assembly => code.raw(OP.f64Const, 0, 0, 0, 0, 0, 0, 0, 0, OP.f64Less, OP.if, OP.empty);
  code.gets([fuel, depth, port, length]).op(OP.call, enter).tee(result).global(left).op(OP.call, next).tee(given);
  ifNegative().get(result).op(OP.call, idle).tee(given);
  ifNegative().raw(OP.return, OP.end, OP.end);
  code.get(given).raw(OP.i64TruncateF64Unsigned).tee(input);
  code.raw(OP.i64Const, LENGTH_BITS, OP.i64ShiftRightUnsigned, OP.i32Wrap).set(port);
  code.get(input).raw(OP.i32Wrap).constant(MAXIMUM_LENGTH).raw(OP.i32And).set(length).raw(OP.br, 0, OP.end);
  return assemble([
    [1, types],
    [2, imports],
    [3, new ByteWriter().raw(1, 2)],
    [7, new ByteWriter().u32(1).name("run").raw(0, 3)],
    bodies(code),
  ]);
}
