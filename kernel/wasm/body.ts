/** Reads one function body instruction by instruction: where fuel is charged, what must be renumbered, how deep its stack is. */

import { ByteReader, refuseWasm } from "./bytes.ts";
import { COST, type Effect, PLAIN, VECTOR } from "./instructions.ts";
import { refuseOpcode, refuseProposal, refuseType } from "./proposals.ts";
import { type FunctionType, type ModuleShape, readValueType, type Span, VALUE_TYPES } from "./reader.ts";

/**
 * What the rewriter has to do at a place of a body. The places come in ascending order; bytes `[at, end)` are replaced,
 * `at === end` inserts.
 */
export interface Edit {
  readonly kind:
    | "call"
    | "tail-call"
    | "indirect-call"
    | "reference"
    | "charge"
    | "bulk"
    | "return"
    | "label"
    | "exit"
    | "loop"
    | "loop-end";
  readonly at: number;
  readonly end: number;
  /** A function index, a region, a bulk unit, the nesting depth of a return, a label, or the level a branch goes to. */
  readonly value: number;
  /** The innermost loop around the place; for a label, the loop that the branch leaves. */
  readonly loop: LoopShape | undefined;
}

export interface LoopShape {
  /** Neither a loop nor a call in it: the loops that a compiler unrolls, and that a call in them would slow down most. */
  tight: boolean;
}

/** What is charged per unit of an instruction's length operand. */
export const BULK = Object.freeze({ bytes: 0, entries: 1, pages: 2 } as const);

/** A stretch of code that is charged at its head: the function's (0), a loop's (no parent), or a conditional one. */
export interface Region {
  readonly parent: number;
  cost: number;
  /** Holds a call of its own. */
  calls: boolean;
}

/** The innermost part of a body, outside of loops, that holds all its calls: where stack depth is counted. */
export interface CallPart {
  /** 0 is the function; branches to this level or below leave the part. */
  readonly level: number;
  /** From the head of a region to the `end` or `else` that closes the part. */
  readonly at: number;
  readonly end: number;
  readonly region: number;
}

/** What is known of a body once it has been read. */
export type BodyScan = Readonly<Omit<BodyReader, "read">>;

/** How code after a place is reached: by going on, not at all after a trap, or by jumping to a label only. */
type Reach = "falls" | "trapped" | "jumped";

interface Frame {
  readonly kind: "function" | "block" | "loop" | "if" | "else";
  readonly base: number;
  readonly parameters: number;
  readonly results: number;
  /** Level of the outermost loop around, Infinity outside of loops. */
  readonly outerLoop: number;
  readonly loop: LoopShape | undefined;
  region: number;
  /** Where the current region begins; -1 where that is outside of this frame. */
  head: number;
  reach: Reach;
  /** The first arm of this `if` ended in a jump. */
  armJumped: boolean;
  closedAt: number;
}

const NO_PARENT = -1;

class BodyReader {
  readonly edits: Edit[] = [];
  readonly regions: Region[] = [];
  /** Direct calls: which region pays for the entry to which function. */
  readonly directCalls: { readonly region: number; readonly callee: number }[] = [];
  /** Conditional branches with the lowest level they go to: they may leave a part without passing its end. */
  readonly conditionalExits: { readonly at: number; readonly level: number }[] = [];
  /** `bytes[instructionsAt, end)` are the instructions, the last of which is the body's `end`. */
  instructionsAt = 0;
  readonly end: number;
  /** Undefined for a body without calls. */
  callPart: CallPart | undefined;
  /** Parameters and declared locals. */
  locals = 0;
  localGroups = 0;
  localGroupsAt = 0;
  /** Most operands on the stack at any place. */
  height = 0;
  /** Most parameters and results of a call: they are passed through the stack beside the operands. */
  passed = 0;
  /** Control instructions, targets of `br_table` counted one by one. */
  controls = 0;
  loops = 0;
  usesVectors = false;
  /** It may change a table or drop a segment. */
  changesTables = false;
  readonly #shape: ModuleShape;
  readonly #reader: ByteReader;
  readonly #frames: Frame[] = [];
  #operands = 0;
  #frame: Frame;
  readonly #globals: number;
  /** The frames around the first call, as they were then. */
  #firstCall: { readonly frame: Frame; readonly head: number; readonly region: number }[] = [];
  /** Level of the innermost frame that holds all calls so far, and the lowest level open since the last one. */
  #callLevel = 0;
  #lowest = 0;

