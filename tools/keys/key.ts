/** Ed25519 private keys in memory: made, derived from a seed, and signing. Signing lives here, never in the kernel. */

import type { KeyObject } from "node:crypto";
import { createPrivateKey, createPublicKey, randomBytes, sign } from "node:crypto";
import type { Role } from "../../gateway/envelopes/index.ts";
import { keyIdOf, toHex } from "../../gateway/envelopes/index.ts";

export const SEED_BYTES = 32;
/** PKCS #8 of an Ed25519 seed (RFC 8410 section 7), up to the seed itself. */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

/** A key that can sign. The role is what its owner means it for; what counts is the role that a root gives it. */
export interface SigningKey {
  readonly role: Role;
  readonly publicKey: Uint8Array;
  readonly id: Uint8Array;
  readonly seed: Uint8Array;
}

export function generateKey(role: Role): SigningKey {
  return keyFromSeed(role, new Uint8Array(randomBytes(SEED_BYTES)));
}

/** @param seed the 32 bytes that RFC 8032 calls the private key */
export function keyFromSeed(role: Role, seed: Uint8Array): SigningKey {
  if (seed.length !== SEED_BYTES) throw new RangeError(`a seed has ${SEED_BYTES} bytes, not ${seed.length}`);
  const { x } = createPublicKey(privateKeyObject(seed)).export({ format: "jwk" });
  if (x === undefined) throw new Error("node:crypto gave no public key");
  const publicKey = new Uint8Array(Buffer.from(x, "base64url"));
  return { role, publicKey, id: keyIdOf(publicKey), seed };
}

/** The signature of 64 bytes over the message. */
export function signEd25519(message: Uint8Array, key: SigningKey): Uint8Array {
  return new Uint8Array(sign(null, message, privateKeyObject(key.seed)));
}

/** The id as messages and file names have it. */
export function idOf(key: Pick<SigningKey, "id">): string {
  return toHex(key.id);
}

function privateKeyObject(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
}
