/** The simulated chips against their data sheets, at the level of the wire. */
import { describe, expect, it } from "vitest";
import type { Level } from "../../gateway/device/gpio.ts";
import type { SimulatedDevice } from "../../gateway/device/settings.ts";
import { Ads1115 } from "../../gateway/device/simulator/ads1115.ts";
import { crc8, SimulatedOneWireBus } from "../../gateway/device/simulator/ds18b20.ts";
import { SimulatedGpioChip } from "../../gateway/device/simulator/gpio-chip.ts";
import { SimulatedI2cBus } from "../../gateway/device/simulator/i2c-bus.ts";
import { Mcp3008 } from "../../gateway/device/simulator/mcp3008.ts";
import { makeI2cChip } from "../../gateway/device/simulator/chips.ts";
import { crc16, ModbusSlave } from "../../gateway/device/simulator/modbus-slave.ts";
import { SimulatedSpiBus } from "../../gateway/device/simulator/spi-bus.ts";
import { ScriptedValue } from "../../gateway/device/simulator/script.ts";
import { makeSerialSimulator } from "../../gateway/device/simulator/talker.ts";
import { Refusal } from "../../kernel/index.ts";

let time = 0;
const now = () => time;

describe("scripts", () => {
  const range = { minimum: -100, maximum: 100 };

  it("follow constants, waves and polylines, within what the chip can measure", () => {
    expect(new ScriptedValue(7, range).at(3)).toBe(7);
    expect(new ScriptedValue(700, range).at(3)).toBe(100);
    const wave = new ScriptedValue({ base: 10, swing: 5, period: 4 }, range);
    expect([wave.at(0), wave.at(1), wave.at(3)].map(Math.round)).toEqual([10, 15, 5]);
    const corners = new ScriptedValue(
      [
        [0, 0],
        [10, 100],
        [20, 0],
      ],
      range,
    );
    expect([corners.at(0), corners.at(5), corners.at(10), corners.at(15), corners.at(25)]).toEqual([
      0, 50, 100, 50, 50,
    ]);
  });

  it("repeat their noise exactly in a second run", () => {
    const run = () => {
      const value = new ScriptedValue({ base: 0, noise: 1 }, range);
      return Array.from({ length: 100 }, () => value.at(0));
    };
    const first = run();
    expect(run()).toEqual(first);
    expect(Math.max(...first)).toBeGreaterThan(0.8);
    expect(Math.min(...first)).toBeLessThan(-0.8);
  });
});

describe("ADS1115", () => {
  const chip = new Ads1115({ chip: "ads1115", ain0: 1, ain1: 0.25, ain2: 4.9, ain3: 0 }, now);
  const bus = new SimulatedI2cBus([chip]);
  const write = (...bytes: number[]) => bus.transfer(0x48, [{ kind: "write", bytes: Uint8Array.from(bytes) }]);
  const register = async (number: number) => {
    const bytes = await bus.transfer(0x48, [
      { kind: "write", bytes: Uint8Array.of(number) },
      { kind: "read", length: 2 },
    ]);
    return Buffer.from(bytes).readInt16BE(0);
  };

  it("has the reset values of the data sheet", async () => {
    expect((await register(1)) & 0xffff).toBe(0x8583);
    expect((await register(2)) & 0xffff).toBe(0x8000);
    expect(await register(3)).toBe(0x7fff);
  });

  it("converts one shot in its time, and says when it is ready", async () => {
    await write(1, 0xc3, 0x83);
    expect((await register(1)) & 0x8000).toBe(0);
    time += 7;
    expect((await register(1)) & 0x8000).toBe(0);
    time += 1;
    expect((await register(1)) & 0x8000).toBe(0x8000);
    expect(await register(0)).toBe(Math.round((1 / 4.096) * 32_768));
  });

  it("takes the difference of two inputs, negative too, and clips at full scale", async () => {
    const convert = async (config: number) => {
      await write(1, config >> 8, config & 0xff);
      time += 200;
      return register(0);
    };
    expect(await convert(0x8583)).toBe(Math.round((0.75 / 2.048) * 32_768));
    chip.quantities.set("ain0", 0);
    expect(await convert(0x8583)).toBe(Math.round((-0.25 / 2.048) * 32_768));
    expect(await convert(0xe583)).toBe(32_767);
  });

  it("converts on and on in continuous mode", async () => {
    chip.quantities.set("ain0", 0.5);
    await write(1, 0x44, 0x83);
    time += 10;
    expect(await register(0)).toBe(Math.round((0.5 / 2.048) * 32_768));
    chip.quantities.set("ain0", 1);
    time += 10;
    expect(await register(0)).toBe(Math.round((1 / 2.048) * 32_768));
  });
});

