/** Rewrites a guest binary so that it counts its work and its stack, and stays within its quota of memory and tables. */

import { Refusal, refuseSize } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, code, F32, F64, FUNCTION_TYPE, I32, I64, OP } from "./assembly.ts";
import { ByteReader, ByteWriter, refuseWasm } from "./bytes.ts";
import { type Appended, EXPORT_PREFIX, Layout } from "./layout.ts";
import { KINDS, type Limits, type ModuleShape, readModule, SECTION, WASM_HEADER } from "./reader.ts";
import { LOG_PAGES, type RecordedImport, RECORDED, RECORDER_GLOBALS, WORK } from "./recorder.ts";
import { BodyPlan, BodyRewriter, type EntryFee } from "./rewrite.ts";

export interface MeterOptions {
  /** Upper bound of the guest's memory in pages of 64 KiB, at most 32,768 (2 GiB). */
  readonly memoryMaximumPages: number;
  /** Upper bound of the entries of all tables together. */
  readonly tableMaximumEntries: number;
  /** Each NaN that the guest computes becomes the positive canonical one, as on any other processor; false where absent. */
  readonly canonicalNans?: boolean;
  /** Where what goes into it is to be recorded: all that it imports. */
  readonly recorded?: readonly RecordedImport[] | undefined;
}

export const DEFAULT_METER_OPTIONS: MeterOptions = Object.freeze({
  memoryMaximumPages: 256,
  tableMaximumEntries: 4096,
});

/** Told what stays: bytes [from, to) of the guest stand at `at` in the body of that rewritten function. */
export type CopyListener = (functionIndex: number, at: number, from: number, to: number) => void;

export const METER_MODULE = "bulkhead:meter";

type Bits = Readonly<Record<number, readonly number[]>>;
/** Opcodes that make an i64 of the bits of a number, by its type, and the number again. */
const TO_BITS: Bits = { [I32]: [0xad], [I64]: [], [F32]: [0xbc, 0xad], [F64]: [0xbd] };
const FROM_BITS: Bits = { [I32]: [0xa7], [I64]: [], [F32]: [0xa7, 0xbe], [F64]: [0xbf] };

function addControls(layout: Layout, { fee: entryFee, changesTables }: Entries): void {
  const { fuel, depth, result, shape, recorder } = layout;
  const add = (name: string, parameters: readonly number[], results: readonly number[], body: Assembly): void =>
    layout.export(name, "function", layout.helper(parameters, results, body.byte(OP.end)));
  /** Calls a guest's function and, as every caller must, pays the fee of its entry. */
  const call = (out: Assembly, index: number): Assembly => {
    out.global(fuel).constant(entryFee(index)).byte(OP.i32Subtract).setGlobal(fuel);
    return out.op(OP.call, layout.function(index));
  };
  const arm = (out: Assembly): Assembly => out.get(0).setGlobal(fuel).get(1).setGlobal(depth);
  layout.export("fuel", "global", fuel);
  layout.export("depth", "global", depth);
  add("remaining", [], [I32], code().global(fuel));
  const less = code().global(fuel).get(0).raw(OP.i32Subtract);
  add("charge", [I32], [I32], less.setGlobal(fuel).global(fuel));
  add("arm", [I32, I32], [], arm(code()));
  const initialize = code();
  for (const index of [shape.start, exportedFunction(shape, "_initialize", [], [])]) {
    if (index !== undefined) call(initialize, index);
  }
  add("initialize", [], [], initialize);
  if (!changesTables) exportGlobals(layout);
  const handler = exportedFunction(shape, "bulkhead_handle", [I32, I32], [I64]);
  if (handler === undefined) return;
  const handle = (out: Assembly): Assembly => call(arm(out).gets([2, 3]), handler);
  const parameters = [I32, I32, I32, I32];
  const enter = (out: Assembly, work: number): Assembly => toDouble(handle(out), work);
  const activate = (out: Assembly): Assembly => handle(out).setGlobal(result).constant(0);
  layout.export("result", "global", result);
  const entered = recorder?.around(RECORDED.message, (out) => enter(out, WORK)) ?? enter(code(I64), 4);
  add("enter", parameters, [F64], entered);
  add("activate", parameters, [I32], recorder?.around(RECORDED.gated, activate) ?? activate(code()));
}

