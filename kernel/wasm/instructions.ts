/** The instruction table: immediates, stack effect and fuel cost of each plain opcode of WebAssembly 2.0. */

/** A number of bytes, or what has to be read. */
export type Immediate = 0 | 1 | 4 | 8 | 16 | "memory" | "memory-lane" | "i32" | "i64";

/** What an instruction takes from and gives to the operand stack, what follows its opcode, and what it costs. */
export interface Effect {
  readonly takes: number;
  readonly gives: number;
  readonly cost: number;
  readonly immediate: Immediate;
}

function effect(takes: number, gives: number, cost: number, immediate: Immediate = 0): Effect {
  return Object.freeze({ takes, gives, cost, immediate });
}

// One unit of fuel is about one cheap machine instruction. What a compiler turns into nothing (constants, local
// traffic, block ends) costs nothing in code that has other work for every eight of its bytes (see `BodyPlan`); divisions and square roots cost what their latency is.
const EFFECTS: Readonly<Record<string, Effect>> = {
  n: effect(0, 0, 0),
  p: effect(1, 0, 0),
  u: effect(1, 1, 1),
  b: effect(2, 1, 1),
  t: effect(3, 1, 1),
  q: effect(1, 1, 8),
  d: effect(2, 1, 8),
  l: effect(1, 1, 1, "memory"),
  s: effect(2, 0, 1, "memory"),
  L: effect(2, 1, 2, "memory-lane"),
  S: effect(2, 0, 2, "memory-lane"),
  x: effect(1, 1, 1, 1),
  r: effect(2, 1, 1, 1),
  i: effect(0, 1, 0, "i32"),
  j: effect(0, 1, 0, "i64"),
  f: effect(0, 1, 0, 4),
  g: effect(0, 1, 0, 8),
  v: effect(0, 1, 1, 16),
  h: effect(2, 1, 2, 16),
};

function table(rows: string): readonly (Effect | undefined)[] {
  return Array.from(rows.replaceAll(/\s/g, ""), (letter) => EFFECTS[letter]);
}

/** Opcodes 0x00 to 0xc4, sixteen a row; `.` is read by `scanBody` case by case, or is no instruction. */
export const PLAIN = table(`
  .n.............. ..........pt.... ........llllllll llllllsssssssss.
  .ijfgubbbbbbbbbb ubbbbbbbbbbbbbbb bbbbbbbuuubbbddd dbbbbbbbbuuubbbd
  dddbbbbbbbbuuuuu uqbbbdbbbuuuuuuq bbbdbbbuuuuuuuuu uuuuuuuuuuuuuuuu uuuuu
`);

/** Vector opcodes, 0xfd 0x00 to 0xfd 0xff, in the order of the binary format's table. */
export const VECTOR = table(`
  lllllllllll s v h b uuuuuu xxr xxr xr xr xr xr
  bbbbbbbbbb bbbbbbbbbb bbbbbbbbbb bbbbbbbbbbbb u bbbb t u LLLL SSSS ll uu
  uuu uu bb uuuu bbb bbbbbb uu bbbb u b uuuu
  uu b uu bb uuuu bbb bbbbbb u b bbbb . b bbbb
  uu . uu .. uuuu bbb b .. b ... b bbbb b . bbbb
  uu . uu .. uuuu bbb b .. b ... b bbbbbb bbbb
  uu . q bbb d bbbb uu . q bbb d bbbb uuuuuuuu
`);

const F32_NAN = [0, 0, 0xc0, 0x7f] as const;
const F64_NAN = [0, 0, 0, 0, 0, 0, 0xf8, 0x7f] as const;

/** What makes a result's NaNs canonical: the type of a local, a constant, and opcodes: choose the local if it equals itself. */
export const LANES = Object.freeze([
  { type: 0x7d, nan: [0x43, ...F32_NAN], choose: [0x5b, 0x1b] },
  { type: 0x7c, nan: [0x44, ...F64_NAN], choose: [0x61, 0x1b] },
  { type: 0x7b, nan: [0xfd, 0x0c, ...F32_NAN, ...F32_NAN, ...F32_NAN, ...F32_NAN], choose: [0xfd, 0x41, 0xfd, 0x52] },
  { type: 0x7b, nan: [0xfd, 0x0c, ...F64_NAN, ...F64_NAN], choose: [0xfd, 0x47, 0xfd, 0x52] },
]);

/**
 * Instructions whose NaNs differ between processors: the specification leaves sign and payload open (4.3.3, nans_N); its
 * deterministic profile says positive and canonical. In the order of `LANES` ceil, floor, trunc, nearest, sqrt, add, sub,
 * mul, div, min, max and the conversion from the other width; vector opcodes behind 0x100.
 */
const OPEN = [
  [0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0xb6],
  [0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xbb],
  [0x167, 0x168, 0x169, 0x16a, 0x1e3, 0x1e4, 0x1e5, 0x1e6, 0x1e7, 0x1e8, 0x1e9, 0x15e],
  [0x174, 0x175, 0x17a, 0x194, 0x1ef, 0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x15f],
];
/** By opcode what lanes it takes and gives, as places in `LANES`. */
export const OPEN_NANS = new Map(
  OPEN.flatMap((opcodes, gives) =>
    opcodes.map((opcode, place) => [opcode, { takes: place === 11 ? gives ^ 1 : gives, gives }] as const),
  ),
);

/** A function that costs no more than this before anything conditional leaves the charge to its callers. */
export const CALLER_PAYS = 24;

/** So many operands or results (as a power of two) that a call, a branch or the end of a block moves cost one fuel more. */
export const MOVED = 2;

/** Fuel costs of what is not in the tables. An indirect call pays for the dearest function that leaves it to callers. */
export const COST = Object.freeze({
  functionEntry: 3,
  loopHead: 1,
  branch: 1,
  call: 2,
  indirectCall: 6 + CALLER_PAYS,
  global: 1,
  table: 3,
  tableChange: 60,
  reference: 15,
  bulk: 16,
  fill: 50,
  grow: 200,
} as const);