describe("MCP3008", () => {
  const chip = new Mcp3008({ chip: "mcp3008", reference: 3.3, ch0: 1.65, ch1: 3.3, ch5: 0.0033 * 500 }, now);
  const bus = new SimulatedSpiBus([chip]);
  const transfer = async (...bytes: number[]) =>
    Buffer.from(await bus.transfer({ chip: 0, mode: 0, frequency: 1_000_000 }, Uint8Array.from(bytes)));
  const read = async (configuration: number) => {
    const answer = await transfer(1, configuration << 4, 0);
    return answer.readUInt16BE(1) & 0x3ff;
  };

  it("answers the usual three bytes with a null bit and ten bits", async () => {
    expect(await read(0b1000)).toBe(512);
    expect(await read(0b1001)).toBe(1023);
    expect(await read(0b1101)).toBe(512);
    expect(((await transfer(1, 0x80, 0))[1] ?? 0) & 0x04).toBe(0);
  });

  it("finds the start bit wherever it is", async () => {
    const answer = await transfer(0b0000_0110, 0, 0, 0);
    const bits = [...answer].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    expect(Number.parseInt(bits.slice(12, 22), 2)).toBe(512);
  });

  it("measures pairs of inputs, and 0 where the pair is the wrong way round", async () => {
    chip.quantities.set("ch1", 0.65);
    expect(await read(0b0000)).toBe(Math.floor((1 / 3.3) * 1024));
    expect(await read(0b0001)).toBe(0);
  });

  it("gives the bits again lowest first when it is clocked on", async () => {
    chip.quantities.set("ch0", (3.3 * 700.5) / 1024);
    const answer = await transfer(1, 0x80, 0, 0, 0);
    const bits = [...answer].map((byte) => byte.toString(2).padStart(8, "0")).join("");
    const highestFirst = bits.slice(14, 24);
    expect(Number.parseInt(highestFirst, 2)).toBe(700);
    expect(bits.slice(23, 33)).toBe(Array.from(highestFirst).reverse().join(""));
    expect(bits.slice(33)).toBe("0000000");
  });

  it("is a floating line where no chip is selected", async () => {
    const answer = await bus.transfer({ chip: 1, mode: 0, frequency: 1 }, new Uint8Array(3));
    expect([...answer]).toEqual([255, 255, 255]);
  });

  it("fails as a line fails: noise, half an answer, a transfer that is none, silence", async () => {
    const clean = await transfer(1, 0x80, 0);
    const fail = (kind: string) => chip.quantities.set("faults", [{ kind }]);
    fail("noise");
    expect((await transfer(1, 0x80, 0)).equals(clean)).toBe(false);
    fail("short");
    expect(await transfer(1, 0x80, 0)).toHaveLength(1);
    fail("stuck");
    await expect(transfer(1, 0x80, 0)).rejects.toThrow("the transfer failed");
    fail("silent");
    expect([...(await transfer(1, 0x80, 0))]).toEqual([255, 255, 255]);
    chip.quantities.set("faults", []);
    expect((await transfer(1, 0x80, 0)).equals(clean)).toBe(true);
  });
});

