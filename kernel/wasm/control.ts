/** Follows the control flow of one function body: its frames and operands, the regions that fuel is charged for, its calls. */

import { type ByteReader, refuseWasm } from "./bytes.ts";
import { COST, MOVED } from "./instructions.ts";
import type { FunctionType } from "./reader.ts";

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
    | "grow"
    | "return"
    | "label"
    | "exit"
    | "loop"
    | "loop-end"
    | "nan";
  readonly at: number;
  readonly end: number;
  /**
   * A function index, a region, a bulk unit, the nesting depth of a return, a label, the level a branch goes to; of the
   * NaNs to be made canonical the place in `LANES`, or -1 where whoever takes them only asks whether they are any.
   */
  value: number;
  /** The innermost loop around the place; for a label, the loop that the branch leaves. */
  readonly loop: LoopShape | undefined;
}

export interface LoopShape {
  /** Neither a loop nor a call in it: the loops that a compiler unrolls, and that a call in them would slow down most. */
  tight: boolean;
}

/** A stretch of code that is charged at its head: the function's (0), a loop's (no parent), or a conditional one. */
export interface Region {
  readonly parent: number;
  cost: number;
  /** Length of its instructions: what is free of cost is not free of time, for V8's first compiler leaves nothing out. */
  bytes: number;
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

/** How many operands a block takes, and leaves. */
export type BlockType = Pick<Frame, "parameters" | "results">;

const NO_PARENT = -1;

export class ControlFlow {
  readonly edits: Edit[] = [];
  readonly regions: Region[] = [];
  /** Conditional branches with the lowest level they go to: they may leave a part without passing its end. */
  readonly conditionalExits: { readonly at: number; readonly level: number }[] = [];
  /** Undefined for a body without calls. */
  callPart: CallPart | undefined;
  /** Most operands on the stack at any place. */
  height = 0;
  /** Control instructions, targets of `br_table` counted one by one. */
  controls = 0;
  loops = 0;
  protected readonly reader: ByteReader;
  protected readonly frames: Frame[] = [];
  protected frame: Frame;
  #operands = 0;
  /** Operands that were computed, in the order of the stack, with the edits that make their NaNs canonical. */
  readonly #nans: { readonly height: number; readonly edit: Edit }[] = [];
  /** The frames around the first call, as they were then. */
  #firstCall: { readonly frame: Frame; readonly head: number; readonly region: number }[] = [];
  /** Level of the innermost frame that holds all calls so far, and the lowest level open since the last one. */
  #callLevel = 0;
  #lowest = 0;

  constructor(reader: ByteReader, type: FunctionType) {
    this.reader = reader;
    const region = this.#region(NO_PARENT, COST.functionEntry);
    this.frame = this.#push("function", { parameters: 0, results: type.results.length }, Infinity, undefined, region);
  }

  /** The part begins where a region does, so that one check does for fuel and depth; a level without one is widened. */
  protected findCallPart(): void {
    const level = this.#firstCall.findLastIndex(({ head }, index) => head >= 0 && index <= this.#callLevel);
    const part = this.#firstCall[level];
    if (part === undefined) return;
    this.callPart = { level, at: part.head, end: part.frame.closedAt, region: part.region };
  }

  protected enterBlock(kind: "block" | "loop" | "if", at: number, type: BlockType): void {
    this.take(kind === "if" ? type.parameters + 1 : type.parameters);
    this.controls += 1;
    if (kind === "if") this.charge(COST.branch);
    const { region, loop, outerLoop } = this.frame;
    if (kind === "loop") return this.#enterLoop(at, type);
    this.frame = this.#push(kind, type, outerLoop, loop, region);
    this.give(type.parameters);
    if (kind === "if") this.open(region);
  }

  #enterLoop(at: number, type: BlockType): void {
    const { loop, outerLoop } = this.frame;
    if (loop !== undefined) loop.tight = false;
    this.loops += 1;
    const region = this.#region(NO_PARENT, COST.loopHead + (type.parameters >> MOVED));
    this.frame = this.#push("loop", type, Math.min(outerLoop, this.frames.length), { tight: true }, region);
    this.give(type.parameters);
    this.edit("loop", at, this.reader.at, region);
  }

  #push(kind: Frame["kind"], type: BlockType, outerLoop: number, loop: Frame["loop"], region: number): Frame {
    const { parameters, results } = type;
    const [base, head, armJumped, closedAt] = [this.#operands, -1, false, 0];
    const reach: Reach = "falls";
    const frame = { kind, base, parameters, results, outerLoop, loop, region, head, reach, armJumped, closedAt };
    this.frames.push(frame);
    return frame;
  }

