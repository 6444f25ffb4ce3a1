/**
 * The chain of the audit log: how an entry is hashed onto the one before it, and the signed head that says where it ends.
 *
 *     base ── entry 1 ── entry 2 ── … ── entry n
 *                                          │
 *     head = COSE_Sign1([log, base, n, hash of entry n, time]), replaced with each write, in the same transaction
 */
import { decodeCbor, encodeCbor, expectArray, expectBytes, expectUnsigned, Refusal } from "../../kernel/index.ts";
import { decodeSign1, equalBytes, sha256, toBeSigned, verifyEd25519 } from "../envelopes/index.ts";

/** Content type of a signed head: a signature of anything else by the same key is not one. */
export const AUDIT_HEAD_TYPE = "application/vnd.bulkhead.audit-head+cbor";

export const HASH_BYTES = 32;
const LOG_BYTES = 16;
const HEAD_LIMITS = { maxBytes: 512, maxDepth: 2, maxItems: 16, tags: [], deterministic: true };

export type AuditValue = string | number | boolean | null;

/** What happened. Secrets are left out by whoever records it. */
export interface AuditRecord {
  /** What kind of event: `granted`, `denied`, `fault`, `refused`, … */
  readonly kind: string;
  /** Who caused it: a module, a process, an operator; records are limited by kind and source. */
  readonly source: string;
  /** What it was about: a slot, a plan, a file. */
  readonly subject: string;
  readonly detail: Readonly<Record<string, AuditValue>>;
}

export interface AuditEntry {
  readonly sequence: number;
  /** Milliseconds since 1970, as the host knew it. */
  readonly time: number;
  readonly kind: string;
  readonly source: string;
  readonly subject: string;
  /** JSON text of the detail. */
  readonly detail: string;
}

/** The end of the chain. `baseSequence` and `baseHash` are what the first kept entry follows: older ones were pruned. */
export interface AuditHead {
  readonly log: Uint8Array;
  readonly baseSequence: number;
  readonly baseHash: Uint8Array;
  readonly sequence: number;
  readonly hash: Uint8Array;
  readonly time: number;
}

/** SHA-256 over the deterministic CBOR of the previous hash and all fields. */
export function hashEntry(previous: Uint8Array, entry: AuditEntry): Uint8Array {
  const { sequence, time, kind, source, subject, detail } = entry;
  return sha256(encodeCbor([previous, sequence, time, kind, source, subject, detail]));
}

/** What the first entry of a log follows. */
export function genesisHash(log: Uint8Array): Uint8Array {
  return sha256(encodeCbor(["bulkhead audit log", log]));
}

export function encodeHead({ log, baseSequence, baseHash, sequence, hash, time }: AuditHead): Uint8Array {
  return encodeCbor([1, log, baseSequence, baseHash, sequence, hash, time]);
}

function decodeHead(payload: Uint8Array): AuditHead {
  const parts = expectArray(decodeCbor(payload, HEAD_LIMITS), "audit head", 7);
  if (parts[0] !== 1) throw new Refusal("E_CBOR", "this is not an audit head of version 1");
  return {
    log: expectBytes(parts[1], "log", LOG_BYTES),
    baseSequence: expectUnsigned(parts[2], "base sequence"),
    baseHash: expectBytes(parts[3], "base hash", HASH_BYTES),
    sequence: expectUnsigned(parts[4], "sequence"),
    hash: expectBytes(parts[5], "hash", HASH_BYTES),
    time: expectUnsigned(parts[6], "time"),
  };
}

/** Reads a signed head. @throws Refusal E_CBOR where it is none, E_SIG where this key did not sign it */
export function openHead(signed: Uint8Array, publicKey: Uint8Array): AuditHead {
  const { contentType, keyId, payload, signature } = decodeSign1(signed);
  if (contentType !== AUDIT_HEAD_TYPE || payload === undefined) {
    throw new Refusal("E_CBOR", "this is not a signed audit head", { expected: AUDIT_HEAD_TYPE, found: contentType });
  }
  if (!verifyEd25519(signature, toBeSigned(contentType, keyId, payload), publicKey)) {
    throw new Refusal("E_SIG", "the audit head is not signed by this gateway's key", {
      hint: "if the gateway's key was replaced, verify with the key that it had",
    });
  }
  return decodeHead(payload);
}

/** True where both say the same of where the chain ends. */
export function sameEnd(head: AuditHead, sequence: number, hash: Uint8Array): boolean {
  return head.sequence === sequence && equalBytes(head.hash, hash);
}
