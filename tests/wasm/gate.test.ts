/** A gate carries a call with its bytes, charges the caller, and lets no client make its server fail. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ABI_VERSION, FIRST_MODULE_ERROR, HEADER, KIND, RESULT } from "../../kernel/abi.ts";
import { type GateShape, gateShape, makeGate, makeLink } from "../../kernel/wasm/gate.ts";
import { meter } from "../../kernel/wasm/meter.ts";
import { compileWat, type MeteredExports, startMetered } from "./support.ts";
import { repeatedly } from "../support/patience.ts";

const SHAPE: GateShape = {
  inbox: 1024,
  payloadRoom: 4096 - HEADER.size,
  fuel: 10_000,
  stack: 20_000,
  senderModule: 17,
  senderGeneration: 4,
  badge: 99,
};

/** Echoes the payload behind the inbox; the first payload byte chooses what goes wrong. */
const SERVER = `(module (memory (export "memory") 2)
  (func $deep (call $deep))
  (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $what i32)
    (local.set $what (i32.load8_u (i32.const 1088)))
    (if (i32.eq (local.get $what) (i32.const 1)) (then unreachable))
    (if (i32.eq (local.get $what) (i32.const 2)) (then (loop (br 0))))
    (if (i32.eq (local.get $what) (i32.const 3)) (then (return (i64.const -1007))))
    (if (i32.eq (local.get $what) (i32.const 4)) (then (return (i64.const -1))))
    (if (i32.eq (local.get $what) (i32.const 5)) (then (return (i64.const 0x1fff000000100))))
    (if (i32.eq (local.get $what) (i32.const 6)) (then (call $deep)))
    (if (i32.eq (local.get $what) (i32.const 7)) (then (return (i64.const 0))))
    (if (i32.eq (local.get $what) (i32.const 8)) (then (return (i64.const 0x8000000000000000))))
    (if (i32.eq (local.get $what) (i32.const 250)) (then (return (i64.load (i32.const 1096)))))
    (i64.or (i64.const 0x44000000000) (i64.extend_i32_u (local.get $length)))))`;

const CLIENT = `(module (memory (export "memory") 1 4)
  (func (export "grow") (drop (memory.grow (i32.const 1)))))`;

type Call = (address: number, length: number, replyAddress: number, replyCapacity: number, timeoutMs: number) => number;

interface Pair {
  readonly call: Call;
  readonly calls: () => number;
  /** What the gate itself has counted. */
  readonly counted: WebAssembly.Global;
  readonly client: MeteredExports;
  readonly server: MeteredExports;
  readonly busy: WebAssembly.Global<"i32">;
  readonly clientBytes: () => Uint8Array;
  readonly serverBytes: () => Uint8Array;
  readonly faults: string[];
}

async function pair(shape: Partial<GateShape> = {}, fuelLeft?: number): Promise<Pair> {
  const client = startMetered(meter(await compileWat(CLIENT))).exports;
  const server = startMetered(meter(await compileWat(SERVER))).exports;
  const faults: string[] = [];
  const busy = new WebAssembly.Global({ value: "i32", mutable: true }, 0);
  let calls = 0;
  const { fuel, stack } = { ...SHAPE, ...shape };
  const invoke = (length: number): number => {
    calls++;
    try {
      const result = server["bulkhead:activate"](fuel, stack, 3, length);
      if (fuelLeft !== undefined) server["bulkhead:fuel"].value = fuelLeft;
      return result;
    } catch (error) {
      faults.push(error instanceof Error ? error.message : "thrown");
      return 1;
    }
  };
  const misbehaved = (): void => {
    faults.push("misbehaved");
  };
  const gate = new WebAssembly.Instance(new WebAssembly.Module(makeGate()), {
    caller: { memory: memoryOf(client), fuel: client["bulkhead:fuel"], depth: client["bulkhead:depth"] },
    callee: {
      memory: memoryOf(server),
      fuel: server["bulkhead:fuel"],
      result: server["bulkhead:result"],
      busy,
      invoke,
      misbehaved,
    },
    shape: gateShape({ ...SHAPE, ...shape }),
  });
  client["bulkhead:arm"](1_000_000, 200_000);
  return {
    call: gate.exports["call"] as Call,
    calls: () => calls,
    counted: gate.exports["calls"] as WebAssembly.Global,
    client,
    server,
    busy,
    clientBytes: () => new Uint8Array(memoryOf(client).buffer),
    serverBytes: () => new Uint8Array(memoryOf(server).buffer),
    faults,
  };
}

