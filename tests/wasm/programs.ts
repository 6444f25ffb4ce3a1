/** Makes random WAT programs with every kind of control flow, for comparing metered with unmetered runs. */

/** Chooses a whole number below `bound`. */
export type Choose = (bound: number) => number;

const FUNCTIONS = 5;
const LOCALS = 5;

/** Labels are names; `valued` ones carry an i32, which a branch to a loop does not. */
interface Label {
  readonly name: string;
  readonly valued: boolean;
}

class Program {
  readonly #choose: Choose;
  #labels: Label[] = [];
  #names = 0;
  #size = 0;

  constructor(choose: Choose) {
    this.#choose = choose;
  }

  text(): string {
    const functions = Array.from({ length: FUNCTIONS }, (_, index) => this.#function(index));
    return `(module
      (type $t (func (param i32 i32) (result i32)))
      (memory (export "memory") 1 2)
      (table 9 9 funcref)
      (elem (i32.const 0) $f0 $f1 $f2 $f3 $f4 $f1 $f2 $f3)
      (global $steps (export "steps") (mut i32) (i32.const 400))
      (global $g (export "g") (mut i32) (i32.const 7))
      ${functions.join("\n")})`;
  }

  #pick<Item>(items: readonly Item[]): Item {
    const item = items[this.#choose(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }

  /** Every function and loop iteration takes a step; without any left it returns. */
  #step(): string {
    return `(if (i32.le_s (global.get $steps) (i32.const 0)) (then (return (local.get 1))))
      (global.set $steps (i32.sub (global.get $steps) (i32.const 1)))`;
  }

  #function(index: number): string {
    this.#labels = [];
    this.#size = 0;
    const body = this.#statements(4);
    const step = this.#choose(3) === 0 ? `(if (i32.eqz (local.get 0)) (then (return (local.get 1))))` : "";
    const last = this.#choose(5) === 0 ? this.#tailCall() : this.#expression(3);
    return `(func $f${index} (export "f${index}") (type $t) (local i32 i32 i32) ${step} ${this.#step()} ${body} ${last})`;
  }