/** Where memory and numbers in globals are all that ever changes, an instance can be copied: the globals are then within reach. */
function exportGlobals(layout: Layout): void {
  const { imported, globals } = layout.shape;
  const changing = [...globals.entries()].filter(([, { mutable }]) => mutable);
  if (imported.global > 0 || changing.length > LIMITS.copiedGlobals) return;
  if (changing.some(([, { type }]) => TO_BITS[type] === undefined)) return;
  for (const [at, [index, { type }]] of changing.entries()) {
    const body = code().raw(OP.localGet, 0, OP.if, OP.empty, OP.localGet, 1, ...(FROM_BITS[type] ?? []));
    body.setGlobal(index).byte(OP.end).global(index);
    layout.export(`global${at}`, "global", index);
    layout.export(
      `bits${at}`,
      "function",
      layout.helper([I32, I64], [I64], body.raw(...(TO_BITS[type] ?? []), OP.end)),
    );
  }
  layout.export("globals", "function", layout.helper([], [I32], code().constant(changing.length).byte(OP.end)));
}

/** The handler's i64 as an exact double, so that JavaScript needs no BigInt; `local` is an i64 to work with. */
function toDouble(out: Assembly, local: number): Assembly {
  const get = [OP.localGet, local];
  const lowest = [OP.i64Const, 0x80, 0x80, 0x80, 0x80, 0x78]; // -2^31 as LEB128
  const longest = [OP.i64Const, 0xff, 0xff, 0x3f]; // 2^20 - 1
  const low32 = [OP.i64Const, 0xff, 0xff, 0xff, 0xff, 0x0f]; // 2^32 - 1
  out.raw(OP.localTee, local, OP.i64Const, 0, OP.i64LessSigned, OP.if, I64);
  out.raw(...get, ...lowest, ...get, ...lowest, OP.i64GreaterSigned, OP.select, OP.else);
  out.raw(...get, OP.i64Const, 32, OP.i64ShiftRightUnsigned, OP.i64Const, 20, OP.i64ShiftLeft);
  out.raw(...get, ...low32, OP.i64And, OP.localTee, local, ...longest, ...get, ...longest);
  return out.raw(OP.i64LessUnsigned, OP.select, OP.i64Add, OP.end, OP.f64ConvertI64Signed);
}

/** The index of an exported function of exactly this type. */
function exportedFunction(
  shape: ModuleShape,
  name: string,
  parameters: readonly number[],
  results: readonly number[],
): number | undefined {
  const found = shape.exports.find((item) => item.name === name && item.kind === "function");
  const type = shape.types[shape.functions[found?.index ?? -1] ?? -1];
  const fits = type?.parameters.join() === parameters.join() && type.results.join() === results.join();
  return fits ? found?.index : undefined;
}

/** Twins by the function they are of, and fees of entry. */
interface Entries {
  readonly twins: ReadonlyMap<number, Appended>;
  readonly fee: EntryFee;
  /** Some function changes a table or drops a segment. */
  readonly changesTables: boolean;
}

/** Plans are made, used and dropped one by one, here and when bodies are rewritten: kept, they are many times the binary. */
function planEntries(layout: Layout): Entries {
  const { shape, options } = layout;
  const twins = new Map<number, Appended>();
  let changesTables = false;
  const fees = shape.bodies.map((_, body) => {
    const { index, entryFee, twinned, scan } = new BodyPlan(shape, body, options.canonicalNans);
    changesTables ||= scan.changesTables;
    if (twinned) twins.set(index, layout.append(shape.functions[index] ?? 0, new Assembly(64)));
    return entryFee;
  });
  return { twins, changesTables, fee: (index) => fees[index - shape.imported.function] ?? 0 };
}

function rewriteBodies(layout: Layout, entries: Entries, onCopy: CopyListener | undefined): ByteWriter {
  const { shape, options } = layout;
  const out = new ByteWriter(shape.bytes.length * 2).u32(shape.bodies.length + layout.functions.length);
  const rewritten = new Assembly(1024);
  for (const body of shape.bodies.keys()) {
    const plan = new BodyPlan(shape, body, options.canonicalNans);
    plan.payFees(entries.fee);
    const own = layout.function(plan.index);
    const twin = entries.twins.get(plan.index);
    const rewrite = (self: number, into: Assembly, other: number): void => {
      new BodyRewriter(layout, plan, into, other, onCopy && ((...copy) => onCopy(self, ...copy))).rewrite();
    };
    rewritten.clear();
    rewrite(own, rewritten, twin?.index ?? own);
    if (twin !== undefined) rewrite(twin.index, twin.body, own);
    out.u32(rewritten.length).append(rewritten);
  }
  for (const { body } of layout.functions) out.u32(body.length).append(body);
  return out;
}

