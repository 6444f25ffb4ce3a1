/** Rewrites a guest binary so that it counts its work and its stack, and stays within its quota of memory and tables. */

import { Refusal } from "../errors.ts";
import { BULK, type BodyScan, type Edit, scanBody } from "./body.ts";
import { ByteReader, ByteWriter, refuseWasm } from "./bytes.ts";
import {
  MAXIMUM_BODY_BYTES,
  MAXIMUM_LOCALS,
  MAXIMUM_MEMORY_PAGES,
  MAXIMUM_MERGES,
  MAXIMUM_TABLES,
  UNCOUNTED_LEAF_FRAME,
} from "./limits.ts";
import { renumberNames } from "./names.ts";
import { type FunctionType, type Limits, type ModuleShape, readModule, SECTION } from "./reader.ts";

export interface MeterOptions {
  /** Upper bound of the guest's memory in pages of 64 KiB, at most 32,768 (2 GiB). */
  readonly memoryMaximumPages: number;
  /** Upper bound of the entries of each table. */
  readonly tableMaximumEntries: number;
}

export const DEFAULT_METER_OPTIONS: MeterOptions = Object.freeze({
  memoryMaximumPages: 256,
  tableMaximumEntries: 4096,
});

/** Names of what the rewriter adds. Guests may not use the prefix, so they can neither collide with nor reach them. */
export const RESERVED_PREFIX = "bulkhead:";
export const METER_MODULE = "bulkhead:meter";

const I32 = 0x7f;
const I64 = 0x7e;
const F64 = 0x7c;
const OP = Object.freeze({
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  call: 0x10,
  returnCall: 0x12,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  i32Const: 0x41,
  i64Const: 0x42,
  i32LessSigned: 0x48,
  i32LessUnsigned: 0x49,
  i64LessSigned: 0x53,
  i64GreaterSigned: 0x55,
  i64LessUnsigned: 0x54,
  i32Add: 0x6a,
  i32Subtract: 0x6b,
  i32Or: 0x72,
  i32ShiftLeft: 0x74,
  i32ShiftRightUnsigned: 0x76,
  i64Add: 0x7c,
  i64And: 0x83,
  i64ShiftLeft: 0x86,
  i64ShiftRightUnsigned: 0x88,
  f64ConvertI64Signed: 0xb9,
  refFunction: 0xd2,
  empty: 0x40,
} as const);

/** A conditional region that costs no more than this is charged with the code that leads to it. */
const MERGED_REGION = 48;
/** Abstract bytes of a frame beside its locals and operands: return address, frame pointer, instance, spills. */
const FRAME_BASE = 64;
const IMPORTED = 2;

/** Index spaces after rewriting: two imports behind the guest's, helpers behind its functions, two globals last. */
class Layout {
  readonly shape: ModuleShape;
  readonly exhausted: number;
  readonly overflow: number;
  readonly fuel: number;
  readonly depth: number;
  /** Appended to the guest's types. */
  readonly types: FunctionType[] = [];
  readonly #known = new Map<string, number>();
  /** Type indices and bodies of appended functions. */
  readonly helpers: { readonly type: number; readonly body: ByteWriter }[] = [];
  readonly exports: { readonly name: string; readonly kind: number; readonly index: number }[] = [];

  constructor(shape: ModuleShape) {
    this.shape = shape;
    this.exhausted = shape.importedFunctions;
    this.overflow = shape.importedFunctions + 1;
    this.fuel = shape.importedGlobals + shape.globals.length;
    this.depth = this.fuel + 1;
  }

  /** Guest function index to rewritten one. */
  function(index: number): number {
    return index < this.shape.importedFunctions ? index : index + IMPORTED;
  }

