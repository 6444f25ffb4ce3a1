/** Generates a gate: the small Wasm module that carries calls from one module into a direct module of its partition. */

import { ABI_VERSION, FIRST_MODULE_ERROR, HEADER, KIND, RESULT } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, assemble, AT_MEMORY, bodies, F64, FUNCTION_TYPE, I32, I64, LONG_OP, OP, V128 } from "./assembly.ts";
import { ByteWriter } from "./bytes.ts";

/** What is fixed for one pair of ends. The callee's numbers must have been checked; the gate trusts them. */
const SHAPE_FIELDS = Object.freeze([
  // Address of the callee's inbox, and how many bytes of payload fit behind the header: inside its memory, 8-aligned.
  "inbox",
  "payloadRoom",
  // What the port declares: fuel and abstract stack bytes of one activation.
  "fuel",
  "stack",
  // Written into every header: who calls, and the number that the operator's grant put on this edge.
  "senderModule",
  "senderGeneration",
  "badge",
] as const);
export type GateShape = Readonly<Record<(typeof SHAPE_FIELDS)[number], number>>;

/** Abstract bytes that the gate itself and the JavaScript frame behind it stand on. */
const GATE_STACK = 2048;
/** The least result code: an i32. */
const LOWEST = -(2 ** 31);

const CALLER = 0;
const CALLEE = 1;
/** Index spaces: imports in the order of `gateImports`, then what the gate has of its own. */
const FUNCTION = Object.freeze({ invoke: 0, misbehaved: 1, call: 2, start: 3 });
const GLOBAL = Object.freeze({ callerFuel: 0, callerDepth: 1, calleeFuel: 2, busy: 3, calleeResult: 4, shape: 5 });
/** The first half of every header, whose length is filled in for each call. The second half is 0. */
const HEADER_GLOBALS = Object.freeze([12, 13] as const);
/** A double, so that it counts on for as long as anybody calls. */
const CALLS_GLOBAL = 14;
const LOCAL = Object.freeze({
  address: 0,
  length: 1,
  replyAddress: 2,
  replyCapacity: 3,
  timeoutMs: 4,
  used: 5,
  replyStart: 6,
  last: 7,
  result: 8,
});

/** Of a call: (address, length, replyAddress, replyCapacity, timeoutMs) -> i32. */
const CALL_TYPE = [FUNCTION_TYPE, 5, I32, I32, I32, I32, I32, 1, I32] as const;

/** The instructions of the gate's one function. */
class GateAssembly extends Assembly {
  /** The pair's own number. */
  shape(field: keyof GateShape): this {
    return this.global(GLOBAL.shape + SHAPE_FIELDS.indexOf(field));
  }

  /** 1 if `[address, address + length)`, both u32 in locals, is not inside memory `index`: computed in 64 bits. */
  outside(index: number, address: number, length: number): this {
    this.get(address).raw(OP.i64ExtendUnsigned).get(length).raw(OP.i64ExtendUnsigned, OP.i64Add);
    this.raw(OP.memorySize, index, OP.i64ExtendUnsigned, OP.i64Const, 16, OP.i64ShiftLeft);
    return this.raw(OP.i64GreaterUnsigned);
  }

  /** Stores the vector that `value` pushes at `offset` of the callee's inbox. */
  header(offset: number, value: () => void): this {
    this.shape("inbox");
    value();
    return this.raw(...LONG_OP.v128Store, AT_MEMORY, CALLEE, offset);
  }

  /** Replaces lane `lane` of the i32x4 on the stack by what `value` pushes. */
  lane(lane: number, value: () => void): this {
    value();
    return this.raw(...LONG_OP.i32x4ReplaceLane, lane);
  }

