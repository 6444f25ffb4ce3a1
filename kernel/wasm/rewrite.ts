/** Rewrites one function body so that it charges fuel and counts its stack. */

import { refuseSize } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { type Assembly, I32, IF_NEGATIVE, OP } from "./assembly.ts";
import { type BodyScan, scanBody } from "./body.ts";
import { refuseWasm } from "./bytes.ts";
import type { CallPart, Edit } from "./control.ts";
import { CALLER_PAYS, LANES } from "./instructions.ts";
import type { Layout } from "./layout.ts";
import type { ModuleShape } from "./reader.ts";

/** A conditional region that costs no more than this is charged with the code that leads to it. */
const MERGED_REGION = 48;
const BYTES_PER_FUEL = 3; // As a power of two: so many bytes of code cost one, if their instructions cost less.
// So many bytes of a body (as a power of two) take one abstract byte of stack at least: a compiler keeps what is the same
// on both sides of a call, up to 1.7 bytes for each of code. So `LIMITS.stackBytes` are 7 times as many of 4 MiB at most.
const BYTES_PER_FRAME_BYTE = 2;
/** Abstract bytes of a frame beside its locals and operands: return address, frame pointer, instance, spills. */
const FRAME_BASE = 64;

/** What a caller pays for an entry, by function index; nothing for the host's. */
export type EntryFee = (functionIndex: number) => number;

/**
 * How one body is charged. A conditional region that costs little is charged with the one that leads to it. A function
 * whose unconditional part is cheap and calls nothing is paid for by its callers, so that it need not count at all.
 */
export class BodyPlan {
  readonly scan: BodyScan;
  /** Index of the function before rewriting. */
  readonly index: number;
  /** Byte offset of the body. */
  readonly at: number;
  readonly results: Uint8Array;
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
  /**
   * A small function that calls itself has a twin: a copy that neither charges nor counts. It calls its twin, having paid
   * for all of it and for its stack, and the twin calls it: so a recursion is counted at every other level.
   */
  readonly twinned: boolean;
  readonly #total: number;
  readonly #owners: number[];

  /** Plans the defined function `index`, counted without imports. Throws nothing but `Refusal`. */
  constructor(shape: ModuleShape, index: number, canonicalNans = false) {
    this.index = shape.imported.function + index;
    const body = shape.bodies[index];
    const type = shape.types[shape.functions[this.index] ?? -1];
    if (body === undefined || type === undefined) refuseWasm("an unknown type index", body?.at ?? 0);
    this.at = body.at;
    this.results = type.results;
    this.#bound(body.end - body.at, LIMITS.functionBytes, "bytes");
    const scan = scanBody(shape, type, body, canonicalNans);
    this.scan = scan;
    this.#bound(scan.locals, LIMITS.functionLocals, "parameters and locals");
    const frame = FRAME_BASE + (scan.locals + scan.height + scan.passed) * (scan.usesVectors ? 16 : 8);
    const whole: CallPart = { level: 0, at: scan.instructionsAt, end: scan.end - 1, region: 0 };
    const part = frame > LIMITS.uncountedFrameBytes ? whole : scan.callPart;
    this.wrapped = part !== undefined && scan.conditionalExits.some((exit) => leaves(part, exit.at, exit.level));
    this.part = this.wrapped ? whole : part;
    this.charges = scan.regions.map(({ cost, bytes }) => Math.max(cost, bytes >> BYTES_PER_FUEL));
    this.#owners = scan.regions.map((_, region) => region);
    this.#total = this.charges.reduce((sum, cost) => sum + cost, 0);
    this.#merge();
    const entry = this.charges[0] ?? 0;
    this.entryFee = this.part?.region === 0 || entry > CALLER_PAYS ? 0 : entry;
    this.twinned = scan.loops === 0 && this.#total <= MERGED_REGION && this.#callsItself();
    this.frame = Math.max(frame, (body.end - body.at) >> BYTES_PER_FRAME_BYTE) * (this.twinned ? 2 : 1);
  }