  type(parameters: readonly number[] | Uint8Array, results: readonly number[] | Uint8Array): number {
    const key = `${parameters.join()}>${results.join()}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.types.push({ parameters: Uint8Array.from(parameters), results: Uint8Array.from(results) });
    const index = this.shape.types.length + this.types.length - 1;
    this.#known.set(key, index);
    return index;
  }

  helper(type: number, code: ByteWriter): number {
    this.helpers.push({ type, body: code });
    return this.shape.functions.length + IMPORTED + this.helpers.length - 1;
  }

  export(name: string, kind: number, index: number): void {
    this.exports.push({ name: `${RESERVED_PREFIX}${name}`, kind, index });
  }
}

interface Helpers {
  /** () -> (): calls `overflow` while depth is below 0, and `exhausted` until fuel is not. */
  readonly settle: number;
  /** By `BULK` unit, (n: i32) -> n: charges for n of them and settles. */
  readonly spend: Readonly<Record<number, number>>;
}

function addHelpers(layout: Layout): Helpers {
  const { fuel, depth } = layout;
  const nothing = layout.type([], []);
  const settle = code(0)
    .raw(OP.globalGet)
    .u32(depth)
    .raw(OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty)
    .raw(OP.call)
    .u32(layout.overflow)
    .raw(OP.unreachable, OP.end)
    .raw(OP.loop, OP.empty, OP.globalGet)
    .u32(fuel)
    .raw(OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty)
    .raw(OP.call)
    .u32(layout.exhausted)
    .raw(OP.br, 1, OP.end, OP.end, OP.end);
  const settleIndex = layout.helper(nothing, settle);
  const unary = layout.type([I32], [I32]);
  const spend = (measure: (writer: ByteWriter) => ByteWriter): number => {
    const writer = code(0).raw(OP.globalGet).u32(fuel);
    measure(writer).raw(OP.i32Subtract, OP.globalSet).u32(fuel);
    writer.raw(OP.globalGet).u32(fuel).raw(OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty);
    return layout.helper(unary, writer.raw(OP.call).u32(settleIndex).raw(OP.end, OP.localGet, 0, OP.end));
  };
  // Each measure is at most 2^29, so that fuel can't wrap around: bytes / 8, entries x 2, pages x 8,192.
  const bytes = spend((writer) => writer.raw(OP.localGet, 0, OP.i32Const, 3, OP.i32ShiftRightUnsigned));
  const entries = spend((writer) => atMost(writer, 2 ** 28).raw(OP.i32Const, 1, OP.i32ShiftLeft));
  const pages = spend((writer) => atMost(writer, 65_536).raw(OP.i32Const, 13, OP.i32ShiftLeft));
  return { settle: settleIndex, spend: { [BULK.bytes]: bytes, [BULK.entries]: entries, [BULK.pages]: pages } };
}

/** min(local 0, bound), unsigned. */
function atMost(writer: ByteWriter, bound: number): ByteWriter {
  writer.raw(OP.localGet, 0, OP.i32Const).s32(bound).raw(OP.localGet, 0, OP.i32Const).s32(bound);
  return writer.raw(OP.i32LessUnsigned, OP.select);
}

/** A function body without locals beyond its parameters, or with `i64s` of them. */
function code(i64s: number): ByteWriter {
  return i64s === 0 ? new ByteWriter(64).raw(0) : new ByteWriter(64).raw(1, i64s, I64);
}

function addControls(layout: Layout, spanOfStart: number | undefined): void {
  const { fuel, depth, shape } = layout;
  layout.export("fuel", 3, fuel);
  layout.export("depth", 3, depth);
  const remaining = code(0).raw(OP.globalGet).u32(fuel).raw(OP.end);
  layout.export("remaining", 0, layout.helper(layout.type([], [I32]), remaining));
  const refuel = code(0).raw(OP.localGet, 0, OP.globalSet).u32(fuel).raw(OP.end);
  layout.export("refuel", 0, layout.helper(layout.type([I32], []), refuel));
  const arm = setBoth(code(0), layout).raw(OP.end);
  layout.export("arm", 0, layout.helper(layout.type([I32, I32], []), arm));
  const initialize = code(0);
  if (spanOfStart !== undefined) initialize.raw(OP.call).u32(layout.function(spanOfStart));
  const guestInitialize = exportedFunction(shape, "_initialize", [], []);
  if (guestInitialize !== undefined) initialize.raw(OP.call).u32(layout.function(guestInitialize));
  layout.export("initialize", 0, layout.helper(layout.type([], []), initialize.raw(OP.end)));
  const handler = exportedFunction(shape, "bulkhead_handle", [I32, I32], [I64]);
  if (handler !== undefined) addEnter(layout, layout.function(handler));
}

function setBoth(writer: ByteWriter, layout: Layout): ByteWriter {
  writer.raw(OP.localGet, 0, OP.globalSet).u32(layout.fuel);
  return writer.raw(OP.localGet, 1, OP.globalSet).u32(layout.depth);
}

/** (fuel, depth, port, length) -> f64: the handler's i64 as an exact double, so that JavaScript needs no BigInt. */
function addEnter(layout: Layout, handler: number): void {
  const result = 4;
  const lowest = new ByteWriter(8).raw(0x80, 0x80, 0x80, 0x80, 0x78); // -2^31 as LEB128
  const longest = new ByteWriter(8).raw(0xff, 0xff, 0x3f); // 2^20 - 1
  const low32 = new ByteWriter(8).raw(0xff, 0xff, 0xff, 0xff, 0x0f); // 2^32 - 1
  const body = setBoth(code(1), layout).raw(OP.localGet, 2, OP.localGet, 3, OP.call).u32(handler);
  body.raw(OP.localTee, result, OP.i64Const, 0, OP.i64LessSigned, OP.if, I64);
  body.raw(OP.localGet, result, OP.i64Const).append(lowest).raw(OP.localGet, result, OP.i64Const).append(lowest);
  body.raw(OP.i64GreaterSigned, OP.select, OP.else);
  body.raw(OP.localGet, result, OP.i64Const, 32, OP.i64ShiftRightUnsigned, OP.i64Const, 20, OP.i64ShiftLeft);
  body.raw(OP.localGet, result, OP.i64Const).append(low32).raw(OP.i64And, OP.localTee, result);
  body.raw(OP.i64Const).append(longest).raw(OP.localGet, result, OP.i64Const).append(longest);
  body.raw(OP.i64LessUnsigned, OP.select, OP.i64Add, OP.end, OP.f64ConvertI64Signed, OP.end);
  layout.export("enter", 0, layout.helper(layout.type([I32, I32, I32, I32], [F64]), body));
}

/** The index of an exported function of exactly this type. */
function exportedFunction(
  shape: ModuleShape,
  name: string,
  parameters: readonly number[],
  results: readonly number[],
): number | undefined {
  const found = shape.exports.find((item) => item.name === name && item.kind === "function");
  const type = found === undefined ? undefined : shape.types[shape.functions[found.index] ?? -1];
  if (found === undefined || type === undefined) return undefined;
  const same = (a: Uint8Array, b: readonly number[]): boolean => a.length === b.length && b.every((v, i) => a[i] === v);
  return same(type.parameters, parameters) && same(type.results, results) ? found.index : undefined;
}

/**
 * Rewrites one body. Every sequence it inserts leaves the operand stack as it was and touches only locals, globals and
 * functions past the guest's own index spaces, whose bounds `scanBody` has checked: code that was invalid stays so.
 */
class BodyRewriter {
  readonly layout: Layout;
  readonly helpers: Helpers;
  readonly scan: BodyScan;
  readonly type: FunctionType;
  readonly out = new ByteWriter(1024);
  /** Fuel of a region, or 0 where it is charged with its parent. */
  readonly charges: readonly number[];
  /** Local that holds the fuel; kept equal to the global, which spares loops the load. */
  readonly fuelLocal: number;
  readonly depthLocal: number;
  readonly frame: number;
  readonly counted: boolean;

  constructor(layout: Layout, helpers: Helpers, scan: BodyScan, type: FunctionType) {
    this.layout = layout;
    this.helpers = helpers;
    this.scan = scan;
    this.type = type;
    this.charges = mergeRegions(scan);
    this.fuelLocal = scan.locals;
    this.depthLocal = scan.locals + 1;
    this.frame = FRAME_BASE + (scan.locals + scan.height) * (scan.usesVectors ? 16 : 8);
    this.counted = scan.calls || this.frame > UNCOUNTED_LEAF_FRAME;
  }

  get addedLocals(): number {
    return this.counted ? 2 : 1;
  }

  rewrite(): ByteWriter {
    const { out, scan, layout } = this;
    const { bytes } = layout.shape;
    out
      .u32(scan.localGroups + 1)
      .slice(bytes, scan.localGroupsAt, scan.instructionsAt)
      .u32(this.addedLocals)
      .byte(I32);
    this.#enter();
    if (this.counted) this.#openBody();
    let copied = scan.instructionsAt;
    for (const edit of scan.edits) {
      out.slice(bytes, copied, edit.at);
      copied = edit.end;
      this.#edit(edit);
    }
    out.slice(bytes, copied, scan.end);
    if (!this.counted) return out;
    this.#giveBackDepth();
    return out.byte(OP.end);
  }

  #edit(edit: Edit): void {
    const { out, layout, helpers } = this;
    switch (edit.kind) {
      case "call":
        out.byte(OP.call).u32(layout.function(edit.value));
        return this.#reload();
      case "indirect-call":
        return this.#reload();
      case "tail-call":
        this.#giveBackDepth();
        if (edit.value >= 0) out.byte(OP.returnCall).u32(layout.function(edit.value));
        return;
      case "reference":
        out.byte(OP.refFunction).u32(layout.function(edit.value));
        return;
      case "return":
        if (this.counted) out.byte(OP.br).u32(edit.value);
        else out.byte(0x0f);
        return;
      case "bulk":
        out.byte(OP.call).u32(helpers.spend[edit.value] ?? 0);
        return this.#reload();
      case "charge":
        return this.#charge(this.charges[edit.value] ?? 0);
      case "loop":
        this.#charge(this.charges[edit.value] ?? 0);
        return this.#checkFuel();
    }
  }

  #enter(): void {
    const { out, layout } = this;
    this.#charge(this.charges[0] ?? 0, true);
    if (!this.counted) return this.#checkFuel();
    out.byte(OP.globalGet).u32(layout.depth).byte(OP.i32Const).s32(this.frame).byte(OP.i32Subtract);
    out.byte(OP.localTee).u32(this.depthLocal).byte(OP.globalSet).u32(layout.depth);
    out.byte(OP.localGet).u32(this.fuelLocal).byte(OP.localGet).u32(this.depthLocal).byte(OP.i32Or);
    this.#settleIfNegative();
  }

  /** fuel -= cost, in the local and in the global: the global is exact wherever the host may look, also after a trap. */
  #charge(cost: number, entry = false): void {
    if (cost === 0) return;
    const { out, layout, fuelLocal } = this;
    if (entry || !this.scan.loops) out.byte(OP.globalGet).u32(layout.fuel);
    else out.byte(OP.localGet).u32(fuelLocal);
    out.byte(OP.i32Const).s32(cost).byte(OP.i32Subtract);
    if (entry || this.scan.loops) out.byte(OP.localTee).u32(fuelLocal);
    out.byte(OP.globalSet).u32(layout.fuel);
  }

  #checkFuel(): void {
    this.out.byte(OP.localGet).u32(this.fuelLocal);
    this.#settleIfNegative();
  }

  #settleIfNegative(): void {
    this.out.raw(OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty, OP.call).u32(this.helpers.settle);
    this.#reload();
    this.out.byte(OP.end);
  }

  #reload(): void {
    if (this.scan.loops) this.out.byte(OP.globalGet).u32(this.layout.fuel).byte(OP.localSet).u32(this.fuelLocal);
  }

  #giveBackDepth(): void {
    if (!this.counted) return;
    const { out, layout } = this;
    out.byte(OP.globalGet).u32(layout.depth).byte(OP.i32Const).s32(this.frame).byte(OP.i32Add);
    out.byte(OP.globalSet).u32(layout.depth);
  }

  /** The guest's code becomes a block, so that its branches to the function's label come by where depth is given back. */
  #openBody(): void {
    const { results } = this.type;
    this.out.byte(OP.block);
    if (results.length > 1) this.out.s32(this.layout.type([], results));
    else this.out.byte(results[0] ?? OP.empty);
  }
}

/** A cheap conditional region is charged with its parent; children come after their parents, so one pass back will do. */
function mergeRegions(scan: BodyScan): number[] {
  const costs = scan.regions.map((region) => region.cost);
  for (let index = costs.length - 1; index > 0; index -= 1) {
    const parent = scan.regions[index]?.parent ?? -1;
    const cost = costs[index] ?? 0;
    if (parent < 0 || cost > MERGED_REGION) continue;
    costs[parent] = (costs[parent] ?? 0) + cost;
    costs[index] = 0;
  }
  return costs;
}

/** The bounds of DESIGN 6 on what V8 is given to compile, after rewriting. */
function checkBody(index: number, scan: BodyScan, added: number, bytes: number, at: number): void {
  const locals = scan.locals + added;
  const checks = scan.edits.reduce((count, edit) => (edit.kind === "loop" ? count + 1 : count), 2);
  const merges = (locals + scan.height) * (scan.controls + checks);
  tooLarge(index, at, bytes, MAXIMUM_BODY_BYTES, "bytes");
  tooLarge(index, at, locals, MAXIMUM_LOCALS, "parameters and locals");
  tooLarge(index, at, merges, MAXIMUM_MERGES, "(locals + operands) x control instructions");
}

function tooLarge(index: number, at: number, found: number, maximum: number, what: string): void {
  if (found <= maximum) return;
  throw new Refusal("E_SIZE", `function ${index} is too large to be compiled in bounded time`, {
    expected: `at most ${maximum} ${what}`,
    found: `${found}`,
    at,
    hint: "split the function, or compile without inlining (-Os)",
  });
}

function rewriteBodies(layout: Layout, helpers: Helpers): ByteWriter {
  const { shape } = layout;
  const out = new ByteWriter(shape.bytes.length * 2).u32(shape.bodies.length + layout.helpers.length);
  for (const [index, body] of shape.bodies.entries()) {
    const type = shape.types[shape.functions[shape.importedFunctions + index] ?? -1];
    if (type === undefined) refuseWasm("an unknown type index", body.at);
    tooLarge(shape.importedFunctions + index, body.at, body.end - body.at, MAXIMUM_BODY_BYTES, "bytes");
    const scan = scanBody(shape, index);
    tooLarge(shape.importedFunctions + index, body.at, scan.locals, MAXIMUM_LOCALS, "parameters and locals");
    const rewriter = new BodyRewriter(layout, helpers, scan, type);
    const rewritten = rewriter.rewrite();
    checkBody(shape.importedFunctions + index, scan, rewriter.addedLocals, rewritten.length, body.at);
    out.u32(rewritten.length).append(rewritten);
  }
  for (const helper of layout.helpers) out.u32(helper.body.length).append(helper.body);
  return out;
}

function checkNames(shape: ModuleShape): void {
  for (const item of shape.imports) {
    if (item.module.startsWith(RESERVED_PREFIX))
      refuseWasm("an import uses a reserved name", item.at, reserved(item.module));
  }
  for (const item of shape.exports) {
    if (item.name.startsWith(RESERVED_PREFIX))
      refuseWasm("an export uses a reserved name", item.at, reserved(item.name));
  }
}

function reserved(found: string): { expected: string; found: string } {
  return { expected: `a name that does not start with ${RESERVED_PREFIX}`, found };
}

function clamp(limits: Limits, quota: number, what: string): Limits {
  if (limits.minimum > quota) {
    throw new Refusal("E_SIZE", `${what} is larger than the module's quota`, {
      expected: `at most ${quota}`,
      found: `${limits.minimum}`,
      hint: "raise the quota in the manifest, or declare a smaller minimum",
    });
  }
  return { minimum: limits.minimum, maximum: Math.min(limits.maximum ?? quota, quota) };
}

