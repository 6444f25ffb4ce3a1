/** Writes the kernel's own Wasm: gates, links, turns and recorders. */
import { ByteWriter } from "./bytes.ts";
import { WASM_HEADER } from "./reader.ts";

export const [I32, I64, F32, F64, V128] = [0x7f, 0x7e, 0x7d, 0x7c, 0x7b] as const;

/** Of parameters or results, each a byte. */
export type ValueTypes = Uint8Array | readonly number[];

/** Instructions, by what they do. */
export class Assembly extends ByteWriter {
  get(local: number): this {
    return this.op(0x20, local);
  }

  gets(locals: readonly number[]): this {
    for (const local of locals) this.get(local);
    return this;
  }

  set(local: number): this {
    return this.op(0x21, local);
  }

  global(index: number): this {
    return this.op(0x23, index);
  }

  setGlobal(index: number): this {
    return this.op(0x24, index);
  }

  add(value: number): this {
    return this.constant(value).raw(0x6a);
  }

  /** Returns `code` if the i32 on the stack is not 0. */
  refuse(code: number): this {
    return this.raw(0x04, 0x40).constant(code).raw(0x0f, 0x0b);
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
  for (const body of list) out.u32(body.byte(0x0b).length).append(body);
  return [10, out];
}
