/** The instructions whose NaNs the specification leaves open, and operands that bring them out. */

export const WIDTHS = [
  {
    scalar: "f32",
    vector: "f32x4",
    bytes: 4,
    nan: 0x7fc0_0000n,
    convert: "f32.demote_f64",
    narrow: "f32x4.demote_f64x2_zero",
  },
  {
    scalar: "f64",
    vector: "f64x2",
    bytes: 8,
    nan: 0x7ff8_0000_0000_0000n,
    convert: "f64.promote_f32",
    narrow: "f64x2.promote_low_f32x4",
  },
] as const;
const UNARY = ["ceil", "floor", "trunc", "nearest", "sqrt"];
const BINARY = ["add", "sub", "mul", "div", "min", "max"];

export interface Operation {
  readonly name: string;
  /** Bytes of a lane of the operands, and of the result; of how many bytes the result is. */
  readonly from: 4 | 8;
  readonly to: 4 | 8;
  readonly size: 4 | 8 | 16;
  readonly operands: number;
}

/** All 48 of them. */
export const OPERATIONS: readonly Operation[] = WIDTHS.flatMap(({ scalar, vector, bytes, convert, narrow }) => [
  ...[scalar, vector].flatMap((type) => {
    const size = type === scalar ? bytes : 16;
    return [
      ...UNARY.map((name) => ({ name: `${type}.${name}`, from: bytes, to: bytes, size, operands: 1 }) as const),
      ...BINARY.map((name) => ({ name: `${type}.${name}`, from: bytes, to: bytes, size, operands: 2 }) as const),
    ];
  }),
  { name: convert, from: bytes === 4 ? 8 : 4, to: bytes, size: bytes, operands: 1 },
  { name: narrow, from: bytes === 4 ? 8 : 4, to: bytes, size: 16, operands: 1 },
]);

/** NaNs of both signs: canonical, with payloads, signalling; and what makes a NaN where there was none. */
export const NANS = {
  4: [0x7fc0_0000n, 0xffc0_0000n, 0x7fc0_0001n, 0xffff_ffffn, 0x7f80_0001n, 0xffa1_2345n],
  8: [
    0x7ff8_0000_0000_0000n,
    0xfff8_0000_0000_0000n,
    0x7ff8_0000_0000_0001n,
    0xffff_ffff_ffff_ffffn,
    0x7ff0_0000_0000_0001n,
    0xfff4_1234_5678_9abcn,
  ],
} as const;
export const NUMBERS = {
  4: [0n, 0x8000_0000n, 0x3fc0_0000n, 0xc020_0000n, 0x7f80_0000n, 0xff80_0000n],
  8: [0n, 1n << 63n, 0x3ff8n << 48n, 0xc004n << 48n, 0x7ff0n << 48n, 0xfff0n << 48n],
} as const;

/** The statement that takes operands from memory, carries the instruction out, and puts the result into memory. */
export function computeAt(
  { name, operands }: Pick<Operation, "name" | "operands">,
  first: number,
  second: number,
  result: number,
): string {
  const [gives = "", instruction = ""] = name.split(".");
  const typeOf = (shape: string): string => (shape.includes("x") ? "v128" : shape);
  const converted = /^\w+_(f\d\d)$/.exec(instruction)?.[1];
  const takes = typeOf(converted === undefined || gives.includes("x") ? gives : converted);
  const loads = [first, second].slice(0, operands).map((at) => `(${takes}.load (i32.const ${at}))`);
  return `(${typeOf(gives)}.store (i32.const ${result}) (${name} ${loads.join(" ")}))`;
}