describe("DS18B20", () => {
  const id = "28-000005e2fdc3";
  const make = (options: Partial<SimulatedDevice>) =>
    new SimulatedOneWireBus([{ chip: "ds18b20", id, conversion: 0, ...options }], now);

  it("has the data sheet's relation of temperature and data (table 1)", async () => {
    const table: [number, number][] = [
      [125, 0x07d0],
      [85, 0x0550],
      [25.0625, 0x0191],
      [10.125, 0x00a2],
      [0, 0],
      [-0.5, 0xfff8],
      [-25.0625, 0xfe6f],
      [-55, 0xfc90],
    ];
    for (const [temperature, raw] of table) {
      const scratchpad = Buffer.from(await make({ temperature }).readScratchpad(id));
      expect(scratchpad.readUInt16LE(0), String(temperature)).toBe(raw);
      expect(crc8(scratchpad)).toBe(0);
    }
  });

  it("has the checksum of a scratchpad recorded from silicon", () => {
    expect(crc8(Uint8Array.of(0x72, 0x01, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10))).toBe(0x57);
  });

  it("drops bits at lower resolutions", async () => {
    const scratchpad = Buffer.from(await make({ temperature: 25.9, resolution: 9 }).readScratchpad(id));
    expect(scratchpad.readInt16LE(0)).toBe(25.5 * 16);
    expect(scratchpad[4]).toBe(0x1f);
  });

  it("fails as a bus fails: no such device, a wrong checksum", async () => {
    await expect(make({}).readScratchpad("28-000000000000")).rejects.toThrow("no 1-Wire device");
    await expect(make({ faults: [{ kind: "crc" }] }).readScratchpad(id)).rejects.toThrow("checksum");
    await expect(make({ faults: [{ kind: "silent" }] }).readScratchpad(id)).rejects.toThrow("no 1-Wire device");
    expect(await make({ faults: [{ kind: "short" }] }).readScratchpad(id)).toHaveLength(4);
    const noisy = await make({ faults: [{ kind: "noise" }] }).readScratchpad(id);
    expect(noisy).toHaveLength(9);
    expect(crc8(noisy.subarray(0, 8))).not.toBe(noisy[8]);
  });
});

describe("GPIO bank", () => {
  function watch(chip: SimulatedGpioChip, line: number, edges: "both" | "rising" | "falling") {
    const seen: Level[] = [];
    const request = {
      line,
      direction: "in",
      edges,
      consumer: "test",
      onEdge: (level: Level) => seen.push(level),
    } as const;
    return chip.request(request).then((requested) => ({ seen, requested }));
  }

  it("carries a level along its wires and reports the edges that were asked for", async () => {
    const chip = new SimulatedGpioChip([
      { chip: "wire", from: 17, to: 27 },
      { chip: "wire", from: 17, to: 22 },
    ]);
    const both = await watch(chip, 27, "both");
    const rising = await watch(chip, 22, "rising");
    for (const level of [1, 1, 0, 1] as const) chip.drive(17, level);
    expect(both.seen).toEqual([1, 0, 1]);
    expect(rising.seen).toEqual([1, 1]);
    expect(await both.requested.get()).toBe(1);
    both.requested.release();
    chip.drive(17, 0);
    expect(both.seen).toHaveLength(3);
    chip.close();
  });

  it("presses a button that bounces and settles", async () => {
    const button = { chip: "button", line: 5, period: 0.05, held: 0.02, bounces: 2, "active-low": true };
    const chip = new SimulatedGpioChip([button]);
    const { seen, requested } = await watch(chip, 5, "both");
    expect(await requested.get()).toBe(1);
    while (seen.length < 5) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(seen.slice(0, 5)).toEqual([0, 1, 0, 1, 0]);
    chip.close();
  });

  it("refuses faults of a contact, which has none, and what no contact has", () => {
    const faults = [{ kind: "nack" }];
    expect(() => new SimulatedGpioChip([{ chip: "button", line: 5, faults }])).toThrow("button has no 'faults'");
    expect(() => new SimulatedGpioChip([{ chip: "wire", from: 1, to: 2, faults }])).toThrow("wire has no 'faults'");
    const chip = new SimulatedGpioChip([{ chip: "wire", from: 1, to: 2 }]);
    expect(chip.simulate("1", "faults", faults)).toBe(false);
    expect(() => new SimulatedGpioChip([{ chip: "constructor" }])).toThrow("only of button and wire");
  });

  it("lends a line once, and knows which lines it has", async () => {
    const chip = new SimulatedGpioChip([]);
    const { requested } = await watch(chip, 1, "both");
    await expect(watch(chip, 1, "both")).rejects.toThrow("in use");
    requested.release();
    await watch(chip, 1, "both");
    await expect(watch(chip, 54, "both")).rejects.toThrow("no line 54");
    expect(chip.simulate("1", "level", 1)).toBe(true);
    expect(chip.simulate("99", "level", 1)).toBe(false);
    expect(() => chip.simulate("1", "level", 2)).toThrow(Refusal);
  });
});

