/** Where things stand in a rewritten module: its index spaces, and the functions that the rewriter adds to them. */

import { type Assembly, code, I32, IF_NEGATIVE, OP, type ValueTypes } from "./assembly.ts";
import type { MeterOptions } from "./meter.ts";
import type { ExternalKind, FunctionType, ModuleShape } from "./reader.ts";
import { type RecordedImport, Recorder } from "./recorder.ts";

/** Of what the rewriter adds. Guests may not use it in names, so they can neither collide with nor reach what has it. */
export const EXPORT_PREFIX = "bulkhead:";

/** The rewriter's own imports stand behind the guest's; the last two in what is recorded only. */
const IMPORTED = ["exhausted", "overflow", "full", "grow"] as const;
const UNRECORDED = 2;

export interface Appended {
  readonly index: number;
  readonly type: number;
  readonly body: Assembly;
}

/** Index spaces after rewriting: our imports behind the guest's, functions behind its functions, globals last. */
export class Layout {
  readonly shape: ModuleShape;
  readonly options: MeterOptions;
  readonly recorder: Recorder | undefined;
  readonly imported: Readonly<Record<(typeof IMPORTED)[number], number>>;
  /** Names of our imports. */
  readonly added: readonly string[];
  /** Indices of our globals; the recorder's are behind the last. */
  readonly fuel: number;
  readonly depth: number;
  readonly result: number;
  /** () -> (): calls `overflow` while depth is below 0, and `exhausted` until fuel is not. */
  readonly settle: number;
  /** By `BULK` unit, (n: i32) -> n: charges for n of them and settles. */
  readonly spend: readonly number[];
  /** Appended to the guest's types; the first is () -> (). */
  readonly types: FunctionType[] = [];
  readonly functions: Appended[] = [];
  readonly exports: { readonly name: string; readonly kind: ExternalKind; readonly index: number }[] = [];
  readonly #known = new Map<string, number>();
  /** What stands before the guest's imports, by their index. */
  readonly #wrappers: readonly number[];

  constructor(shape: ModuleShape, options: MeterOptions) {
    this.shape = shape;
    this.options = options;
    this.fuel = shape.imported.global + shape.globals.length;
    this.depth = this.fuel + 1;
    this.result = this.fuel + 2;
    this.type([], []);
    const first = shape.imported.function;
    this.imported = { exhausted: first, overflow: first + 1, full: first + 2, grow: first + 3 };
    const { recorded } = options;
    this.added = IMPORTED.slice(0, recorded === undefined ? UNRECORDED : undefined);
    this.recorder = recorded && new Recorder(this);
    this.#wrappers = recorded === undefined ? [] : this.#wrapImports(recorded);
    const settle = code().global(this.depth);
    settle.raw(...IF_NEGATIVE).op(OP.call, this.imported.overflow);
    settle.raw(OP.unreachable, OP.end, OP.loop, OP.empty);
    settle.global(this.fuel).raw(...IF_NEGATIVE);
    settle.op(OP.call, this.recorder?.exhausted ?? this.imported.exhausted).raw(OP.br, 1, OP.end, OP.end, OP.end);
    this.settle = this.helper([], [], settle);
    // Each measure is at most 2^29, so that fuel can't wrap around: bytes / 8, entries x 64, pages x 8,192.
    const bytes = (out: Assembly): Assembly => out.get(0).raw(OP.i32Const, 3, OP.i32ShiftRightUnsigned);
    const entries = (out: Assembly): Assembly => atMost(out, 2 ** 23).raw(OP.i32Const, 6, OP.i32ShiftLeft);
    const pages = (out: Assembly): Assembly => atMost(out, 65_536).raw(OP.i32Const, 13, OP.i32ShiftLeft);
    this.spend = [bytes, entries, pages].map((measure) => this.#spend(measure));
  }

  #spend(measure: (out: Assembly) => Assembly): number {
    const out = measure(code().global(this.fuel)).byte(OP.i32Subtract).setGlobal(this.fuel);
    out.global(this.fuel).raw(...IF_NEGATIVE);
    return this.helper([I32], [I32], out.op(OP.call, this.settle).raw(OP.end, OP.localGet, 0, OP.end));
  }

  /** One wrapper for each operation, however often it is imported. */
  #wrapImports(recorded: readonly RecordedImport[]): number[] {
    const known = new Map(
      recorded.map((item, index) => [`${item.slot}.${item.operation}`, { item, index, wrapper: -1 }]),
    );
    const functions = this.shape.imports.filter((item) => item.kind === "function");
    return functions.map(({ module, name }, target) => {
      const [found, types] = [known.get(`${module}.${name}`), this.shape.types[this.shape.functions[target] ?? -1]];
      if (found === undefined || types === undefined) return target;
      if (found.wrapper < 0) found.wrapper = this.recorder?.wrap(target, types, found.index, found.item) ?? target;
      return found.wrapper;
    });
  }

  /** Guest function index to rewritten one. */
  function(index: number): number {
    return index < this.shape.imported.function ? (this.#wrappers[index] ?? index) : index + this.added.length;
  }

  type(parameters: ValueTypes, results: ValueTypes): number {
    const key = `${parameters.join()}>${results.join()}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.types.push({ parameters: Uint8Array.from(parameters), results: Uint8Array.from(results) });
    const index = this.shape.types.length + this.types.length - 1;
    this.#known.set(key, index);
    return index;
  }

  append(type: number, body: Assembly): Appended {
    const index = this.function(this.shape.functions.length + this.functions.length);
    this.functions.push({ index, type, body });
    return { index, type, body };
  }

  helper(parameters: ValueTypes, results: ValueTypes, body: Assembly): number {
    return this.append(this.type(parameters, results), body).index;
  }

  export(name: string, kind: ExternalKind, index: number): void {
    this.exports.push({ name: `${EXPORT_PREFIX}${name}`, kind, index });
  }
}

/** min(local 0, bound), unsigned. */
function atMost(out: Assembly, bound: number): Assembly {
  out.get(0).constant(bound).get(0).constant(bound);
  return out.raw(OP.i32LessUnsigned, OP.select);
}
