/** Generates a gate: the small Wasm module that carries calls from one module into a direct module of its partition. */

import { ABI_VERSION, FIRST_MODULE_ERROR, HEADER, KIND, RESULT } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { Assembly, assemble, bodies, F64, I32, I64, V128 } from "./assembly.ts";
import { ByteWriter } from "./bytes.ts";

/** What is fixed for one pair of ends. The callee's numbers must have been checked; the gate trusts them. */
export interface GateShape {
  /** Address of the callee's inbox, and how many bytes of payload fit behind the header: inside its memory, 8-aligned. */
  readonly inbox: number;
  readonly payloadRoom: number;
  /** What the port declares: fuel and abstract stack bytes of one activation. */
  readonly fuel: number;
  readonly stack: number;
  /** Written into every header: who calls, and the number that the operator's grant put on this edge. */
  readonly senderModule: number;
  readonly senderGeneration: number;
  readonly badge: number;
}

const SHAPE_FIELDS = Object.freeze([
  "inbox",
  "payloadRoom",
  "fuel",
  "stack",
  "senderModule",
  "senderGeneration",
  "badge",
] as const satisfies readonly (keyof GateShape)[]);

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

/** The instructions of the gate's one function. */
class GateAssembly extends Assembly {
  /** The pair's own number. */
  shape(field: keyof GateShape): this {
    return this.global(GLOBAL.shape + SHAPE_FIELDS.indexOf(field));
  }

  /** 1 if `[address, address + length)`, both u32 in locals, is not inside memory `index`: computed in 64 bits. */
  outside(index: number, address: number, length: number): this {
    this.get(address).raw(0xad).get(length);
    return this.raw(0xad, 0x7c, 0x3f, index, 0xad, 0x42, 16, 0x86, 0x56);
  }

  /** Stores the vector that `value` pushes at `offset` of the callee's inbox. */
  header(offset: number, value: () => void): this {
    this.shape("inbox");
    value();
    return this.raw(0xfd, 0x0b, 0x40, CALLEE, offset);
  }

  /** Replaces lane `lane` of the i32x4 on the stack by what `value` pushes. */
  lane(lane: number, value: () => void): this {
    value();
    return this.raw(0xfd, 0x1c, lane);
  }

  /**
   * Copies `length` bytes between memories; both ranges have been checked. A `memory.copy` is a call out of Wasm, so
   * lengths of 16 to 64 go by four vectors, which overlap where they are shorter.
   */
  copy(target: number, source: number, to: () => void, from: number, length: number): this {
    const vector = (offset: () => void): this => {
      to();
      offset();
      this.raw(0x6a).get(from);
      offset();
      return this.raw(0x6a, 0xfd, 0x00, 0x40, source, 0, 0xfd, 0x0b, 0x40, target, 0);
    };
    this.get(length).constant(16).raw(0x6b, 0x22, LOCAL.last).constant(48).raw(0x4b, 0x04, 0x40);
    to();
    this.gets([from, length]).raw(0xfc, 0x0a, target, source, 0x05);
    vector(() => this.constant(0));
    for (const at of [16, 32]) {
      // min(at, last)
      vector(() => this.constant(at).get(LOCAL.last).constant(at).get(LOCAL.last).raw(0x49, 0x1b));
    }
    vector(() => this.get(LOCAL.last));
    return this.raw(0x0b);
  }
}

/** All checks come before the callee's memory is touched, so no caller can make a callee fail or see half a message. */
function check(code: GateAssembly): void {
  const { address, length, replyAddress, replyCapacity } = LOCAL;
  code.get(LOCAL.timeoutMs).constant(1).raw(0x48).refuse(RESULT.invalid);
  code.global(GLOBAL.busy).refuse(RESULT.busy);
  code.get(length).shape("payloadRoom").raw(0x4b).refuse(RESULT["too-large"]);
  code.outside(CALLER, address, length).refuse(RESULT["bad-address"]);
  code.outside(CALLER, replyAddress, replyCapacity).refuse(RESULT["bad-address"]);
  code.global(GLOBAL.callerFuel).shape("fuel").raw(0x48).refuse(RESULT["no-fuel"]);
  code.global(GLOBAL.callerDepth).shape("stack").constant(GATE_STACK).raw(0x6a, 0x48).refuse(RESULT["no-stack"]);
}

/** Runs once for each gate: makes the header that all its calls have in common. */
function prepare(code: GateAssembly): void {
  const [first, second] = HEADER_GLOBALS;
  code.constant(ABI_VERSION | (KIND.call << 16)).raw(0xfd, 0x11);
  code.lane(HEADER.length / 4, () => code.constant(0));
  code.lane(HEADER.senderModule / 4, () => code.shape("senderModule"));
  code.lane(HEADER.senderGeneration / 4, () => code.shape("senderGeneration"));
  code.setGlobal(first);
  // No correlation, nothing lost.
  code.constant(0).raw(0xfd, 0x11);
  code.lane(HEADER.badge / 4 - 4, () => code.shape("badge"));
  code.setGlobal(second);
}

