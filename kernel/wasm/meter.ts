/** Rewrites a guest binary so that it counts its work and its stack, and stays within its quota of memory and tables. */

import { Refusal } from "../errors.ts";
import { BULK, type BodyScan, type CallPart, type Edit, scanBody } from "./body.ts";
import { CALLER_PAYS } from "./instructions.ts";
import { ByteReader, ByteWriter, refuseWasm } from "./bytes.ts";
import {
  MAXIMUM_BODY_BYTES,
  MAXIMUM_LOCALS,
  MAXIMUM_MEMORY_PAGES,
  MAXIMUM_MERGES,
  MAXIMUM_TABLES,
  UNCOUNTED_FRAME,
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
  brIf: 0x0d,
  return: 0x0f,
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

/** Index spaces after rewriting: two imports behind the guest's, helpers behind its functions, three globals last. */
class Layout {
  readonly shape: ModuleShape;
  readonly exhausted: number;
  readonly overflow: number;
  readonly fuel: number;
  readonly depth: number;
  readonly result: number;
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
    this.result = this.fuel + 2;
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

function addControls(layout: Layout, entryFee: EntryFee): void {
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
  for (const index of [shape.start, exportedFunction(shape, "_initialize", [], [])]) {
    if (index !== undefined) callGuest(initialize, layout, index, entryFee(index));
  }
  layout.export("initialize", 0, layout.helper(layout.type([], []), initialize.raw(OP.end)));
  const handler = exportedFunction(shape, "bulkhead_handle", [I32, I32], [I64]);
  if (handler === undefined) return;
  addEnter(layout, handler, entryFee(handler));
  addActivate(layout, handler, entryFee(handler));
}

/** Calls a guest's function and, as every caller must, pays the fee of its entry. */
function callGuest(writer: ByteWriter, layout: Layout, index: number, fee: number): void {
  writer
    .raw(OP.globalGet)
    .u32(layout.fuel)
    .raw(OP.i32Const)
    .s32(fee)
    .raw(OP.i32Subtract, OP.globalSet)
    .u32(layout.fuel);
  writer.raw(OP.call).u32(layout.function(index));
}

function setBoth(writer: ByteWriter, layout: Layout): ByteWriter {
  writer.raw(OP.localGet, 0, OP.globalSet).u32(layout.fuel);
  return writer.raw(OP.localGet, 1, OP.globalSet).u32(layout.depth);
}

/** (fuel, depth, port, length) -> f64: the handler's i64 as an exact double, so that JavaScript needs no BigInt. */
function addEnter(layout: Layout, handler: number, fee: number): void {
  const result = 4;
  const lowest = new ByteWriter(8).raw(0x80, 0x80, 0x80, 0x80, 0x78); // -2^31 as LEB128
  const longest = new ByteWriter(8).raw(0xff, 0xff, 0x3f); // 2^20 - 1
  const low32 = new ByteWriter(8).raw(0xff, 0xff, 0xff, 0xff, 0x0f); // 2^32 - 1
  const body = setBoth(code(1), layout).raw(OP.localGet, 2, OP.localGet, 3);
  callGuest(body, layout, handler, fee);
  body.raw(OP.localTee, result, OP.i64Const, 0, OP.i64LessSigned, OP.if, I64);
  body.raw(OP.localGet, result, OP.i64Const).append(lowest).raw(OP.localGet, result, OP.i64Const).append(lowest);
  body.raw(OP.i64GreaterSigned, OP.select, OP.else);
  body.raw(OP.localGet, result, OP.i64Const, 32, OP.i64ShiftRightUnsigned, OP.i64Const, 20, OP.i64ShiftLeft);
  body.raw(OP.localGet, result, OP.i64Const).append(low32).raw(OP.i64And, OP.localTee, result);
  body.raw(OP.i64Const).append(longest).raw(OP.localGet, result, OP.i64Const).append(longest);
  body.raw(OP.i64LessUnsigned, OP.select, OP.i64Add, OP.end, OP.f64ConvertI64Signed, OP.end);
  layout.export("enter", 0, layout.helper(layout.type([I32, I32, I32, I32], [F64]), body));
}

/** (fuel, depth, port, length) -> 0: leaves the handler's i64 in a global, for gates; a number here would be allocated. */
function addActivate(layout: Layout, handler: number, fee: number): void {
  const body = setBoth(code(0), layout).raw(OP.localGet, 2, OP.localGet, 3);
  callGuest(body, layout, handler, fee);
  body.raw(OP.globalSet).u32(layout.result).raw(OP.i32Const, 0, OP.end);
  layout.export("result", 3, layout.result);
  layout.export("activate", 0, layout.helper(layout.type([I32, I32, I32, I32], [I32]), body));
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
 * How one body is charged. A conditional region that costs little is charged with the one that leads to it. A function
 * whose unconditional part is cheap and calls nothing is paid for by its callers, so that it need not count at all.
 */
class BodyPlan {
  readonly scan: BodyScan;
  readonly type: FunctionType;
  /** Fuel by region, 0 where it is charged with another. */
  readonly charges: number[];
  /** Abstract bytes of stack. */
  readonly frame: number;
  /** Where depth is counted and fuel checked; undefined for a body that cannot be part of a recursion. */
  readonly part: CallPart | undefined;
  /** The body becomes a block, so that conditional branches to its end come by where depth is given back. */
  readonly wrapped: boolean;
  /** What callers pay for an entry; 0 where the function itself charges it. */
  readonly entryFee: number;
  readonly #owners: number[];

  constructor(scan: BodyScan, type: FunctionType) {
    this.scan = scan;
    this.type = type;
    this.frame = FRAME_BASE + (scan.locals + scan.height + scan.passed) * (scan.usesVectors ? 16 : 8);
    const whole: CallPart = { level: 0, at: scan.instructionsAt, end: scan.end - 1, region: 0 };
    const part = this.frame > UNCOUNTED_FRAME ? whole : scan.callPart;
    this.wrapped = part !== undefined && scan.conditionalExits.some((exit) => leaves(part, exit.at, exit.level));
    this.part = this.wrapped ? whole : part;
    this.charges = scan.regions.map((region) => region.cost);
    this.#owners = scan.regions.map((_, index) => index);
    this.#merge();
    const entry = this.charges[0] ?? 0;
    this.entryFee = this.part?.region === 0 || entry > CALLER_PAYS ? 0 : entry;
  }

  /** Children come after their parents, so one pass back merges, and one forth finds who charges for each region. */
  #merge(): void {
    const { charges } = this;
    const { regions } = this.scan;
    const callsIn = (index: number): boolean => index === this.part?.region || (regions[index]?.calls ?? false);
    for (let index = charges.length - 1; index > 0; index -= 1) {
      const parent = regions[index]?.parent ?? -1;
      const cost = charges[index] ?? 0;
      if (parent < 0 || cost > MERGED_REGION || index === this.part?.region) continue;
      // Fees of calls are added later; a region that its callers pay for must not come to owe any.
      if (callsIn(index) && !callsIn(parent)) continue;
      charges[parent] = (charges[parent] ?? 0) + cost;
      charges[index] = 0;
      this.#owners[index] = parent;
    }
    for (const [index, owner] of this.#owners.entries()) this.#owners[index] = this.#owners[owner] ?? owner;
  }

  /** Adds what the callees of direct calls leave to their callers. */
  payFees(entryFee: EntryFee): void {
    for (const { region, callee } of this.scan.directCalls) {
      const owner = this.#owners[region] ?? region;
      this.charges[owner] = (this.charges[owner] ?? 0) + entryFee(callee);
    }
  }
}

function leaves(part: CallPart, at: number, level: number): boolean {
  return at >= part.at && at < part.end && level <= part.level;
}

/**
 * Rewrites one body. Every sequence it inserts leaves the operand stack as it was and touches only locals, globals and
 * functions past the guest's own index spaces, whose bounds `scanBody` has checked; the labels that it adds are passed
 * over by the guest's branches. So code that was invalid stays invalid.
 *
 * Fuel is checked at the head of every loop and of the part that holds all calls: no endless execution avoids both.
 * Between two checks at most the code of one body runs. The global is exact at every charge, so the host may look at
 * any time, also after a trap; functions with loops keep a copy in a local, which spares them the load.
 */
class BodyRewriter {
  readonly layout: Layout;
  readonly helpers: Helpers;
  readonly plan: BodyPlan;
  readonly out = new ByteWriter(1024);
  readonly #fuel: number;
  readonly #depth: number;
  readonly #cached: boolean;

  constructor(layout: Layout, helpers: Helpers, plan: BodyPlan) {
    this.layout = layout;
    this.helpers = helpers;
    this.plan = plan;
    const { locals, loops } = plan.scan;
    this.#fuel = locals;
    this.#depth = locals + 1;
    this.#cached = loops > 0;
  }

  get addedLocals(): number {
    if (this.plan.part !== undefined) return 2;
    return this.#cached ? 1 : 0;
  }

  rewrite(): ByteWriter {
    const { out, plan, layout } = this;
    const { scan, part } = plan;
    const { bytes } = layout.shape;
    this.#locals();
    this.#enter();
    let copied = scan.instructionsAt;
    let open = part !== undefined && !plan.wrapped;
    for (const edit of scan.edits) {
      if (open && part !== undefined && edit.at >= part.end) {
        out.slice(bytes, copied, part.end);
        copied = part.end;
        this.#giveBackDepth();
        open = false;
      }
      out.slice(bytes, copied, edit.at);
      copied = edit.end;
      this.#edit(edit);
    }
    out.slice(bytes, copied, open && part !== undefined ? part.end : scan.end);
    if (open && part !== undefined) {
      this.#giveBackDepth();
      out.slice(bytes, part.end, scan.end);
    }
    if (!plan.wrapped) return out;
    this.#giveBackDepth();
    return out.byte(OP.end);
  }

  #locals(): void {
    const { out, plan, addedLocals } = this;
    const { scan } = plan;
    out.u32(scan.localGroups + (addedLocals > 0 ? 1 : 0));
    out.slice(this.layout.shape.bytes, scan.localGroupsAt, scan.instructionsAt);
    if (addedLocals > 0) out.u32(addedLocals).byte(I32);
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
        return this.#return(edit);
      case "exit":
        if (this.#leavesPart(edit.at, edit.value)) this.#giveBackDepth();
        return;
      case "label":
        out.u32(edit.value + (edit.loop?.tight === true ? 1 : 0));
        return;
      case "bulk":
        out.byte(OP.call).u32(helpers.spend[edit.value] ?? 0);
        return this.#reload();
      case "charge":
        return this.#head(edit.value);
      case "loop":
        return this.#loop(edit);
      case "loop-end":
        if (edit.loop?.tight === true) out.byte(OP.end);
        return;
    }
  }

  #leavesPart(at: number, level: number): boolean {
    const { part, wrapped } = this.plan;
    return part !== undefined && !wrapped && leaves(part, at, level);
  }

  #return(edit: Edit): void {
    if (this.plan.wrapped) {
      this.out.byte(OP.br).u32(edit.value + (edit.loop?.tight === true ? 1 : 0));
      return;
    }
    if (this.#leavesPart(edit.at, 0)) this.#giveBackDepth();
    this.out.byte(OP.return);
  }

  #enter(): void {
    const { plan, layout, out } = this;
    if (plan.entryFee > 0) {
      if (this.#cached) out.byte(OP.globalGet).u32(layout.fuel).byte(OP.localSet).u32(this.#fuel);
      return;
    }
    const keep = this.#cached || plan.part?.region === 0;
    this.#charge(plan.charges[0] ?? 0, false, keep);
    if (plan.part?.region === 0) this.#takeDepth();
    if (!plan.wrapped) return;
    const { results } = plan.type;
    out.byte(OP.block);
    if (results.length > 1) out.s32(layout.type([], results));
    else out.byte(results[0] ?? OP.empty);
  }

  /** The head of a conditional region. */
  #head(region: number): void {
    const counted = region === this.plan.part?.region;
    const cost = this.plan.charges[region] ?? 0;
    if (cost > 0 || counted) this.#charge(cost, this.#cached, this.#cached || counted);
    if (counted) this.#takeDepth();
  }

  /**
   * A loop that others or calls are in is checked where it is charged. A tight one gets a loop around it that it is left
   * for when fuel is below 0, so that no call stands in it: `loop (settle) loop (br_if 1 if fuel < 0) ... end end`.
   */
  #loop(edit: Edit): void {
    const { out, layout } = this;
    const { bytes } = layout.shape;
    const cost = this.plan.charges[edit.value] ?? 0;
    out.slice(bytes, edit.at, edit.end);
    if (edit.loop?.tight !== true) {
      this.#charge(cost, true, true);
      return this.#settleIfNegative();
    }
    this.#settleIfNegative();
    out.slice(bytes, edit.at, edit.end);
    out.byte(OP.localGet).u32(this.#fuel).raw(OP.i32Const, 0, OP.i32LessSigned, OP.brIf, 1);
    this.#charge(cost, true, true);
  }

  /** fuel -= cost, from the local copy or the global, into the global and, if it is to be kept, the local. */
  #charge(cost: number, fromLocal: boolean, keep: boolean): void {
    const { out, layout } = this;
    if (fromLocal) out.byte(OP.localGet).u32(this.#fuel);
    else out.byte(OP.globalGet).u32(layout.fuel);
    out.byte(OP.i32Const).s32(cost).byte(OP.i32Subtract);
    if (keep) out.byte(OP.localTee).u32(this.#fuel);
    out.byte(OP.globalSet).u32(layout.fuel);
  }

  /** Takes this activation's frame from depth, and checks depth and fuel in one. */
  #takeDepth(): void {
    const { out, layout } = this;
    out.byte(OP.globalGet).u32(layout.depth).byte(OP.i32Const).s32(this.plan.frame).byte(OP.i32Subtract);
    out.byte(OP.localTee).u32(this.#depth).byte(OP.globalSet).u32(layout.depth);
    this.#settleIfNegative(this.#depth);
  }

  /** A value kept in a local would have to survive the calls in between, which costs more than reading it again. */
  #giveBackDepth(): void {
    const { out, layout } = this;
    out.byte(OP.globalGet).u32(layout.depth).byte(OP.i32Const).s32(this.plan.frame).byte(OP.i32Add);
    out.byte(OP.globalSet).u32(layout.depth);
  }

  #settleIfNegative(other?: number): void {
    const { out } = this;
    out.byte(OP.localGet).u32(this.#fuel);
    if (other !== undefined) out.byte(OP.localGet).u32(other).byte(OP.i32Or);
    out.raw(OP.i32Const, 0, OP.i32LessSigned, OP.if, OP.empty, OP.call).u32(this.helpers.settle);
    this.#reload();
    out.byte(OP.end);
  }

  #reload(): void {
    if (this.#cached) this.out.byte(OP.globalGet).u32(this.layout.fuel).byte(OP.localSet).u32(this.#fuel);
  }
}

