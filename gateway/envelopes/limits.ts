/** Every bound on signed documents, each with its reason. */

import { LIMITS } from "../../kernel/index.ts";

const KiB = 1024;

export const TRUST_LIMITS = Object.freeze({
  /** The part of an envelope around payload and wasm: sixteen signatures fit. */
  authenticationBytes: 4 * KiB,
  /** A configuration carries a gateway.yaml; the other payloads stay far below. */
  payloadBytes: 256 * KiB,
  /** A whole envelope, with its wasm. */
  envelopeBytes: LIMITS.binaryBytes + 300 * KiB,
  /** Items of an envelope's own structure, before any signature has been checked. */
  envelopeItems: 64,
  /** Items of a payload whose signature is good: a plan of 1,000 modules has about 4,000. */
  payloadItems: 16_384,
  /** Signatures of one envelope: an old and a new root threshold. Each costs about a millisecond. */
  signatures: 16,
  /** Keys of one role. */
  keysPerRole: 16,
  /** Capabilities that one module may ask for: one for each slot. */
  capabilities: LIMITS.slots,
  /** Rights of one capability. */
  rights: 16,
  /** Characters of a semantic version. */
  versionLength: 64,
} as const);

/** Bytes of a key id: the beginning of the SHA-256 of the public key. */
export const KEY_ID_BYTES = 16;
export const DIGEST_BYTES = 32;
/** Ids of vendors and classes (RFC 9562). */
export const UUID_BYTES = 16;
