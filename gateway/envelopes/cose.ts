/** COSE_Sign1 (RFC 9052) with Ed25519 (RFC 9864), in the one shape that is accepted here. */

import {
  CborTag,
  Refusal,
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBytes,
  expectMap,
  expectTag,
  expectText,
} from "../../kernel/index.ts";
import { equalBytes } from "./bytes.ts";
import { SIGNATURE_BYTES } from "./ed25519.ts";
import { KEY_ID_BYTES, TRUST_LIMITS } from "./limits.ts";

const COSE_SIGN1 = 18;
const HEADER_ALGORITHM = 1;
const HEADER_CONTENT_TYPE = 3;
const HEADER_KEY_ID = 4;
/** `Ed25519`, fully specified (RFC 9864 section 2.2). */
const ALGORITHM_ED25519 = -19;

const limits = {
  maxBytes: TRUST_LIMITS.payloadBytes,
  maxDepth: 4,
  maxItems: 16,
  tags: [COSE_SIGN1],
  deterministic: true,
};

/** What is signed, and by whom. `payload` is undefined where it travels apart (detached). */
export interface Sign1 {
  readonly contentType: string;
  readonly keyId: Uint8Array;
  readonly payload: Uint8Array | undefined;
  readonly signature: Uint8Array;
}

/** The protected header, as the bytes that are signed. */
export function encodeProtected(contentType: string, keyId: Uint8Array): Uint8Array {
  return encodeCbor(
    new Map<number, number | string | Uint8Array>([
      [HEADER_ALGORITHM, ALGORITHM_ED25519],
      [HEADER_CONTENT_TYPE, contentType],
      [HEADER_KEY_ID, keyId],
    ]),
  );
}

/** The bytes that Ed25519 signs: the Sig_structure of RFC 9052 section 4.4, without external data. */
export function toBeSigned(contentType: string, keyId: Uint8Array, payload: Uint8Array): Uint8Array {
  return encodeCbor(["Signature1", encodeProtected(contentType, keyId), new Uint8Array(), payload]);
}

export function encodeSign1(sign1: Sign1): Uint8Array {
  const { contentType, keyId, payload, signature } = sign1;
  return encodeCbor(new CborTag(COSE_SIGN1, [encodeProtected(contentType, keyId), {}, payload ?? null, signature]));
}

/** Reads a COSE_Sign1. Nothing in it is believed yet: verify `toBeSigned` first. @throws Refusal E_CBOR, E_SIZE */
export function decodeSign1(bytes: Uint8Array): Sign1 {
  const parts = expectArray(expectTag(decodeCbor(bytes, limits), COSE_SIGN1, "COSE_Sign1"), "COSE_Sign1", 4);
  const header = expectMap(decodeCbor(expectBytes(parts[0], "protected header"), limits), "protected header");
  const sign1: Sign1 = {
    contentType: expectText(header.get(HEADER_CONTENT_TYPE), "content type", 100),
    keyId: expectBytes(header.get(HEADER_KEY_ID), "key id", KEY_ID_BYTES),
    payload: parts[2] === null ? undefined : expectBytes(parts[2], "payload"),
    signature: expectBytes(parts[3], "signature", SIGNATURE_BYTES),
  };
  // Other algorithms, other headers and unprotected ones are all refused by this one comparison.
  if (!equalBytes(encodeSign1(sign1), bytes)) throw new Refusal("E_CBOR", "a COSE_Sign1 is not of the accepted form");
  return sign1;
}
