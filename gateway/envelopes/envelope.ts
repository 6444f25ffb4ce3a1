/** The envelope around every signed document: a template-only profile of the IETF SUIT envelope (docs/envelopes.md). */

import type { CborInput } from "../../kernel/index.ts";
import {
  CborTag,
  Refusal,
  decodeCbor,
  encodeCbor,
  expectArray,
  expectBytes,
  expectMap,
  expectTag,
} from "../../kernel/index.ts";
import { equalBytes, sha256 } from "./bytes.ts";
import { decodeSign1, encodeSign1, toBeSigned } from "./cose.ts";
import { DIGEST_BYTES, TRUST_LIMITS } from "./limits.ts";

/** The four documents, and the content type that their signatures cover. */
export const CONTENT_TYPES = Object.freeze({
  module: "application/vnd.bulkhead.module+cbor",
  plan: "application/vnd.bulkhead.plan+cbor",
  configuration: "application/vnd.bulkhead.configuration+cbor",
  root: "application/vnd.bulkhead.root+cbor",
} as const);

export type DocumentKind = keyof typeof CONTENT_TYPES;

const SUIT_ENVELOPE = 107;
const KEY_AUTHENTICATION = 2;
const KEY_PAYLOAD = 3;
const KEY_WASM = "#wasm";
/** COSE algorithm number of SHA-256 (RFC 9054). */
export const SHA_256 = -16;

const nested = {
  maxBytes: TRUST_LIMITS.authenticationBytes,
  maxDepth: 2,
  maxItems: TRUST_LIMITS.envelopeItems,
  tags: [],
  deterministic: true,
};
const outer = { ...nested, maxBytes: TRUST_LIMITS.envelopeBytes, tags: [SUIT_ENVELOPE] };

export interface EnvelopeSignature {
  readonly keyId: Uint8Array;
  readonly signature: Uint8Array;
}

/** The parts of which an envelope is made. */
export interface EnvelopeParts {
  readonly kind: DocumentKind;
  readonly payload: Uint8Array;
  readonly signatures: readonly EnvelopeSignature[];
  readonly wasm?: Uint8Array | undefined;
}

/**
 * An envelope whose form and digest are right and whose signatures nobody has checked: its payload is not to be decoded.
 * `digest` names the envelope: SHA-256 of its bytes without the wasm.
 */
export interface UnverifiedEnvelope extends EnvelopeParts {
  readonly digest: Uint8Array;
}

/** `[-16, h'…']`: the digest of a byte string, in SUIT's form. */
export function encodeDigest(digest: Uint8Array): Uint8Array {
  return encodeCbor([SHA_256, digest]);
}

/** The digest that is signed: over the payload's byte string with its CBOR head, as SUIT has it. */
export function signedDigest(payload: Uint8Array): Uint8Array {
  return encodeDigest(sha256(encodeCbor(payload)));
}

/** The bytes that a signer of this document signs with the key of this id. */
export function envelopeToBeSigned(kind: DocumentKind, payload: Uint8Array, keyId: Uint8Array): Uint8Array {
  return toBeSigned(CONTENT_TYPES[kind], keyId, signedDigest(payload));
}

export function encodeEnvelope(parts: EnvelopeParts): Uint8Array {
  const contentType = CONTENT_TYPES[parts.kind];
  const blocks = parts.signatures.map((signature) => encodeSign1({ contentType, payload: undefined, ...signature }));
  const envelope = new Map<number | string, CborInput>([
    [KEY_AUTHENTICATION, encodeCbor([signedDigest(parts.payload), ...blocks])],
    [KEY_PAYLOAD, parts.payload],
  ]);
  if (parts.wasm !== undefined) envelope.set(KEY_WASM, parts.wasm);
  return encodeCbor(new CborTag(SUIT_ENVELOPE, envelope));
}

/**
 * Reads an envelope of the expected kind and compares its payload with its digest.
 * @throws Refusal E_CBOR, E_SIZE, E_DIGEST
 */
export function decodeEnvelope(bytes: Uint8Array, kind: DocumentKind): UnverifiedEnvelope {
  const envelope = expectMap(expectTag(decodeCbor(bytes, outer), SUIT_ENVELOPE, "envelope"), "envelope");
  const payload = expectBytes(envelope.get(KEY_PAYLOAD), "payload");
  const wasm = envelope.has(KEY_WASM) ? expectBytes(envelope.get(KEY_WASM), KEY_WASM) : undefined;
  if (payload.length > TRUST_LIMITS.payloadBytes) throw new Refusal("E_SIZE", "the payload is too large");
  if (wasm !== undefined && kind !== "module") throw new Refusal("E_CBOR", `a ${kind} document carries wasm`);
  const authentication = decodeCbor(expectBytes(envelope.get(KEY_AUTHENTICATION), "authentication"), nested);
  const [digest, ...blocks] = expectArray(authentication, "authentication");
  checkDigest(expectBytes(digest, "digest"), payload);
  const signatures = blocks.map((block) => decodeSignature(expectBytes(block, "signature block"), kind));
  const parts = { kind, payload, signatures, wasm };
  const detached = encodeEnvelope({ kind, payload, signatures });
  const whole = wasm === undefined ? detached : encodeEnvelope(parts);
  if (!equalBytes(whole, bytes)) throw new Refusal("E_CBOR", "an envelope is not of the accepted form");
  return { ...parts, digest: sha256(detached) };
}

function checkDigest(found: Uint8Array, payload: Uint8Array): void {
  const parts = expectArray(decodeCbor(found, nested), "digest", 2);
  if (parts[0] !== SHA_256) throw new Refusal("E_CBOR", "a digest is not SHA-256", { expected: String(SHA_256) });
  expectBytes(parts[1], "digest", DIGEST_BYTES);
  if (!equalBytes(found, signedDigest(payload))) {
    throw new Refusal("E_DIGEST", "the payload does not have the digest that the envelope claims");
  }
}

function decodeSignature(block: Uint8Array, kind: DocumentKind): EnvelopeSignature {
  const { contentType, keyId, payload, signature } = decodeSign1(block);
  if (contentType !== CONTENT_TYPES[kind]) {
    throw new Refusal("E_CBOR", `this is not a ${kind} document`, {
      expected: CONTENT_TYPES[kind],
      found: contentType,
    });
  }
  if (payload !== undefined) throw new Refusal("E_CBOR", "a signature of an envelope carries its own payload");
  return { keyId, signature };
}
