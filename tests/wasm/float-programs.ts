/** Makes random WAT programs that compute with floats and look at their bits, as they are or made canonical by their own code. */
import type { Choose } from "./programs.ts";

const TYPES = ["f32", "f64", "v128"] as const;
type Float = (typeof TYPES)[number];
type Shape = "f32" | "f64" | "f32x4" | "f64x2";
const UNARY = ["ceil", "floor", "trunc", "nearest", "sqrt"] as const;
const BINARY = ["add", "sub", "mul", "div", "min", "max"] as const;
/** Words that make NaNs of every sort, infinities and zeros, as halves of an f64 too. */
const WORDS = [
  0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffa1_2345, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 0, 0x3f80_0000,
];
const LONGS = ["7ff8000000000000", "fff8000000000000", "7ff0000000000001", "fff4123456789abc", "7ff0000000000000", "0"];

/** `$canonical_<shape>`: what a program that does not trust its engine would write. */
const CANONICAL = `
  (func $canonical_f32 (param f32) (result f32)
    (if (result f32) (f32.ne (local.get 0) (local.get 0)) (then (f32.const nan)) (else (local.get 0))))
  (func $canonical_f64 (param f64) (result f64)
    (if (result f64) (f64.ne (local.get 0) (local.get 0)) (then (f64.const nan)) (else (local.get 0))))
  (func $canonical_f32x4 (param v128) (result v128)
    ${[0, 1, 2, 3].map((lane) => `(local.set 0 (f32x4.replace_lane ${lane} (local.get 0) (call $canonical_f32 (f32x4.extract_lane ${lane} (local.get 0)))))`).join(" ")} (local.get 0))
  (func $canonical_f64x2 (param v128) (result v128)
    ${[0, 1].map((lane) => `(local.set 0 (f64x2.replace_lane ${lane} (local.get 0) (call $canonical_f64 (f64x2.extract_lane ${lane} (local.get 0)))))`).join(" ")} (local.get 0))`;

class FloatProgram {
  readonly #choose: Choose;
  readonly #isCanonical: boolean;
  #size = 0;
  #names = 0;

  constructor(choose: Choose, isCanonical: boolean) {
    this.#choose = choose;
    this.#isCanonical = isCanonical;
  }

  text(): string {
    const functions = [0, 1, 2].map((index) => this.#function(index));
    return `(module (memory (export "memory") 1) (global $steps (mut i32) (i32.const 300)) ${CANONICAL}
      ${functions.join("\n")}
      (func (export "run") ${[0, 1, 2].map((index) => `(drop (call $f${index} ${this.#constant("f32")} ${this.#constant("f64")} ${this.#constant("v128")}))`).join(" ")}))`;
  }

  /** Locals: 0 to 2 are the parameters and 3 to 5 others, of the three types; the last counts rounds. */
  #function(index: number): string {
    this.#size = 0;
    const body = Array.from({ length: 4 }, () => this.#statement(3)).join("\n");
    return `(func $f${index} (param f32 f64 v128) (result f64) (local f32 f64 v128 i32)
      (if (i32.le_s (global.get $steps) (i32.const 0)) (then (return (f64.const 1))))
      (global.set $steps (i32.sub (global.get $steps) (i32.const 1))) ${body} ${this.#float("f64", 3)})`;
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[this.#choose(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  #local(type: Float): number {
    return TYPES.indexOf(type) + 3 * this.#choose(2);
  }

  #statement(depth: number): string {
    const type = this.#pick(TYPES);
    const value = (): string => this.#float(type, depth);
    const inner = (): string => (this.#size > 120 ? "" : `${this.#statement(depth - 1)} ${this.#statement(depth - 1)}`);
    this.#size += 1;
    if (depth <= 0) return `(local.set ${this.#local(type)} ${value()})`;
    switch (this.#choose(8)) {
      case 0:
        return `(if ${this.#question(depth)} (then ${inner()}) (else ${inner()}))`;
      case 1: {
        const label = `$l${(this.#names += 1)}`;
        return `(local.set 6 (i32.const ${this.#choose(4)})) (loop ${label} ${inner()}
          (local.set 6 (i32.sub (local.get 6) (i32.const 1))) (br_if ${label} (i32.gt_s (local.get 6) (i32.const 0))))`;
      }
      case 2:
        return `(drop ${value()})`;
      case 3:
      case 4:
        return `(local.set ${this.#local(type)} ${value()})`;
      default:
        return `(${type}.store ${this.#address()} ${value()})`;
    }
  }

  #address(): string {
    return `(i32.const ${16 * this.#choose(64)})`;
  }

  #question(depth: number): string {
    const type = this.#pick(["f32", "f64"] as const);
    const [one, other] = [this.#float(type, depth - 1), this.#float(type, depth - 1)];
    return this.#pick([
      `(${type}.lt ${one} ${other})`,
      `(i32.and (i32.const 1) (i32.shr_u (i32.reinterpret_f32 ${type === "f32" ? one : `(f32.const 1)`}) (i32.const 31)))`,
      `(${type}.eq ${one} ${other})`,
    ]);
  }

  #constant(type: Float): string {
    const word = (): string => `0x${this.#pick(WORDS).toString(16)}`;
    if (type === "f32") return `(f32.reinterpret_i32 (i32.const ${word()}))`;
    if (type === "f64") return `(f64.reinterpret_i64 (i64.const 0x${this.#pick(LONGS)}))`;
    return `(v128.const i32x4 ${word()} ${word()} ${word()} ${word()})`;
  }

  /** An instruction whose NaNs are open. */
  #computed(shape: Shape, instruction: string): string {
    return this.#isCanonical ? `(call $canonical_${shape} ${instruction})` : instruction;
  }

