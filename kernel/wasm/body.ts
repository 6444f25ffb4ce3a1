/** Reads one function body instruction by instruction: where fuel is charged, what must be renumbered, how deep its stack is. */

import { ByteReader, refuseWasm } from "./bytes.ts";
import { type BlockType, ControlFlow } from "./control.ts";
import { COST, type Effect, MOVED, OPEN_NANS, PLAIN, VECTOR } from "./instructions.ts";
import { refuseOpcode, refuseProposal, refuseType } from "./proposals.ts";
import { type FunctionType, type ModuleShape, readValueType, type Span, VALUE_TYPES } from "./reader.ts";

/** What is charged per unit of an instruction's length operand. */
export const BULK = Object.freeze({ bytes: 0, entries: 1, pages: 2 } as const);

/** What is known of a body once it has been read. */
export type BodyScan = Readonly<Omit<BodyReader, "read">>;

class BodyReader extends ControlFlow {
  /** Direct calls: which region pays for the entry to which function. */
  readonly directCalls: { readonly region: number; readonly callee: number }[] = [];
  /** `bytes[instructionsAt, end)` are the instructions, the last of which is the body's `end`. */
  instructionsAt = 0;
  readonly end: number;
  /** Parameters and declared locals. */
  locals: number;
  localGroups = 0;
  localGroupsAt = 0;
  /** Most parameters and results of a call: they are passed through the stack beside the operands. */
  passed = 0;
  usesVectors: boolean;
  /** It may change a table or drop a segment. */
  changesTables = false;
  readonly #shape: ModuleShape;
  readonly #globals: number;
  readonly #canonicalNans: boolean;

  constructor(shape: ModuleShape, type: FunctionType, { at, end }: Span, canonicalNans: boolean) {
    super(new ByteReader(shape.bytes, at, end), type);
    this.#shape = shape;
    this.end = end;
    this.locals = type.parameters.length;
    this.usesVectors = type.parameters.includes(0x7b);
    this.#globals = shape.imported.global + shape.globals.length;
    this.#canonicalNans = canonicalNans;
  }

  read(): void {
    this.#declaredLocals();
    this.instructionsAt = this.reader.at;
    this.frame.head = this.reader.at;
    while (this.frames.length > 0) this.#instruction();
    this.reader.finish("a function body");
    this.findCallPart();
  }