  /**
   * Copies `length` bytes between memories; both ranges have been checked. A `memory.copy` is a call out of Wasm, so
   * lengths of 16 to 64 go by four vectors, which overlap where they are shorter.
   */
  copy(target: number, source: number, to: () => void, from: number, length: number): this {
    const vector = (offset: () => void): this => {
      to();
      offset();
      this.raw(OP.i32Add).get(from);
      offset();
      this.raw(OP.i32Add, ...LONG_OP.v128Load, AT_MEMORY, source, 0);
      return this.raw(...LONG_OP.v128Store, AT_MEMORY, target, 0);
    };
    this.get(length).constant(16).raw(OP.i32Subtract).tee(LOCAL.last).constant(48);
    this.raw(OP.i32GreaterUnsigned, OP.if, OP.empty);
    to();
    this.gets([from, length]).copyMemory(target, source).raw(OP.else);
    vector(() => this.constant(0));
    for (const at of [16, 32]) {
      // min(at, last)
      const { last } = LOCAL;
      vector(() => this.constant(at).get(last).constant(at).get(last).raw(OP.i32LessUnsigned, OP.select));
    }
    vector(() => this.get(LOCAL.last));
    return this.raw(OP.end);
  }
}

/** All checks come before the callee's memory is touched, so no caller can make a callee fail or see half a message. */
function check(code: GateAssembly): void {
  const { address, length, replyAddress, replyCapacity } = LOCAL;
  code.get(LOCAL.timeoutMs).constant(1).raw(OP.i32LessSigned).refuse(RESULT.invalid);
  code.global(GLOBAL.busy).refuse(RESULT.busy);
  code.get(length).shape("payloadRoom").raw(OP.i32GreaterUnsigned).refuse(RESULT["too-large"]);
  code.outside(CALLER, address, length).refuse(RESULT["bad-address"]);
  code.outside(CALLER, replyAddress, replyCapacity).refuse(RESULT["bad-address"]);
  code.global(GLOBAL.callerFuel).shape("fuel").raw(OP.i32LessSigned).refuse(RESULT["no-fuel"]);
  code.global(GLOBAL.callerDepth).shape("stack").add(GATE_STACK).raw(OP.i32LessSigned).refuse(RESULT["no-stack"]);
}

/** Runs once for each gate: makes the header that all its calls have in common. */
function prepare(code: GateAssembly): void {
  const [first, second] = HEADER_GLOBALS;
  code.constant(ABI_VERSION | (KIND.call << 16)).raw(...LONG_OP.i32x4Splat);
  code.lane(HEADER.length / 4, () => code.constant(0));
  code.lane(HEADER.senderModule / 4, () => code.shape("senderModule"));
  code.lane(HEADER.senderGeneration / 4, () => code.shape("senderGeneration"));
  code.setGlobal(first);
  // No correlation, nothing lost.
  code.constant(0).raw(...LONG_OP.i32x4Splat);
  code.lane(HEADER.badge / 4 - 4, () => code.shape("badge"));
  code.setGlobal(second);
}

function deliver(code: GateAssembly): void {
  const { address, length } = LOCAL;
  const [first, second] = HEADER_GLOBALS;
  code.header(0, () => code.global(first).lane(HEADER.length / 4, () => code.get(length)));
  code.header(16, () => code.global(second));
  // The handles of an earlier message are not this sender's to show.
  const none = (): GateAssembly => code.constant(0).raw(...LONG_OP.i32x4Splat);
  for (const offset of [HEADER.handleList, 48]) code.header(offset, none);
  code.copy(CALLEE, CALLER, () => code.shape("inbox").add(HEADER.size), address, length);
}

function invoke(code: GateAssembly): void {
  // One more: 1 as a double.
  code.global(CALLS_GLOBAL).raw(OP.f64Const, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, OP.f64Add).setGlobal(CALLS_GLOBAL);
  code.get(LOCAL.length).raw(OP.call, FUNCTION.invoke);
  code.set(LOCAL.replyStart);
  // Charged to the caller: what the callee used of its declared fuel (all, if its counter wrapped), and the bytes carried.
  code.shape("fuel").shape("fuel").global(GLOBAL.calleeFuel).raw(OP.i32Subtract).tee(LOCAL.used);
  code.shape("fuel").get(LOCAL.used).raw(OP.i32LessUnsigned, OP.select).set(LOCAL.used);
  charge(code, () => code.get(LOCAL.used).get(LOCAL.length).constant(3).raw(OP.i32ShiftRightUnsigned, OP.i32Add));
}

