/** The SDK's CBOR codec: RFC 8949 appendix A both ways, and bytes made to break it. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { checkCbor, encodeCbor } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";

let host: ModuleHost;

beforeAll(async () => {
  const [built] = await buildModule("tests/sdk/fixtures/codec", { output: "build/tests" });
  host = new ModuleHost(built?.wasm ?? "");
  host.start();
});

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));

/** The codes of the reader's faults, as the fixture gives them. */
const FAULT = {
  truncated: -1001,
  type: -1002,
  range: -1003,
  head: -1004,
  utf8: -1005,
  depth: -1006,
  trailing: -1007,
  simple: -1008,
};

function transcode(item: Uint8Array): string | number {
  const outcome = host.deliverBytes("transcode", item);
  return "error" in outcome ? outcome.error : Buffer.from(outcome.reply ?? []).toString("hex");
}

/** Read and written again they are the same bytes: they stand in their shortest form. */
const SAME = [
  "00",
  "01",
  "0a",
  "17",
  "1818",
  "1819",
  "1864",
  "1903e8",
  "1a000f4240",
  "1b000000e8d4a51000",
  "1bffffffffffffffff",
  "20",
  "29",
  "3863",
  "3903e7",
  "f90000",
  "f98000",
  "f93c00",
  "fb3ff199999999999a",
  "f93e00",
  "f97bff",
  "fa47c35000",
  "fa7f7fffff",
  "fb7e37e43c8800759c",
  "f90001",
  "f90400",
  "f9c400",
  "fbc010666666666666",
  "f97c00",
  "f97e00",
  "f9fc00",
  "f4",
  "f5",
  "f6",
  "c074323031332d30332d32315432303a30343a30305a",
  "c11a514b67b0",
  "c1fb41d452d9ec200000",
  "c249010000000000000000",
  "c349010000000000000000",
  "d74401020304",
  "d818456449455446",
  "d82076687474703a2f2f7777772e6578616d706c652e636f6d",
  "40",
  "4401020304",
  "60",
  "6161",
  "6449455446",
  "62225c",
  "62c3bc",
  "63e6b0b4",
  "64f0908591",
  "80",
  "83010203",
  "8301820203820405",
  "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
  "a0",
  "a201020304",
  "a26161016162820203",
  "826161a161626163",
  "a56161614161626142616361436164614461656145",
];

/** Read, and written in the shortest form, which is another. */
const SHORTENED = [
  ["fa7f800000", "f97c00"],
  ["fa7fc00000", "f97e00"],
  ["faff800000", "f9fc00"],
  ["fb7ff0000000000000", "f97c00"],
  ["fb7ff8000000000000", "f97e00"],
  ["fbfff0000000000000", "f9fc00"],
] as const;

/** Refused, each by a rule. */
const REFUSED = [
  ["3bffffffffffffffff", FAULT.range, "integers are those of 64 bits with a sign, or without one from 0"],
  ["f7", FAULT.simple, "undefined is not a value"],
  ["f0", FAULT.simple, "simple values are false, true and null"],
  ["f8ff", FAULT.simple, "simple values are false, true and null"],
  ["5f42010243030405ff", FAULT.head, "indefinite lengths"],
  ["7f657374726561646d696e67ff", FAULT.head, "indefinite lengths"],
  ["9fff", FAULT.head, "indefinite lengths"],
  ["9f018202039f0405ffff", FAULT.head, "indefinite lengths"],
  ["9f01820203820405ff", FAULT.head, "indefinite lengths"],
  ["83018202039f0405ff", FAULT.head, "indefinite lengths"],
  ["83019f0203ff820405", FAULT.head, "indefinite lengths"],
  ["9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", FAULT.head, "indefinite lengths"],
  ["bf61610161629f0203ffff", FAULT.head, "indefinite lengths"],
  ["826161bf61626163ff", FAULT.head, "indefinite lengths"],
  ["bf6346756ef563416d7421ff", FAULT.head, "indefinite lengths"],
] as const;

describe("RFC 8949 appendix A", () => {
  it.each(SAME)("%s is read and written the same", (hex) => {
    expect(transcode(bytes(hex))).toBe(hex);
  });

  it.each(SHORTENED)("%s is read, and written as %s", (hex, shortest) => {
    expect(transcode(bytes(hex))).toBe(shortest);
  });

  it.each(REFUSED)("%s is refused with %i: %s", (hex, fault) => {
    expect(transcode(bytes(hex))).toBe(fault);
  });

  it("has all of its 81 lines here", () => {
    expect(new Set([...SAME, ...SHORTENED.map(([hex]) => hex), ...REFUSED.map(([hex]) => hex)]).size).toBe(81);
  });
});

