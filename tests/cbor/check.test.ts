/** The CBOR pre-validator on hostile input: every reason it can give, every limit at its edge, and linear time. */

import { Encoder, Decoder as UnguardedDecoder } from "cbor-x/index-no-eval";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { CBOR_REASONS, checkCbor, decodeCbor, encodeCbor } from "../../kernel/index.ts";
import type { CborInput, CborLimits, CborReason } from "../../kernel/index.ts";
import { repeatedly } from "../support/patience.ts";

const strict: CborLimits = { maxBytes: 1 << 20, maxDepth: 16, maxItems: 4096, tags: [107], deterministic: true };
const relaxed: CborLimits = { ...strict, deterministic: false };

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex"));

/** hex, limits, reason, offset of the refused item. */
const refused: readonly (readonly [string, CborLimits, CborReason, number])[] = [
  ["", relaxed, "truncated", 0],
  ["18", relaxed, "truncated", 0],
  ["1a000000", relaxed, "truncated", 0],
  ["42 01", relaxed, "truncated", 0],
  ["62 61", relaxed, "truncated", 0],
  ["82 01", relaxed, "truncated", 0],
  ["a1 01", relaxed, "truncated", 0],
  ["a1 61 61", relaxed, "truncated", 3],
  ["d8 6b", relaxed, "truncated", 2],
  ["fb 00", relaxed, "truncated", 0],
  ["9a ffffffff", relaxed, "truncated", 0],
  ["9b ffffffffffffffff", relaxed, "truncated", 0],
  ["bb 8000000000000000", relaxed, "truncated", 0],
  ["5b 0000000100000000", relaxed, "truncated", 0],
  ["7b 7fffffffffffffff 61", relaxed, "truncated", 0],
  ["00 00", relaxed, "trailing-bytes", 1],
  ["80 80", relaxed, "trailing-bytes", 1],
  ["f6 ff", relaxed, "trailing-bytes", 1],
  ["1c", relaxed, "reserved-length", 0],
  ["5d", relaxed, "reserved-length", 0],
  ["de", relaxed, "reserved-length", 0],
  ["fe", relaxed, "reserved-length", 0],
  ["81 ff", relaxed, "indefinite-length", 1],
  ["ff", relaxed, "indefinite-length", 0],
  ["9f ff", relaxed, "indefinite-length", 0],
  ["bf ff", relaxed, "indefinite-length", 0],
  ["5f ff", relaxed, "indefinite-length", 0],
  ["7f ff", relaxed, "indefinite-length", 0],
  ["1f", relaxed, "indefinite-length", 0],
  ["df 00", relaxed, "indefinite-length", 0],
  ["f8 15", relaxed, "simple-value", 0],
  ["f8 20", relaxed, "simple-value", 0],
  ["f7", relaxed, "simple-value", 0],
  ["e0", relaxed, "simple-value", 0],
  ["f3", relaxed, "simple-value", 0],
  ["c2 41 01", relaxed, "tag-not-allowed", 0],
  ["c3 41 01", relaxed, "tag-not-allowed", 0],
  ["d8 1b 82 6345727201", relaxed, "tag-not-allowed", 0],
  ["d8 1c 80", relaxed, "tag-not-allowed", 0],
  ["d8 33 82 80 80", relaxed, "tag-not-allowed", 0],
  ["d8 69 82 00 80", relaxed, "tag-not-allowed", 0],
  ["d9 dff9 80", relaxed, "tag-not-allowed", 0],
  ["d9 dffe 80", relaxed, "tag-not-allowed", 0],
  ["d9 dfff 80", relaxed, "tag-not-allowed", 0],
  ["db 000000010000006b 00", relaxed, "tag-not-allowed", 0],
  ["61 80", relaxed, "invalid-utf8", 0],
  ["61 ff", relaxed, "invalid-utf8", 0],
  ["62 c0 80", relaxed, "invalid-utf8", 0],
  ["63 ed a0 80", relaxed, "invalid-utf8", 0],
  ["64 f4 90 80 80", relaxed, "invalid-utf8", 0],
  ["62 61 c3", relaxed, "invalid-utf8", 0],
  ["63 ef bb bf", relaxed, "byte-order-mark", 0],
  ["64 ef bb bf 61", relaxed, "byte-order-mark", 0],
  ["a1 41 61 00", relaxed, "key-type", 1],
  ["a1 80 00", relaxed, "key-type", 1],
  ["a1 f6 00", relaxed, "key-type", 1],
  ["a1 f9 3c00 00", relaxed, "key-type", 1],
  ["a1 d8 6b 00 00", relaxed, "key-type", 1],
  ["a2 01 00 01 00", relaxed, "duplicate-key", 3],
  ["a2 01 00 18 01 00", relaxed, "duplicate-key", 3],
  ["a2 20 00 38 00 00", relaxed, "duplicate-key", 3],
  ["a2 61 61 00 78 01 61 00", relaxed, "duplicate-key", 4],
  ["a2 1b 0000000000000001 00 01 00", relaxed, "duplicate-key", 11],
  ["a2 60 00 60 00", relaxed, "duplicate-key", 3],
  ["a2 69 5f5f70726f746f5f5f 00 69 5f5f70726f746f5f5f 00", relaxed, "duplicate-key", 12],
  ["a2 01 00 01 00", strict, "duplicate-key", 3],
  ["a2 02 00 01 00", strict, "unsorted-keys", 3],
  ["a2 61 61 00 01 00", strict, "unsorted-keys", 4],
  ["a2 62 6161 00 61 62 00", strict, "unsorted-keys", 5],
  ["a2 20 00 01 00", strict, "unsorted-keys", 3],
  ["18 17", strict, "not-shortest", 0],
  ["19 00ff", strict, "not-shortest", 0],
  ["1a 0000ffff", strict, "not-shortest", 0],
  ["1b 00000000ffffffff", strict, "not-shortest", 0],
  ["58 00", strict, "not-shortest", 0],
  ["78 00", strict, "not-shortest", 0],
  ["98 00", strict, "not-shortest", 0],
  ["b8 00", strict, "not-shortest", 0],
  ["d9 006b 00", strict, "not-shortest", 0],
  ["f9 7e01", strict, "not-shortest", 0],
  ["f9 fe00", strict, "not-shortest", 0],
  ["fa 3f800000", strict, "not-shortest", 0],
  ["fa 7fc00000", strict, "not-shortest", 0],
  ["fb 3ff0000000000000", strict, "not-shortest", 0],
  ["fb 36a0000000000000", strict, "not-shortest", 0],
  ["fb 7ff8000000000001", strict, "not-shortest", 0],
];

