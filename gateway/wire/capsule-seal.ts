/** Seals a capsule to an operator's X25519 key: an ephemeral key, HKDF-SHA256, ChaCha20-Poly1305. */
import type { KeyObject } from "node:crypto";
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
} from "node:crypto";
import type { CborMap } from "../../kernel/index.ts";
import { encodeCbor, expectBytes, expectKeys, Refusal } from "../../kernel/index.ts";

export const X25519_BYTES = 32;
const FORMAT = 1;
const CIPHER = "chacha20-poly1305";
const INFO = "bulkhead capsule 1";
const TAG_BYTES = 16;
/** The key is used once, so its nonce may be constant. */
const NONCE = Buffer.alloc(12);
/** RFC 8410: PKCS #8 and SubjectPublicKeyInfo of X25519, up to the 32 bytes themselves. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

export interface X25519Pair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

export function generateX25519(): X25519Pair {
  const { privateKey } = generateKeyPairSync("x25519");
  const { d = "", x = "" } = privateKey.export({ format: "jwk" });
  return { publicKey: fromBase64(x), privateKey: fromBase64(d) };
}

export function x25519PublicOf(privateKey: Uint8Array): Uint8Array {
  const { x = "" } = createPublicKey(privateObject(privateKey)).export({ format: "jwk" });
  return fromBase64(x);
}

/** `{format, recipient, ephemeral, sealed}`; the recipient and the ephemeral key are authenticated with it. */
export function seal(plain: Uint8Array, recipient: Uint8Array): Uint8Array {
  const { publicKey, privateKey } = generateX25519();
  const key = sealingKey(privateObject(privateKey), recipient, publicKey, recipient);
  const cipher = createCipheriv(CIPHER, key, NONCE, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.concat([publicKey, recipient]), { plaintextLength: plain.length });
  const text = Buffer.concat([cipher.update(plain), cipher.final()]);
  const sealed = new Uint8Array(Buffer.concat([text, cipher.getAuthTag()]));
  return encodeCbor({ format: FORMAT, recipient, ephemeral: publicKey, sealed });
}

export function isSealed(map: CborMap): boolean {
  return map.has("sealed");
}

/** @throws Refusal E_KEY where the key is missing, is another, or the file was changed */
export function unseal(map: CborMap, key: Uint8Array | undefined): Uint8Array {
  expectKeys(map, ["format", "recipient", "ephemeral", "sealed"], "sealed capsule");
  const recipient = expectBytes(map.get("recipient"), "recipient", X25519_BYTES);
  const ephemeral = expectBytes(map.get("ephemeral"), "ephemeral", X25519_BYTES);
  const sealed = expectBytes(map.get("sealed"), "sealed");
  if (key === undefined) {
    const hint = "give the private key with --key; `bulkhead keygen --role capsules` made it";
    throw new Refusal("E_KEY", "this capsule is sealed", { expected: `the key of ${recipient.toHex()}`, hint });
  }
  const own = x25519PublicOf(key);
  if (own.toHex() !== recipient.toHex()) {
    const detail = { expected: recipient.toHex(), found: own.toHex() };
    throw new Refusal("E_KEY", "this capsule is sealed to another key", detail);
  }
  try {
    const opening = sealingKey(privateObject(key), ephemeral, ephemeral, recipient);
    const decipher = createDecipheriv(CIPHER, opening, NONCE, { authTagLength: TAG_BYTES });
    const text = sealed.subarray(0, Math.max(0, sealed.length - TAG_BYTES));
    decipher.setAAD(Buffer.concat([ephemeral, recipient]), { plaintextLength: text.length });
    decipher.setAuthTag(sealed.subarray(text.length));
    return new Uint8Array(Buffer.concat([decipher.update(text), decipher.final()]));
  } catch {
    throw new Refusal("E_KEY", "this capsule cannot be opened", { hint: "the file was changed" });
  }
}

function sealingKey(own: KeyObject, peer: Uint8Array, ephemeral: Uint8Array, recipient: Uint8Array): Uint8Array {
  const publicKey = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, peer]), format: "der", type: "spki" });
  const shared = diffieHellman({ privateKey: own, publicKey });
  return new Uint8Array(hkdfSync("sha256", shared, Buffer.concat([ephemeral, recipient]), INFO, 32));
}

function privateObject(key: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, key]), format: "der", type: "pkcs8" });
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64url"));
}
