/** Generates a gate: the small Wasm module that carries calls from one module into a direct module of its partition. */

import { ABI_VERSION, FIRST_MODULE_ERROR, HEADER, KIND, RESULT } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import { ByteWriter } from "./bytes.ts";

/** What is fixed for one pair of ends. The callee's numbers must have been checked; the gate trusts them. */
export interface GateShape {
  /** Address of the callee's inbox, and how many bytes of payload fit behind the header: inside its memory, 8-aligned. */
  readonly inbox: number;
  readonly payloadRoom: number;
  /** Number of the port, and what it declares: fuel and abstract stack bytes of one activation. */
  readonly port: number;
  readonly fuel: number;
  readonly stack: number;
  /** Written into every header: who calls, and the number that the operator's grant put on this edge. */
  readonly senderModule: number;
  readonly senderGeneration: number;
  readonly badge: number;
}

/** Abstract bytes that the gate itself and the JavaScript frame behind it stand on. */
const GATE_STACK = 2048;

const I32 = 0x7f;
const I64 = 0x7e;
const F64 = 0x7c;
const CALLER = 0;
const CALLEE = 1;
/** Index spaces: imports in the order of `gateImports`. */
const FUNCTION = Object.freeze({ invoke: 0, misbehaved: 1, call: 2 });
const GLOBAL = Object.freeze({ callerFuel: 0, callerDepth: 1, calleeFuel: 2, busy: 3, calls: 4 });
const LOCAL = Object.freeze({ address: 0, length: 1, replyAddress: 2, replyCapacity: 3, used: 5, result: 6 });

/** The instructions of the gate's one function, by what they do. */
class Assembly {
  readonly out = new ByteWriter(1024);

  raw(...bytes: number[]): this {
    this.out.raw(...bytes);
    return this;
  }

  get(local: number): this {
    return this.raw(0x20, local);
  }

  set(local: number): this {
    return this.raw(0x21, local);
  }

  global(index: number): this {
    return this.raw(0x23, index);
  }

  setGlobal(index: number): this {
    return this.raw(0x24, index);
  }

  constant(value: number): this {
    this.out.byte(0x41).s32(value);
    return this;
  }

  double(value: number): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    this.out.byte(0x44).slice(bytes, 0, 8);
    return this;
  }

  /** Returns `code` if the i32 on the stack is not 0. */
  refuse(code: number): this {
    return this.raw(0x04, 0x40).constant(code).raw(0x0f, 0x0b);
  }

  /** 1 if `[address, address + length)`, both u32, is not inside memory `index`: computed in 64 bits. */
  outside(index: number, address: () => void, length: () => void): this {
    address();
    this.raw(0xad);
    length();
    return this.raw(0xad, 0x7c, 0x3f, index, 0xad, 0x42, 16, 0x86, 0x56);
  }

  /** Stores what `value` pushes into the header field at `offset` of the callee's inbox. */
  header(inbox: number, offset: number, value: () => void): this {
    this.constant(inbox);
    value();
    this.out.raw(0x36, 0x42, CALLEE).u32(offset);
    return this;
  }

  copy(target: number, source: number): this {
    return this.raw(0xfc, 0x0a, target, source);
  }
}

/** All checks come before the callee's memory is touched, so no caller can make a callee fail or see half a message. */
function check(code: Assembly, shape: GateShape): void {
  const { address, length, replyAddress, replyCapacity } = LOCAL;
  code.global(GLOBAL.busy).refuse(RESULT.busy);
  code.get(length).constant(Math.min(shape.payloadRoom, LIMITS.payloadBytes)).raw(0x4b).refuse(RESULT["too-large"]);
  for (const [start, size] of [
    [address, length],
    [replyAddress, replyCapacity],
  ] as const) {
    code
      .outside(
        CALLER,
        () => code.get(start),
        () => code.get(size),
      )
      .refuse(RESULT["bad-address"]);
  }
  code.global(GLOBAL.callerFuel).constant(shape.fuel).raw(0x48).refuse(RESULT["no-fuel"]);
  code
    .global(GLOBAL.callerDepth)
    .constant(shape.stack + GATE_STACK)
    .raw(0x48)
    .refuse(RESULT["no-stack"]);
}

function deliver(code: Assembly, { inbox, senderModule, senderGeneration, badge }: GateShape): void {
  const words: readonly (readonly [number, number])[] = [
    [HEADER.version, ABI_VERSION | (KIND.call << 16)],
    [HEADER.senderModule, senderModule],
    [HEADER.senderGeneration, senderGeneration],
    [HEADER.badge, badge],
    [HEADER.correlation, 0],
    [HEADER.lost, 0],
    [HEADER.reserved, 0],
  ];
  for (const [offset, value] of words) code.header(inbox, offset, () => code.constant(value));
  code.header(inbox, HEADER.length, () => code.get(LOCAL.length));
  // The handles of an earlier message are not this sender's to show.
  for (let offset: number = HEADER.handleList; offset < HEADER.size; offset += 8) {
    code.constant(inbox).raw(0x42, 0, 0x37, 0x43, CALLEE, offset);
  }
  code
    .constant(inbox + HEADER.size)
    .get(LOCAL.address)
    .get(LOCAL.length)
    .copy(CALLEE, CALLER);
}

