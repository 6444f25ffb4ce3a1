/** What the four documents share: exact decoding, names, dates. */

import { decodeCbor, describeCbor, expectMap, expectText, expectUnsigned } from "../../cbor/index.ts";
import type { CborMap, CborValue } from "../../cbor/index.ts";
import { Refusal } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { isName } from "../../manifest.ts";
import { TRUST_LIMITS } from "../limits.ts";

/** The version of the document formats, the first key of every payload. SUIT's manifest version. */
export const FORMAT_VERSION = 1;

const limits = {
  maxBytes: TRUST_LIMITS.payloadBytes,
  maxDepth: 8,
  maxItems: TRUST_LIMITS.payloadItems,
  tags: [],
  deterministic: true,
};

/**
 * Decodes a byte string that must be exactly what `encode` makes of what `read` reads: unknown keys, other command
 * sequences and other forms of the same value all differ from it in some byte.
 * @throws Refusal E_CBOR with the offset of that byte
 */
export function decodeExactly<T>(
  bytes: Uint8Array,
  name: string,
  read: (map: CborMap) => T,
  encode: (document: T) => Uint8Array,
): T {
  const document = read(expectMap(decodeCbor(bytes, limits), name));
  const template = encode(document);
  const length = Math.max(template.length, bytes.length);
  for (let at = 0; at < length; at++) {
    if (template[at] !== bytes[at]) throw new Refusal("E_CBOR", `the ${name} is not of the accepted form`, { at });
  }
  return document;
}

/** Decodes a nested byte string, bounded and checked as the outer one was. */
export function decodeNested(bytes: Uint8Array): CborValue {
  return decodeCbor(bytes, limits);
}

/** Seconds since 1970-01-01T00:00:00Z, up to the year 9999. */
export function expectDate(value: CborValue | undefined, field: string): number {
  return expectUnsigned(value, field, 253_402_300_799);
}

/** A version, sequence number or the like: 0 to 2^32 - 1, so that a thief's maximal one is still a plain number. */
export function expectCounter(value: CborValue | undefined, field: string): number {
  return expectUnsigned(value, field, 0xffff_ffff);
}

/** A name as a manifest has it: safe as a file name, a topic level and a map key. */
export function expectName(value: CborValue | undefined, field: string): string {
  const text = expectText(value, field, LIMITS.nameLength);
  return isName(text) ? text : refuseName(text, field, "lower case letters, digits and hyphens, a letter first");
}

/** A gateway's id, a rollout's id: one topic level. */
export function expectIdentifier(value: CborValue | undefined, field: string): string {
  const text = expectText(value, field, LIMITS.nameLength);
  const isIdentifier = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text);
  return isIdentifier
    ? text
    : refuseName(text, field, "letters, digits, dot, underscore and hyphen, none of the last three first");
}

function refuseName(text: string, field: string, expected: string): never {
  throw new Refusal("E_CBOR", `${field} is not a valid name`, { expected, found: describeCbor(text) });
}
