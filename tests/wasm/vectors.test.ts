/** Every vector instruction does metered what it does unmetered; relaxed ones are refused by name. */

import { describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/errors.ts";
import { VECTOR } from "../../kernel/wasm/instructions.ts";
import { meter } from "../../kernel/wasm/meter.ts";
import { compileWat, startMetered } from "./support.ts";

/** Value types: byte, and opcodes of load and store. */
const TYPES = [
  { type: 0x7b, load: [0xfd, 0x00, 0, 0], store: [0xfd, 0x0b, 0, 0] },
  { type: 0x7f, load: [0x28, 0, 0], store: [0x36, 0, 0] },
  { type: 0x7e, load: [0x29, 0, 0], store: [0x37, 0, 0] },
  { type: 0x7d, load: [0x2a, 0, 0], store: [0x38, 0, 0] },
  { type: 0x7c, load: [0x2b, 0, 0], store: [0x39, 0, 0] },
] as const;
type ValueType = (typeof TYPES)[number];

const IMMEDIATES: Readonly<Record<string, readonly number[]>> = {
  0: [],
  memory: [0, 0],
  "memory-lane": [0, 0, 1],
  1: [1],
  16: [31, 0, 17, 5, 29, 9, 8, 30, 2, 16, 1, 15, 3, 7, 22, 11],
};

const leb = (value: number): number[] => (value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >> 7)]);
const section = (id: number, ...content: number[]): number[] => [id, ...leb(content.length), ...content];

/** `f`: operands from memory at 0, 16 and 32, one vector instruction, its result into memory at 48. */
function moduleOf(opcode: number, takes: readonly ValueType[], gives: ValueType | undefined): Uint8Array<ArrayBuffer> {
  const effect = VECTOR[opcode];
  const immediate = IMMEDIATES[effect?.immediate ?? 0] ?? [];
  const code = [
    0,
    ...(gives === undefined ? [] : [0x41, 48]),
    ...takes.flatMap(({ load }, index) => [0x41, 16 * index, ...load]),
    ...[0xfd, ...leb(opcode), ...immediate],
    ...(gives?.store ?? []),
    0x0b,
  ];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, 1, 0x60, 0, 0),
    ...section(3, 1, 0),
    ...section(5, 1, 0, 1),
    ...section(7, 2, 1, 0x66, 0, 0, 1, 0x6d, 2, 0),
    ...section(10, 1, ...leb(code.length), ...code),
  ]);
}

function combinations(length: number): ValueType[][] {
  if (length === 0) return [[]];
  return combinations(length - 1).flatMap((rest) => TYPES.map((type) => [...rest, type]));
}

/** The one typing that V8 takes, of those with as many operands and results as the table says. */
function typed(opcode: number): Uint8Array<ArrayBuffer> | undefined {
  const effect = VECTOR[opcode];
  if (effect === undefined) return undefined;
  for (const takes of combinations(effect.takes)) {
    for (const gives of effect.gives === 0 ? [undefined] : TYPES) {
      const binary = moduleOf(opcode, takes, gives);
      if (WebAssembly.validate(binary)) return binary;
    }
  }
  return undefined;
}

const OPCODES = Array.from({ length: 256 }, (_, opcode) => opcode);
const name = (opcode: number): string => `0xfd 0x${opcode.toString(16)}`;

interface Exports {
  readonly f: () => void;
  readonly m: WebAssembly.Memory;
}

/** Operands: zeros, small numbers, all bits, NaNs, infinities and borders, and an address beyond the memory. */
const OPERANDS = [0, 1, 0x80, 0xff, 0x7fc0_0001, 0x7f80_0000, 0x8000_0000, 0xffff_ffff, 0x0000_fffe, 0x4f00_0000];

function outcomes({ f, m }: Exports): unknown[] {
  return OPERANDS.map((first, row) => {
    const words = new Uint32Array(m.buffer);
    words.fill(0xa5a5_a5a5);
    for (let word = 0; word < 12; word += 1)
      words[word] = word % 4 === 0 ? first : (OPERANDS[(row * 7 + word) % 10] ?? 0);
    try {
      f();
    } catch (error) {
      return (error as Error).message;
    }
    return words.slice(0, 80).join();
  });
}