  /** A tail call leaves the frame that paid for the twin's, so a body with any has no twin. */
  #callsItself(): boolean {
    const { edits } = this.scan;
    const itself = edits.some(({ kind, value }) => kind === "call" && value === this.index);
    return itself && !edits.some(({ kind }) => kind === "tail-call");
  }

  /** Children come after their parents, so one pass back merges, and one forth finds who charges for each region. */
  #merge(): void {
    const { charges } = this;
    const { regions } = this.scan;
    const callsIn = (region: number): boolean => region === this.part?.region || (regions[region]?.calls ?? false);
    for (let region = charges.length - 1; region > 0; region -= 1) {
      const parent = regions[region]?.parent ?? -1;
      const cost = charges[region] ?? 0;
      if (parent < 0 || cost > MERGED_REGION || region === this.part?.region) continue;
      // Fees of calls are added later; a region that its callers pay for must not come to owe any.
      if (callsIn(region) && !callsIn(parent)) continue;
      charges[parent] = (charges[parent] ?? 0) + cost;
      charges[region] = 0;
      this.#owners[region] = parent;
    }
    for (const [region, owner] of this.#owners.entries()) this.#owners[region] = this.#owners[owner] ?? owner;
  }

  /** Adds what the callees of direct calls leave to their callers, and all of what the twin does. */
  payFees(entryFee: EntryFee): void {
    const { directCalls } = this.scan;
    const twinFee = directCalls.reduce((sum, { callee }) => sum + entryFee(callee), this.#total);
    for (const { region, callee } of directCalls) {
      const owner = this.#owners[region] ?? region;
      const fee = this.twinned && callee === this.index ? twinFee : entryFee(callee);
      this.charges[owner] = (this.charges[owner] ?? 0) + fee;
    }
  }

  /** Bounds on what V8 is given to compile: it compiles in time quadratic in locals and blocks. */
  checkRewritten(bytes: number, addedLocals: number): void {
    const { scan } = this;
    const locals = scan.locals + addedLocals;
    // At most three more for each loop, one for every other charge, and two for the body.
    const charges = this.charges.filter((cost) => cost > 0).length;
    const merges = (locals + scan.height) * (scan.controls + 3 * scan.loops + charges + 2);
    this.#bound(bytes, LIMITS.functionBytes, "bytes");
    this.#bound(locals, LIMITS.functionLocals, "parameters and locals");
    this.#bound(merges, LIMITS.functionMerges, "(locals + operands) x control instructions");
  }

  #bound(found: number, maximum: number, what: string): void {
    if (found <= maximum) return;
    refuseSize(`function ${this.index} is too large to be compiled in bounded time`, `${maximum} ${what}`, found, {
      at: this.at,
      hint: "split the function, or compile without inlining (-Os)",
    });
  }
}

function leaves(part: CallPart, at: number, level: number): boolean {
  return at >= part.at && at < part.end && level <= part.level;
}

/** The guest's bytes [from, to) stand at `at` of the rewritten body. */
type CopyListener = (at: number, from: number, to: number) => void;

/**
 * Rewrites one body. Every sequence it inserts leaves the operand stack as it was and touches only locals, globals and
 * functions past the guest's own index spaces, whose bounds `scanBody` has checked; the labels that it adds are passed
 * over by the guest's branches. So code that was invalid stays invalid.
 *
 * Fuel is checked at the head of every loop, behind every charge outside of tight ones, and where the part that holds all
 * calls begins. Between two checks one iteration of one tight loop is charged and one region at most, with what its callees
 * leave to it: two bodies of 64 KiB, no byte of which costs more than 100, so the counter stays above -14 million but for
 * bulk operations, which check by themselves. The global is exact at every charge, so the host may look at any time, also
 * after a trap; functions with loops keep a copy in a local, which spares them the load.
 */
export class BodyRewriter {
  readonly #layout: Layout;
  readonly #plan: BodyPlan;
  readonly #out: Assembly;
  /** Where calls to the function itself go, after rewriting: to its twin if it has one. */
  readonly #itself: number;
  readonly #onCopy: CopyListener | undefined;
  /** This is the twin: its one caller has paid for all of it. */
  readonly #prepaid: boolean;
  readonly #part: CallPart | undefined;
  readonly #wrapped: boolean;
  readonly #cached: boolean;
  readonly #charges: boolean;
  readonly #fuel: number;
  readonly #depth: number;
  /** Types of locals in which NaNs are made canonical; they come last. */
  readonly #scratch: readonly number[];
  #copied: number;