describe("hostile bytes are refused with their reason and offset", () => {
  test.each(refused)("%s", (hex, limits, reason, at) => {
    expect(checkCbor(bytes(hex), limits)).toStrictEqual({ ok: false, code: "E_CBOR", reason, at });
  });

  test("every reason but the limits' is in the list above, and is documented", () => {
    const limitReasons: CborReason[] = ["too-many-bytes", "too-deep", "too-many-items", "too-many-integer-keys"];
    const seen = new Set<string>([...refused.map(([, , reason]) => reason), ...limitReasons]);
    expect([...seen].sort()).toStrictEqual(Object.keys(CBOR_REASONS).sort());
  });

  test("no prefix of a valid item is valid", () => {
    const whole = encodeCbor({ a: [1, 2.5, "text", new Uint8Array(40)], b: { c: null } });
    for (let length = 0; length < whole.length; length += 1) {
      expect(checkCbor(whole.subarray(0, length), strict)).toMatchObject({ ok: false, reason: "truncated" });
    }
    expect(checkCbor(whole, strict)).toMatchObject({ ok: true });
  });
});

describe("limits hold at their edge", () => {
  test("bytes", () => {
    const text = encodeCbor("abc");
    expect(checkCbor(text, { ...strict, maxBytes: 4 })).toMatchObject({ ok: true });
    const verdict = { ok: false, code: "E_SIZE", reason: "too-many-bytes", at: 0 };
    expect(checkCbor(text, { ...strict, maxBytes: 3 })).toStrictEqual(verdict);
  });

  test.each([
    ["arrays", 0x81],
    ["tags", 0xc5],
  ])("depth of %s", (_, head) => {
    const nested = (depth: number) => Uint8Array.of(...new Array<number>(depth).fill(head), 0);
    const limits = { ...strict, maxDepth: 5, tags: [5] };
    expect(checkCbor(nested(5), limits)).toStrictEqual({ ok: true });
    expect(checkCbor(nested(6), limits)).toMatchObject({ ok: false, reason: "too-deep", at: 5 });
  });

  test("depth of maps", () => {
    expect(checkCbor(bytes("a1 00 a1 00 00"), { ...strict, maxDepth: 2 })).toMatchObject({ ok: true });
    expect(checkCbor(bytes("a1 00 a1 00 00"), { ...strict, maxDepth: 1 })).toMatchObject({ reason: "too-deep" });
  });

  test("items, keys and tags included, before anything is allocated for them", () => {
    const limits = { ...strict, maxItems: 4 };
    expect(checkCbor(bytes("83 01 02 03"), limits)).toStrictEqual({ ok: true });
    expect(checkCbor(bytes("84 01 02 03 04"), limits)).toMatchObject({ reason: "too-many-items", at: 0 });
    expect(checkCbor(bytes("a2 01 02 03 04"), limits)).toMatchObject({ reason: "too-many-items" });
    expect(checkCbor(bytes("82 01 82 01 02"), limits)).toMatchObject({ reason: "too-many-items" });
    expect(checkCbor(bytes("d8 6b 82 01 02"), { ...limits, maxItems: 3 })).toMatchObject({ reason: "too-many-items" });
  });

  test("a million open arrays cost neither stack nor time", () => {
    const bomb = new Uint8Array(1 << 20).fill(0x81);
    const limits = { ...relaxed, maxDepth: Infinity, maxItems: Infinity };
    expect(checkCbor(bomb, { ...limits, maxDepth: 64 })).toMatchObject({ reason: "too-deep", at: 64 });
    expect(checkCbor(bomb, limits)).toMatchObject({ reason: "truncated", at: (1 << 20) - 1 });
  });
});