describe("Modbus RTU slave", () => {
  const options = {
    chip: "modbus-slave",
    unit: 17,
    holding: { 107: 555, 108: 0, 109: 100 },
    input: { 8: -10 },
    coils: [19, 20, 21],
  };
  const slave = new ModbusSlave(options, now);

  function ask(...body: number[]): number[] | undefined {
    const crc = crc16(Uint8Array.from(body));
    const answer = slave.answer(Uint8Array.of(...body, crc & 0xff, crc >> 8));
    if (answer === undefined) return undefined;
    expect(crc16(answer)).toBe(0);
    return [...answer.subarray(0, -2)];
  }

  it("has the checksum of the standard's example (Serial Line V1.02, appendix B)", () => {
    expect(crc16(Uint8Array.of(0x02, 0x07))).toBe(0x1241);
  });

  it("answers the examples of the standard's function codes", () => {
    expect(ask(17, 3, 0, 107, 0, 3)).toEqual([17, 3, 6, 0x02, 0x2b, 0, 0, 0, 100]);
    expect(ask(17, 4, 0, 8, 0, 1)).toEqual([17, 4, 2, 0xff, 0xf6]);
    expect(ask(17, 6, 0, 108, 0, 3)).toEqual([17, 6, 0, 108, 0, 3]);
    expect(ask(17, 16, 0, 108, 0, 2, 4, 0, 10, 1, 2)).toEqual([17, 16, 0, 108, 0, 2]);
    expect(ask(17, 3, 0, 108, 0, 2)).toEqual([17, 3, 4, 0, 10, 1, 2]);
    expect(ask(17, 5, 0, 20, 0xff, 0)).toEqual([17, 5, 0, 20, 0xff, 0]);
    expect(ask(17, 1, 0, 19, 0, 3)).toEqual([17, 1, 1, 0b010]);
  });

  it("answers with exceptions, and not at all to others, to broadcasts and to damaged frames", () => {
    expect(ask(17, 0x2b, 0, 0)).toEqual([17, 0xab, 1]);
    expect(ask(17, 3, 0, 106, 0, 2)).toEqual([17, 0x83, 2]);
    expect(ask(17, 3, 0, 107, 0, 126)).toEqual([17, 0x83, 3]);
    expect(ask(17, 5, 0, 20, 0x12, 0)).toEqual([17, 0x85, 3]);
    expect(ask(17, 16, 0, 108, 0, 2, 4, 0)).toEqual([17, 0x90, 3]);
    expect(ask(17, 16, 0, 109, 0, 2, 4, 0, 1, 0, 1)).toEqual([17, 0x90, 2]);
    expect(ask(18, 3, 0, 107, 0, 1)).toBeUndefined();
    expect(ask(0, 6, 0, 109, 0, 9)).toBeUndefined();
    expect(ask(17, 3, 0, 109, 0, 1)).toEqual([17, 3, 2, 0, 9]);
    expect(slave.answer(Uint8Array.of(17, 3, 0, 107, 0, 1, 0, 0))).toBeUndefined();
    expect(slave.answer(Uint8Array.of(17))).toBeUndefined();
  });

  it("turns values live, and plays faults", () => {
    expect(slave.set("holding/107", 7)).toBe(true);
    expect(slave.set("holding/1", 7)).toBe(false);
    expect(ask(17, 3, 0, 107, 0, 1)).toEqual([17, 3, 2, 0, 7]);
    slave.set("faults", [{ kind: "silent" }]);
    expect(ask(17, 3, 0, 107, 0, 1)).toBeUndefined();
    slave.set("faults", [{ kind: "crc" }]);
    const frame = Uint8Array.of(17, 3, 0, 107, 0, 1);
    const crc = crc16(frame);
    const answer = slave.answer(Uint8Array.of(...frame, crc & 0xff, crc >> 8));
    expect(crc16(answer ?? new Uint8Array())).not.toBe(0);
  });
});