  constructor(layout: Layout, plan: BodyPlan, out: Assembly, itself: number, onCopy?: CopyListener) {
    const { scan } = plan;
    this.#layout = layout;
    this.#plan = plan;
    this.#out = out;
    this.#itself = itself;
    this.#onCopy = onCopy;
    this.#prepaid = plan.twinned && itself === layout.function(plan.index);
    this.#part = this.#prepaid ? undefined : plan.part;
    this.#wrapped = !this.#prepaid && plan.wrapped;
    this.#cached = scan.loops > 0;
    this.#charges =
      !this.#prepaid && plan.charges.some((cost, region) => cost > 0 && (region > 0 || plan.entryFee === 0));
    this.#fuel = scan.locals;
    this.#depth = scan.locals + 1;
    const nans = scan.edits.filter(({ kind }) => kind === "nan");
    this.#scratch = [...new Set(nans.flatMap(({ value }) => LANES[value]?.type ?? []))];
    this.#copied = scan.instructionsAt;
  }

  rewrite(): void {
    const { scan } = this.#plan;
    this.#locals();
    this.#enter();
    const end = this.#part === undefined || this.#wrapped ? scan.end : this.#part.end;
    let inside = end < scan.end;
    for (const edit of scan.edits) {
      if (inside && edit.at >= end) {
        this.#leavePart(end);
        inside = false;
      }
      this.#copy(edit.at);
      this.#copied = edit.end;
      this.#edit(edit);
    }
    if (inside) this.#leavePart(end);
    this.#copy(scan.end);
    if (this.#wrapped) {
      this.#giveBackDepth();
      this.#out.byte(OP.end);
    }
    this.#plan.checkRewritten(this.#out.length, this.#ownLocals + this.#scratch.length);
  }