function charge(code: GateAssembly, amount: () => void): void {
  code.global(GLOBAL.callerFuel);
  amount();
  code.raw(OP.i32Subtract).setGlobal(GLOBAL.callerFuel);
}

function answer(code: GateAssembly): void {
  const { result, used: replyLength, replyStart, replyAddress, replyCapacity } = LOCAL;
  const atFault = (): GateAssembly =>
    code.raw(OP.call, FUNCTION.misbehaved).constant(RESULT["dead-peer"]).raw(OP.return, OP.end);
  code.get(replyStart).refuse(RESULT["dead-peer"]); // Here still what `invoke` gave.
  code.global(GLOBAL.calleeResult).tee(result).raw(OP.i64Const, 0, OP.i64LessSigned, OP.if, OP.empty);
  code.get(result).raw(OP.i64Const).s32(FIRST_MODULE_ERROR).raw(OP.i64GreaterSigned, OP.if, OP.empty);
  atFault();
  // Below an i32's range a module's error stays an error.
  code.get(result).raw(OP.i64Const).s32(LOWEST).get(result).raw(OP.i64Const).s32(LOWEST);
  code.raw(OP.i64GreaterSigned, OP.select, OP.i32Wrap, OP.return, OP.end);
  code.get(result).raw(OP.i64Const, 32, OP.i64ShiftRightUnsigned, OP.i32Wrap).set(replyStart);
  code.get(result).raw(OP.i32Wrap).set(replyLength);
  code.outside(CALLEE, replyStart, replyLength).raw(OP.if, OP.empty);
  atFault();
  code.get(replyLength).get(replyCapacity).raw(OP.i32GreaterUnsigned).refuse(RESULT["too-large"]);
  code.copy(CALLER, CALLEE, () => code.get(replyAddress), replyStart, replyLength);
  charge(code, () => code.get(replyLength).constant(3).raw(OP.i32ShiftRightUnsigned));
  code.get(replyLength);
}

function body(): ByteWriter {
  const code = new GateAssembly(1024).raw(2, 3, I32, 1, I64);
  check(code);
  deliver(code);
  invoke(code);
  answer(code);
  return code;
}

/** The imports of every gate, in the order of its index spaces. */
function gateImports(): ByteWriter {
  const out = new ByteWriter().u32(9 + SHAPE_FIELDS.length);
  out.name("caller", "memory").raw(2, 0, 0).name("callee", "memory").raw(2, 0, 0);
  out.name("callee", "invoke").raw(0, 0).name("callee", "misbehaved").raw(0, 1);
  out.name("caller", "fuel").raw(3, I32, 1).name("caller", "depth").raw(3, I32, 1);
  out.name("callee", "fuel").raw(3, I32, 1).name("callee", "busy").raw(3, I32, 1);
  out.name("callee", "result").raw(3, I64, 1);
  for (const field of SHAPE_FIELDS) out.name("shape", field).raw(3, I32, 0);
  return out;
}

/**
 * The binary of every gate: pairs differ in what it imports only, so that a thousand of them share their code. It needs
 * multi-memory, which guests may not use; it holds no guest code.
 *
 * | import | type | what the kernel gives |
 * | --- | --- | --- |
 * | `caller.memory`, `callee.memory` | memory | the two guests' memories |
 * | `caller.fuel`, `caller.depth`, `callee.fuel` | mutable i32 | `bulkhead:fuel` and `bulkhead:depth` of each |
 * | `callee.busy` | mutable i32 | not 0 while messages wait for the callee or it handles one; it calls nobody, so no gate leads back into it |
 * | `callee.result` | mutable i64 | `bulkhead:result` |
 * | `callee.invoke` | (length) -> i32 | JavaScript around `bulkhead:activate` with what the port declares: its 0, or 1 after any throw |
 * | `callee.misbehaved` | () -> () | told of a kernel code or a reply outside the callee's memory; must not throw |
 * | `shape.*` | i32 | the numbers of `GateShape`, as `gateShape` gives them |
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `call` | (address, length, replyAddress, replyCapacity, timeoutMs) -> i32 | length of the reply, or a result code |
 * | `calls` | mutable f64 | how often the callee has been entered; the kernel may set it back |
 *
 * A deadline below 1 is `invalid`; it is not looked at further: the port's declared fuel bounds the call to less than a millisecond.
 * Refusals come before the callee is touched, in this order: `invalid`, `busy`, `too-large`, `bad-address`, `no-fuel`, `no-stack`.
 */