describe("a row of registers", () => {
  const chip = makeI2cChip(
    { chip: "registers", address: 0x40, bytes: 2, registers: { "0x00": 258, "0x01": -2, "0x05": { base: 7 } } },
    now,
  );
  const bus = new SimulatedI2cBus([chip]);
  const read = async (first: number, length: number) => [
    ...(await bus.transfer(0x40, [
      { kind: "write", bytes: Uint8Array.of(first) },
      { kind: "read", length },
    ])),
  ];

  it("is read from the pointer on, highest byte first; what is not there reads as 0", async () => {
    expect(await read(0, 6)).toEqual([0x01, 0x02, 0xff, 0xfe, 0, 0]);
    expect(await read(5, 2)).toEqual([0, 7]);
  });

  it("is written a whole register at a time, and refuses one that is not there", async () => {
    await bus.transfer(0x40, [{ kind: "write", bytes: Uint8Array.of(0, 0x12, 0x34, 0x00, 0x05) }]);
    expect(await read(0, 4)).toEqual([0x12, 0x34, 0x00, 0x05]);
    await expect(bus.transfer(0x40, [{ kind: "write", bytes: Uint8Array.of(9, 1, 2) }])).rejects.toThrow(
      "nothing acknowledges",
    );
  });

  it("is turned live, by the register's number", async () => {
    expect(bus.simulate("0x40", "0x05", 300)).toBe(true);
    expect(await read(5, 2)).toEqual([0x01, 0x2c]);
    expect(bus.simulate("0x40", "0x06", 300)).toBe(false);
  });

  it.each(["256", "-1", "five"])("refuses the register %s", (name) => {
    const device = { chip: "registers", registers: { [name]: 1 } };
    expect(() => makeI2cChip(device, now)).toThrow("not an integer from 0 to 255");
  });
});

describe("a talker", () => {
  async function listen(device: SimulatedDevice, faults?: readonly object[]): Promise<string> {
    const line = makeSerialSimulator([device], now);
    if (faults !== undefined) line.simulate("0", "faults", faults);
    return new Promise((resolve) => {
      const settings = { path: "/dev/ttySIM0", baud: 9600, dataBits: 8, parity: "none", stopBits: 1 } as const;
      const opened = line.open(settings, {
        onBytes: (bytes) => {
          resolve(new TextDecoder().decode(bytes));
          void opened.then((port) => port.close());
        },
        onClosed: () => undefined,
      });
    });
  }

  it("sends its text each period, with the value in it", async () => {
    expect(await listen({ chip: "talker", text: "T={value}\n", value: 21.5, period: 0.01 })).toBe("T=21.50\n");
  });

  it("is cut short by a fault", async () => {
    const device = { chip: "talker", text: "12345678", period: 0.01 };
    expect(await listen(device, [{ kind: "short" }])).toBe("1234");
  });

  it("is alone on its line", () => {
    expect(() => makeSerialSimulator([{ chip: "talker" }, { chip: "modbus-slave" }], now)).toThrow("alone");
  });
});