function checkNames(shape: ModuleShape): void {
  const names = [...shape.imports.map(({ module: name, at }) => ({ name, at })), ...shape.exports];
  for (const { name, at } of names) {
    if (!name.startsWith(EXPORT_PREFIX)) continue;
    const expected = `a name that does not start with ${EXPORT_PREFIX}`;
    refuseWasm("an import or export uses a reserved name", at, { expected, found: name });
  }
}

function checkOptions(options: MeterOptions): void {
  const { memoryMaximumPages: pages, tableMaximumEntries: entries } = options;
  const fits = (value: number, most: number): boolean => Number.isInteger(value) && value >= 0 && value <= most;
  if (fits(pages, LIMITS.quotaPages) && fits(entries, 10_000_000)) return;
  throw new Refusal("E_SIZE", "a quota is out of range", {
    expected: `0 to ${LIMITS.quotaPages} pages, 0 to 10,000,000 table entries`,
    found: `${pages} pages, ${entries} entries`,
  });
}

/** Writes the sections of the rewritten module in order. */
class ModuleWriter {
  readonly layout: Layout;
  readonly shape: ModuleShape;
  readonly out: ByteWriter;

  constructor(layout: Layout) {
    this.layout = layout;
    this.shape = layout.shape;
    this.out = new ByteWriter(layout.shape.bytes.length * 2 + 1024).raw(...WASM_HEADER);
  }

  write(code: ByteWriter): Uint8Array<ArrayBuffer> {
    const { layout, shape } = this;
    this.#extend(SECTION.type, shape.types.length, layout.types, (out, { parameters, results }) => {
      out.op(FUNCTION_TYPE, parameters.length).raw(...parameters);
      out.u32(results.length).raw(...results);
    });
    this.#extend(SECTION.import, shape.imports.length, layout.added, (out, name) => {
      const type = name === "grow" ? layout.type([I32], [I32]) : layout.type([], []);
      out.name(METER_MODULE).name(name).op(KINDS.indexOf("function"), type);
    });
    this.#extend(SECTION.function, shape.bodies.length, layout.functions, (out, { type }) => out.u32(type));
    if (shape.tables.length > LIMITS.binaryTables)
      refuseSize("too many tables", `${LIMITS.binaryTables}`, shape.tables.length);
    this.#limited(SECTION.table, shape.tables, layout.options.tableMaximumEntries, (out, { element }) =>
      out.byte(element),
    );
    const [log, globals] = layout.recorder === undefined ? [[], []] : [[LOG_PAGES], RECORDER_GLOBALS];
    this.#limited(SECTION.memory, shape.memories, layout.options.memoryMaximumPages, () => undefined, log);
    this.#extend(SECTION.global, shape.globals.length, [0, 0, undefined, ...globals], (out, initial) => {
      if (initial === undefined) out.raw(I64, 1, OP.i64Const, 0, OP.end);
      else out.raw(I32, 1, OP.i32Const).s32(initial).byte(OP.end);
    });
    this.#extend(SECTION.export, shape.exports.length, layout.exports, (out, { name, kind, index }) => {
      out.name(name).op(KINDS.indexOf(kind), index);
    });
    this.#copy(SECTION.element);
    this.#copy(SECTION.dataCount);
    this.#section(SECTION.code, code);
    this.#copy(SECTION.data);
    return this.out.finish();
  }

  /** The guest's own items, renumbered, and those that are added. */
  #extend<Item>(id: number, count: number, items: readonly Item[], write: (out: ByteWriter, item: Item) => void): void {
    const content = new ByteWriter().u32(count + items.length);
    const span = this.shape.sections.get(id);
    if (span !== undefined) {
      const reader = new ByteReader(this.shape.bytes, span.at, span.end);
      reader.u32();
      this.#renumbered(content, reader.at, span.end);
    }
    for (const item of items) write(content, item);
    this.#section(id, content);
  }

  #copy(id: number): void {
    const span = this.shape.sections.get(id);
    if (span !== undefined) this.#section(id, this.#renumbered(new ByteWriter(span.end - span.at), span.at, span.end));
  }

  #renumbered(content: ByteWriter, at: number, end: number): ByteWriter {
    let copied = at;
    for (const reference of this.shape.references) {
      if (reference.at < at || reference.end > end) continue;
      content.slice(this.shape.bytes, copied, reference.at).u32(this.layout.function(reference.index));
      copied = reference.end;
    }
    return content.slice(this.shape.bytes, copied, end);
  }

  /** Tables or memories, which share the quota: what their minima leave of it is room to grow, in equal parts. Then `own`. */
  #limited<Item extends Limits>(
    id: number,
    items: readonly Item[],
    quota: number,
    write: (out: ByteWriter, item: Item) => void,
    own: readonly (typeof LOG_PAGES)[] = [],
  ): void {
    if (items.length === 0) return;
    const content = new ByteWriter().u32(items.length + own.length);
    const declared = items.reduce((sum, { minimum }) => sum + minimum, 0);
    if (declared > quota) {
      const hint = "raise the quota in the manifest, or declare smaller minima";
      refuseSize("a memory, or its tables together, are larger than the module's quota", `${quota}`, declared, {
        hint,
      });
    }
    let room = quota - declared;
    for (const [at, item] of items.entries()) {
      const growth = Math.min((item.maximum ?? quota) - item.minimum, Math.floor(room / (items.length - at)));
      room -= growth;
      write(content, item);
      content.op(1, item.minimum).u32(item.minimum + growth);
    }
    for (const { minimum, maximum } of own) content.op(1, minimum).u32(maximum);
    this.#section(id, content);
  }

  #section(id: number, content: ByteWriter): void {
    this.out.op(id, content.length).append(content);
  }
}