  /** Starts a region that is reached only if its parent was, and not always then. */
  protected open(parent: number): void {
    this.frame.region = this.#region(parent, 0);
    this.frame.head = this.reader.at;
    this.insert("charge", this.frame.region);
  }

  protected enterElse(at: number): void {
    const { frame } = this;
    if (frame.kind !== "if") refuseWasm("an else without an if", at);
    this.#close(at);
    this.controls += 1;
    const outer = this.frames.at(-2)?.region ?? 0;
    const armJumped = frame.reach === "jumped";
    this.frame = { ...frame, kind: "else", region: outer, reach: "falls", armJumped };
    this.frames[this.frames.length - 1] = this.frame;
    this.#lowest = Math.min(this.#lowest, this.frames.length - 2);
    this.#operands = frame.base;
    this.give(frame.parameters);
    this.open(outer);
  }

  protected endBlock(at: number): void {
    const { frame } = this;
    this.#close(at);
    this.frames.pop();
    this.#lowest = Math.min(this.#lowest, this.frames.length - 1);
    const outer = this.frames.at(-1);
    if (outer === undefined) return;
    this.frame = outer;
    this.#operands = frame.base;
    this.give(frame.results);
    this.charge(frame.results >> MOVED);
    if (frame.kind === "loop") return this.insert("loop-end", 0, frame.loop);
    // After a jump the code that follows is reached through a label, or through the other arm of an `if`: not always.
    if (frame.reach === "jumped" || frame.armJumped) this.open(outer.region);
  }

  #close(at: number): void {
    const { frame } = this;
    frame.closedAt = at;
    const height = frame.base + frame.results;
    if (frame.reach === "falls" && this.#operands !== height) {
      refuseWasm("a block leaves the wrong number of operands", at, {
        expected: `${frame.results}`,
        found: `${this.#operands - frame.base}`,
      });
    }
  }

  protected leave(reach: Reach): void {
    this.#operands = this.frame.base;
    if (this.frame.reach === "falls") this.frame.reach = reach;
  }

  /** Notes a call of any kind, before its operands are taken. */
  protected markCall(): void {
    const { loop, outerLoop, region } = this.frame;
    if (loop !== undefined) loop.tight = false;
    const holder = this.regions[region];
    if (holder !== undefined) holder.calls = true;
    this.controls += 1;
    const level = this.frames.length - 1;
    const inner = Math.min(level, outerLoop - 1);
    if (this.#firstCall.length > 0) this.#callLevel = Math.min(this.#callLevel, this.#lowest, inner);
    else {
      this.#callLevel = inner;
      this.#firstCall = this.frames.map((frame) => ({ frame, head: frame.head, region: frame.region }));
    }
    this.#lowest = level;
  }

  protected effect(takes: number, gives: number, cost: number): void {
    this.take(takes);
    this.give(gives);
    this.charge(cost);
  }

  protected take(count: number): void {
    this.#operands -= count;
    if (this.#operands >= this.frame.base) return;
    if (this.frame.reach === "falls") refuseWasm("an instruction lacks operands", this.reader.at);
    this.#operands = this.frame.base;
  }

  protected give(count: number): void {
    while ((this.#nans.at(-1)?.height ?? -1) >= this.#operands) this.#nans.pop();
    this.#operands += count;
    if (this.#operands > this.height) this.height = this.#operands;
  }

  /** The next instruction takes so many operands and gives the same for every NaN in such lanes: they may stay as they are. */
  protected askNans(count: number, lanes: number): void {
    this.give(0);
    const lowest = Math.max(this.frame.base, this.#operands - count);
    for (const { height, edit } of this.#nans.slice(-count))
      if (height >= lowest && edit.value === lanes) edit.value = -1;
  }

  /** The uppermost operand may be a NaN of any bits. */
  protected computeNans(lanes: number): void {
    this.insert("nan", lanes);
    const edit = this.edits.at(-1);
    if (edit !== undefined) this.#nans.push({ height: this.#operands - 1, edit });
  }

  protected charge(cost: number): void {
    const region = this.regions[this.frame.region];
    if (region !== undefined) region.cost += cost;
  }

  #region(parent: number, cost: number): number {
    return this.regions.push({ parent, cost, bytes: 0, calls: false }) - 1;
  }

  protected edit(kind: Edit["kind"], at: number, end: number, value: number, loop = this.frame.loop): void {
    this.edits.push({ kind, at, end, value, loop });
  }

  /** An edit behind what has been read, which stays. */
  protected insert(kind: Edit["kind"], value: number, loop?: LoopShape): void {
    this.edit(kind, this.reader.at, this.reader.at, value, loop);
  }
}
