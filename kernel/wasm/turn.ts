/** Generates the turn: the small Wasm loop in which a blocking module handles what waits for it, for one entry under JSPI. */
import { ByteWriter } from "./bytes.ts";

const I32 = 0x7f;
const F64 = 0x7c;

/** What `turn.next` gives: port << LENGTH_BITS | length; ports and payloads are far smaller. */
const LENGTH_BITS = 20;
export const MAXIMUM_LENGTH = 2 ** LENGTH_BITS - 1;

export function packInput(port: number, length: number): number {
  return (port << LENGTH_BITS) | length;
}

/**
 * The binary of every turn; it holds no guest code.
 *
 * | import | type | what the kernel gives |
 * | --- | --- | --- |
 * | `turn.enter` | (fuel, depth, port, length) -> f64 | `bulkhead:enter` of the module |
 * | `turn.next` | (result: f64) -> i32 | settles that activation and begins the next as `packInput`; below 0 it does neither |
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `run` | as `turn.enter` | one activation after the other; the result of the last, which is not settled |
 */
export function makeTurn(): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(256).raw(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
  const section = (id: number, content: ByteWriter): unknown => out.byte(id).u32(content.length).append(content);
  section(1, new ByteWriter().raw(2, 0x60, 4, I32, I32, I32, I32, 1, F64, 0x60, 1, F64, 1, I32));
  const imports = new ByteWriter().u32(2).name("turn").name("enter").raw(0, 0);
  section(2, imports.name("turn").name("next").raw(0, 1));
  section(3, new ByteWriter().raw(1, 0));
  section(7, new ByteWriter().u32(1).name("run").raw(0, 2));
  const [port, length, result, next] = [2, 3, 4, 5];
  const code = new ByteWriter().raw(2, 1, F64, 1, I32, 0x03, 0x40);
  code.raw(0x20, 0, 0x20, 1, 0x20, port, 0x20, length, 0x10, 0, 0x22, result, 0x10, 1, 0x22, next);
  code.raw(0x41, 0, 0x48, 0x04, 0x40, 0x20, result, 0x0f, 0x0b);
  code.raw(0x20, next, 0x41, LENGTH_BITS, 0x76, 0x21, port);
  code.raw(0x20, next, 0x41).s32(MAXIMUM_LENGTH);
  code.raw(0x71, 0x21, length, 0x0c, 0, 0x0b, 0x00, 0x0b);
  section(10, new ByteWriter().u32(1).u32(code.length).append(code));
  return out.finish();
}