function invoke(code: Assembly, { fuel, stack, port }: GateShape): void {
  code.constant(1).setGlobal(GLOBAL.busy);
  code.constant(fuel).constant(stack).constant(port).get(LOCAL.length).raw(0x10, FUNCTION.invoke).set(LOCAL.result);
  code.constant(0).setGlobal(GLOBAL.busy);
  code.global(GLOBAL.calls).raw(0x42, 1, 0x7c).setGlobal(GLOBAL.calls);
  // Charged to the caller: what the callee used of its declared fuel, never more, and the bytes carried.
  code.constant(fuel).constant(fuel).global(GLOBAL.calleeFuel).raw(0x6b).raw(0x22, LOCAL.used);
  code.constant(fuel).get(LOCAL.used).raw(0x48, 0x1b).set(LOCAL.used);
  charge(code, () => code.get(LOCAL.used).get(LOCAL.length).constant(3).raw(0x76, 0x6a));
}

function charge(code: Assembly, amount: () => void): void {
  code.global(GLOBAL.callerFuel);
  amount();
  code.raw(0x6b).setGlobal(GLOBAL.callerFuel);
}

function answer(code: Assembly): void {
  const { result, used: replyLength, replyAddress, replyCapacity } = LOCAL;
  const replyStart = LOCAL.address; // No longer needed for the request.
  const atFault = (): Assembly => code.raw(0x10, FUNCTION.misbehaved).constant(RESULT["dead-peer"]).raw(0x0f, 0x0b);
  code.get(result).get(result).raw(0x62).refuse(RESULT["dead-peer"]);
  code.get(result).double(0).raw(0x63, 0x04, 0x40);
  code.get(result).double(FIRST_MODULE_ERROR).raw(0x64, 0x04, 0x40);
  atFault();
  code.get(result).raw(0xfc, 0x02, 0x0f, 0x0b);
  code
    .get(result)
    .double(2 ** -20)
    .raw(0xa2, 0xfc, 0x03)
    .set(replyStart);
  code.get(result).raw(0xfc, 0x07, 0xa7).constant(0xfffff).raw(0x71).set(replyLength);
  code
    .outside(
      CALLEE,
      () => code.get(replyStart),
      () => code.get(replyLength),
    )
    .raw(0x04, 0x40);
  atFault();
  code.get(replyLength).get(replyCapacity).raw(0x4b).refuse(RESULT["too-large"]);
  code.get(replyAddress).get(replyStart).get(replyLength).copy(CALLER, CALLEE);
  charge(code, () => code.get(replyLength).constant(3).raw(0x76));
  code.get(replyLength);
}

function body(shape: GateShape): ByteWriter {
  const code = new Assembly();
  code.raw(2, 1, I32, 1, F64);
  check(code, shape);
  deliver(code, shape);
  invoke(code, shape);
  answer(code);
  return code.raw(0x0b).out;
}

/** The imports of every gate, in the order of its index spaces. */
function gateImports(): ByteWriter {
  const out = new ByteWriter().u32(8);
  out.name("caller").name("memory").raw(2, 0, 0);
  out.name("callee").name("memory").raw(2, 0, 0);
  out.name("callee").name("invoke").raw(0, 0);
  out.name("callee").name("misbehaved").raw(0, 1);
  for (const [module, name] of [
    ["caller", "fuel"],
    ["caller", "depth"],
    ["callee", "fuel"],
    ["callee", "busy"],
  ] as const) {
    out.name(module).name(name).raw(3, I32, 1);
  }
  return out;
}

/**
 * The binary of a gate. It needs multi-memory, which guests may not use; it holds no guest code.
 *
 * | import | type | what the kernel gives |
 * | --- | --- | --- |
 * | `caller.memory`, `callee.memory` | memory | the two guests' memories |
 * | `caller.fuel`, `caller.depth`, `callee.fuel` | mutable i32 | `bulkhead:fuel` and `bulkhead:depth` of each |
 * | `callee.busy` | mutable i32 | not 0 while the callee runs, by whatever way: one for each callee |
 * | `callee.invoke` | (fuel, depth, port, length) -> f64 | JavaScript around the callee's `bulkhead:enter`: its result, or NaN after any throw |
 * | `callee.misbehaved` | () -> () | told of a kernel code or a reply outside the callee's memory; must not throw |
 *
 * | export | type | meaning |
 * | --- | --- | --- |
 * | `call` | (address, length, replyAddress, replyCapacity, timeoutMs) -> i32 | length of the reply, or a result code |
 * | `calls` | mutable i64 | calls that reached the callee |
 *
 * The deadline is not looked at: the port's declared fuel bounds the call to less than a millisecond.
 * Refusals come before the callee is touched, in this order: `busy`, `too-large`, `bad-address`, `no-fuel`, `no-stack`.
 */
export function makeGate(shape: GateShape): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter(1024).raw(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);
  const section = (id: number, content: ByteWriter): unknown => out.byte(id).u32(content.length).append(content);
  const types = new ByteWriter().u32(3);
  types.raw(0x60, 4, I32, I32, I32, I32, 1, F64).raw(0x60, 0, 0).raw(0x60, 5, I32, I32, I32, I32, I32, 1, I32);
  section(1, types);
  section(2, gateImports());
  section(3, new ByteWriter().raw(1, 2));
  section(6, new ByteWriter().raw(1, I64, 1, 0x42, 0, 0x0b));
  section(7, new ByteWriter().u32(2).name("call").raw(0, FUNCTION.call).name("calls").raw(3, GLOBAL.calls));
  const code = body(shape);
  section(10, new ByteWriter().u32(1).u32(code.length).append(code));
  return out.finish();
}
