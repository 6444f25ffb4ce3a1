/** Digests, key ids and comparisons of byte strings. */

import { createHash, timingSafeEqual } from "node:crypto";
import { compareBytes } from "../../kernel/index.ts";
import { KEY_ID_BYTES } from "./limits.ts";

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Is it in a list that is in ascending bytewise order? The lists of a root are, and may have thousands of entries. */
export function isListed(sorted: readonly Uint8Array[], wanted: Uint8Array): boolean {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const order = compareBytes(sorted[middle] ?? wanted, wanted);
    if (order === 0) return true;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}

/** The id under which a public key is named in signatures, revocations and floors: 16 bytes of its SHA-256. */
export function keyIdOf(publicKey: Uint8Array): Uint8Array {
  return sha256(publicKey).slice(0, KEY_ID_BYTES);
}

/** Lower-case hexadecimal: how digests and key ids are written in topics, file names and messages. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
