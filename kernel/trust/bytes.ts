/** Digests, key ids and comparisons of byte strings. */

import { createHash, timingSafeEqual } from "node:crypto";
import { KEY_ID_BYTES } from "./limits.ts";

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

export function includesBytes(list: readonly Uint8Array[], wanted: Uint8Array): boolean {
  return list.some((bytes) => equalBytes(bytes, wanted));
}

/** The id under which a public key is named in signatures, revocations and floors: 16 bytes of its SHA-256. */
export function keyIdOf(publicKey: Uint8Array): Uint8Array {
  return sha256(publicKey).slice(0, KEY_ID_BYTES);
}

/** Lower-case hexadecimal: how digests and key ids are written in topics, file names and messages. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