/** The bounds of DESIGN 6 on what V8 is given to compile, after rewriting. */
function checkBody(index: number, scan: BodyScan, added: number, bytes: number, at: number): void {
  const locals = scan.locals + added;
  // At most three more for each loop, and two for the body.
  const merges = (locals + scan.height) * (scan.controls + 3 * scan.loops + 2);
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

function planBody(shape: ModuleShape, index: number): BodyPlan {
  const functionIndex = shape.importedFunctions + index;
  const body = shape.bodies[index];
  const type = shape.types[shape.functions[functionIndex] ?? -1];
  if (body === undefined || type === undefined) refuseWasm("an unknown type index", body?.at ?? 0);
  tooLarge(functionIndex, body.at, body.end - body.at, MAXIMUM_BODY_BYTES, "bytes");
  const scan = scanBody(shape, index);
  tooLarge(functionIndex, body.at, scan.locals, MAXIMUM_LOCALS, "parameters and locals");
  return new BodyPlan(scan, type);
}

/** What a caller pays for an entry, by function index; nothing for the host's. */
type EntryFee = (functionIndex: number) => number;

/** Plans are made, used and dropped one by one, here and when bodies are rewritten: kept, they are many times the binary. */
function entryFees(shape: ModuleShape): EntryFee {
  const fees = shape.bodies.map((_, index) => planBody(shape, index).entryFee);
  return (functionIndex) => fees[functionIndex - shape.importedFunctions] ?? 0;
}

function rewriteBodies(layout: Layout, helpers: Helpers, entryFee: EntryFee): ByteWriter {
  const { shape } = layout;
  const out = new ByteWriter(shape.bytes.length * 2).u32(shape.bodies.length + layout.helpers.length);
  for (const [index, body] of shape.bodies.entries()) {
    const plan = planBody(shape, index);
    plan.payFees(entryFee);
    const rewriter = new BodyRewriter(layout, helpers, plan);
    const rewritten = rewriter.rewrite();
    checkBody(shape.importedFunctions + index, plan.scan, rewriter.addedLocals, rewritten.length, body.at);
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
    this.#extend(SECTION.global, shape.globals.length, [I32, I32, I64], (out, type) => {
      out.raw(type, 1, type === I64 ? OP.i64Const : OP.i32Const, 0, OP.end);
    });
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
 * | `bulkhead:activate` | (fuel, depth, port, length) -> i32 | the same; 0, with the i64 in `bulkhead:result` |
 * | `bulkhead:result` | mutable i64 | what the handler gave, where it is exported |
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
  const entryFee = entryFees(shape);
  const helpers = addHelpers(layout);
  addControls(layout, entryFee);
  return new ModuleWriter(layout, options).write(rewriteBodies(layout, helpers, entryFee));
}
