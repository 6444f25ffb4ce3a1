/** RFC 8949 appendix A: every example is decoded to its value, or refused by the reason stated here. */

import { describe, expect, test } from "vitest";
import { checkCbor, decodeCbor, encodeCbor } from "../../kernel/cbor/index.ts";
import type { CborReason, CborValue } from "../../kernel/cbor/index.ts";

const limits = { maxBytes: 1024, maxDepth: 8, maxItems: 256, tags: [], deterministic: true };

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const map = (...entries: [number | string, CborValue][]): CborValue => new Map(entries);
const upTo25 = Array.from({ length: 25 }, (_, index) => index + 1);

const supported: readonly (readonly [string, CborValue])[] = [
  ["00", 0],
  ["01", 1],
  ["0a", 10],
  ["17", 23],
  ["1818", 24],
  ["1819", 25],
  ["1864", 100],
  ["1903e8", 1000],
  ["1a000f4240", 1_000_000],
  ["1b000000e8d4a51000", 1_000_000_000_000],
  ["1bffffffffffffffff", 18_446_744_073_709_551_615n],
  ["3bffffffffffffffff", -18_446_744_073_709_551_616n],
  ["20", -1],
  ["29", -10],
  ["3863", -100],
  ["3903e7", -1000],
  ["f98000", -0],
  ["fb3ff199999999999a", 1.1],
  ["f93e00", 1.5],
  ["fa7f7fffff", 3.4028234663852886e38],
  ["fb7e37e43c8800759c", 1e300],
  ["f90001", 5.960464477539063e-8],
  ["f90400", 0.00006103515625],
  ["fbc010666666666666", -4.1],
  ["f97c00", Infinity],
  ["f97e00", NaN],
  ["f9fc00", -Infinity],
  ["f4", false],
  ["f5", true],
  ["f6", null],
  ["40", new Uint8Array()],
  ["4401020304", Uint8Array.of(1, 2, 3, 4)],
  ["60", ""],
  ["6161", "a"],
  ["6449455446", "IETF"],
  ["62225c", '"\\'],
  ["62c3bc", "ü"],
  ["63e6b0b4", "水"],
  ["64f0908591", "\u{10151}"],
  ["80", []],
  ["83010203", [1, 2, 3]],
  ["8301820203820405", [1, [2, 3], [4, 5]]],
  ["98190102030405060708090a0b0c0d0e0f101112131415161718181819", upTo25],
  ["a0", map()],
  ["a201020304", map([1, 2], [3, 4])],
  ["a26161016162820203", map(["a", 1], ["b", [2, 3]])],
  ["826161a161626163", ["a", map(["b", "c"])]],
  ["a56161614161626142616361436164614461656145", map(["a", "A"], ["b", "B"], ["c", "C"], ["d", "D"], ["e", "E"])],
];

/** Values of the examples that hold integers in floats: they decode, and encode in the shorter integer form. */
const integersInFloats: readonly (readonly [string, number, string])[] = [
  ["f90000", 0, "00"],
  ["f93c00", 1, "01"],
  ["f97bff", 65_504, "19ffe0"],
  ["f9c400", -4, "23"],
  ["fa47c35000", 100_000, "1a000186a0"],
];

const refused: readonly (readonly [string, CborReason])[] = [
  ["c249010000000000000000", "tag-not-allowed"],
  ["c349010000000000000000", "tag-not-allowed"],
  ["fa7f800000", "not-shortest"],
  ["fa7fc00000", "not-shortest"],
  ["faff800000", "not-shortest"],
  ["fb7ff0000000000000", "not-shortest"],
  ["fb7ff8000000000000", "not-shortest"],
  ["fbfff0000000000000", "not-shortest"],
  ["f7", "simple-value"],
  ["f0", "simple-value"],
  ["f8ff", "simple-value"],
  ["c074323031332d30332d32315432303a30343a30305a", "tag-not-allowed"],
  ["c11a514b67b0", "tag-not-allowed"],
  ["c1fb41d452d9ec200000", "tag-not-allowed"],
  ["d74401020304", "tag-not-allowed"],
  ["d818456449455446", "tag-not-allowed"],
  ["d82076687474703a2f2f7777772e6578616d706c652e636f6d", "tag-not-allowed"],
  ["5f42010243030405ff", "indefinite-length"],
  ["7f657374726561646d696e67ff", "indefinite-length"],
  ["9fff", "indefinite-length"],
  ["9f018202039f0405ffff", "indefinite-length"],
  ["9f01820203820405ff", "indefinite-length"],
  ["83018202039f0405ff", "indefinite-length"],
  ["83019f0203ff820405", "indefinite-length"],
  ["9f0102030405060708090a0b0c0d0e0f101112131415161718181819ff", "indefinite-length"],
  ["bf61610161629f0203ffff", "indefinite-length"],
  ["826161bf61626163ff", "indefinite-length"],
  ["bf6346756ef563416d7421ff", "indefinite-length"],
];

describe("RFC 8949 appendix A", () => {
  test.each(supported)("%s decodes to its value, and the value encodes to these bytes", (hex, value) => {
    expect(decodeCbor(bytes(hex), limits)).toStrictEqual(value);
    expect(Buffer.from(encodeCbor(value)).toString("hex")).toBe(hex);
  });

  test.each(integersInFloats)("%s decodes to %d, which encodes as the integer %s", (hex, value, shorter) => {
    expect(decodeCbor(bytes(hex), limits)).toBe(value);
    expect(Buffer.from(encodeCbor(value)).toString("hex")).toBe(shorter);
  });

  test.each(refused)("%s is refused: %s", (hex, reason) => {
    expect(checkCbor(bytes(hex), limits)).toMatchObject({ ok: false, code: "E_CBOR", reason });
  });

  test("floats in longer forms are taken where determinism is not asked for", () => {
    const relaxed = { ...limits, deterministic: false };
    expect(decodeCbor(bytes("fa7f800000"), relaxed)).toBe(Infinity);
    expect(decodeCbor(bytes("fb7ff8000000000000"), relaxed)).toBeNaN();
    expect(decodeCbor(bytes("fbfff0000000000000"), relaxed)).toBe(-Infinity);
  });

  test("all 81 examples of the appendix are here", () => {
    const all = [...supported, ...integersInFloats, ...refused].map(([hex]) => hex);
    expect(new Set(all).size).toBe(81);
  });
});
