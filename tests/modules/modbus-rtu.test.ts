/** The driver modbus-rtu, against the examples of the standards and the simulated slave, byte by byte. */
import { describe, expect, it } from "vitest";
import { crc16, ModbusSlave } from "../../gateway/device/simulator/modbus-slave.ts";
import type { CborInput } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { built, takeReadings } from "./support.ts";

type Slave = (request: Uint8Array) => readonly Uint8Array[];

/** A line with a slave at its end; time is what the driver's timer says. */
class Line {
  readonly host: ModuleHost;
  readonly requests: Uint8Array[] = [];
  readonly delays: number[] = [];
  #pending: readonly Uint8Array[] = [];
  #now = 1_000_000;

  constructor(settings: CborInput, slave: Slave) {
    this.host = new ModuleHost(built("modbus-rtu"), {
      line: {
        write: ({ bytes: [request = new Uint8Array()] }) => {
          this.requests.push(request);
          this.#pending = slave(request);
          return request.length;
        },
      },
    });
    this.host.setWallClock(this.#now);
    this.host.start(false, settings);
  }

  /** The timer runs out `count` times; what the slave answers to a request comes before the next. */
  run(count: number): this {
    for (let index = 0; index < count; index++) {
      const milliseconds = this.host.timer("timer")?.milliseconds ?? 0;
      this.delays.push(milliseconds);
      this.#now += milliseconds;
      this.host.setWallClock(this.#now);
      this.host.deliver("timer", 1, { kind: "event" });
      const answers = this.#pending;
      this.#pending = [];
      for (const bytes of answers) this.host.deliver("received", bytes, { kind: "event" });
    }
    return this;
  }

  values(): Record<string, number> {
    return Object.fromEntries(takeReadings(this.host).map(({ quantity, value }) => [quantity, value]));
  }

  logged(): string[] {
    return this.host.logs.map(({ text }) => text);
  }
}

function withCrc(...bytes: number[]): Uint8Array {
  const crc = crc16(Uint8Array.from(bytes));
  return Uint8Array.of(...bytes, crc & 0xff, crc >> 8);
}

const one = (register: Record<string, CborInput>, settings: Record<string, CborInput> = {}): CborInput => ({
  ...settings,
  registers: [{ name: "point", ...register }],
});

it("has the checksum of the standard's example, low byte first", () => {
  // MODBUS over serial line V1.02, section 6.2.2: 02 07 has the CRC 1241 hexadecimal.
  expect([...withCrc(0x02, 0x07)]).toEqual([0x02, 0x07, 0x41, 0x12]);
});

describe("a register is read as the examples of the application protocol V1.1b3", () => {
  it.each([
    ["6.1", "coil", 0x13, {}, [1, 0x00, 0x13, 0x00, 0x01], [1, 0x01, 0xcd], 1],
    ["6.2", "discrete", 0xc4, {}, [2, 0x00, 0xc4, 0x00, 0x01], [2, 0x01, 0xac], 0],
    ["6.3", "holding", 0x6b, {}, [3, 0x00, 0x6b, 0x00, 0x01], [3, 0x02, 0x02, 0x2b], 555],
    ["6.4", "input", 0x08, {}, [4, 0x00, 0x08, 0x00, 0x01], [4, 0x02, 0x00, 0x0a], 10],
  ] as const)("section %s, table %s", (_, table, address, more, request, answer, value) => {
    const line = new Line(one({ table, address, station: 17, ...more }), () => [withCrc(17, ...answer)]);
    expect(line.run(1).values()).toEqual({ point: value });
    expect(line.requests).toEqual([withCrc(17, ...request)]);
  });
});

describe("a register is set as the examples of the application protocol V1.1b3", () => {
  it.each([
    ["6.5", { table: "coil", address: 0xac, write: "single" }, 1, [5, 0x00, 0xac, 0xff, 0x00]],
    ["6.6", { table: "holding", address: 1, write: "single" }, 3, [6, 0x00, 0x01, 0x00, 0x03]],
    ["6.11", { table: "coil", address: 0x13, write: "multiple" }, 1, [15, 0x00, 0x13, 0x00, 0x01, 0x01, 0x01]],
    [
      "6.12",
      { table: "holding", address: 1, type: "u32", write: "multiple" },
      0x000a_0102,
      [16, 0x00, 0x01, 0x00, 0x02, 0x04, 0x00, 0x0a, 0x01, 0x02],
    ],
  ])("section %s, and is read afterwards", (_, register, value, request) => {
    const line = new Line(one({ ...register, period: 60_000 }), (frame) =>
      (frame[1] ?? 0) > 4 ? [withCrc(...frame.subarray(0, 6))] : [],
    );
    expect(line.host.deliver("points", { name: "point", value })).toEqual({ reply: null });
    line.run(2);
    expect(line.requests[0]).toEqual(withCrc(1, ...request));
    expect(line.requests[1]?.[1]).toBe(register.table === "coil" ? 1 : 3);
    expect(line.logged()).toEqual([]);
  });

  it.each([
    ["a name that is none", { name: "other", value: 1 }, -1001],
    ["a value beyond the type", { name: "point", value: 65_536 }, -1002],
    ["a negative value of a type without sign", { name: "point", value: -1 }, -1002],
    ["not a number", { name: "point", value: Number.NaN }, -1002],
    ["a message of another contract", { on: true }, -1000],
  ])("%s is refused", (_, message, error) => {
    const line = new Line(one({ table: "holding", address: 0, write: "single" }), () => []);
    expect(line.host.deliver("points", message)).toEqual({ error });
    expect(line.requests).toEqual([]);
  });

  it("only where the settings say so, and never an input", () => {
    const point = { name: "point", value: 1 };
    const silent = () => [];
    expect(new Line(one({ table: "holding", address: 0 }), silent).host.deliver("points", point)).toEqual({
      error: -1001,
    });
    const input = one({ table: "input", address: 0, write: "single" });
    expect(new Line(input, silent).host.deliver("points", point)).toEqual({ error: -1001 });
  });

  it("eight values wait at most", () => {
    const { host } = new Line(one({ table: "coil", address: 0, write: "single" }), () => []);
    for (let index = 0; index < 8; index++) host.deliver("points", { name: "point", value: 1 });
    expect(host.deliver("points", { name: "point", value: 1 })).toEqual({ error: -1003 });
  });
});

describe("types", () => {
  // 1.5 is 3fc00000; -2 is fffe, fffffffe.
  it.each([
    ["u16", "high-first", "high-first", [0xff, 0xfe], 65_534],
    ["i16", "high-first", "high-first", [0xff, 0xfe], -2],
    ["i16", "high-first", "low-first", [0xfe, 0xff], -2],
    ["u32", "high-first", "high-first", [0, 1, 0, 2], 65_538],
    ["u32", "low-first", "high-first", [0, 2, 0, 1], 65_538],
    ["u32", "low-first", "low-first", [2, 0, 1, 0], 65_538],
    ["i32", "high-first", "high-first", [0xff, 0xff, 0xff, 0xfe], -2],
    ["f32", "high-first", "high-first", [0x3f, 0xc0, 0, 0], 1.5],
    ["f32", "low-first", "low-first", [0, 0, 0xc0, 0x3f], 1.5],
  ])("%s, words %s, bytes %s", (type, wordOrder, byteOrder, data, value) => {
    const register = { table: "holding", address: 0, type, "word-order": wordOrder, "byte-order": byteOrder };
    const line = new Line(one({ ...register, write: "multiple" }), (frame) =>
      frame[1] === 3 ? [withCrc(1, 3, data.length, ...data)] : [withCrc(...frame.subarray(0, 6))],
    );
    expect(line.run(1).values()).toEqual({ point: value });
    line.host.deliver("points", { name: "point", value });
    line.run(1);
    expect([...(line.requests[1] ?? [])].slice(7, -2)).toEqual(data);
  });

  it("scale, offset and unit", () => {
    const register = { table: "input", address: 0, type: "i16", scale: 0.1, offset: -40, unit: "Cel" };
    const line = new Line(one(register), () => [withCrc(1, 4, 2, 0x02, 0x6c)]).run(1);
    expect(takeReadings(line.host)).toMatchObject([{ quantity: "point", value: 22, unit: "Cel", sequence: 0 }]);
  });
});

describe("an answer", () => {
  const register = { table: "holding", address: 7 };
  const good = withCrc(1, 3, 2, 0, 42);

  it("may come byte by byte", () => {
    const line = new Line(one(register), () => Array.from(good, (byte) => Uint8Array.of(byte)));
    expect(line.run(1).values()).toEqual({ point: 42 });
  });

  it.each<[string, Slave]>([
    ["that never comes", () => []],
    ["with a flipped bit", () => [good.map((byte, index) => (index === 4 ? byte ^ 1 : byte))]],
    ["of another station", () => [withCrc(2, 3, 2, 0, 42)]],
    ["of another function", () => [withCrc(1, 4, 2, 0, 42)]],
    ["of another length", () => [withCrc(1, 3, 4, 0, 42, 0, 0)]],
    ["cut short", () => [good.subarray(0, 5)]],
    ["of 300 bytes", () => [new Uint8Array(300).fill(1)]],
  ])("%s is asked for again, then told once", (_, slave) => {
    const line = new Line(one(register, { retries: 2, timeout: 100 }), slave);
    line.run(4);
    expect(line.requests).toHaveLength(3);
    expect(line.values()).toEqual({});
    expect(line.logged()).toHaveLength(1);
    expect(line.delays.slice(1)).toEqual([100, 100, 100]);
  });

  it("with a gap in it is not believed", () => {
    let isFirst = true;
    const line = new Line(one(register), () => (isFirst ? [] : [good]));
    line.run(1);
    isFirst = false;
    line.host.deliver("received", good.subarray(0, 3), { kind: "event" });
    line.host.deliver("received", null, { kind: "event" });
    line.host.deliver("received", good.subarray(3), { kind: "event" });
    expect(line.values()).toEqual({});
    expect(line.run(1).values()).toEqual({ point: 42 });
  });

  it("that nobody waits for is dropped", () => {
    const line = new Line(one(register), () => [good]);
    line.run(1).values();
    line.host.deliver("received", withCrc(1, 3, 2, 0, 99), { kind: "event" });
    expect(line.values()).toEqual({});
  });

  it.each([
    [2, 1, "register 0: exception 2"],
    [6, 3, "register 0: exception 6"],
  ])("that is exception %i makes %i requests", (exception, requests, text) => {
    const line = new Line(one(register, { timeout: 50 }), () => [withCrc(1, 0x83, exception)]);
    line.run(requests);
    expect(line.requests).toHaveLength(requests);
    expect(line.logged()).toEqual([text]);
  });
});

describe("the line", () => {
  it.each([
    [9600, 5],
    [19_200, 3],
    [115_200, 2],
  ])("is silent for 3.5 characters at %i baud, in whole milliseconds", (baud, silence) => {
    const line = new Line(one({ table: "coil", address: 0 }, { baud }), () => [withCrc(1, 1, 1, 1)]);
    line.run(2);
    expect(line.delays[1]).toBe(silence);
  });

  it("asks each register in its period", () => {
    const registers = [
      { name: "fast", table: "coil", address: 0, period: 100 },
      { name: "slow", table: "coil", address: 1, period: 1000 },
    ];
    const line = new Line({ registers }, () => [withCrc(1, 1, 1, 1)]).run(200);
    const asked = (address: number): number => line.requests.filter((request) => request[3] === address).length;
    expect(asked(0) / asked(1)).toBeGreaterThan(8);
    expect(asked(0) / asked(1)).toBeLessThan(12);
  });

  it("serves two stations of the simulator, through its faults", () => {
    let milliseconds = 0;
    const slaves = [3, 4].map(
      (unit) =>
        new ModbusSlave(
          { chip: "modbus-slave", unit, coils: [5], holding: { 0: 10 * unit }, input: { 9: unit } },
          () => milliseconds,
        ),
    );
    // A second passes at each request: of the first three, one gets no answer and one a damaged one.
    slaves[0]?.set("faults", [
      { kind: "silent", from: 1, until: 2 },
      { kind: "crc", from: 2, until: 3 },
    ]);
    const registers = [3, 4].flatMap((station) => [
      { name: `holding-${station}`, table: "holding", address: 0, station, write: "single" },
      { name: `input-${station}`, table: "input", address: 9, station },
      { name: `coil-${station}`, table: "coil", address: 5, station, write: "multiple" },
    ]);
    const line = new Line({ registers }, (frame) => {
      milliseconds += 1000;
      return slaves.flatMap((slave) => slave.answer(frame) ?? []);
    });
    line.run(20);
    expect(line.values()).toEqual({
      "holding-3": 30,
      "input-3": 3,
      "coil-3": 0,
      "holding-4": 40,
      "input-4": 4,
      "coil-4": 0,
    });
    line.host.deliver("points", { name: "holding-4", value: 77 });
    line.host.deliver("points", { name: "coil-3", value: 1 });
    line.run(20);
    expect(line.values()).toMatchObject({ "holding-4": 77, "coil-3": 1 });
    expect(line.logged()).toEqual([]);
  });
});

it("keeps its numbering over a restart", () => {
  const line = new Line(one({ table: "coil", address: 0 }), () => [withCrc(1, 1, 1, 1)]).run(1);
  takeReadings(line.host);
  const state = line.host.save();
  const next = new ModuleHost(built("modbus-rtu"));
  expect(next.restore(state)).toBe(true);
});

it("does not start without registers", () => {
  const host = new ModuleHost(built("modbus-rtu"));
  for (const settings of [undefined, { registers: [] }, { registers: [{ name: "x" }] }, { registers: 1, extra: 2 }]) {
    expect(() => {
      host.start(false, settings);
    }).toThrow("settings");
  }
});