function startLink(target: WebAssembly.Table, slow: (...parameters: number[]) => number, slice = () => 1) {
  return new WebAssembly.Instance(new WebAssembly.Module(makeLink()), { link: { target, slow, slice } }).exports;
}

function memoryOf(exports: WebAssembly.Exports): WebAssembly.Memory {
  return exports["memory"] as WebAssembly.Memory;
}

describe("a gate", () => {
  it("carries the bytes there and back, with a header that nobody can forge", async () => {
    const { call, calls, clientBytes, serverBytes, faults, busy } = await pair();
    clientBytes().set([9, 8, 7, 6, 5], 100);
    serverBytes().fill(0xff, 1024, 1088);
    expect(call(100, 5, 200, 64, 1000)).toBe(5);
    expect([...clientBytes().subarray(200, 206)]).toEqual([9, 8, 7, 6, 5, 0]);
    const header = new DataView(serverBytes().buffer, 1024, HEADER.size);
    expect(header.getUint16(HEADER.version, true)).toBe(ABI_VERSION);
    expect(header.getUint8(HEADER.kind)).toBe(KIND.call);
    expect(header.getUint8(HEADER.handles)).toBe(0);
    expect(header.getUint32(HEADER.length, true)).toBe(5);
    expect(header.getUint32(HEADER.senderModule, true)).toBe(17);
    expect(header.getUint32(HEADER.senderGeneration, true)).toBe(4);
    expect(header.getUint32(HEADER.badge, true)).toBe(99);
    for (let offset: number = HEADER.correlation; offset < HEADER.size; offset += 4) {
      expect(header.getUint32(offset, true)).toBe(0);
    }
    expect({ calls: calls(), faults, busy: busy.value }).toEqual({ calls: 1, faults: [], busy: 0 });
  });

  it("carries messages of every length exactly", async () => {
    const { call, clientBytes, serverBytes } = await pair({ fuel: 1000 });
    for (const length of [0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1000, 4032]) {
      const message = Uint8Array.from({ length }, (_, index) => 9 + ((index * 7 + length) % 200));
      clientBytes().fill(0xee);
      clientBytes().set(message, 1001);
      serverBytes().fill(0xdd, 1088);
      expect(call(1001, length, 20_003, 5000, 1000)).toBe(length);
      expect([...clientBytes().subarray(20_002, 20_004 + length)]).toEqual([0xee, ...message, 0xee]);
      expect(serverBytes()[1088 + length]).toBe(0xdd);
    }
  });

  it("charges the caller what the callee used, and the bytes", async () => {
    const { call, client, server } = await pair();
    const before = client["bulkhead:remaining"]();
    call(0, 4000, 8000, 4000, 1000);
    const used = SHAPE.fuel - server["bulkhead:remaining"]();
    expect(used).toBeGreaterThan(0);
    expect(before - client["bulkhead:remaining"]()).toBe(used + 500 + 500);
  });

  it("charges the caller all that the port declares where the callee's counter is beyond it", async () => {
    for (const left of [SHAPE.fuel + 1, 2 ** 31 - 1, -(2 ** 31)]) {
      const { call, client } = await pair({}, left);
      const before = client["bulkhead:remaining"]();
      call(0, 0, 0, 64, 1000);
      expect(before - client["bulkhead:remaining"]()).toBe(SHAPE.fuel);
    }
  });

  it.each([
    ["a request past the end", [65_530, 10, 0, 0], "bad-address"],
    ["a request at the end of the address space", [-1, 1, 0, 0], "bad-address"],
    ["an address and a length that wrap around", [-8, 8, 0, 0], "bad-address"],
    ["a reply past the end", [0, 4, 65_530, 10], "bad-address"],
    ["a reply of 2^32 - 1 bytes", [0, 4, 8, -1], "bad-address"],
    ["a request of 2^32 - 1 bytes", [0, -1, 0, 0], "too-large"],
    ["a request larger than the inbox", [0, SHAPE.payloadRoom + 1, 0, 0], "too-large"],
  ] satisfies [string, number[], keyof typeof RESULT][])(
    "refuses %s, and the callee is untouched",
    async (_, values, code) => {
      const { call, calls, serverBytes } = await pair();
      const before = serverBytes().slice();
      const [address = 0, length = 0, replyAddress = 0, replyCapacity = 0] = values;
      expect(call(address, length, replyAddress, replyCapacity, 1000)).toBe(RESULT[code]);
      expect(calls()).toBe(0);
      expect(Buffer.compare(before, serverBytes())).toBe(0);
    },
  );

  it("counts how often the callee is entered: refusals are not, faults are", async () => {
    const { call, calls, counted, clientBytes, busy } = await pair();
    for (const what of [0, 3, 1]) {
      clientBytes()[0] = what;
      call(0, 1, 0, 64, 1000);
    }
    busy.value = 1;
    expect(call(0, 1, 0, 64, 1000)).toBe(RESULT.busy);
    expect(counted.value).toBe(3);
    expect(calls()).toBe(3);
    busy.value = 0;
    // As the kernel does when it has read it; it counts on where an i32 would have come to its end.
    counted.value = 2 ** 32;
    call(0, 1, 0, 64, 1000);
    expect(counted.value).toBe(2 ** 32 + 1);
  });

  it("refuses a caller that keeps too little fuel or stack, and one that comes while the callee runs", async () => {
    const { call, calls, client, busy, faults } = await pair();
    client["bulkhead:fuel"].value = SHAPE.fuel - 1;
    expect(call(0, 4, 0, 4, 1000)).toBe(RESULT["no-fuel"]);
    client["bulkhead:arm"](1_000_000, SHAPE.stack);
    expect(call(0, 4, 0, 4, 1000)).toBe(RESULT["no-stack"]);
    client["bulkhead:arm"](1_000_000, 200_000);
    busy.value = 1;
    expect(call(0, 4, 0, 4, 1000)).toBe(RESULT.busy);
    expect({ calls: calls(), faults }).toEqual({ calls: 0, faults: [] });
    busy.value = 0;
    client["bulkhead:fuel"].value = SHAPE.fuel;
    expect(call(0, 4, 0, 4, 1000)).toBe(4);
  });

  it.each([
    [1, "unreachable", "dead-peer"],
    [2, "fuel exhausted", "dead-peer"],
    [4, "misbehaved", "dead-peer"],
    [5, "misbehaved", "dead-peer"],
    [6, "stack overflow", "dead-peer"],
  ] satisfies [number, string, keyof typeof RESULT][])(
    "turns the callee's fault %i (%s) into an error code",
    async (what, fault, code) => {
      const { call, client, clientBytes, busy, faults } = await pair();
      clientBytes()[0] = what;
      const before = client["bulkhead:remaining"]();
      const depth = client["bulkhead:depth"].value;
      expect(call(0, 1, 0, 64, 1000)).toBe(RESULT[code]);
      expect(faults).toEqual([fault]);
      expect(busy.value).toBe(0);
      expect(client["bulkhead:depth"].value).toBe(depth);
      // An overrun is the callee's own fault: no more than the declared fuel is charged for it.
      expect(before - client["bulkhead:remaining"]()).toBeLessThanOrEqual(SHAPE.fuel + 1);
    },
  );

  it("hands on a module's own error and an empty reply, and refuses a reply that does not fit", async () => {
    const { call, clientBytes, faults } = await pair();
    clientBytes()[0] = 3;
    expect(call(0, 1, 0, 64, 1000)).toBe(-1007);
    clientBytes()[0] = 7;
    expect(call(0, 1, 0, 64, 1000)).toBe(0);
    clientBytes()[0] = 0;
    expect(call(0, 32, 0, 31, 1000)).toBe(RESULT["too-large"]);
    expect(faults).toEqual([]);
  });

  it("hands on an error beyond an i32 as the least one", async () => {
    const { call, clientBytes } = await pair();
    clientBytes()[0] = 8;
    expect(call(0, 1, 0, 64, 1000)).toBe(-(2 ** 31));
  });

  it("stands behind a link, whose target the kernel can change or take away", async () => {
    const { call } = await pair();
    const target = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
    const waited: number[][] = [];
    const slow = (...parameters: number[]): number => {
      waited.push(parameters);
      return 77;
    };
    const link = startLink(target, slow);
    const linked = link["call"] as Call;
    expect(() => linked(0, 4, 64, 64, 1000)).toThrow(WebAssembly.RuntimeError);
    target.set(0, call);
    expect(linked(0, 4, 64, 64, 1000)).toBe(4);
    target.set(0, link["gone"]);
    expect(linked(0, 4, 64, 64, 1000)).toBe(77);
    expect(waited).toEqual([[0, 4, 64, 64, 1000]]);
  });

  it("goes the slow way where the callee is busy or the fuel of the slice does not cover the port", async () => {
    const { call, busy, client } = await pair();
    const target = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
    const slow = (): number => 77;
    const link = startLink(target, slow);
    const linked = link["call"] as Call;
    target.set(0, call);
    busy.value = 1;
    expect(linked(0, 4, 64, 64, 1000)).toBe(77);
    busy.value = 0;
    expect(linked(0, 4, 64, 64, 1000)).toBe(4);
    client["bulkhead:arm"](50, 200_000);
    expect(linked(0, 4, 64, 64, 1000)).toBe(77);
    // An address outside the memory is told where the slow way leads; any other refusal is the caller's own.
    client["bulkhead:arm"](1_000_000, 200_000);
    expect(linked(0, 4, 0xffff_ffff, 64, 1000)).toBe(77);
    expect(linked(0, 4, 64, 64, 0)).toBe(RESULT.invalid);
  });

  it("tries again with each new slice that it gets, and goes the slow way where there is none", async () => {
    const { call, client } = await pair();
    const target = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
    const slices = [5000, 9999, 20_000];
    const link = startLink(
      target,
      () => 77,
      () => {
        const next = slices.shift();
        client["bulkhead:fuel"].value = next ?? 50;
        return next === undefined ? 1 : 0;
      },
    );
    const linked = link["call"] as Call;
    target.set(0, call);
    client["bulkhead:arm"](50, 200_000);
    expect(linked(0, 4, 64, 64, 1000)).toBe(4);
    expect(slices).toEqual([]);
    client["bulkhead:fuel"].value = 50;
    expect(linked(0, 4, 64, 64, 1000)).toBe(77);
  });

  it("sees a memory that has grown in between", async () => {
    const { call, client } = await pair();
    expect(call(65_536, 4, 65_600, 64, 1000)).toBe(RESULT["bad-address"]);
    (client["grow"] as () => void)();
    expect(call(65_536, 4, 65_600, 64, 1000)).toBe(4);
  });

  const PAGE = 65_536;
  /** Numbers that guests choose, at every edge that the checks know, and any other. */
  const edge = fc.oneof(
    fc.constantFrom(0, 1, 15, 16, 63, 64, SHAPE.payloadRoom, SHAPE.payloadRoom + 1, 0x7fff_ffff, -0x8000_0000, -1, -4),
    fc.integer({ min: PAGE - 70, max: PAGE + 2 }),
    fc.integer(),
  );

  it("for any numbers of the caller, fuel and stack refuses before the callee is touched, or carries the call", async () => {
    const { call, calls, client, clientBytes, serverBytes, faults } = await pair();
    const deadline = fc.oneof(fc.constant(1000), edge);
    const fuel = fc.oneof(fc.constantFrom(0, 50, SHAPE.fuel - 1, SHAPE.fuel), fc.constant(1_000_000));
    const stack = fc.oneof(
      fc.constantFrom(0, SHAPE.stack, SHAPE.stack + 2047, SHAPE.stack + 2048),
      fc.constant(200_000),
    );
    const isOutside = (at: number, size: number): boolean => (at >>> 0) + (size >>> 0) > PAGE;
    fc.assert(
      fc.property(
        edge,
        edge,
        edge,
        edge,
        deadline,
        fuel,
        stack,
        (address, length, reply, capacity, timeout, left, deep) => {
          const expected = (): number | "served" => {
            if (timeout < 1) return RESULT.invalid;
            if (length >>> 0 > SHAPE.payloadRoom) return RESULT["too-large"];
            if (isOutside(address, length) || isOutside(reply, capacity)) return RESULT["bad-address"];
            if (left < SHAPE.fuel) return RESULT["no-fuel"];
            return deep < SHAPE.stack + 2048 ? RESULT["no-stack"] : "served";
          };
          clientBytes().fill(0xaa);
          client["bulkhead:arm"](left, deep);
          const [before, served] = [serverBytes().slice(), calls()];
          const result = call(address, length, reply, capacity, timeout);
          if (expected() === "served") {
            expect(result).toBe(length > capacity >>> 0 ? RESULT["too-large"] : length);
            expect(calls()).toBe(served + 1);
            return;
          }
          expect(result).toBe(expected());
          expect(calls()).toBe(served);
          expect(Buffer.compare(before, serverBytes())).toBe(0);
        },
      ),
      { numRuns: repeatedly(3000) },
    );
    expect(faults).toEqual([]);
  });

  it("for any i64 of the callee gives a whole reply, an error of its own, or dead-peer with its fault", async () => {
    const { call, client, clientBytes, faults } = await pair();
    const place = fc.oneof(fc.constantFrom(0, 2 * PAGE - 4, 2 * PAGE, 2 * PAGE + 1, 0x7fff_ffff), fc.nat(0x7fff_ffff));
    const size = fc.oneof(fc.constantFrom(0, 4, 5, 64, 65, 0xffff_ffff), fc.nat(200));
    const reply = fc.tuple(place, size).map(([at, length]) => (BigInt(at) << 32n) | BigInt(length));
    const error = fc.oneof(
      fc.constantFrom(-1n, -999n, -1000n, -1001n, -(2n ** 63n)),
      fc.bigInt({ min: -(2n ** 33n), max: -1n }),
    );
    fc.assert(
      fc.property(fc.oneof(reply, error), (value) => {
        client["bulkhead:arm"](1_000_000, 200_000);
        clientBytes()[0] = 250;
        new DataView(clientBytes().buffer).setBigInt64(8, value, true);
        const before = faults.length;
        const result = call(0, 16, 4096, 64, 1000);
        const length = Number(value & 0xffff_ffffn);
        const isForbidden = value < 0n && value > BigInt(FIRST_MODULE_ERROR);
        const isOut = value >= 0n && Number(value >> 32n) + length > 2 * PAGE;
        if (isForbidden || isOut) {
          expect([result, faults.length]).toEqual([RESULT["dead-peer"], before + 1]);
          return;
        }
        expect(faults).toHaveLength(before);
        if (value < 0n) expect(result).toBe(Math.max(Number(value), -(2 ** 31)));
        else expect(result).toBe(length > 64 ? RESULT["too-large"] : length);
      }),
      { numRuns: repeatedly(3000) },
    );
  });
});