  #declaredLocals(): void {
    const reader = this.reader;
    this.localGroups = reader.count("groups of locals");
    this.localGroupsAt = reader.at;
    const parameters = this.locals;
    for (let group = 0; group < this.localGroups; group += 1) {
      const at = reader.at;
      this.locals += reader.u32();
      if (this.locals > 0xffff_ffff) refuseWasm("too many locals", at);
      if (readValueType(reader) === 0x7b) this.usesVectors = true;
    }
    for (const entry of this.regions) entry.bytes += 4 * (this.locals - parameters); // Each is cleared at the entry.
  }

  #instruction(): void {
    const at = this.reader.at;
    const region = this.regions[this.frame.region];
    const opcode = this.reader.byte();
    const plain = PLAIN[opcode];
    if (plain !== undefined) this.#plain(plain, opcode);
    else if (opcode < 0x20) this.#control(opcode, at);
    else if (opcode === 0xfc) this.#prefixed(at);
    else if (opcode === 0xfd) this.#vector(at);
    else this.#indexed(opcode, at);
    if (region !== undefined) region.bytes += this.reader.at - at;
  }

  #plain(effect: Effect, opcode: number): void {
    const lanes = this.#canonicalNans ? OPEN_NANS.get(opcode) : undefined;
    if (lanes !== undefined) this.askNans(effect.takes, lanes.takes);
    this.effect(effect.takes, effect.gives, effect.cost);
    const { immediate } = effect;
    if (immediate === "i32") this.reader.signed(32);
    else if (immediate === "i64") this.reader.signed(64);
    else if (typeof immediate === "number") this.reader.skip(immediate);
    else {
      this.#memoryArgument();
      if (immediate === "memory-lane") this.reader.skip(1);
    }
    if (lanes !== undefined) this.computeNans(lanes.gives);
  }

  /** Alignment and offset. The alignment's bound is V8's to check: both are copied as they are. */
  #memoryArgument(): void {
    const at = this.reader.at;
    const alignment = this.reader.u32();
    if (alignment >= 64 && alignment < 128) refuseProposal("multi-memory", "a memory index", at);
    if (alignment > 31) refuseWasm("an unknown alignment", at, { found: `${alignment}` });
    this.reader.u32();
  }

  #control(opcode: number, at: number): void {
    if (opcode === 0x00) this.leave("trapped");
    else if (opcode === 0x02) this.enterBlock("block", at, this.#blockType());
    else if (opcode === 0x03) this.enterBlock("loop", at, this.#blockType());
    else if (opcode === 0x04) this.enterBlock("if", at, this.#blockType());
    else if (opcode === 0x05) this.enterElse(at);
    else if (opcode === 0x0b) this.endBlock(at);
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

  /** A label, as the level of the frame it names. */
  #label(): number {
    const at = this.reader.at;
    const depth = this.reader.u32();
    const level = this.frames.length - 1 - depth;
    const frame = this.frames[level];
    if (frame === undefined) refuseWasm("a branch to an unknown label", at, { found: `${depth}` });
    this.controls += 1;
    const { loop } = this.frame;
    if (loop !== undefined && frame.loop !== loop) this.edit("label", at, this.reader.at, depth, loop);
    return level;
  }

  /** Operands that a branch carries. */
  #branch(level: number): number {
    const frame = this.frames[level];
    const arity = (frame?.kind === "loop" ? frame.parameters : frame?.results) ?? 0;
    this.charge(COST.branch + (arity >> MOVED));
    this.take(arity);
    return arity;
  }

  #jump(at: number): void {
    const place = this.edits.length;
    const level = this.#label();
    this.edits.splice(place, 0, { kind: "exit", at, end: at, value: level, loop: undefined });
    this.#branch(level);
    this.leave("jumped");
  }

  #branchIf(at: number): void {
    this.take(1);
    const level = this.#label();
    this.conditionalExits.push({ at, level });
    this.give(this.#branch(level));
    this.open(this.frame.region);
  }

  #branchTable(at: number): void {
    this.take(1);
    const count = this.reader.count("branch targets");
    let lowest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < count; index += 1) lowest = Math.min(lowest, this.#label());
    const level = this.#label();
    this.conditionalExits.push({ at, level: Math.min(lowest, level) });
    this.#branch(level);
    this.charge(COST.branch * 2);
    this.leave("jumped");
  }

  #return(at: number): void {
    this.take(this.frames[0]?.results ?? 0);
    this.controls += 1;
    this.edit("return", at, this.reader.at, this.frames.length - 1);
    this.leave("jumped");
  }

  #functionIndex(): number {
    return this.reader.index(this.#shape.functions.length, "function");
  }

  #call(kind: "call" | "tail-call"): void {
    const at = this.reader.at - 1;
    const index = this.#functionIndex();
    this.edit(kind, at, this.reader.at, index);
    this.charge(COST.call);
    this.directCalls.push({ region: this.frame.region, callee: index });
    this.#invoke(kind, this.#shape.types[this.#shape.functions[index] ?? 0]);
  }

  #callIndirect(kind: "indirect-call" | "tail-call", at: number): void {
    const type = this.#shape.types[this.reader.index(this.#shape.types.length, "type")];
    this.reader.u32();
    this.take(1);
    const place = kind === "tail-call" ? at : this.reader.at;
    this.edit(kind, place, place, -1);
    this.charge(COST.indirectCall);
    this.#invoke(kind, type);
  }

  #invoke(kind: "call" | "indirect-call" | "tail-call", type: FunctionType | undefined): void {
    this.markCall();
    const parameters = type?.parameters.length ?? 0;
    const results = type?.results.length ?? 0;
    this.passed = Math.max(this.passed, parameters + results);
    this.charge((parameters + results) >> MOVED);
    this.take(parameters);
    if (kind === "tail-call") this.leave("jumped");
    else this.give(results);
  }

  #typedSelect(): void {
    const at = this.reader.at;
    if (this.reader.count("types of a select") !== 1) refuseWasm("a select of other than one type", at);
    readValueType(this.reader);
    this.effect(3, 1, 1);
  }

  /** Locals, globals, tables, memory size and references. */
  #indexed(opcode: number, at: number): void {
    const reader = this.reader;
    switch (opcode) {
      case 0x20:
      case 0x21:
      case 0x22:
        reader.index(this.locals, "local");
        return this.effect(opcode === 0x20 ? 0 : 1, opcode === 0x21 ? 0 : 1, 0);
      case 0x23:
      case 0x24:
        reader.index(this.#globals, "global");
        return this.effect(opcode - 0x23, 0x24 - opcode, COST.global);
      case 0x25:
      case 0x26:
        reader.u32();
        if (opcode === 0x26) this.changesTables = true;
        return this.effect(opcode - 0x24, 0x26 - opcode, opcode === 0x26 ? COST.tableChange : COST.table);
      case 0x3f:
        this.#zero();
        return this.effect(0, 1, 1);
      case 0x40:
        this.#bulk(BULK.pages, at);
        this.#zero();
        this.edit("grow", at, this.reader.at, 0);
        return this.effect(1, 1, COST.grow);
      case 0xd0:
        return this.#nullReference();
      case 0xd1:
        return this.effect(1, 1, 1);
      case 0xd2:
        return this.#reference(at);
      default:
        return refuseOpcode(0, opcode, at);
    }
  }

  #nullReference(): void {
    const at = this.reader.at;
    const type = this.reader.byte();
    if (type !== 0x70 && type !== 0x6f) refuseType(type, at);
    this.effect(0, 1, 0);
  }

  #reference(at: number): void {
    const index = this.#functionIndex();
    this.edit("reference", at, this.reader.at, index);
    this.effect(0, 1, COST.reference);
  }

  /** 0xfc: saturating conversions and bulk operations (5.4.6, 5.4.7). */
  #prefixed(at: number): void {
    const opcode = this.reader.u32();
    if (opcode < 8) return this.effect(1, 1, 2);
    if (opcode > 17) refuseOpcode(0xfc, opcode, at);
    const entries = opcode === 12 || opcode === 14 || opcode === 15 || opcode === 17;
    const bytes = opcode === 8 || opcode === 10 || opcode === 11;
    if (entries || opcode === 9 || opcode === 13) this.changesTables = true;
    if (bytes) this.#bulk(BULK.bytes, at);
    if (entries) this.#bulk(BULK.entries, at);
    // data.drop, elem.drop and table.size have one index and no length; memory.init, table.init and copies have two.
    if (opcode === 10 || opcode === 11) this.#zero();
    else this.reader.u32();
    if (opcode === 8 || opcode === 10) this.#zero();
    if (opcode === 12 || opcode === 14) this.reader.u32();
    if (opcode === 15) return this.effect(2, 1, COST.grow);
    if (opcode === 16) return this.effect(0, 1, COST.table);
    if (opcode === 9 || opcode === 13) return this.effect(0, 0, COST.table);
    this.effect(3, 0, entries ? COST.tableChange : opcode === 11 ? COST.fill : COST.bulk);
  }

  #vector(at: number): void {
    const opcode = this.reader.u32();
    const effect = VECTOR[opcode];
    if (effect === undefined) refuseOpcode(0xfd, opcode, at);
    this.usesVectors = true;
    this.#plain(effect, 0x100 + opcode);
  }

  #bulk(unit: number, at: number): void {
    if (this.frame.loop !== undefined) this.frame.loop.tight = false;
    this.edit("bulk", at, at, unit);
  }

  #zero(): void {
    const at = this.reader.at;
    if (this.reader.byte() !== 0) refuseProposal("multi-memory", "a memory index", at);
  }

  #blockType(): BlockType {
    const reader = this.reader;
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
}

/** Reads a function body of that type. Throws nothing but `Refusal`. */
export function scanBody(shape: ModuleShape, type: FunctionType, body: Span, canonicalNans: boolean): BodyScan {
  const reader = new BodyReader(shape, type, body, canonicalNans);
  reader.read();
  return reader;
}