  constructor(shape: ModuleShape, type: FunctionType, at: number, end: number) {
    this.#shape = shape;
    this.end = end;
    this.#reader = new ByteReader(shape.bytes, at, end);
    this.locals = type.parameters.length;
    this.usesVectors = type.parameters.includes(0x7b);
    this.#globals = shape.importedGlobals + shape.globals.length;
    this.#frame = {
      kind: "function",
      base: 0,
      parameters: 0,
      results: type.results.length,
      outerLoop: Number.POSITIVE_INFINITY,
      loop: undefined,
      region: this.#region(NO_PARENT, COST.functionEntry),
      head: 0,
      reach: "falls",
      armJumped: false,
      closedAt: 0,
    };
    this.#frames.push(this.#frame);
  }

  read(): void {
    this.#declaredLocals();
    this.instructionsAt = this.#reader.at;
    this.#frame.head = this.#reader.at;
    while (this.#frames.length > 0) this.#instruction();
    this.#reader.finish("a function body");
    // The part begins where a region does, so that one check does for fuel and depth; a level without one is widened.
    const level = this.#firstCall.findLastIndex(({ head }, index) => head >= 0 && index <= this.#callLevel);
    const part = this.#firstCall[level];
    if (part === undefined) return;
    this.callPart = { level, at: part.head, end: part.frame.closedAt, region: part.region };
  }

  #declaredLocals(): void {
    const reader = this.#reader;
    this.localGroups = reader.count("groups of locals");
    this.localGroupsAt = reader.at;
    for (let group = 0; group < this.localGroups; group += 1) {
      const at = reader.at;
      this.locals += reader.u32();
      if (this.locals > 0xffff_ffff) refuseWasm("too many locals", at);
      if (readValueType(reader) === 0x7b) this.usesVectors = true;
    }
  }

  #instruction(): void {
    const at = this.#reader.at;
    const opcode = this.#reader.byte();
    const plain = PLAIN[opcode];
    if (plain !== undefined) this.#plain(plain);
    else if (opcode < 0x20) this.#control(opcode, at);
    else if (opcode === 0xfc) this.#prefixed(at);
    else if (opcode === 0xfd) this.#vector(at);
    else this.#indexed(opcode, at);
  }

  #plain(effect: Effect): void {
    this.#effect(effect.takes, effect.gives, effect.cost);
    const { immediate } = effect;
    if (immediate === "i32") this.#reader.signed(32);
    else if (immediate === "i64") this.#reader.signed(64);
    else if (typeof immediate === "number") this.#reader.skip(immediate);
    else {
      this.#memoryArgument();
      if (immediate === "memory-lane") this.#reader.skip(1);
    }
  }

  /** Alignment and offset. The alignment's bound is V8's to check: both are copied as they are. */
  #memoryArgument(): void {
    const at = this.#reader.at;
    const alignment = this.#reader.u32();
    if (alignment >= 64 && alignment < 128) refuseProposal("multi-memory", "a memory index", at);
    if (alignment > 31) refuseWasm("an unknown alignment", at, { found: `${alignment}` });
    this.#reader.u32();
  }

  #control(opcode: number, at: number): void {
    if (opcode === 0x00) this.#leave("trapped");
    else if (opcode === 0x02) this.#enter("block", at);
    else if (opcode === 0x03) this.#enter("loop", at);
    else if (opcode === 0x04) this.#enter("if", at);
    else if (opcode === 0x05) this.#else(at);
    else if (opcode === 0x0b) this.#end(at);
    else if (opcode === 0x0c) this.#jump(at);
    else if (opcode === 0x0d) this.#branchIf(at);
    else if (opcode === 0x0e) this.#branchTable(at);
    else if (opcode === 0x0f) this.#return(at);
    else if (opcode === 0x10) this.#call("call");
    else if (opcode === 0x11) this.#callIndirect("indirect-call", at);
    else if (opcode === 0x12) this.#call("tail-call");
    else if (opcode === 0x13) this.#callIndirect("tail-call", at);
    else if (opcode === 0x1c) this.#typedSelect();
    else refuseOpcode(0, opcode, at);
  }

  #enter(kind: "block" | "loop" | "if", at: number): void {
    if (kind === "if") this.#take(1);
    const { parameters, results } = this.#blockType();
    this.#take(parameters);
    this.controls += 1;
    const { region, loop, outerLoop } = this.#frame;
    if (kind === "if") this.#charge(COST.branch);
    this.#frame = {
      kind,
      base: this.#operands,
      parameters,
      results,
      outerLoop: kind === "loop" ? Math.min(outerLoop, this.#frames.length) : outerLoop,
      loop: kind === "loop" ? { tight: true } : loop,
      region,
      head: -1,
      reach: "falls",
      armJumped: false,
      closedAt: 0,
    };
    this.#frames.push(this.#frame);
    this.#give(parameters);
    if (kind === "if") this.#open(region);
    if (kind === "loop") this.#openLoop(at, loop);
  }

  #openLoop(at: number, outer: LoopShape | undefined): void {
    if (outer !== undefined) outer.tight = false;
    this.loops += 1;
    this.#frame.region = this.#region(NO_PARENT, COST.loopHead);
    this.#edit("loop", at, this.#reader.at, this.#frame.region);
  }

  /** Starts a region that is reached only if its parent was, and not always then. */
  #open(parent: number): void {
    this.#frame.region = this.#region(parent, 0);
    this.#frame.head = this.#reader.at;
    this.#edit("charge", this.#reader.at, this.#reader.at, this.#frame.region);
  }

  #else(at: number): void {
    const frame = this.#frame;
    if (frame.kind !== "if") refuseWasm("an else without an if", at);
    this.#close(at);
    this.controls += 1;
    const outer = this.#frames.at(-2)?.region ?? 0;
    const armJumped = frame.reach === "jumped";
    this.#frame = { ...frame, kind: "else", region: outer, reach: "falls", armJumped };
    this.#frames[this.#frames.length - 1] = this.#frame;
    this.#lowest = Math.min(this.#lowest, this.#frames.length - 2);
    this.#operands = frame.base + frame.parameters;
    this.#open(outer);
  }

  #end(at: number): void {
    const frame = this.#frame;
    this.#close(at);
    this.#frames.pop();
    this.#lowest = Math.min(this.#lowest, this.#frames.length - 1);
    const outer = this.#frames.at(-1);
    if (outer === undefined) return;
    this.#frame = outer;
    this.#operands = frame.base;
    this.#give(frame.results);
    if (frame.kind === "loop") return this.#edit("loop-end", this.#reader.at, this.#reader.at, 0, frame.loop);
    // After a jump the code that follows is reached through a label, or through the other arm of an `if`: not always.
    if (frame.reach === "jumped" || frame.armJumped) this.#open(outer.region);
  }

  #close(at: number): void {
    const frame = this.#frame;
    frame.closedAt = at;
    const height = frame.base + frame.results;
    if (frame.reach === "falls" && this.#operands !== height) {
      refuseWasm("a block leaves the wrong number of operands", at, {
        expected: `${frame.results}`,
        found: `${this.#operands - frame.base}`,
      });
    }
  }

  #leave(reach: Reach): void {
    this.#operands = this.#frame.base;
    if (this.#frame.reach === "falls") this.#frame.reach = reach;
  }

  /** A label, as the level of the frame it names. */
  #label(): number {
    const at = this.#reader.at;
    const depth = this.#reader.u32();
    const level = this.#frames.length - 1 - depth;
    const frame = this.#frames[level];
    if (frame === undefined) refuseWasm("a branch to an unknown label", at, { found: `${depth}` });
    this.controls += 1;
    const { loop } = this.#frame;
    if (loop !== undefined && frame.loop !== loop) this.#edit("label", at, this.#reader.at, depth, loop);
    return level;
  }

  /** Operands that a branch carries. */
  #branch(level: number): number {
    this.#charge(COST.branch);
    const frame = this.#frames[level];
    const arity = (frame?.kind === "loop" ? frame.parameters : frame?.results) ?? 0;
    this.#take(arity);
    return arity;
  }

  #jump(at: number): void {
    const place = this.edits.length;
    const level = this.#label();
    this.edits.splice(place, 0, { kind: "exit", at, end: at, value: level, loop: undefined });
    this.#branch(level);
    this.#leave("jumped");
  }

  #branchIf(at: number): void {
    this.#take(1);
    const level = this.#label();
    this.conditionalExits.push({ at, level });
    this.#give(this.#branch(level));
    this.#open(this.#frame.region);
  }

  #branchTable(at: number): void {
    this.#take(1);
    const count = this.#reader.count("branch targets");
    let lowest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < count; index += 1) lowest = Math.min(lowest, this.#label());
    const level = this.#label();
    this.conditionalExits.push({ at, level: Math.min(lowest, level) });
    this.#branch(level);
    this.#charge(COST.branch * 2);
    this.#leave("jumped");
  }

  #return(at: number): void {
    this.#take(this.#frames[0]?.results ?? 0);
    this.controls += 1;
    this.#edit("return", at, this.#reader.at, this.#frames.length - 1);
    this.#leave("jumped");
  }

  #functionIndex(): number {
    return this.#reader.index(this.#shape.functions.length, "function");
  }

  #call(kind: "call" | "tail-call"): void {
    const at = this.#reader.at - 1;
    const index = this.#functionIndex();
    this.#edit(kind, at, this.#reader.at, index);
    this.#charge(COST.call);
    this.directCalls.push({ region: this.#frame.region, callee: index });
    this.#invoke(kind, this.#shape.types[this.#shape.functions[index] ?? 0]);
  }

  #callIndirect(kind: "indirect-call" | "tail-call", at: number): void {
    const type = this.#shape.types[this.#reader.index(this.#shape.types.length, "type")];
    this.#reader.u32();
    this.#take(1);
    const place = kind === "tail-call" ? at : this.#reader.at;
    this.#edit(kind, place, place, -1);
    this.#charge(COST.indirectCall);
    this.#invoke(kind, type);
  }

  #invoke(kind: "call" | "indirect-call" | "tail-call", type: FunctionType | undefined): void {
    this.#markCall();
    this.controls += 1;
    const parameters = type?.parameters.length ?? 0;
    const results = type?.results.length ?? 0;
    this.passed = Math.max(this.passed, parameters + results);
    this.#take(parameters);
    if (kind === "tail-call") this.#leave("jumped");
    else this.#give(results);
  }

  #markCall(): void {
    const { loop, outerLoop, region } = this.#frame;
    if (loop !== undefined) loop.tight = false;
    const holder = this.regions[region];
    if (holder !== undefined) holder.calls = true;
    const level = this.#frames.length - 1;
    const inner = Math.min(level, outerLoop - 1);
    if (this.#firstCall.length > 0) this.#callLevel = Math.min(this.#callLevel, this.#lowest, inner);
    else {
      this.#callLevel = inner;
      this.#firstCall = this.#frames.map((frame) => ({ frame, head: frame.head, region: frame.region }));
    }
    this.#lowest = level;
  }

  #typedSelect(): void {
    const at = this.#reader.at;
    if (this.#reader.count("types of a select") !== 1) refuseWasm("a select of other than one type", at);
    readValueType(this.#reader);
    this.#effect(3, 1, 1);
  }

  /** Locals, globals, tables, memory size and references. */
  #indexed(opcode: number, at: number): void {
    const reader = this.#reader;
    switch (opcode) {
      case 0x20:
      case 0x21:
      case 0x22:
        reader.index(this.locals, "local");
        return this.#effect(opcode === 0x20 ? 0 : 1, opcode === 0x21 ? 0 : 1, 0);
      case 0x23:
      case 0x24:
        reader.index(this.#globals, "global");
        return this.#effect(opcode - 0x23, 0x24 - opcode, COST.global);
      case 0x25:
      case 0x26:
        reader.u32();
        if (opcode === 0x26) this.changesTables = true;
        return this.#effect(opcode - 0x24, 0x26 - opcode, COST.table);
      case 0x3f:
        this.#zero();
        return this.#effect(0, 1, 1);
      case 0x40:
        this.#bulk(BULK.pages, at);
        this.#zero();
        return this.#effect(1, 1, COST.bulk);
      case 0xd0:
        return this.#nullReference();
      case 0xd1:
        return this.#effect(1, 1, 1);
      case 0xd2:
        return this.#reference(at);
      default:
        return refuseOpcode(0, opcode, at);
    }
  }

  #nullReference(): void {
    const at = this.#reader.at;
    const type = this.#reader.byte();
    if (type !== 0x70 && type !== 0x6f) refuseType(type, at);
    this.#effect(0, 1, 0);
  }

  #reference(at: number): void {
    const index = this.#functionIndex();
    this.#edit("reference", at, this.#reader.at, index);
    this.#effect(0, 1, 1);
  }

  /** 0xfc: saturating conversions and bulk operations (5.4.6, 5.4.7). */
  #prefixed(at: number): void {
    const opcode = this.#reader.u32();
    if (opcode < 8) return this.#effect(1, 1, 2);
    if (opcode > 17) refuseOpcode(0xfc, opcode, at);
    const entries = opcode === 12 || opcode === 14 || opcode === 15 || opcode === 17;
    const bytes = opcode === 8 || opcode === 10 || opcode === 11;
    if (entries || opcode === 9 || opcode === 13) this.changesTables = true;
    if (bytes) this.#bulk(BULK.bytes, at);
    if (entries) this.#bulk(BULK.entries, at);
    // data.drop, elem.drop and table.size have one index and no length; memory.init, table.init and copies have two.
    if (opcode === 10 || opcode === 11) this.#zero();
    else this.#reader.u32();
    if (opcode === 8 || opcode === 10) this.#zero();
    if (opcode === 12 || opcode === 14) this.#reader.u32();
    if (opcode === 15) return this.#effect(2, 1, COST.bulk);
    if (opcode === 16) return this.#effect(0, 1, COST.table);
    if (opcode === 9 || opcode === 13) return this.#effect(0, 0, COST.table);
    this.#effect(3, 0, COST.bulk);
  }

  #vector(at: number): void {
    const opcode = this.#reader.u32();
    const effect = VECTOR[opcode];
    if (effect === undefined) refuseOpcode(0xfd, opcode, at);
    this.usesVectors = true;
    this.#plain(effect);
  }

  #bulk(unit: number, at: number): void {
    if (this.#frame.loop !== undefined) this.#frame.loop.tight = false;
    this.#edit("bulk", at, at, unit);
  }

  #zero(): void {
    const at = this.#reader.at;
    if (this.#reader.byte() !== 0) refuseProposal("multi-memory", "a memory index", at);
  }

  #blockType(): { parameters: number; results: number } {
    const reader = this.#reader;
    const at = reader.at;
    const first = this.#shape.bytes[at] ?? 0;
    if (first === 0x40 || VALUE_TYPES.has(first)) {
      reader.byte();
      if (first === 0x7b) this.usesVectors = true;
      return { parameters: 0, results: first === 0x40 ? 0 : 1 };
    }
    const index = reader.signed(33);
    if (index < 0) refuseType(first, at);
    const type = this.#shape.types[index];
    if (type === undefined) refuseWasm("an unknown type index", at, { found: `${index}` });
    return { parameters: type.parameters.length, results: type.results.length };
  }

  #effect(takes: number, gives: number, cost: number): void {
    this.#take(takes);
    this.#give(gives);
    this.#charge(cost);
  }

  #take(count: number): void {
    this.#operands -= count;
    if (this.#operands >= this.#frame.base) return;
    if (this.#frame.reach === "falls") refuseWasm("an instruction lacks operands", this.#reader.at);
    this.#operands = this.#frame.base;
  }

  #give(count: number): void {
    this.#operands += count;
    if (this.#operands > this.height) this.height = this.#operands;
  }

  #charge(cost: number): void {
    const region = this.regions[this.#frame.region];
    if (region !== undefined) region.cost += cost;
  }

  #region(parent: number, cost: number): number {
    return this.regions.push({ parent, cost, calls: false }) - 1;
  }

  #edit(kind: Edit["kind"], at: number, end: number, value: number, loop = this.#frame.loop): void {
    this.edits.push({ kind, at, end, value, loop });
  }
}

/** Reads a function body of that type. Throws nothing but `Refusal`. */
export function scanBody(shape: ModuleShape, type: FunctionType, { at, end }: Span): BodyScan {
  const reader = new BodyReader(shape, type, at, end);
  reader.read();
  return reader;
}
