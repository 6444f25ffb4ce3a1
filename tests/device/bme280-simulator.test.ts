/** The simulated BME280 against the datasheet BST-BME280-DS002: compensation vectors, registers, modes, timing. */
import { beforeEach, describe, expect, it } from "vitest";
import { Bme280 } from "../../gateway/device/simulator/bme280.ts";
import {
  compensateHumidity,
  compensatePressure,
  compensateTemperature,
  invert,
  TYPICAL_TRIMMING,
} from "../../gateway/device/simulator/bme280-compensation.ts";
import { SimulatedI2cBus } from "../../gateway/device/simulator/i2c-bus.ts";
import { DeviceFailure } from "../../gateway/device/failure.ts";

const ADDRESS = 0x76;
let now = 0;
let chip: Bme280;
let bus: SimulatedI2cBus;

beforeEach(() => {
  now = 0;
  chip = new Bme280({ chip: "bme280", temperature: 21.5, pressure: 1000, humidity: 40 }, () => now);
  bus = new SimulatedI2cBus([chip]);
});

function write(...bytes: number[]): Promise<Uint8Array> {
  return bus.transfer(ADDRESS, [{ kind: "write", bytes: Uint8Array.from(bytes) }]);
}

function read(register: number, length: number): Promise<Uint8Array> {
  return bus.transfer(ADDRESS, [
    { kind: "write", bytes: Uint8Array.of(register) },
    { kind: "read", length },
  ]);
}

async function byte(register: number): Promise<number> {
  return (await read(register, 1))[0] ?? -1;
}

async function measured() {
  const data = await read(0xf7, 8);
  const at = (index: number) => data[index] ?? 0;
  const adc = (index: number) => (at(index) << 12) | (at(index + 1) << 4) | (at(index + 2) >> 4);
  const { fine, hundredths } = compensateTemperature(adc(3), TYPICAL_TRIMMING);
  return {
    temperature: hundredths / 100,
    pressure: compensatePressure(adc(0), fine, TYPICAL_TRIMMING) / 256 / 100,
    humidity: compensateHumidity((at(6) << 8) | at(7), fine, TYPICAL_TRIMMING) / 1024,
  };
}

describe("compensation", () => {
  it("gives the datasheet's worked example", () => {
    const { fine, hundredths } = compensateTemperature(519888, TYPICAL_TRIMMING);
    expect(fine).toBe(128422);
    expect(hundredths).toBe(2508);
    expect(Math.abs(compensatePressure(415148, fine, TYPICAL_TRIMMING) / 256 - 100653.27)).toBeLessThan(1.5);
  });

  it("is inverted to within one step of the converter over the whole range of the chip", () => {
    for (let celsius = -40; celsius <= 85; celsius += 5) {
      const adc = invert((value) => compensateTemperature(value, TYPICAL_TRIMMING).hundredths, celsius * 100, 20);
      const { fine, hundredths } = compensateTemperature(adc, TYPICAL_TRIMMING);
      expect(Math.abs(hundredths - celsius * 100)).toBeLessThanOrEqual(1);
      for (let hectopascal = 300; hectopascal <= 1100; hectopascal += 100) {
        const pressure = invert((value) => compensatePressure(value, fine, TYPICAL_TRIMMING), hectopascal * 25600, 20);
        const back = compensatePressure(pressure, fine, TYPICAL_TRIMMING) / 25600;
        expect(Math.abs(back - hectopascal)).toBeLessThan(0.02);
      }
      for (let percent = 10; percent <= 90; percent += 10) {
        const humidity = invert((value) => compensateHumidity(value, fine, TYPICAL_TRIMMING), percent * 1024, 16);
        expect(Math.abs(compensateHumidity(humidity, fine, TYPICAL_TRIMMING) / 1024 - percent)).toBeLessThan(0.05);
      }
    }
  });
});

describe("registers", () => {
  it("identify the chip, and hold the trimming where table 16 says", async () => {
    expect(await byte(0xd0)).toBe(0x60);
    const low = Buffer.from(await read(0x88, 24));
    expect([low.readUInt16LE(0), low.readInt16LE(2), low.readInt16LE(4)]).toEqual([...TYPICAL_TRIMMING.T]);
    expect(low.readUInt16LE(6)).toBe(TYPICAL_TRIMMING.P[0]);
    expect(Array.from({ length: 8 }, (_, index) => low.readInt16LE(8 + 2 * index))).toEqual(
      TYPICAL_TRIMMING.P.slice(1),
    );
    const high = Buffer.from(await read(0xe1, 7));
    const h4 = (high.readInt8(3) << 4) | ((high[4] ?? 0) & 0x0f);
    const h5 = (high.readInt8(5) << 4) | ((high[4] ?? 0) >> 4);
    expect([await byte(0xa1), high.readInt16LE(0), high[2], h4, h5, high.readInt8(6)]).toEqual([...TYPICAL_TRIMMING.H]);
  });

  it("are read-only but for the controls", async () => {
    await write(0xd0, 1, 0x88, 2, 0xf7, 3);
    expect(await byte(0xd0)).toBe(0x60);
    expect(await byte(0x88)).toBe(27504 & 0xff);
    expect(await byte(0xf7)).toBe(0x80);
  });

  it("are written as pairs of register and value in one transfer", async () => {
    await write(0xf2, 0x01, 0xf5, 0xa0);
    expect(await byte(0xf2)).toBe(0x01);
    expect(await byte(0xf5)).toBe(0xa0);
  });

  it("go back to their reset values on the reset word only", async () => {
    await write(0xf5, 0xa0);
    await write(0xe0, 0x11);
    expect(await byte(0xf5)).toBe(0xa0);
    await write(0xe0, 0xb6);
    expect(await byte(0xf5)).toBe(0);
    expect((await byte(0xf3)) & 1).toBe(1);
    now += 3;
    expect((await byte(0xf3)) & 1).toBe(0);
  });
});