  #local(): number {
    return this.#choose(LOCALS);
  }

  #statements(depth: number): string {
    return Array.from({ length: 1 + this.#choose(4) }, () => this.#statement(depth)).join("\n");
  }

  #labelled<Result>(label: Label, make: () => Result): Result {
    this.#labels.push(label);
    const made = make();
    this.#labels.pop();
    return made;
  }

  #statement(depth: number): string {
    this.#size += 1;
    if (depth <= 0 || this.#size > 60) return `(local.set ${this.#local()} ${this.#expression(1)})`;
    const expression = (): string => this.#expression(depth - 1);
    switch (this.#choose(13)) {
      case 0:
        return `(if ${expression()} (then ${this.#statements(depth - 1)}))`;
      case 1:
        return `(if ${expression()} (then ${this.#statements(depth - 1)}) (else ${this.#statements(depth - 1)}))`;
      case 2:
      case 3: {
        const label = { name: `$b${(this.#names += 1)}`, valued: false };
        return `(block ${label.name} ${this.#labelled(label, () => this.#statements(depth - 1))})`;
      }
      case 4:
      case 5: {
        const label = { name: `$l${(this.#names += 1)}`, valued: false };
        const body = this.#labelled(label, () => this.#statements(depth - 1));
        return `(loop ${label.name} ${this.#step()} ${body} (br_if ${label.name} ${expression()}))`;
      }
      case 6:
        return this.#branch(depth);
      case 7:
        return this.#switch(depth);
      case 8:
        return this.#choose(3) === 0 ? `(return ${expression()})` : `(global.set $g ${expression()})`;
      case 9:
        return `(i32.store ${this.#address(expression())} ${expression()})`;
      case 10:
        return this.#bulk(depth);
      case 11:
        return this.#choose(6) === 0 ? this.#tailCall() : `(drop ${expression()})`;
      default:
        return `(local.set ${this.#local()} ${expression()})`;
    }
  }

  #branch(depth: number): string {
    if (this.#labels.length === 0) return "(nop)";
    const { name, valued } = this.#pick(this.#labels);
    const value = valued ? this.#expression(1) : "";
    if (this.#choose(2) === 0) return `(br ${name} ${value})`;
    return valued
      ? `(drop (br_if ${name} ${value} ${this.#expression(depth - 1)}))`
      : `(br_if ${name} ${this.#expression(depth - 1)})`;
  }

  #switch(depth: number): string {
    const valued = this.#choose(3) === 0;
    const targets = this.#labels.filter((label) => label.valued === valued).map((label) => label.name);
    if (targets.length === 0) return "(nop)";
    const table = Array.from({ length: 1 + this.#choose(4) }, () => this.#pick(targets)).join(" ");
    return `(br_table ${table} ${valued ? this.#expression(1) : ""} ${this.#expression(depth - 1)})`;
  }

  /** Now and then an address that may lie outside. */
  #address(value: string): string {
    return `(i32.and ${value} (i32.const ${this.#choose(20) === 0 ? 0x1ffff : 0xfffc}))`;
  }

  #bulk(depth: number): string {
    const small = (mask: number): string => `(i32.and ${this.#expression(depth - 2)} (i32.const ${mask}))`;
    return this.#pick([
      `(memory.fill ${small(this.#choose(9) === 0 ? 0x1ffff : 0xeffc)} ${small(255)} ${small(4095)})`,
      `(memory.copy ${small(0xffff)} ${small(0xffff)} ${small(1023)})`,
      `(drop (memory.grow ${small(1)}))`,
      `(table.fill ${small(7)} (ref.func ${this.#callee()}) ${small(1)})`,
    ]);
  }

  #callee(): string {
    return `$f${this.#choose(FUNCTIONS)}`;
  }

  #tailCall(): string {
    const values = `${this.#expression(1)} ${this.#expression(1)}`;
    if (this.#choose(3) > 0) return `(return_call ${this.#callee()} ${values})`;
    return `(return_call_indirect (type $t) ${values} (i32.and ${this.#expression(1)} (i32.const 7)))`;
  }

  #expression(depth: number): string {
    this.#size += 1;
    if (depth <= 0 || this.#size > 60) {
      return this.#choose(2) === 0 ? `(i32.const ${this.#choose(9) - 2})` : `(local.get ${this.#local()})`;
    }
    const inner = (): string => this.#expression(depth - 1);
    switch (this.#choose(12)) {
      case 0:
        return `(${this.#pick(["i32.div_s", "i32.rem_u"])} ${inner()} ${this.#choose(9) === 0 ? inner() : "(i32.const 3)"})`;
      case 1:
        return `(i32.load ${this.#address(inner())})`;
      case 2:
        return `(if (result i32) ${inner()} (then ${this.#arm(depth)}) (else ${this.#arm(depth)}))`;
      case 3:
      case 4: {
        const label = { name: `$v${(this.#names += 1)}`, valued: true };
        return `(block ${label.name} (result i32) ${this.#labelled(label, () => this.#arm(depth))})`;
      }
      case 5:
      case 6:
        return `(call ${this.#callee()} ${inner()} ${inner()})`;
      case 7:
        return `(call_indirect (type $t) ${inner()} ${inner()} (i32.and ${inner()} (i32.const 7)))`;
      case 8:
        return "(global.get $g)";
      case 9:
        return `(select ${inner()} ${inner()} ${inner()})`;
      default:
        return `(${this.#pick(["i32.add", "i32.sub", "i32.mul", "i32.xor", "i32.lt_s"])} ${inner()} ${inner()})`;
    }
  }

  #arm(depth: number): string {
    return `${this.#choose(3) === 0 ? this.#statement(depth - 1) : ""} ${this.#expression(depth - 1)}`;
  }
}

/** A module with functions f0 to f4, (i32, i32) -> i32, that always ends: by itself, by a trap, or for want of steps. */
export function makeProgram(choose: Choose): string {
  return new Program(choose).text();
}