/**
 * Rewrites `binary` (WebAssembly 2.0 with tail calls) into one that counts fuel and stack depth. The result imports
 * `("bulkhead:meter", "exhausted" | "overflow")`, both () -> (), and exports, beside the guest's own:
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `bulkhead:fuel`, `bulkhead:depth` | mutable i32 | fuel left; abstract bytes of stack left |
 * | `bulkhead:arm` | (fuel, depth) -> () | sets both |
 * | `bulkhead:remaining`, `bulkhead:charge` | () -> i32, (fuel) -> i32 | reads fuel, and takes from it: what is left |
 * | `bulkhead:initialize` | () -> () | the former start function, then `_initialize` |
 * | `bulkhead:enter` | (fuel, depth, port, length) -> f64 | sets both and calls `bulkhead_handle`, if that is exported |
 * | `bulkhead:activate` | (fuel, depth, port, length) -> i32 | the same; 0, with the i64 in `bulkhead:result`, for gates |
 * | `bulkhead:result` | mutable i64 | what the handler gave, where it is exported |
 * | `bulkhead:globals` | () -> i32 | how many mutable globals there are; only where they and the memory are all that can change |
 * | `bulkhead:global0`, ... | mutable | each of them |
 * | `bulkhead:bits0`, ... | (write, bits: i64) -> i64 | its bits, which JavaScript does not keep of a NaN; set first where `write` is 1 |
 *
 * What is recorded imports also `full` () -> (), which makes room between two activations, and `grow` (pages) -> i32, which does
 * what `memory.grow` does; and exports the memory `bulkhead:log`, the globals of `recorder.ts`, and for the kernel to note
 * `bulkhead:entered` (first word, second word) and `bulkhead:wrote` (address, length).
 *
 * When fuel falls below 0, `exhausted` is called, again and again until it leaves fuel at 0 or above, or throws: the
 * guest then goes on as if nothing had been. What is below 0 is debt; a host that adds a slice to `bulkhead:fuel`
 * carries it on. When depth falls below 0, `overflow` is called, which must throw.
 *
 * `enter` gives negative results (at the lowest -2^31) as they are, 0 as 0, else address x 2^20 + min(length, 2^20 - 1).
 *
 * Custom sections are dropped: names and source maps are found through `tools/source-map/`, which listens to `onCopy`.
 * Throws `Refusal` E_WASM (malformed, or a feature that is not accepted) or E_SIZE (a bound or quota), and nothing else.
 */
export function meter(
  binary: Uint8Array,
  options: MeterOptions = DEFAULT_METER_OPTIONS,
  onCopy?: CopyListener,
): Uint8Array<ArrayBuffer> {
  checkOptions(options);
  const shape = readModule(binary);
  checkNames(shape);
  const layout = new Layout(shape, options);
  const entries = planEntries(layout);
  addControls(layout, entries);
  return new ModuleWriter(layout).write(rewriteBodies(layout, entries, onCopy));
}