describe("measuring", () => {
  it("reads as skipped before the first measurement", async () => {
    expect([...(await read(0xf7, 8))]).toEqual([0x80, 0, 0, 0x80, 0, 0, 0x80, 0]);
  });

  it("in forced mode takes its time, sets the status bit, and goes back to sleep", async () => {
    await write(0xf2, 0x05);
    await write(0xf4, 0xb5);
    expect((await byte(0xf3)) & 0x08).toBe(0x08);
    expect((await byte(0xf4)) & 0x03).toBe(1);
    now += 99;
    expect((await read(0xf7, 1))[0]).not.toBe(0);
    expect((await byte(0xf3)) & 0x08).toBe(0);
    expect((await byte(0xf4)) & 0x03).toBe(0);
    const { temperature, pressure, humidity } = await measured();
    expect(temperature).toBeCloseTo(21.5, 1);
    expect(Math.abs(pressure - 1000)).toBeLessThan(0.05);
    expect(Math.abs(humidity - 40)).toBeLessThan(0.05);
  });

  it("does not show a new value before its time has come", async () => {
    await write(0xf4, 0xb5);
    now += 5;
    expect([...(await read(0xf7, 3))]).toEqual([0x80, 0, 0]);
  });

  it("takes a new ctrl_hum only with the next write of ctrl_meas", async () => {
    await write(0xf2, 0x01);
    await write(0xf4, 0x25);
    now += 20;
    expect((await measured()).humidity).toBeGreaterThan(10);
    await write(0xf2, 0x00);
    await write(0xf4, 0x27);
    await write(0xf2, 0x01);
    now += 2000;
    expect([...(await read(0xfd, 2))]).toEqual([0x80, 0]);
  });

  it("skips what has no oversampling", async () => {
    await write(0xf4, 0x21);
    now += 20;
    const data = await read(0xf7, 8);
    expect([...data.subarray(0, 3)]).toEqual([0x80, 0, 0]);
    expect([...data.subarray(3, 6)]).not.toEqual([0x80, 0, 0]);
    expect([...data.subarray(6)]).toEqual([0x80, 0]);
  });

  it("has 16 bits at one sample and 20 with the filter", async () => {
    await write(0xf4, 0x25);
    now += 20;
    expect((await read(0xf7, 6))[2]).toBe(0);
    await write(0xf5, 0x04);
    const lowest: number[] = [];
    for (const temperature of [21.51, 21.53, 21.57, 21.61]) {
      chip.quantities.set("temperature", temperature);
      await write(0xf4, 0xb5);
      now += 100;
      lowest.push((await read(0xf7, 6))[2] ?? 0);
    }
    expect(lowest.some((byte) => byte !== 0)).toBe(true);
  });

  it("in normal mode goes on by itself, and smooths with the filter", async () => {
    await write(0xf5, 0x10);
    await write(0xf4, 0x27);
    now += 100;
    expect((await measured()).temperature).toBeCloseTo(21.5, 1);
    chip.quantities.set("temperature", 31.5);
    now += 4;
    const first = (await measured()).temperature;
    expect(first).toBeGreaterThan(21.6);
    expect(first).toBeLessThan(26);
    for (let cycle = 0; cycle < 200; cycle++) {
      now += 4;
      await measured();
    }
    expect((await measured()).temperature).toBeCloseTo(31.5, 0);
  });
});

describe("the bus", () => {
  async function failureOf(transfer: Promise<unknown>): Promise<string> {
    const error: unknown = await transfer.catch((reason: unknown) => reason);
    return error instanceof DeviceFailure ? error.result : "no failure";
  }

  it("does not acknowledge an address where nothing is", async () => {
    expect(await failureOf(bus.transfer(0x77, [{ kind: "read", length: 1 }]))).toBe("not-acknowledged");
  });

  it("plays faults when their time has come, and recovers", async () => {
    chip.quantities.faults.set([
      { kind: "nack", from: 1, until: 2, probability: 1 },
      { kind: "stuck", from: 2, until: 3, probability: 1 },
      { kind: "noise", from: 3, until: 4, probability: 1 },
      { kind: "short", from: 5, until: 6, probability: 1 },
    ]);
    expect(await byte(0xd0)).toBe(0x60);
    now = 1000;
    expect(await failureOf(byte(0xd0))).toBe("not-acknowledged");
    now = 2000;
    expect(await failureOf(byte(0xd0))).toBe("timeout");
    now = 3000;
    expect(await byte(0xd0)).not.toBe(0x60);
    now = 4000;
    expect(await byte(0xd0)).toBe(0x60);
    now = 5000;
    const calibration = [
      { kind: "write", bytes: Uint8Array.of(0x88) },
      { kind: "read", length: 26 },
    ] as const;
    expect(await bus.transfer(0x76, calibration)).toHaveLength(13);
  });

  it("turns values and faults live, by name", async () => {
    expect(bus.simulate("0x76", "temperature", -10)).toBe(true);
    expect(bus.simulate("0x76", "colour", 1)).toBe(false);
    expect(bus.simulate("0x10", "temperature", 1)).toBe(false);
    expect(bus.simulate("0x76", "faults", [{ kind: "nack" }])).toBe(true);
    expect(await failureOf(byte(0xd0))).toBe("not-acknowledged");
    expect(() => bus.simulate("0x76", "temperature", { bass: 1 })).toThrow("temperature is not a value over time");
  });
});