describe("time is linear in the bytes", () => {
  const wide = { ...relaxed, maxBytes: Infinity, maxItems: Infinity, maxDepth: 64 };
  /** Milliseconds of this thread's own time, the best of nine: other processes and a collection do not count. */
  const milliseconds = (act: () => unknown): number => {
    let best = Infinity;
    for (let run = 0; run < 9; run += 1) {
      const before = process.threadCpuUsage();
      act();
      const { user, system } = process.threadCpuUsage(before);
      best = Math.min(best, (user + system) / 1000);
    }
    return best;
  };
  const textKeys = (count: number, length: number): Uint8Array => {
    const key = (index: number) => "k".repeat(length) + String(index).padStart(8, "0");
    return encodeCbor(new Map(Array.from({ length: count }, (_, index) => [key(index), 0])));
  };

  test.each([
    ["text keys with a long common prefix, in order", textKeys(2000, 200), textKeys(16_000, 200), true],
    ["text keys with a long common prefix, unordered", textKeys(2000, 200), textKeys(16_000, 200), false],
    ["a text", encodeCbor("ü".repeat(100_000)), encodeCbor("ü".repeat(800_000)), true],
    ["a byte string", encodeCbor(new Uint8Array(100_000)), encodeCbor(new Uint8Array(800_000)), true],
  ])("%s: eight times the bytes take less than thirty times the time", (_, small, large, deterministic) => {
    const limits = { ...wide, deterministic };
    expect(checkCbor(large, limits)).toMatchObject({ ok: true });
    const least = Math.max(
      milliseconds(() => checkCbor(small, limits)),
      1,
    );
    expect(milliseconds(() => checkCbor(large, limits))).toBeLessThan(least * 30);
  });

  /** V8's hash of a small integer, which has no seed: whoever knows it can fill one bucket. */
  function hashOf(integer: number): number {
    let mixed = (~integer + (integer << 15)) | 0;
    mixed ^= mixed >>> 12;
    mixed = (mixed + (mixed << 2)) | 0;
    mixed ^= mixed >>> 4;
    mixed = Math.imul(mixed, 2057);
    return (mixed ^ (mixed >>> 16)) & 0x3fff_ffff;
  }

  test("integer keys chosen to collide in a Map are refused above 256, in either mode", () => {
    const keys: number[] = [];
    for (let integer = 0; keys.length < 257; integer += 1) if ((hashOf(integer) & 0x7fff) === 7) keys.push(integer);
    const map = (count: number) => encodeCbor(new Map(keys.slice(0, count).map((integer) => [integer, 0])));
    for (const limits of [strict, relaxed]) {
      expect(checkCbor(map(256), limits)).toMatchObject({ ok: true });
      expect(checkCbor(map(257), limits)).toMatchObject({ reason: "too-many-integer-keys" });
    }
    const maps = encodeCbor(Array.from({ length: 14 }, () => decodeCbor(map(256), strict)));
    expect(milliseconds(() => decodeCbor(maps, { ...strict, maxItems: 10_000 }))).toBeLessThan(100);
  });

  test("a 256 KiB bignum is refused at its tag", () => {
    const bignum = new Uint8Array(5 + (1 << 18)).fill(0xff);
    bignum.set(bytes("c2 5a 00040000"));
    expect(checkCbor(bignum, relaxed)).toMatchObject({ reason: "tag-not-allowed", at: 0 });
    expect(milliseconds(() => checkCbor(bignum, relaxed))).toBeLessThan(5);
  });
});