describe("the heap", () => {
  const isUntouched = (port: string, item: Uint8Array): boolean => {
    const outcome = host.deliverBytes(port, item);
    if ("error" in outcome) throw new Error(`${port}: ${outcome.error}`);
    return Buffer.from(outcome.reply ?? []).toString("hex") === "f5";
  };

  it("is not touched by reading and writing any item of appendix A", () => {
    for (const hex of [...SAME, ...SHORTENED.map(([long]) => long)]) {
      expect([hex, isUntouched("heap", bytes(hex))]).toEqual([hex, true]);
    }
  });

  it("is not touched by a contract's decoder and encoder: scalars in place, texts and byte strings as views", () => {
    const reading = { sensor: "bme280", sequence: 1, quantity: "temperature", value: 21.5, unit: "Cel", time: 1 };
    expect(isUntouched("contracted", encodeCbor(reading))).toBe(true);
  });

  it("shows an allocation where there is one", () => {
    expect(isUntouched("allocated", bytes("00"))).toBe(false);
  });
});

describe("hostile bytes", () => {
  it.each([
    ["nothing", "", FAULT.truncated],
    ["a head cut off", "19", FAULT.truncated],
    ["a head cut off in its argument", "1b0102030405", FAULT.truncated],
    ["a text longer than the message", "7affffffff", FAULT.truncated],
    ["a byte string of 2^63 bytes", "5b8000000000000000", FAULT.truncated],
    ["a byte string of 2^64 - 1 bytes", "5bffffffffffffffff", FAULT.truncated],
    ["an array of 2^32 - 1 items", "9affffffff", FAULT.truncated],
    ["a map of 2^63 entries, twice of which is 0", "bb8000000000000000", FAULT.truncated],
    ["a map of 2^31 entries, twice of which is 0 in 32 bits", "ba80000000", FAULT.truncated],
    ["a reserved head", "1c", FAULT.head],
    ["a break", "ff", FAULT.simple],
    ["a break in an array", "81ff", FAULT.simple],
    ["a two-byte simple value below 32", "f815", FAULT.simple],
    ["an overlong UTF-8", "62c080", FAULT.utf8],
    ["a surrogate in UTF-8", "63eda080", FAULT.utf8],
    ["a character above U+10FFFF", "64f4908080", FAULT.utf8],
    ["a character cut off", "62e6b0", FAULT.utf8],
    ["a lone continuation byte", "6180", FAULT.utf8],
    ["bytes after the item", "0000", FAULT.trailing],
    ["too deep an array", `${"81".repeat(17)}00`, FAULT.depth],
    ["too deep a tag", `${"c0".repeat(17)}00`, FAULT.depth],
  ])("%s is refused", (_, hex, fault) => {
    const outcome = host.deliverBytes("skip", bytes(hex));
    expect(outcome).toEqual({ error: fault });
  });

  it("sixty thousand nested arrays are refused without a trap", () => {
    expect(host.deliverBytes("skip", new Uint8Array(60_000).fill(0x81))).toEqual({ error: FAULT.depth });
  });

  /** What only the host's validator asks for; a reader of a contract finds its keys itself. */
  const HOST_ONLY = ["duplicate-key", "key-type", "byte-order-mark"];
  const limits = { maxBytes: 4096, maxDepth: 16, maxItems: 4096, tags: [], deterministic: false };

  function agrees(item: Uint8Array): void {
    const verdict = checkCbor(item, limits);
    const isTaken = "reply" in host.deliverBytes("skip", item);
    if (isTaken && !verdict.ok) expect([...HOST_ONLY, "tag-not-allowed"]).toContain(verdict.reason);
    if (!isTaken) expect(verdict.ok).toBe(false);
  }

  it("random bytes are judged as the kernel's validator judges them", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 48 }), agrees), { numRuns: 5000 });
  });

  it("damaged items are judged as the kernel's validator judges them", () => {
    const value = fc.letrec<{ value: CborInput }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
        fc.double(),
        fc.string({ unit: "binary" }).filter((text) => text.isWellFormed() && !text.startsWith("\uFEFF")),
        fc.uint8Array({ maxLength: 20 }),
        fc.constantFrom<CborInput>(true, false, null),
        fc.array(tie("value"), { maxLength: 6 }),
        fc.dictionary(fc.string({ maxLength: 6 }), tie("value"), { maxKeys: 5, noNullPrototype: true }),
      ),
    })).value;
    const damage = fc.array(fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) }), { maxLength: 2 });
    fc.assert(
      fc.property(value, damage, (item, changes) => {
        const encoded = encodeCbor(item);
        expect(transcode(encoded)).toBe(Buffer.from(encoded).toString("hex"));
        for (const { at, byte } of changes) encoded[at % encoded.length] = byte;
        agrees(encoded);
      }),
      { numRuns: 1500 },
    );
  });

  it("every half-precision number is read exactly and written as it was", () => {
    for (let half = 0; half < 0x10000; half++) {
      const isNaN = (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0;
      const hex = `f9${half.toString(16).padStart(4, "0")}`;
      if (transcode(bytes(hex)) !== (isNaN ? "f97e00" : hex)) expect.unreachable(hex);
    }
  });

  it("a text is compared with a string of any characters", () => {
    const isSame = (text: string) => host.deliver("text", text);
    expect(isSame("aü水𐅑")).toEqual({ reply: Uint8Array.of(0xf5) });
    for (const other of ["", "a", "aü水", "aü水𐅑!", "aü水𐅒", "bü水𐅑"])
      expect(isSame(other)).toEqual({ reply: Uint8Array.of(0xf4) });
  });
});