function deliver(code: GateAssembly): void {
  const { address, length } = LOCAL;
  const [first, second] = HEADER_GLOBALS;
  code.header(0, () => code.global(first).lane(HEADER.length / 4, () => code.get(length)));
  code.header(16, () => code.global(second));
  // The handles of an earlier message are not this sender's to show.
  for (const offset of [HEADER.handleList, 48]) code.header(offset, () => code.constant(0).raw(0xfd, 0x11));
  code.copy(CALLEE, CALLER, () => code.shape("inbox").add(HEADER.size), address, length);
}

function invoke(code: GateAssembly): void {
  // One more: 1 as a double.
  code.global(CALLS_GLOBAL).raw(0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0xa0).setGlobal(CALLS_GLOBAL);
  code.get(LOCAL.length).raw(0x10, FUNCTION.invoke);
  code.set(LOCAL.replyStart);
  // Charged to the caller: what the callee used of its declared fuel, never more, and the bytes carried.
  code.shape("fuel").shape("fuel").global(GLOBAL.calleeFuel).raw(0x6b).raw(0x22, LOCAL.used);
  code.shape("fuel").get(LOCAL.used).raw(0x48, 0x1b).set(LOCAL.used);
  charge(code, () => code.get(LOCAL.used).get(LOCAL.length).constant(3).raw(0x76, 0x6a));
}

function charge(code: GateAssembly, amount: () => void): void {
  code.global(GLOBAL.callerFuel);
  amount();
  code.raw(0x6b).setGlobal(GLOBAL.callerFuel);
}

function answer(code: GateAssembly): void {
  const { result, used: replyLength, replyStart, replyAddress, replyCapacity } = LOCAL;
  const atFault = (): GateAssembly => code.raw(0x10, FUNCTION.misbehaved).constant(RESULT["dead-peer"]).raw(0x0f, 0x0b);
  code.get(replyStart).refuse(RESULT["dead-peer"]); // Here still what `invoke` gave.
  code.global(GLOBAL.calleeResult).raw(0x22, result, 0x42, 0, 0x53, 0x04, 0x40);
  code.get(result).raw(0x42).s32(FIRST_MODULE_ERROR).raw(0x55, 0x04, 0x40);
  atFault();
  // Below an i32's range a module's error stays an error.
  code.get(result).raw(0x42).s32(LOWEST).get(result).raw(0x42).s32(LOWEST).raw(0x55, 0x1b, 0xa7, 0x0f, 0x0b);
  code.get(result).raw(0x42, 32, 0x88, 0xa7).set(replyStart);
  code.get(result).raw(0xa7).set(replyLength);
  code.outside(CALLEE, replyStart, replyLength).raw(0x04, 0x40);
  atFault();
  code.get(replyLength).get(replyCapacity).raw(0x4b).refuse(RESULT["too-large"]);
  code.copy(CALLER, CALLEE, () => code.get(replyAddress), replyStart, replyLength);
  charge(code, () => code.get(replyLength).constant(3).raw(0x76));
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
  types.raw(0x60, 1, I32, 1, I32).raw(0x60, 0, 0).raw(0x60, 5, I32, I32, I32, I32, I32, 1, I32);
  const zero = [0xfd, 0x0c, ...new Uint8Array(16), 0x0b];
  const globals = new ByteWriter().raw(3, V128, 1, ...zero, V128, 1, ...zero);
  globals.raw(F64, 1, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b);
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
  const types = new ByteWriter().raw(2, 0x60, 5, I32, I32, I32, I32, I32, 1, I32, 0x60, 0, 1, I32);
  const imports = new ByteWriter().u32(3).name("link", "target").raw(1, 0x70, 0, 1);
  imports.name("link", "slow").raw(0, 0).name("link", "slice").raw(0, 1);
  const parameters = [0x20, 0, 0x20, 1, 0x20, 2, 0x20, 3, 0x20, 4];
  const result = 5;
  const code = new Assembly().raw(1, 1, I32, 0x02, 0x40, 0x03, 0x40);
  code.raw(...parameters, 0x41, 0, 0x11, 0, 0, 0x22, result);
  code.constant(0).raw(0x4e, 0x04, 0x40).get(result).raw(0x0f, 0x0b);
  for (const each of [RESULT.busy, RESULT["bad-address"]]) code.get(result).constant(each).raw(0x46, 0x0d, 1);
  code.get(result).constant(RESULT["no-fuel"]).raw(0x47, 0x04, 0x40).get(result).raw(0x0f, 0x0b);
  code.raw(0x10, 1, 0x45, 0x0d, 0, 0x0b, 0x0b, ...parameters, 0x10, 0);
  return assemble([
    [1, types],
    [2, imports],
    [3, new ByteWriter().raw(2, 0, 0)],
    [7, new ByteWriter().u32(2).name("call").raw(0, 2).name("gone").raw(0, 3)],
    bodies(code, new ByteWriter().raw(0).constant(RESULT.busy)),
  ]);
}