describe("what cbor-x 1.6.8 does without the pre-validator, which is why it has one", () => {
  const options = { useRecords: false, mapsAsObjects: false, variableMapSize: true, tagUint8Array: false };
  const unguarded = new UnguardedDecoder(options);
  const decode = (hex: string): unknown => unguarded.decode(bytes(hex));

  test("duplicate keys are silently last-wins", () => {
    expect(decode("a2 01 0a 01 0b")).toStrictEqual(new Map([[1, 11]]));
  });

  test("breaks and two-byte simple values are taken where they are not well-formed", () => {
    expect(decode("81 ff")).toHaveLength(1);
    expect(decode("f8 15")).toBe(true);
  });

  test("bignums are decoded, byte after byte", () => {
    expect(decode("c2 49 010000000000000000")).toBe(1n << 64n);
  });

  test("tag 27 and tag 51 have code behind them although records are off", () => {
    expect(() => decode("d8 1b 82 65 4572726f72 61 61")).not.toThrow();
    expect(() => decode("d8 33 83 81 05 80 e0")).toThrow("Packed values");
  });

  test("deep nesting throws RangeError", () => {
    expect(() => {
      unguarded.decode(new Uint8Array(1 << 17).fill(0x81));
    }).toThrow(RangeError);
  });

  test("decoded bytes alias the input", () => {
    const input = bytes("41 01");
    const output = unguarded.decode(input) as Uint8Array;
    input[1] = 9;
    expect(output[0]).toBe(9);
  });

  test("a number above 2^32 - 1 encodes as a float", () => {
    const encoded = new Encoder(options).encode(2 ** 40);
    expect(encoded[0]).toBe(0xfb);
  });

  test("a byte order mark is dropped from a long text and kept in a short one", () => {
    const mark = "\uFEFF";
    const encode = (text: string): Uint8Array => new Encoder(options).encode(text);
    expect(unguarded.decode(encode(`${mark}short`))).toBe(`${mark}short`);
    expect(unguarded.decode(encode(mark + "long".repeat(30)))).toBe("long".repeat(30));
  });
});

describe("decodeCbor", () => {
  test("gives byte strings a buffer of their own", () => {
    const input = bytes("82 41 01 41 02");
    const [first, second] = decodeCbor(input, strict) as Uint8Array[];
    input.fill(0xff);
    expect(first).toStrictEqual(Uint8Array.of(1));
    expect(second?.buffer.byteLength).toBe(1);
    expect(Object.keys(input)).not.toContain("dataView");
  });

  test("keeps prototype names ordinary map keys", () => {
    const names = ["__proto__", "constructor", "toString", "hasOwnProperty"];
    const decoded = decodeCbor(encodeCbor(new Map(names.map((name) => [name, name]))), strict);
    expect(decoded).toStrictEqual(new Map([...names].sort((a, b) => a.length - b.length).map((name) => [name, name])));
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("gives integers of any head as numbers up to 2^53, and as bigints beyond", () => {
    expect(decodeCbor(bytes("1b 0000000000000001"), relaxed)).toBe(1);
    expect(decodeCbor(bytes("3b 00000000ffffffff"), relaxed)).toBe(-4_294_967_296);
    expect(decodeCbor(bytes("3a ffffffff"), strict)).toBe(-4_294_967_296);
    expect(decodeCbor(bytes("1b 001fffffffffffff"), strict)).toBe(Number.MAX_SAFE_INTEGER);
    expect(decodeCbor(bytes("1b 0020000000000000"), strict)).toBe(2n ** 53n);
  });

  test("decodes from shared memory what it checked, not what came after", () => {
    const shared = new Uint8Array(new SharedArrayBuffer(2));
    shared.set([0x41, 0x07]);
    expect(decodeCbor(shared, strict)).toStrictEqual(Uint8Array.of(7));
  });

  test("refuses with code, reason and offset, and never with anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.boolean(), (input, deterministic) => {
        try {
          decodeCbor(input, { ...strict, tags: [18, 107], deterministic });
        } catch (error) {
          expect(error).toMatchObject({
            name: "Refusal",
            code: "E_CBOR",
            detail: { at: expect.any(Number) as number },
          });
        }
      }),
      { numRuns: repeatedly(20_000) },
    );
  });

  test("will not be configured to run cbor-x's own tags", () => {
    expect(() => decodeCbor(bytes("c2 41 01"), { ...strict, tags: [2] })).toThrow(RangeError);
  });
});