  #arithmetic(shape: Shape, depth: number): string {
    const type: Float = shape === "f32" || shape === "f64" ? shape : "v128";
    const inner = (): string => this.#float(type, depth - 1);
    if (this.#choose(4) === 0) return this.#computed(shape, `(${shape}.${this.#pick(UNARY)} ${inner()})`);
    const [one, other] = [inner(), inner()];
    return this.#computed(shape, `(${shape}.${this.#pick(BINARY)} ${one} ${other})`);
  }

  #converted(type: Float, depth: number): string {
    if (type === "f32") return this.#computed("f32", `(f32.demote_f64 ${this.#float("f64", depth - 1)})`);
    if (type === "f64") return this.#computed("f64", `(f64.promote_f32 ${this.#float("f32", depth - 1)})`);
    const vector = this.#float("v128", depth - 1);
    return this.#choose(2) === 0
      ? this.#computed("f32x4", `(f32x4.demote_f64x2_zero ${vector})`)
      : this.#computed("f64x2", `(f64x2.promote_low_f32x4 ${vector})`);
  }

  /** What hands bits on, or joins lanes of other shapes. */
  #carried(type: Float, depth: number): string {
    const inner = (): string => this.#float(type, depth - 1);
    const scalar = type === "v128" ? this.#pick(["f32x4", "f64x2"] as const) : type;
    const [one, other] = [inner(), inner()];
    const choice = this.#choose(4);
    if (choice === 0) return `(${scalar}.${this.#pick(["neg", "abs"])} ${one})`;
    if (choice === 1) return `(select ${one} ${other} ${this.#question(depth - 1)})`;
    if (type !== "v128") return `(${type}.copysign ${one} ${other})`;
    if (choice === 2) return `(${scalar}.${this.#pick(["pmin", "pmax", "eq", "lt"])} ${one} ${other})`;
    return this.#choose(2) === 0
      ? `(f32x4.replace_lane ${this.#choose(4)} ${one} ${this.#float("f32", depth - 1)})`
      : `(f64x2.replace_lane ${this.#choose(2)} ${one} ${this.#float("f64", depth - 1)})`;
  }

  #extracted(type: Float, depth: number): string {
    const vector = (): string => this.#float("v128", depth - 1);
    if (type === "f32") return `(f32x4.extract_lane ${this.#choose(4)} ${vector()})`;
    if (type === "f64") return `(f64x2.extract_lane ${this.#choose(2)} ${vector()})`;
    return this.#choose(2) === 0
      ? `(f32x4.splat ${this.#float("f32", depth - 1)})`
      : `(f64x2.splat ${this.#float("f64", depth - 1)})`;
  }

  #joined(type: Float, depth: number): string {
    const inner = (): string => this.#float(type, depth - 1);
    const label = `$b${(this.#names += 1)}`;
    // What follows a jump is never reached and takes operands that are not there; those outside are not its own.
    const jumped = type === "v128" ? "f32x4.add" : `${type}.add`;
    switch (this.#choose(4)) {
      case 0:
        return `(if (result ${type}) ${this.#question(depth - 1)} (then ${inner()}) (else ${inner()}))`;
      case 1:
        return `(block ${label} (result ${type}) ${inner()} (br_if ${label} ${this.#question(depth - 1)}))`;
      case 2:
        return `(block ${label} (result ${type}) ${inner()} br ${label} ${jumped} ${jumped})`;
      default:
        return `${inner()} (if (param ${type}) (result ${type}) ${this.#question(depth - 1)}
          (then ${inner()} ${jumped.replace("add", "copysign").replace("f32x4.copysign", "v128.xor")}) (else))`;
    }
  }

  #float(type: Float, depth: number): string {
    this.#size += 1;
    if (depth <= 0 || this.#size > 160) {
      if (this.#choose(3) === 0) return this.#constant(type);
      return this.#choose(3) === 0 ? `(${type}.load ${this.#address()})` : `(local.get ${this.#local(type)})`;
    }
    switch (this.#choose(12)) {
      case 0:
        return this.#carried(type, depth);
      case 1:
        return this.#converted(type, depth);
      case 2:
        return this.#extracted(type, depth);
      case 3:
        return this.#joined(type, depth);
      case 4:
        return `(local.tee ${this.#local(type)} ${this.#float(type, depth - 1)})`;
      case 5:
        if (type === "f64" && this.#choose(3) === 0)
          return `(call $f${this.#choose(3)} ${this.#float("f32", 1)} ${this.#float("f64", 1)} ${this.#float("v128", 1)})`;
        return this.#arithmetic(type === "v128" ? "f64x2" : type, depth);
      default:
        return this.#arithmetic(type === "v128" ? this.#pick(["f32x4", "f64x2"] as const) : type, depth);
    }
  }
}

/**
 * A module whose `run` computes and leaves its results in memory, and always ends.
 * @param isCanonical its own code makes each open NaN canonical; the same choices give the same program otherwise
 */
export function makeFloatProgram(choose: Choose, isCanonical: boolean): string {
  return new FloatProgram(choose, isCanonical).text();
}
