/** `bulkhead sim`: how it finds the device that is meant, and what it refuses. */
import { describe, expect, it } from "vitest";
import { findPart, splitWords } from "../../tools/sim/verb.ts";
import type { Refusal } from "../../kernel/index.ts";

const part = (device: string, chip: string) => ({ device, chip, quantities: { temperature: 20 }, faults: [] });
const state = {
  seconds: 0,
  parts: [
    part("i2c-1/0x76", "bme280"),
    part("w1-bus/28-000005e2fdc3", "ds18b20"),
    part("w1-bus/28-000005e2fdc4", "ds18b20"),
  ],
};

describe("a simulated device", () => {
  it.each(["i2c-1/0x76", "0x76", "bme280"])("is found as %s", (name) => {
    expect(findPart(state, name).device).toBe("i2c-1/0x76");
  });

  it("is not guessed where several have the name", () => {
    expect(() => findPart(state, "ds18b20")).toThrow("is not one device");
    expect(findPart(state, "28-000005e2fdc4").device).toBe("w1-bus/28-000005e2fdc4");
  });

  it("is named where there is none of that name", () => {
    let refusal: unknown;
    try {
      findPart(state, "bmp280");
    } catch (error) {
      refusal = error;
    }
    expect((refusal as Refusal).describe()).toMatch(
      /nothing simulated is called bmp280; expected i2c-1\/0x76 \(bme280\)/,
    );
  });
});

describe("a line of the conversation", () => {
  it.each([
    ["set bme280 temperature=3", ["set", "bme280", "temperature=3"]],
    ["  bme280   temperature={ base: 3, swing: 1 } x ", ["bme280", "temperature={ base: 3, swing: 1 }", "x"]],
    ["a t=[[0, 1], [2, 3]]", ["a", "t=[[0, 1], [2, 3]]"]],
    ["", []],
  ])("%j is words apart at spaces outside brackets", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });
});