  /** Copies the guest's code up to there. */
  #copy(to: number): void {
    this.#onCopy?.(this.#out.length, this.#copied, to);
    this.#out.slice(this.#layout.shape.bytes, this.#copied, to);
    this.#copied = to;
  }

  #leavePart(end: number): void {
    this.#copy(end);
    this.#giveBackDepth();
  }

  get #ownLocals(): number {
    if (this.#part !== undefined) return 2;
    return this.#cached || this.#charges ? 1 : 0;
  }

  #locals(): void {
    const { scan } = this.#plan;
    const added = this.#ownLocals;
    this.#out.u32(scan.localGroups + (added > 0 ? 1 : 0) + this.#scratch.length);
    this.#out.slice(this.#layout.shape.bytes, scan.localGroupsAt, scan.instructionsAt);
    if (added > 0) this.#out.u32(added).byte(I32);
    for (const type of this.#scratch) this.#out.raw(1, type);
  }

  #edit(edit: Edit): void {
    const out = this.#out;
    const layout = this.#layout;
    switch (edit.kind) {
      case "call":
        out.op(OP.call, edit.value === this.#plan.index ? this.#itself : layout.function(edit.value));
        return this.#reload();
      case "indirect-call":
        return this.#reload();
      case "tail-call":
        this.#giveBackDepth();
        if (edit.value >= 0) out.op(OP.returnCall, layout.function(edit.value));
        return;
      case "reference":
        out.op(OP.refFunction, layout.function(edit.value));
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
        out.op(OP.call, layout.spend[edit.value] ?? 0);
        return this.#reload();
      case "grow":
        if (layout.recorder === undefined) out.raw(OP.memoryGrow, 0);
        else out.op(OP.call, layout.recorder.grow);
        return;
      case "charge":
        return this.#head(edit.value, edit.loop?.tight === true);
      case "loop":
        return this.#loop(edit);
      case "loop-end":
        if (edit.loop?.tight === true) out.byte(OP.end);
        return;
      case "nan":
        return this.#makeCanonical(LANES[edit.value]);
    }
  }

  /** A NaN is what does not equal itself. */
  #makeCanonical(lanes: (typeof LANES)[number] | undefined): void {
    if (lanes === undefined) return;
    const local = this.#plan.scan.locals + this.#ownLocals + this.#scratch.indexOf(lanes.type);
    this.#out.tee(local).raw(...lanes.nan);
    this.#out.get(local).get(local);
    this.#out.raw(...lanes.choose);
  }

  #leavesPart(at: number, level: number): boolean {
    return this.#part !== undefined && !this.#wrapped && leaves(this.#part, at, level);
  }

  #return(edit: Edit): void {
    if (this.#wrapped) {
      this.#out.op(OP.br, edit.value + (edit.loop?.tight === true ? 1 : 0));
      return;
    }
    if (this.#leavesPart(edit.at, 0)) this.#giveBackDepth();
    this.#out.byte(OP.return);
  }

  #enter(): void {
    const plan = this.#plan;
    if (this.#prepaid || plan.entryFee > 0) return this.#reload();
    const counted = this.#part?.region === 0;
    this.#charge(plan.charges[0] ?? 0, false);
    if (counted) this.#takeDepth();
    else this.#settleIfNegative();
    if (!this.#wrapped) return;
    this.#out.byte(OP.block);
    if (plan.results.length > 1) this.#out.s32(this.#layout.type([], plan.results));
    else this.#out.byte(plan.results[0] ?? OP.empty);
  }

  /** The head of a conditional region. A call to check fuel would make a tight loop slow, whose head checks it soon. */
  #head(region: number, tight: boolean): void {
    if (this.#prepaid) return;
    const counted = region === this.#part?.region;
    const cost = this.#plan.charges[region] ?? 0;
    if (cost > 0 || counted) this.#charge(cost, this.#cached);
    if (counted) this.#takeDepth();
    else if (cost > 0 && !tight) this.#settleIfNegative();
  }

  /**
   * A loop that others or calls are in is checked where it is charged. A tight one gets a loop around it that it is left
   * for when fuel is below 0, so that no call stands in it: `loop (settle) loop (br_if 1 if fuel < 0) ... end end`.
   */
  #loop(edit: Edit): void {
    const out = this.#out;
    const { bytes } = this.#layout.shape;
    const cost = this.#plan.charges[edit.value] ?? 0;
    out.slice(bytes, edit.at, edit.end);
    if (edit.loop?.tight !== true) {
      this.#charge(cost, true);
      return this.#settleIfNegative();
    }
    this.#settleIfNegative();
    out.slice(bytes, edit.at, edit.end);
    out.get(this.#fuel).constant(0).raw(OP.i32LessSigned, OP.brIf, 1);
    this.#charge(cost, true);
  }

  /** fuel -= cost, from the local copy or the global, into both. */
  #charge(cost: number, fromLocal: boolean): void {
    const out = this.#out;
    if (fromLocal) out.get(this.#fuel);
    else out.global(this.#layout.fuel);
    out.constant(cost).byte(OP.i32Subtract).tee(this.#fuel).setGlobal(this.#layout.fuel);
  }

  /** Takes this activation's frame from depth, and checks depth and fuel in one. */
  #takeDepth(): void {
    const { depth } = this.#layout;
    this.#out.global(depth).constant(this.#plan.frame).byte(OP.i32Subtract);
    this.#out.tee(this.#depth).setGlobal(depth);
    this.#settleIfNegative(this.#depth);
  }

  /** A value kept in a local would have to survive the calls in between, which costs more than reading it again. */
  #giveBackDepth(): void {
    const { depth } = this.#layout;
    this.#out.global(depth).constant(this.#plan.frame).byte(OP.i32Add).setGlobal(depth);
  }

  #settleIfNegative(other?: number): void {
    const out = this.#out.get(this.#fuel);
    if (other !== undefined) out.get(other).byte(OP.i32Or);
    out.raw(...IF_NEGATIVE).op(OP.call, this.#layout.settle);
    this.#reload();
    out.byte(OP.end);
  }

  #reload(): void {
    if (this.#cached) this.#out.global(this.#layout.fuel).set(this.#fuel);
  }
}