function checkOptions(options: MeterOptions): void {
  const { memoryMaximumPages: pages, tableMaximumEntries: entries } = options;
  const fits = (value: number, most: number): boolean => Number.isInteger(value) && value >= 0 && value <= most;
  if (fits(pages, MAXIMUM_MEMORY_PAGES) && fits(entries, 10_000_000)) return;
  throw new Refusal("E_SIZE", "a quota is out of range", {
    expected: `0 to ${MAXIMUM_MEMORY_PAGES} pages, 0 to 10,000,000 table entries`,
    found: `${pages} pages, ${entries} entries`,
  });
}

/** Writes the sections of the rewritten module in order. */
class ModuleWriter {
  readonly layout: Layout;
  readonly shape: ModuleShape;
  readonly options: MeterOptions;
  readonly out: ByteWriter;

  constructor(layout: Layout, options: MeterOptions) {
    this.layout = layout;
    this.shape = layout.shape;
    this.options = options;
    this.out = new ByteWriter(layout.shape.bytes.length * 2 + 1024).raw(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
  }

  write(code: ByteWriter): Uint8Array<ArrayBuffer> {
    const { layout, shape } = this;
    this.#extend(SECTION.type, shape.types.length, layout.types, (out, type) => {
      out
        .byte(0x60)
        .u32(type.parameters.length)
        .raw(...type.parameters);
      out.u32(type.results.length).raw(...type.results);
    });
    const nothing = shape.types.length;
    this.#extend(SECTION.import, shape.imports.length, ["exhausted", "overflow"], (out, name) => {
      out.name(METER_MODULE).name(name).byte(0).u32(nothing);
    });
    this.#extend(SECTION.function, shape.bodies.length, layout.helpers, (out, helper) => out.u32(helper.type));
    this.#tables();
    this.#memories();
    this.#extend(SECTION.global, shape.globals.length, [0, 0], (out) => out.raw(I32, 1, OP.i32Const, 0, OP.end));
    this.#extend(SECTION.export, shape.exports.length, layout.exports, (out, item) => {
      out.name(item.name).byte(item.kind).u32(item.index);
    });
    this.#copy(SECTION.element);
    this.#copy(SECTION.dataCount);
    this.#section(SECTION.code, code);
    this.#copy(SECTION.data);
    this.#names();
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
    if (span === undefined) return;
    const content = new ByteWriter(span.end - span.at + 64);
    this.#renumbered(content, span.at, span.end);
    this.#section(id, content);
  }

  #renumbered(content: ByteWriter, at: number, end: number): void {
    let copied = at;
    for (const reference of this.shape.references) {
      if (reference.at < at || reference.end > end) continue;
      content.slice(this.shape.bytes, copied, reference.at).u32(this.layout.function(reference.index));
      copied = reference.end;
    }
    content.slice(this.shape.bytes, copied, end);
  }

  #tables(): void {
    const { tables } = this.shape;
    if (tables.length === 0) return;
    if (tables.length > MAXIMUM_TABLES) {
      throw new Refusal("E_SIZE", "too many tables", {
        expected: `at most ${MAXIMUM_TABLES}`,
        found: `${tables.length}`,
      });
    }
    const content = new ByteWriter().u32(tables.length);
    for (const table of tables) {
      content.byte(table.element);
      writeLimits(content, clamp(table, this.options.tableMaximumEntries, "a table"));
    }
    this.#section(SECTION.table, content);
  }

  #memories(): void {
    const { memories } = this.shape;
    if (memories.length === 0) return;
    const content = new ByteWriter().u32(memories.length);
    for (const memory of memories) writeLimits(content, clamp(memory, this.options.memoryMaximumPages, "the memory"));
    this.#section(SECTION.memory, content);
  }

  #names(): void {
    const section = this.shape.customSections.find((custom) => custom.name === "name");
    const content = section && renumberNames(section.bytes, (index) => this.layout.function(index));
    if (content === undefined) return;
    this.#section(SECTION.custom, new ByteWriter().name("name").append(content));
  }

  #section(id: number, content: ByteWriter): void {
    this.out.byte(id).u32(content.length).append(content);
  }
}

