/** Contracts in the kernel: what a compiled check lets pass, agreement with the modules' own decoders, and which contracts fit. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CborInput, Contract, ContractField } from "../../kernel/index.ts";
import { compileFields, contractConflict, encodeCbor } from "../../kernel/index.ts";
import { CHECKS } from "../../tools/testkit/contracts.ts";
import { repeatedly } from "../support/patience.ts";

function field(name: string, kind: ContractField["kind"], ...args: (number | string)[]): ContractField {
  return { name, isOptional: false, kind, arguments: args };
}

function optional(of: ContractField): ContractField {
  return { ...of, isOptional: true };
}

function contract(message: readonly ContractField[], reply: readonly ContractField[] | null = null): Contract {
  return { message, reply };
}

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));
const READING = {
  sensor: "bme280",
  sequence: 7,
  quantity: "temperature",
  value: 21.5,
  unit: "Cel",
  time: 1_800_000_000_000,
};

describe("a compiled check", () => {
  it.each<[string, Readonly<Record<string, CborInput>>, string | undefined]>([
    ["a reading", READING, undefined],
    ["an integer as a number", { ...READING, value: 21 }, undefined],
    ["the largest time", { ...READING, time: 2n ** 64n - 1n }, undefined],
    ["the largest sequence", { ...READING, sequence: 2 ** 32 - 1 }, undefined],
    ["a sequence one larger", { ...READING, sequence: 2 ** 32 }, "the field sequence"],
    ["a sequence below 0", { ...READING, sequence: -1 }, "the field sequence"],
    ["a sequence of a half", { ...READING, sequence: 0.5 }, "the field sequence"],
    ["an empty name", { ...READING, sensor: "" }, "the field sensor"],
    ["a name of 48 bytes", { ...READING, sensor: "ü".repeat(24) }, undefined],
    ["a name of 50 bytes in 25 characters", { ...READING, sensor: "ü".repeat(25) }, "the field sensor"],
    ["null", { ...READING, value: null }, "the field value"],
    ["a field more", { ...READING, more: 1 }, "a field that the contract does not have"],
  ])("of %s", (_, message, wrong) => {
    expect(CHECKS.reading(encodeCbor(message))).toBe(wrong);
  });

  it.each([["an integer in a float", "a1616101", "a16161f93c00"]])(
    "takes %s only in its own form",
    (_, right, wrong) => {
      const check = compileFields([field("a", "integer")]);
      expect(check(hex(right))).toBeUndefined();
      expect(check(hex(wrong))).toBe("the field a");
    },
  );

  it.each<[ContractField["kind"], (number | string)[], readonly string[], readonly string[]]>([
    [
      "integer",
      [],
      ["1b7fffffffffffffff", "3b7fffffffffffffff", "00"],
      ["1b8000000000000000", "3b8000000000000000", "f4"],
    ],
    ["unsigned", [64], ["1bffffffffffffffff", "00"], ["20", "f90000"]],
    ["range", [-5, 10], ["24", "0a"], ["25", "0b", "fa00000000"]],
    ["choice", ["a", "b"], ["6161"], ["6163", "4161", "60"]],
    ["bytes", [1, 2], ["4100", "420000"], ["40", "43000000", "6161"]],
    ["boolean", [], ["f4", "f5"], ["f6", "00"]],
    ["number", [], ["f97e00", "fb3ff199999999999a", "20"], ["f6", "6131"]],
  ])("of %s %j knows its edges", (kind, args, right, wrong) => {
    const check = compileFields([field("a", kind, ...args)]);
    for (const value of right) expect([value, check(hex(`a16161${value}`))]).toEqual([value, undefined]);
    for (const value of wrong) expect([value, check(hex(`a16161${value}`))]).toEqual([value, "the field a"]);
  });

  it("never throws, whatever the bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(["string", "undefined"]).toContain(typeof CHECKS.reading(bytes));
      }),
      { numRuns: repeatedly(5000) },
    );
  });
});

describe("two contracts", () => {
  const base = [field("a", "text", 1, 8), field("n", "unsigned", 32)];
  it.each<[string, readonly ContractField[], readonly ContractField[], string | undefined]>([
    ["the same", base, base, undefined],
    ["a wider receiver", base, [field("a", "text", 0, 9), field("n", "number")], undefined],
    ["a narrower receiver", base, [field("a", "text", 2, 8), field("n", "unsigned", 32)], "message.a"],
    ["a receiver that also takes another field", base, [...base, optional(field("x", "boolean"))], undefined],
    ["a receiver that needs another field", base, [...base, field("x", "boolean")], "message.x is absent"],
    [
      "a sender with a field more",
      [...base, field("x", "boolean")],
      base,
      "message.x is boolean where there is no such",
    ],
    [
      "a sender that may leave out what is needed",
      [optional(field("a", "text", 1, 8)), field("n", "unsigned", 32)],
      base,
      "message.a is optional",
    ],
    ["fewer choices sent than taken", [field("c", "choice", "on")], [field("c", "choice", "on", "off")], undefined],
    ["more choices sent than taken", [field("c", "choice", "on", "off")], [field("c", "choice", "on")], "message.c"],
    ["a choice as a text", [field("c", "choice", "on", "off")], [field("c", "text", 1, 3)], undefined],
    ["a choice as too short a text", [field("c", "choice", "on", "off")], [field("c", "text", 1, 2)], "message.c"],
    ["a text as a choice", [field("c", "text", 1, 2)], [field("c", "choice", "on")], "message.c"],
    ["64 bits as a signed integer", [field("c", "unsigned", 64)], [field("c", "integer")], "message.c"],
    ["a number as an integer", [field("c", "number")], [field("c", "integer")], "message.c"],
    ["bytes as a text", [field("c", "bytes", 1, 2)], [field("c", "text", 1, 2)], "message.c"],
  ])("%s", (_, sends, takes, found) => {
    const conflict = contractConflict(contract(sends), contract(takes));
    if (found === undefined) expect(conflict).toBeUndefined();
    else expect(conflict).toContain(found);
  });

  it("are compared the other way round in their replies", () => {
    const [narrow, wide] = [[field("r", "range", 0, 5)], [field("r", "range", 0, 9)]];
    expect(contractConflict(contract([], wide), contract([], narrow))).toBeUndefined();
    expect(contractConflict(contract([], narrow), contract([], wide))).toContain("reply.r");
  });

  const kinds = fc.oneof(
    fc.constantFrom<ContractField>(
      field("f", "boolean"),
      field("f", "number"),
      field("f", "integer"),
      field("f", "unsigned", 32),
      field("f", "unsigned", 64),
    ),
    fc
      .tuple(fc.integer({ min: -9, max: 9 }), fc.nat(9))
      .map(([least, more]) => field("f", "range", least, least + more)),
    fc.tuple(fc.nat(3), fc.nat(3)).map(([least, more]) => field("f", "text", least, least + more)),
    fc
      .uniqueArray(fc.constantFrom("", "a", "bb", "ccc"), { minLength: 1 })
      .map((texts) => field("f", "choice", ...texts)),
  );
  const value = fc.oneof<fc.Arbitrary<CborInput>[]>(
    fc.integer({ min: -12, max: 20 }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.double(),
    fc.boolean(),
    fc.constantFrom("", "a", "bb", "ccc", "dddd"),
  );

  it("that fit never differ about a message: what the sender's allows, the receiver's takes", () => {
    fc.assert(
      fc.property(kinds, kinds, value, (sends, takes, f) => {
        if (contractConflict(contract([sends]), contract([takes])) !== undefined) return;
        const bytes = encodeCbor({ f });
        if (compileFields([sends])(bytes) === undefined) expect(compileFields([takes])(bytes)).toBeUndefined();
      }),
      { numRuns: repeatedly(20_000) },
    );
  });
});