export function makeGate(): Uint8Array<ArrayBuffer> {
  const types = new ByteWriter().u32(3);
  types
    .raw(FUNCTION_TYPE, 1, I32, 1, I32)
    .raw(FUNCTION_TYPE, 0, 0)
    .raw(...CALL_TYPE);
  const zero = [...LONG_OP.v128Const, ...new Uint8Array(16), OP.end];
  const globals = new ByteWriter().raw(3, V128, 1, ...zero, V128, 1, ...zero);
  globals.raw(F64, 1, OP.f64Const, 0, 0, 0, 0, 0, 0, 0, 0, OP.end);
  const start = new GateAssembly().raw(0);
  prepare(start);
  return assemble([
    [1, types],
    [2, gateImports()],
    [3, new ByteWriter().raw(2, 2, 1)],
    [6, globals],
    [7, new ByteWriter().u32(2).name("call").raw(0, FUNCTION.call).name("calls").raw(3, CALLS_GLOBAL)],
    [8, new ByteWriter().u32(FUNCTION.start)],
    bodies(body(), start),
  ]);
}

/** The imports `shape` of one gate. */
export function gateShape(shape: GateShape): Record<string, number> {
  return { ...shape, payloadRoom: Math.min(shape.payloadRoom, LIMITS.payloadBytes) };
}

/**
 * The binary of a link: what the caller is given as its import `call`, for the life of the caller. It calls through the
 * one entry of a table, so that the kernel can take the gate away or put another there at no cost to the fast path. Where
 * what is left of the slice does not cover the port's fuel, the slice ends first. Where the gate cannot serve the call now
 * (`busy`, `no-fuel`), the call goes by `slow` and waits its turn; so does one that the audit log is to hear of
 * (`bad-address`).
 *
 * | import | type | meaning |
 * | --- | --- | --- |
 * | `link.target` | table of at least 1 funcref | entry 0: the `call` of a gate, or `gone` |
 * | `link.slow` | as a gate's `call` | may suspend |
 * | `link.slice` | () -> i32 | ends the slice, may suspend; 0 with a new one, else there is no fuel for one |
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `call` | as a gate's | by the gate where there is one, else by `slow` |
 * | `gone` | as a gate's | answers `busy`: for an edge without a gate |
 */
export function makeLink(): Uint8Array<ArrayBuffer> {
  const types = new ByteWriter().raw(2, ...CALL_TYPE, FUNCTION_TYPE, 0, 1, I32);
  const imports = new ByteWriter().u32(3).name("link", "target").raw(1, 0x70, 0, 1);
  imports.name("link", "slow").raw(0, 0).name("link", "slice").raw(0, 1);
  const [parameters, result, slow, slice] = [[0, 1, 2, 3, 4], 5, 0, 1];
  const code = new Assembly().raw(1, 1, I32, OP.block, OP.empty, OP.loop, OP.empty);
  code.gets(parameters).constant(0).raw(OP.callIndirect, 0, 0).tee(result);
  code.constant(0).raw(OP.i32AtLeastSigned, OP.if, OP.empty).get(result).raw(OP.return, OP.end);
  for (const each of [RESULT.busy, RESULT["bad-address"]]) code.get(result).constant(each).raw(OP.i32Equal, OP.brIf, 1);
  code.get(result).constant(RESULT["no-fuel"]).raw(OP.i32Unequal, OP.if, OP.empty).get(result).raw(OP.return, OP.end);
  code.raw(OP.call, slice, OP.i32IsZero, OP.brIf, 0, OP.end, OP.end).gets(parameters).raw(OP.call, slow);
  return assemble([
    [1, types],
    [2, imports],
    [3, new ByteWriter().raw(2, 0, 0)],
    [7, new ByteWriter().u32(2).name("call").raw(0, 2).name("gone").raw(0, 3)],
    bodies(code, new Assembly().raw(0).constant(RESULT.busy)),
  ]);
}