function writeLimits(out: ByteWriter, limits: Limits): void {
  out
    .byte(1)
    .u32(limits.minimum)
    .u32(limits.maximum ?? limits.minimum);
}

/**
 * Rewrites `binary` (WebAssembly 2.0 with tail calls) into one that counts fuel and stack depth. The result imports
 * `("bulkhead:meter", "exhausted" | "overflow")`, both () -> (), and exports, beside the guest's own:
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `bulkhead:fuel`, `bulkhead:depth` | mutable i32 | fuel left; abstract bytes of stack left |
 * | `bulkhead:arm` | (fuel, depth) -> () | sets both |
 * | `bulkhead:remaining`, `bulkhead:refuel` | () -> i32, (fuel) -> () | reads and sets fuel |
 * | `bulkhead:initialize` | () -> () | the former start function, then `_initialize` |
 * | `bulkhead:enter` | (fuel, depth, port, length) -> f64 | sets both and calls `bulkhead_handle`, if that is exported |
 *
 * When fuel falls below 0, `exhausted` is called, again and again until it leaves fuel at 0 or above, or throws: the
 * guest then goes on as if nothing had been. What is below 0 is debt; a host that adds a slice to `bulkhead:fuel`
 * carries it on. When depth falls below 0, `overflow` is called, which must throw.
 *
 * `enter` gives negative results (at the lowest -2^31) as they are, 0 as 0, else address x 2^20 + min(length, 2^20 - 1).
 *
 * Of the custom sections only `name` is kept, renumbered: others hold offsets that no longer hold.
 * Throws `Refusal` E_WASM (malformed, or a feature that is not accepted) or E_SIZE (a bound or quota), and nothing else.
 */
export function meter(binary: Uint8Array, options: MeterOptions = DEFAULT_METER_OPTIONS): Uint8Array<ArrayBuffer> {
  checkOptions(options);
  const shape = readModule(binary);
  checkNames(shape);
  const layout = new Layout(shape);
  const helpers = addHelpers(layout);
  addControls(layout, shape.start);
  return new ModuleWriter(layout, options).write(rewriteBodies(layout, helpers));
}