describe("the vector instructions of WebAssembly 2.0", () => {
  it("are 236, each with the operands and results that V8 gives it", () => {
    const known = OPCODES.filter((opcode) => VECTOR[opcode] !== undefined);
    expect(known).toHaveLength(236);
    expect(known.filter((opcode) => typed(opcode) === undefined).map(name)).toEqual([]);
  });

  it("do metered, in slices of 1 and 1,000, what they do unmetered", () => {
    let traps = 0;
    for (const opcode of OPCODES) {
      const binary = typed(opcode);
      if (binary === undefined) continue;
      const plain = outcomes(new WebAssembly.Instance(new WebAssembly.Module(binary)).exports as unknown as Exports);
      traps += plain.filter((outcome) => String(outcome).includes("out of bounds")).length;
      for (const slice of [1, 1000]) {
        const guest = startMetered(meter(binary), {
          fuel: slice,
          exhausted: () => (guest.exports["bulkhead:fuel"].value += slice),
        });
        expect(outcomes(guest.exports as unknown as Exports), name(opcode)).toEqual(plain);
      }
    }
    expect(traps).toBeGreaterThan(50);
  });

  it("leave 20 numbers below 0x100 that are refused, as V8 does", () => {
    const unknown = OPCODES.filter((opcode) => VECTOR[opcode] === undefined);
    expect(unknown).toHaveLength(20);
    for (const opcode of unknown) {
      const binary = moduleOf(opcode, [], undefined);
      expect(WebAssembly.validate(binary)).toBe(false);
      expect(() => meter(binary)).toThrow(Refusal);
    }
  });
});

describe("relaxed SIMD", () => {
  it.each(Array.from({ length: 20 }, (_, index) => 0x100 + index))(
    "0xfd 0x%x is refused by name, at its byte",
    (opcode) => {
      const binary = moduleOf(opcode, [], undefined);
      const at = binary.lastIndexOf(0xfd);
      try {
        meter(binary);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({ code: "E_WASM", detail: { found: "relaxed SIMD", at } });
      }
    },
  );
});

describe("vectors in loops, calls and tail calls", () => {
  it("give the same sums in every slice", async () => {
    const wat = `(module (memory (export "m") 1) (type $t (func (param v128 i32) (result v128)))
      (table 1 funcref) (elem (i32.const 0) $sum)
      (func $sum (type $t) (local $i i32) (loop $l
          (local.set 0 (i32x4.add (i32x4.mul (local.get 0) (i32x4.splat (i32.const 31))) (i32x4.splat (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_s (local.get $i) (local.get 1))))
        (local.get 0))
      (func $fold (type $t) (if (result v128) (i32.eqz (local.get 1)) (then (local.get 0)) (else
          (v128.xor (local.get 0) (call $fold (i8x16.add (local.get 0) (i8x16.splat (local.get 1)))
            (i32.sub (local.get 1) (i32.const 1)))))))
      (func $tail (type $t) (if (result v128) (i32.eqz (local.get 1)) (then (local.get 0)) (else
          (return_call $tail (i16x8.add (local.get 0) (i16x8.splat (local.get 1))) (i32.sub (local.get 1) (i32.const 1))))))
      (func $away (type $t) (return_call_indirect (type $t) (local.get 0) (local.get 1) (i32.const 0)))
      (func (export "f") (param i32) (v128.store (i32.const 0)
        (call $fold (call $tail (call $away (i64x2.splat (i64.const 0x123456789abcdef)) (local.get 0)) (i32.const 90))
          (i32.const 60)))))`;
    const binary = await compileWat(wat);
    const plain = new WebAssembly.Instance(new WebAssembly.Module(binary)).exports as Record<string, unknown>;
    (plain["f"] as (count: number) => void)(100);
    const sum = new Uint32Array((plain["m"] as WebAssembly.Memory).buffer, 0, 4).join();
    for (const slice of [1, 7, 1000]) {
      let pauses = 0;
      const guest = startMetered(meter(binary), {
        fuel: slice,
        exhausted: () => {
          pauses += 1;
          guest.exports["bulkhead:fuel"].value += slice;
        },
      });
      guest.call("f", 100);
      expect(new Uint32Array((guest.exports["m"] as WebAssembly.Memory).buffer, 0, 4).join()).toBe(sum);
      expect(guest.depth()).toBe(guest.initialDepth);
      expect(pauses).toBeGreaterThan(slice === 1000 ? 0 : 100);
    }
  });
});
