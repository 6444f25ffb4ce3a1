/** Messages as `bulkhead dev` shows them: in the contract's order, with what breaks the contract. */
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { encodeCbor } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { readContract } from "../../tools/build/contracts/model.ts";
import type { Contract } from "../../tools/build/contracts/model.ts";
import { decodeMessage } from "../../tools/dev/decode.ts";

let readings: Contract;

beforeAll(async () => {
  readings = await readContract(join("modules/interfaces", "readings.cddl"));
});

const WITHOUT_UNIT = { sensor: "a", sequence: 7, quantity: "value", value: 1.5, time: 1_700_000_000_000 };
const GOOD = { sensor: "a", sequence: 7, quantity: "value", value: 1.5, unit: "1", time: 1_700_000_000_000 };
const breaches = (message: CborInput) => decodeMessage(encodeCbor(message), readings).breaches;

describe("a message", () => {
  it("is one line, in the order of its contract", () => {
    expect(decodeMessage(encodeCbor(GOOD), readings)).toMatchObject({
      text: 'reading {sensor: "a", sequence: 7, quantity: "value", value: 1.5, unit: "1", time: 1700000000000}',
      value: GOOD,
      breaches: [],
    });
  });

  it("without a contract is shown as it is", () => {
    expect(decodeMessage(encodeCbor([1, Uint8Array.of(0xab)]), undefined)).toMatchObject({
      text: "[1, h'ab']",
      breaches: [],
    });
  });

  it("that is no CBOR is a number of bytes and the reason", () => {
    const { value, text, breaches: found } = decodeMessage(Uint8Array.of(0x81, 0xff), readings);
    expect({ value, text }).toEqual({ value: undefined, text: "2 bytes" });
    expect(found).toHaveLength(1);
  });
});

describe("what breaks the contract is named", () => {
  it.each<[string, CborInput, string]>([
    ["a field that is missing", WITHOUT_UNIT, "unit is missing"],
    ["a field too many", { ...GOOD, colour: "red" }, "colour is no field of it"],
    ["another type", { ...GOOD, value: "1.5" }, "value is not a value of type number"],
    ["a text that is too long", { ...GOOD, quantity: "x".repeat(33) }, "quantity is not text of 1 to 32 bytes"],
    ["a text counted in bytes, not letters", { ...GOOD, quantity: "ü".repeat(17) }, "quantity is not text"],
    ["a number below 0 that may not be", { ...GOOD, sequence: -1 }, "sequence is not an unsigned integer of 32 bits"],
    ["a number too large", { ...GOOD, sequence: 2 ** 32 }, "sequence is not an unsigned integer"],
    ["what is no map", [1, 2], "a reading is a map"],
  ])("%s", (_, message, breach) => {
    expect(breaches(message).join()).toContain(breach);
  });
});
