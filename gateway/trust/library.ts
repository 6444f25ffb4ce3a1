/** The modules that came with the gateway: files named in gateway.yaml, found by digest like those of the store. */

import type {
  ModuleOptions,
  ModuleDocument,
  TrustState,
  VerifiedConfiguration,
  VerifiedModule,
} from "../envelopes/index.ts";
import { ABI_VERSION, Refusal } from "../../kernel/index.ts";
import {
  classId,
  encodeEnvelope,
  decodeEnvelope,
  vendorId,
  verifyConfiguration,
  verifyModule,
  verifyWasm,
} from "../envelopes/index.ts";
import { isDigest } from "../wire/digest.ts";
import type { InstalledModule } from "./store-state.ts";
import type { Store } from "./store.ts";

/** Who this gateway is: what documents must be meant for. */
export interface Identity {
  readonly gatewayId: string;
  /** Domain name of the vendor, and name of the class within it. */
  readonly vendor: string;
  readonly class: string;
}

/** A module with its verified document and the bytes that have the signed digest. */
export interface LoadedModule {
  readonly document: ModuleDocument;
  readonly verified: VerifiedModule;
  /** Digest of its envelope, in hexadecimal. */
  readonly envelope: string;
  readonly blob: string;
  readonly binary: Uint8Array;
  /** The envelope without the wasm, as the store keeps it. */
  readonly envelopeBytes: Uint8Array;
}

/** The options with which every module document is verified here. */
export function moduleOptions(identity: Identity): Omit<ModuleOptions, "now"> {
  const vendor = vendorId(identity.vendor);
  return { vendor, class: classId(vendor, identity.class), abis: [ABI_VERSION] };
}

/** Reads a module that the gateway was delivered with: an envelope that carries its wasm. @throws Refusal */
export function loadDelivered(bytes: Uint8Array, name: string, trust: TrustState, identity: Identity): LoadedModule {
  const verified = verifyModule(bytes, trust, { ...moduleOptions(identity), now: 0, purpose: "boot" });
  if (verified.document.name !== name) {
    throw new Refusal("E_TARGET", "the envelope holds another module", {
      expected: name,
      found: verified.document.name,
    });
  }
  if (verified.wasm === undefined) {
    const hint = "sign it with its wasm: `bulkhead sign` does so unless it is told otherwise";
    throw new Refusal("E_WASM", `the envelope of module ${name} does not carry the wasm`, { hint });
  }
  return loaded(verified, verified.wasm, severed(bytes));
}

/** Reads a module of a set from the store, and verifies all of it again. @throws Refusal E_STORE where it is not there */
export function loadStored(
  store: Store,
  name: string,
  planned: { readonly sequence: number; readonly envelope: string },
  trust: TrustState,
  identity: Identity,
): LoadedModule {
  const bytes = store.read("envelopes", planned.envelope);
  if (bytes === undefined) throw missing(name, "envelope", planned.envelope);
  const verified = verifyModule(bytes, trust, {
    ...moduleOptions(identity),
    now: 0,
    purpose: "boot",
    planned: { name, sequence: planned.sequence, digest: Uint8Array.fromHex(planned.envelope) },
  });
  const blob = verified.document.wasmDigest.toHex();
  const binary = store.read("blobs", blob);
  if (binary === undefined) throw missing(name, "wasm", blob);
  return loaded(verified, verifyWasm(verified.document, binary), bytes);
}

/** Reads a set's configuration from the store, and verifies it again. @throws Refusal */
export function loadConfiguration(
  store: Store,
  digest: string,
  trust: TrustState,
  identity: Identity,
): VerifiedConfiguration {
  const bytes = store.read("envelopes", digest);
  if (bytes === undefined) throw new Refusal("E_STORE", "the configuration is not on the disk, or is damaged");
  return verifyConfiguration(bytes, trust, {
    gatewayId: identity.gatewayId,
    class: classId(vendorId(identity.vendor), identity.class),
    digest: Uint8Array.fromHex(digest),
    now: 0,
    purpose: "boot",
  });
}

/** What a set says of a module. */
export function installedAs({ document, envelope, blob }: LoadedModule): InstalledModule {
  return { sequence: document.sequence, envelope, blob };
}

function severed(bytes: Uint8Array): Uint8Array {
  const { kind, payload, signatures } = decodeEnvelope(bytes, "module");
  return encodeEnvelope({ kind, payload, signatures });
}

function loaded(verified: VerifiedModule, binary: Uint8Array, envelopeBytes: Uint8Array): LoadedModule {
  const { document, digest } = verified;
  return { document, verified, envelope: digest.toHex(), blob: document.wasmDigest.toHex(), binary, envelopeBytes };
}

function missing(name: string, what: string, digest: string): Refusal {
  return new Refusal("E_STORE", `the ${what} of module ${name} is not on the disk, or is damaged`, {
    expected: isDigest(digest) ? digest : "a digest",
    hint: "the gateway fetches it again with its plan",
  });
}