describe("encodeCbor", () => {
  const scalar = fc.oneof(
    fc.integer(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(1n << 64n), max: (1n << 64n) - 1n }),
    fc.double(),
    fc.float(),
    fc.boolean(),
    fc.constant(null),
    fc.string({ unit: "grapheme" }).filter((text) => !text.startsWith("\uFEFF")),
    fc.uint8Array({ maxLength: 300 }),
  );
  const { value } = fc.letrec<{ value: CborInput }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      scalar,
      fc.array(tie("value"), { maxLength: 5 }),
      fc.dictionary(
        fc.string({ unit: "grapheme" }).filter((text) => !text.startsWith("\uFEFF")),
        tie("value"),
      ),
    ),
  }));

  test("makes what the strict pre-validator accepts, and what decodes and encodes to the same bytes", () => {
    fc.assert(
      fc.property(value, (input) => {
        const encoded = encodeCbor(input);
        expect(checkCbor(encoded, strict)).toMatchObject({ ok: true });
        expect(encodeCbor(decodeCbor(encoded, strict))).toStrictEqual(encoded);
      }),
      { numRuns: repeatedly(3000) },
    );
  });

  test("does not depend on the order in which keys were put in", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(fc.string({ unit: "grapheme-ascii" }), fc.integer()), { selector: ([k]) => k }),
        (entries) => {
          expect(encodeCbor(new Map(entries))).toStrictEqual(encodeCbor(new Map(entries.toReversed())));
        },
      ),
    );
  });

  test("does not look at inherited or symbol properties", () => {
    const prototype: unknown = { inherited: 1 };
    expect(() => encodeCbor(Object.create(prototype as object) as CborInput)).toThrow("cannot be encoded");
    expect(encodeCbor(Object.assign(Object.create(null), { a: 1 }) as CborInput)).toStrictEqual(bytes("a1 61 61 01"));
  });

  const cyclic: CborInput[] = [];
  cyclic.push(cyclic);
  test.each<[string, unknown]>([
    ["a cycle", cyclic],
    ["undefined", undefined],
    ["a function", () => 0],
    ["a symbol", Symbol("a")],
    ["a Date", new Date()],
    ["2^64", 1n << 64n],
    ["-2^64 - 1", -(1n << 64n) - 1n],
    ["a lone surrogate", "\uD800"],
    ["a byte order mark", "\uFEFFa"],
    ["a float key", new Map([[1.5, 0]])],
    ["a key of bytes", new Map([[new Uint8Array(1), 0]])],
    [
      "the same key as number and bigint",
      new Map<unknown, number>([
        [1, 0],
        [1n, 0],
      ]),
    ],
  ])("refuses %s", (_, input) => {
    expect(() => encodeCbor(input as CborInput)).toThrow(expect.objectContaining({ code: "E_CBOR" }) as Error);
  });
});

test("only a map whose keys come in any order keeps them", () => {
  let sets = 0;
  vi.stubGlobal(
    "Set",
    class extends Set<unknown> {
      constructor() {
        super();
        sets++;
      }
    },
  );
  try {
    expect(checkCbor(encodeCbor(Array.from({ length: 1000 }, () => [])), relaxed).ok).toBe(true);
    expect(checkCbor(bytes("a0"), relaxed).ok).toBe(true);
    expect(checkCbor(bytes("a2 6161 01 6162 02"), strict).ok).toBe(true);
    expect(sets).toBe(0);
    expect(checkCbor(bytes("a2 6162 01 6161 a1 6161 02"), relaxed).ok).toBe(true);
    expect(sets).toBe(2);
  } finally {
    vi.unstubAllGlobals();
  }
});

test("a key is known again whatever its length and its letters", () => {
  for (const length of [0, 1, 11, 12, 13, 23, 24, 25, 26, 255, 300]) {
    for (const letter of ["a", "\u00e9", "\u{1f600}"]) {
      const text = Buffer.from(letter.repeat(length));
      const key = [0x79, text.length >> 8, text.length & 255, ...text];
      const map = (...keys: number[][]): Uint8Array =>
        Uint8Array.from([0xa0 + keys.length, ...keys.flatMap((each) => [...each, 0])]);
      expect(checkCbor(map(key, key), relaxed)).toMatchObject({ ok: false, reason: "duplicate-key" });
      // As many letters as the key has bytes, each of the same value: another text.
      const latin = Buffer.from(Buffer.from(text).toString("latin1"));
      const other = [0x79, latin.length >> 8, latin.length & 255, ...latin];
      expect(checkCbor(map(key, other), relaxed).ok).toBe(!latin.equals(text));
    }
  }
});
