/** Writes the kernel's own Wasm: gates, links, turns and recorders. */
import { ByteWriter } from "./bytes.ts";
import { WASM_HEADER } from "./reader.ts";

export const [I32, I64, F32, F64, V128] = [0x7f, 0x7e, 0x7d, 0x7c, 0x7b] as const;
/** In front of parameters and results. */
export const FUNCTION_TYPE = 0x60;

/** Opcodes (5.4), a kind of instruction a row. */
export const OP = Object.freeze({
  ...{ unreachable: 0x00, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, empty: 0x40 },
  ...{ br: 0x0c, brIf: 0x0d, return: 0x0f, call: 0x10, callIndirect: 0x11, returnCall: 0x12, refFunction: 0xd2 },
  ...{ localGet: 0x20, localSet: 0x21, localTee: 0x22, globalGet: 0x23, globalSet: 0x24, select: 0x1b },
  ...{ i32Load: 0x28, i32Store: 0x36, i64Store: 0x37, f64Store: 0x39, memorySize: 0x3f, memoryGrow: 0x40 },
  ...{ i32Const: 0x41, i64Const: 0x42, f64Const: 0x44 },
  ...{ i32IsZero: 0x45, i32Equal: 0x46, i32Unequal: 0x47, i32LessSigned: 0x48, i32LessUnsigned: 0x49 },
  ...{ i32GreaterSigned: 0x4a, i32GreaterUnsigned: 0x4b, i32AtLeastSigned: 0x4e },
  ...{ i64LessSigned: 0x53, i64LessUnsigned: 0x54, i64GreaterSigned: 0x55, i64GreaterUnsigned: 0x56, f64Less: 0x63 },
  ...{ i32Add: 0x6a, i32Subtract: 0x6b, i64Add: 0x7c, i64DivideUnsigned: 0x80, f64Add: 0xa0 },
  ...{ i32And: 0x71, i32Or: 0x72, i32ShiftLeft: 0x74, i32ShiftRightUnsigned: 0x76 },
  ...{ i64And: 0x83, i64Or: 0x84, i64ShiftLeft: 0x86, i64ShiftRightUnsigned: 0x88 },
  ...{ i32Wrap: 0xa7, i64ExtendUnsigned: 0xad, i64TruncateF64Unsigned: 0xb1, f64ConvertI64Signed: 0xb9 },
} as const);

/** Those of two bytes. */
export const LONG_OP = Object.freeze({
  ...{ memoryCopy: [0xfc, 0x0a], v128Load: [0xfd, 0x00], v128Store: [0xfd, 0x0b], v128Const: [0xfd, 0x0c] },
  ...{ i32x4Splat: [0xfd, 0x11], i32x4ReplaceLane: [0xfd, 0x1c] },
} as const);

/** Added to the alignment of a load or store: the index of a memory follows. */
export const AT_MEMORY = 0x40;

/** `if` the i32 on the stack is below 0. */
export const IF_NEGATIVE: readonly number[] = [OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty];

/** Of parameters or results, each a byte. */
export type ValueTypes = Uint8Array | readonly number[];

/** Instructions, by what they do. */
export class Assembly extends ByteWriter {
  get(local: number): this {
    return this.op(OP.localGet, local);
  }

  gets(locals: readonly number[]): this {
    for (const local of locals) this.get(local);
    return this;
  }

  set(local: number): this {
    return this.op(OP.localSet, local);
  }

  tee(local: number): this {
    return this.op(OP.localTee, local);
  }

  global(index: number): this {
    return this.op(OP.globalGet, index);
  }

  setGlobal(index: number): this {
    return this.op(OP.globalSet, index);
  }

  constant(value: number): this {
    return this.byte(OP.i32Const).s32(value);
  }

  add(value: number): this {
    return this.constant(value).raw(OP.i32Add);
  }

  copyMemory(to: number, from: number): this {
    return this.raw(...LONG_OP.memoryCopy, to, from);
  }

  /** Returns `code` if the i32 on the stack is not 0. */
  refuse(code: number): this {
    return this.raw(OP.if, OP.empty).constant(code).raw(OP.return, OP.end);
  }
}

/** A module of these sections, in the order of the format. */
export function assemble(sections: readonly (readonly [id: number, content: ByteWriter])[]): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(1024).raw(...WASM_HEADER);
  for (const [id, content] of sections) out.op(id, content.length).append(content);
  return out.finish();
}

/** The code section: bodies that lack their `end`. */
export function bodies(...list: ByteWriter[]): [id: number, content: ByteWriter] {
  const out = new ByteWriter(1024).u32(list.length);
  for (const body of list) out.u32(body.byte(OP.end).length).append(body);
  return [10, out];
}

/** A function body without locals beyond its parameters, or with one i64. */
export function code(...locals: number[]): Assembly {
  return new Assembly(64).raw(...(locals.length === 0 ? [0] : [1, 1, ...locals]));
}
