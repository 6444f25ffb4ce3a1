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
// traffic, block ends) costs nothing; divisions and square roots cost what their latency is.
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

/** A function that costs no more than this before anything conditional leaves the charge to its callers. */
export const CALLER_PAYS = 24;

/** Fuel costs of what is not in the tables. An indirect call pays for the dearest function that leaves it to callers. */
export const COST = Object.freeze({
  functionEntry: 3,
  loopHead: 1,
  branch: 1,
  call: 2,
  indirectCall: 6 + CALLER_PAYS,
  global: 1,
  table: 3,
  bulk: 16,
} as const);
