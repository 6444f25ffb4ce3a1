/** SHA-256 as lower-case hexadecimal: the names of blobs and envelopes in folders, topics and reports. */

import { createHash } from "node:crypto";

export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Is this text a digest as `sha256Hex` writes it? Anything else must never become part of a path. */
export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}
