/** Ed25519 as RFC 8032 has it, and stricter: forged, malleable, non-canonical and small-order inputs in the manner of Wycheproof. */

import { createHash, createPublicKey, verify as verifyWithNode } from "node:crypto";
import * as noble from "@noble/ed25519";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isSoundPublicKey, verifyEd25519 } from "../../gateway/envelopes/index.ts";
import { keyFromSeed, signEd25519 } from "../../tools/keys/key.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P = 2n ** 255n - 19n;

function littleEndian(value: bigint): Uint8Array {
  return bytes(value.toString(16).padStart(64, "0")).reverse();
}

function fromLittleEndian(value: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(value.toReversed()).toString("hex")}`);
}

function join(r: Uint8Array, s: Uint8Array): Uint8Array {
  return Uint8Array.from([...r, ...s]);
}

/** RFC 8032 section 7.1: seed, public key, message, signature. */
const rfc8032: readonly (readonly [string, string, string, string])[] = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
  [
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
  ],
];

describe("RFC 8032 section 7.1", () => {
  test.each(rfc8032)("the vector of seed %s", (seed, publicKey, message, signature) => {
    const key = keyFromSeed("release", bytes(seed));
    expect(key.publicKey).toStrictEqual(bytes(publicKey));
    expect(signEd25519(bytes(message), key)).toStrictEqual(bytes(signature));
    expect(verifyEd25519(bytes(signature), bytes(message), bytes(publicKey))).toBe(true);
  });
});

const key = keyFromSeed("release", new Uint8Array(32).fill(7));
const message = new TextEncoder().encode("a reading");
const signature = signEd25519(message, key);
const r = signature.slice(0, 32);
const s = signature.slice(32);

describe("one signature, and everything near it", () => {
  test("verifies over its message and under its key only", () => {
    expect(verifyEd25519(signature, message, key.publicKey)).toBe(true);
    expect(verifyEd25519(signature, Uint8Array.of(...message, 0), key.publicKey)).toBe(false);
    expect(verifyEd25519(signature, message, keyFromSeed("release", new Uint8Array(32)).publicKey)).toBe(false);
  });

  test("fails with any one of its 512 bits flipped", () => {
    for (let bit = 0; bit < 512; bit += 1) {
      const flipped = Uint8Array.from(signature);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(verifyEd25519(flipped, message, key.publicKey), `bit ${bit}`).toBe(false);
    }
  });

  test("fails under its key with any one of the 256 bits flipped", () => {
    for (let bit = 0; bit < 256; bit += 1) {
      const flipped = Uint8Array.from(key.publicKey);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(verifyEd25519(signature, message, flipped), `bit ${bit}`).toBe(false);
    }
  });

  test("is not malleable: S plus a multiple of the group order", () => {
    for (let multiple = 1n; fromLittleEndian(s) + multiple * L < 2n ** 256n; multiple += 1n) {
      const moved = littleEndian(fromLittleEndian(s) + multiple * L);
      expect(verifyEd25519(join(r, moved), message, key.publicKey)).toBe(false);
    }
  });

  test.each([
    ["nothing", new Uint8Array()],
    ["R only", r],
    ["cut short by a byte", signature.slice(0, 63)],
    ["with its first byte cut", signature.slice(1)],
    ["with a byte of garbage", Uint8Array.of(...signature, 0)],
    ["with a byte of garbage before it", Uint8Array.of(0, ...signature)],
    ["R and S exchanged", join(s, r)],
    ["twice", Uint8Array.of(...signature, ...signature)],
    ["65,536 zeroes", new Uint8Array(65_536)],
  ])("fails when it is %s", (_, changed) => {
    expect(verifyEd25519(changed, message, key.publicKey)).toBe(false);
  });

  const special = [0n, 1n, L - 1n, L, L + 1n, P - 1n, P, P + 1n, 2n ** 255n - 1n, 2n ** 256n - 1n];
  test("fails for every pair of special values of R and S", () => {
    for (const R of special) {
      for (const S of special) {
        expect(verifyEd25519(join(littleEndian(R), littleEndian(S)), message, key.publicKey)).toBe(false);
      }
    }
  });

  test("never throws, whatever it is given", () => {
    const anything = [
      undefined,
      null,
      0,
      "x",
      {},
      [],
      new ArrayBuffer(64),
      new Uint16Array(32),
      new Uint8Array(32),
      signature,
    ];
    for (const a of anything) {
      for (const b of anything) {
        for (const c of anything) {
          expect(verifyEd25519(a as Uint8Array, b as Uint8Array, c as Uint8Array)).toBe(false);
        }
      }
    }
  });
});

/** The eight points of small order, canonical, and the encodings of them that are not. */
const smallOrder = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];
const nonCanonical = [
  "0100000000000000000000000000000000000000000000000000000000000080",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];
const torsion = noble.Point.fromHex(smallOrder[4] ?? "");

function challenge(R: Uint8Array, A: Uint8Array, text: Uint8Array): bigint {
  return fromLittleEndian(new Uint8Array(createHash("sha512").update(R).update(A).update(text).digest())) % L;
}

/** The secret scalar of a seed (RFC 8032 section 5.1.5). */
function scalarOf(seed: Uint8Array): bigint {
  const half = new Uint8Array(createHash("sha512").update(seed).digest()).slice(0, 32);
  half[0] = (half[0] ?? 0) & 248;
  half[31] = ((half[31] ?? 0) & 127) | 64;
  return fromLittleEndian(half) % L;
}

describe("keys that are no sound points", () => {
  test.each([...smallOrder, ...nonCanonical])(
    "%s is refused, although the trivial forgery fits some of them",
    (hex) => {
      const weak = bytes(hex);
      expect(isSoundPublicKey(weak)).toBe(false);
      // Under a key of small order, R = identity and S = 0 satisfy the equation for one message in eight at least.
      const forgery = join(bytes(smallOrder[0] ?? ""), new Uint8Array(32));
      for (let text = 0; text < 32; text += 1) {
        expect(verifyEd25519(forgery, Uint8Array.of(text), weak)).toBe(false);
      }
    },
  );

  test("a key with a torsion component is refused, although node:crypto takes its signatures", () => {
    const seed = new Uint8Array(32).fill(9);
    const mixed = noble.Point.fromBytes(keyFromSeed("release", seed).publicKey).add(torsion);
    const publicKey = mixed.toBytes();
    expect(mixed.isTorsionFree()).toBe(false);
    const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(publicKey).toString("base64url") };
    const nodeKey = createPublicKey({ key: jwk, format: "jwk" });
    const nonce = 123456789n;
    const R = noble.Point.BASE.multiply(nonce).toBytes();
    let taken = 0;
    for (let text = 0; text < 64; text += 1) {
      const k = challenge(R, publicKey, Uint8Array.of(text));
      const forged = join(R, littleEndian((nonce + k * scalarOf(seed)) % L));
      if (verifyWithNode(null, Uint8Array.of(text), nodeKey, forged)) taken += 1;
      expect(verifyEd25519(forged, Uint8Array.of(text), publicKey)).toBe(false);
    }
    expect(taken).toBeGreaterThan(0);
  });

  test("a signature whose R has a torsion component is refused, although noble's cofactored equation takes it", () => {
    const seed = new Uint8Array(32).fill(7);
    const nonce = 987654321n;
    const R = noble.Point.BASE.multiply(nonce).add(torsion).toBytes();
    const S = (nonce + challenge(R, key.publicKey, message) * scalarOf(seed)) % L;
    const mixed = join(R, littleEndian(S));
    expect(noble.verify(mixed, message, key.publicKey, { zip215: false })).toBe(true);
    expect(verifyEd25519(mixed, message, key.publicKey)).toBe(false);
  });

  test("a y coordinate that is on no point is refused", () => {
    let off = 0;
    for (let y = 2n; off < 16; y += 1n) {
      const encoded = littleEndian(y);
      if (isSoundPublicKey(encoded)) continue;
      off += 1;
      expect(verifyEd25519(signature, message, encoded)).toBe(false);
    }
  });

  test("keys of the wrong length are refused", () => {
    for (const length of [0, 31, 33, 64]) expect(isSoundPublicKey(new Uint8Array(length))).toBe(false);
  });
});

describe("the libraries underneath", () => {
  test("noble's hash function can't be replaced", () => {
    expect(Object.isFrozen(noble.hashes)).toBe(true);
    expect(() => {
      noble.hashes.sha512 = () => new Uint8Array(64);
    }).toThrow(TypeError);
  });

  test("random bytes are never a signature, and made signatures always are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.uint8Array({ maxLength: 100 }), (seed, text) => {
        const random = keyFromSeed("deploy", seed);
        expect(verifyEd25519(signEd25519(text, random), text, random.publicKey)).toBe(true);
        expect(verifyEd25519(join(seed, seed), text, random.publicKey)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });
});
