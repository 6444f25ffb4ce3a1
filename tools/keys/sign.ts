/** Makes signed envelopes: encodes a document, reads it back as a gateway would, and signs it. */

import type {
  ConfigurationDocument,
  DocumentKind,
  EnvelopeSignature,
  ModuleDocument,
  PlanDocument,
  RootDocument,
} from "../../gateway/envelopes/index.ts";
import { compareBytes, Refusal } from "../../kernel/index.ts";
import {
  decodeConfiguration,
  decodeEnvelope,
  decodeModule,
  decodePlan,
  decodeRoot,
  encodeConfiguration,
  encodeEnvelope,
  encodeModule,
  encodePlan,
  encodeRoot,
  envelopeToBeSigned,
  verifyWasm,
} from "../../gateway/envelopes/index.ts";
import type { SigningKey } from "./key.ts";
import { signEd25519 } from "./key.ts";

/** @throws Refusal where the document is not one that a gateway would accept */
export function signModule(module: ModuleDocument, keys: readonly SigningKey[], wasm?: Uint8Array): Uint8Array {
  const payload = encodeModule(module);
  decodeModule(payload);
  if (wasm !== undefined) verifyWasm(module, wasm);
  return signPayload("module", payload, keys, wasm);
}

export function signPlan(plan: PlanDocument, keys: readonly SigningKey[]): Uint8Array {
  const payload = encodePlan(plan);
  decodePlan(payload);
  return signPayload("plan", payload, keys);
}

export function signConfiguration(configuration: ConfigurationDocument, keys: readonly SigningKey[]): Uint8Array {
  const payload = encodeConfiguration(configuration);
  decodeConfiguration(payload);
  return signPayload("configuration", payload, keys);
}

export function signRoot(root: RootDocument, keys: readonly SigningKey[]): Uint8Array {
  const payload = encodeRoot(root);
  decodeRoot(payload);
  return signPayload("root", payload, keys);
}

/** Signs any bytes as a document of this kind. Attack tests need what the functions above refuse. */
export function signPayload(
  kind: DocumentKind,
  payload: Uint8Array,
  keys: readonly SigningKey[],
  wasm?: Uint8Array,
): Uint8Array {
  return encodeEnvelope({
    kind,
    payload,
    signatures: sorted(keys.map((key) => signatureBy(kind, payload, key))),
    wasm,
  });
}

/** The same envelope with one more signature: how a ceremony collects them, one machine after the other. */
export function addSignature(envelopeBytes: Uint8Array, kind: DocumentKind, key: SigningKey): Uint8Array {
  const envelope = decodeEnvelope(envelopeBytes, kind);
  if (envelope.signatures.some(({ keyId }) => compareBytes(keyId, key.id) === 0)) {
    throw new Refusal("E_KEY", "this key has already signed this envelope", { hint: "sign with another key" });
  }
  const signatures = sorted([...envelope.signatures, signatureBy(kind, envelope.payload, key)]);
  return encodeEnvelope({ ...envelope, signatures });
}

/** The envelope without its wasm: what travels as `m/<envelope digest>`. */
export function withoutWasm(envelopeBytes: Uint8Array): Uint8Array {
  const { kind, payload, signatures } = decodeEnvelope(envelopeBytes, "module");
  return encodeEnvelope({ kind, payload, signatures });
}

function signatureBy(kind: DocumentKind, payload: Uint8Array, key: SigningKey): EnvelopeSignature {
  return { keyId: key.id, signature: signEd25519(envelopeToBeSigned(kind, payload, key.id), key) };
}

function sorted(signatures: readonly EnvelopeSignature[]): readonly EnvelopeSignature[] {
  return [...signatures].sort((a, b) => compareBytes(a.keyId, b.keyId));
}
