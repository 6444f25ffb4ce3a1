/** The drivers ds18b20, ads1115 and mcp3008, against their datasheets' tables and the simulated chips. */
import { describe, expect, it } from "vitest";
import { Ads1115 } from "../../gateway/device/simulator/ads1115.ts";
import { crc8 } from "../../gateway/device/simulator/ds18b20.ts";
import { Mcp3008 } from "../../gateway/device/simulator/mcp3008.ts";
import { RESULT } from "../../kernel/index.ts";
import { i2cFake, spiFake } from "./chips.ts";
import { measure, started } from "./support.ts";

function scratchpad(raw: number, configuration = 0x7f, sixth = 0x0c - 1): Uint8Array {
  const bytes = Uint8Array.of(raw & 0xff, (raw >> 8) & 0xff, 0x4b, 0x46, configuration, 0xff, sixth, 0x10, 0);
  bytes[8] = crc8(bytes.subarray(0, 8));
  return bytes;
}

const thermometer = (bytes: Uint8Array) => started("ds18b20", { sensor: { read: () => bytes } });

describe("the driver ds18b20", () => {
  // Maxim 19-7487, table 1.
  it.each([
    [0x07d0, 125],
    [0x0550, 85],
    [0x0191, 25.0625],
    [0x00a2, 10.125],
    [0x0008, 0.5],
    [0x0000, 0],
    [0xfff8, -0.5],
    [0xff5e, -10.125],
    [0xfe6f, -25.0625],
    [0xfc90, -55],
  ])("reads %i as %f degrees", (raw, degrees) => {
    expect(measure(thermometer(scratchpad(raw)))).toEqual({ temperature: degrees });
  });

  it.each([
    [0x1f, 25],
    [0x3f, 25.25],
    [0x5f, 25.375],
    [0x7f, 25.4375],
  ])("leaves out the bits that resolution %i does not have", (configuration, degrees) => {
    expect(measure(thermometer(scratchpad(0x0197, configuration)))).toEqual({ temperature: degrees });
  });

  it.each([
    ["a flipped bit", scratchpad(0x0191).map((byte, index) => (index === 1 ? byte ^ 0x40 : byte)), RESULT.io],
    ["a line held low", new Uint8Array(9), RESULT.io],
    ["a line held high", new Uint8Array(9).fill(0xff), RESULT.io],
    ["eight bytes", scratchpad(0x0191).subarray(0, 8), RESULT.io],
    ["85 degrees after power-on", scratchpad(0x0550, 0x7f, 0x0c), RESULT.busy],
  ])("takes no temperature from %s", (_, bytes, code) => {
    const host = thermometer(bytes);
    for (let tick = 0; tick < 60; tick++) expect(measure(host)).toEqual({});
    expect(host.logs).toEqual([{ level: 0, text: `no measurement: result ${code}` }]);
  });
});

describe("the driver ads1115", () => {
  it("reads the voltage at each input of the simulated chip", () => {
    let now = 0;
    const device = { chip: "ads1115", ain0: 1.5, ain1: 0, ain2: 3.3, ain3: 4 };
    const values = measure(started("ads1115", { converter: i2cFake(new Ads1115(device, () => (now += 20))) }));
    const expected = [1.5, 0, 3.3, 4];
    for (const [input, volts] of expected.entries()) expect(values[`input-${input}`]).toBeCloseTo(volts, 3);
  });

  it("asks for one conversion of each input against ground, 4.096 V full scale", () => {
    const writes: number[][] = [];
    const idle = Uint8Array.of(0x80, 0);
    measure(
      started("ads1115", {
        converter: { write: ({ bytes }) => (writes.push([...(bytes[0] ?? [])]), 0), "write-read": () => idle },
      }),
    );
    expect(writes).toEqual([0xc3, 0xd3, 0xe3, 0xf3].map((high) => [1, high, 0x83]));
  });

  it("reads a negative code as a negative voltage", () => {
    const answers = { write: () => 0, "write-read": () => Uint8Array.of(0xff, 0xf8) };
    expect(measure(started("ads1115", { converter: answers }))["input-0"]).toBe(-0.001);
  });

  it("gives up on a conversion that does not end", () => {
    const host = started("ads1115", { converter: { write: () => 0, "write-read": () => Uint8Array.of(0, 0) } });
    expect(measure(host)).toEqual({});
    expect(host.logs[0]?.text).toBe(`no measurement: result ${RESULT.timeout}`);
  });
});

describe("the driver mcp3008", () => {
  it("reads each input of the simulated chip as a part of the reference", () => {
    const device = { chip: "mcp3008", reference: 3.3, ch0: 0, ch1: 1.65, ch7: 3.29 };
    const values = measure(started("mcp3008", { converter: spiFake(new Mcp3008(device, () => 0)) }));
    expect(Object.keys(values)).toHaveLength(8);
    expect(values["input-0"]).toBe(0);
    expect(values["input-1"]).toBeCloseTo(0.5, 2);
    expect(values["input-7"]).toBeCloseTo(3.29 / 3.3, 2);
  });

  it("says that nothing drives the line where the null bit is set", () => {
    const host = started("mcp3008", { converter: { transfer: () => Uint8Array.of(0xff, 0xff, 0xff) } });
    expect(measure(host)).toEqual({});
    expect(host.logs[0]?.text).toBe(`no measurement: result ${RESULT.io}`);
  });

  it("sends the start bit, and single-ended with the input's number", () => {
    const sent: number[][] = [];
    const converter = {
      transfer: ({ bytes }: { bytes: readonly Uint8Array[] }) => (sent.push([...(bytes[0] ?? [])]), new Uint8Array(3)),
    };
    measure(started("mcp3008", { converter }));
    expect(sent).toEqual([8, 9, 10, 11, 12, 13, 14, 15].map((input) => [1, input << 4, 0]));
  });
});
