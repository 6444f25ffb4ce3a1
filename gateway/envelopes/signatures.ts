/** Signatures of an envelope against the keys of a root: cheap look-ups first, distinct keys counted, all must verify. */

import { Refusal, compareBytes } from "../../kernel/index.ts";
import { isListed, toHex } from "./bytes.ts";
import type { Role, RootDocument } from "./documents/root.ts";
import { verifyEd25519 } from "./ed25519.ts";
import type { EnvelopeSignature, UnverifiedEnvelope } from "./envelope.ts";
import { envelopeToBeSigned } from "./envelope.ts";
import { TRUST_LIMITS } from "./limits.ts";
import { keyDirectory } from "./state.ts";

/** Bounds the CPU that forgers can make us spend. */
export interface SignatureLimiter {
  /** Takes so many signature computations from the allowance, or none at all and returns false. */
  take(count: number): boolean;
}

/** An allowance that refills steadily. `now` gives milliseconds and must not go backward. */
export class TokenBucket implements SignatureLimiter {
  readonly #capacity: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #tokens: number;
  #refilledAt: number;

  constructor(options: { readonly capacity: number; readonly perSecond: number; readonly now: () => number }) {
    this.#capacity = options.capacity;
    this.#perSecond = options.perSecond;
    this.#now = options.now;
    this.#tokens = options.capacity;
    this.#refilledAt = options.now();
  }

  take(count: number): boolean {
    const now = this.#now();
    const refill = (Math.max(0, now - this.#refilledAt) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#capacity, this.#tokens + refill);
    this.#refilledAt = now;
    if (this.#tokens < count) return false;
    this.#tokens -= count;
    return true;
  }
}

/**
 * The ids of the keys that signed, at least the role's threshold of them, every signature verified.
 * @throws Refusal E_REVOKED, E_KEY, E_THRESHOLD, E_SIG; E_BUSY where the limiter has nothing left
 */
export function verifyThreshold(
  envelope: UnverifiedEnvelope,
  root: RootDocument,
  role: Role,
  limiter: SignatureLimiter | undefined,
): readonly string[] {
  refuseRepeated(envelope.signatures);
  for (const { keyId } of envelope.signatures) refuseKey(root, role, keyId);
  refuseTooFew(envelope.signatures.length, root, role);
  spend(limiter, envelope.signatures.length);
  return envelope.signatures.map((signature) => verifyOne(envelope, signature, root));
}

/** A root rotation: the threshold of the old root signs, then that of the new, and nobody else. */
export function verifyRotation(
  envelope: UnverifiedEnvelope,
  old: RootDocument,
  readNew: () => RootDocument,
  limiter: SignatureLimiter | undefined,
): RootDocument {
  refuseRepeated(envelope.signatures);
  const isOf = (root: RootDocument) => (signature: EnvelopeSignature) =>
    keyDirectory(root).get(toHex(signature.keyId))?.role === "root";
  const byOld = envelope.signatures.filter(isOf(old));
  refuseTooFew(byOld.length, old, "root");
  spend(limiter, envelope.signatures.length);
  for (const signature of byOld) verifyOne(envelope, signature, old);
  // Only now, vouched for by the old root's threshold, is the payload decoded.
  const next = readNew();
  const others = envelope.signatures.filter((signature) => !byOld.includes(signature));
  for (const { keyId } of others) refuseKey(next, "root", keyId);
  refuseTooFew(envelope.signatures.filter(isOf(next)).length, next, "root");
  for (const signature of others) verifyOne(envelope, signature, next);
  return next;
}

/** Signatures come in ascending order of key ids, each key once: one that signs twice counts for nothing. */
function refuseRepeated(signatures: readonly EnvelopeSignature[]): void {
  if (signatures.length > TRUST_LIMITS.signatures) throw new Refusal("E_SIZE", "an envelope has too many signatures");
  signatures.forEach(({ keyId }, index) => {
    const previous = signatures[index - 1];
    const order = previous === undefined ? 1 : compareBytes(keyId, previous.keyId);
    if (order === 0) throw new Refusal("E_THRESHOLD", "the same key signed twice", { found: toHex(keyId) });
    if (order < 0) throw new Refusal("E_CBOR", "signatures are not in ascending order of key ids");
  });
}

function refuseKey(root: RootDocument, role: Role, keyId: Uint8Array): void {
  const found = toHex(keyId);
  if (isListed(root.revokedKeys, keyId)) throw new Refusal("E_REVOKED", "the signing key has been revoked", { found });
  const entry = keyDirectory(root).get(found);
  if (entry === undefined) {
    const hint = "sign with a key of the gateway's root, or send the root that lists this key first";
    throw new Refusal("E_KEY", "a signature is by a key that the root does not know", { found, hint });
  }
  if (entry.role !== role) {
    const detail = { expected: `a ${role} key`, found: `${entry.role} key ${found}` };
    throw new Refusal("E_KEY", "a signature is by a key of another role", detail);
  }
}

function refuseTooFew(count: number, root: RootDocument, role: Role): void {
  const { threshold } = root.roles[role];
  if (count >= threshold) return;
  const detail = { expected: `${threshold} signatures by ${role} keys`, found: String(count) };
  throw new Refusal("E_THRESHOLD", `too few ${role} keys of root version ${root.version} signed`, detail);
}

function spend(limiter: SignatureLimiter | undefined, count: number): void {
  if (limiter === undefined || limiter.take(count)) return;
  throw new Refusal("E_BUSY", "too many signatures to check", {
    hint: "it is retried when the allowance has refilled",
  });
}

function verifyOne(envelope: UnverifiedEnvelope, { keyId, signature }: EnvelopeSignature, root: RootDocument): string {
  const id = toHex(keyId);
  const key = keyDirectory(root).get(id);
  const message = envelopeToBeSigned(envelope.kind, envelope.payload, keyId);
  if (key !== undefined && verifyEd25519(signature, message, key.publicKey)) return id;
  throw new Refusal("E_SIG", `the signature on a ${envelope.kind} document does not verify`, { found: `key ${id}` });
}
