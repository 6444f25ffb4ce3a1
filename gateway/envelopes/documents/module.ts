/** The module document: a SUIT manifest whose command sequences are constants, with the release engineer's claims. */

import { createHash } from "node:crypto";
import type { CborInput } from "../../../kernel/index.ts";
import { LIMITS, Refusal, encodeCbor, expectArray, expectBytes } from "../../../kernel/index.ts";
import { SHA_256 } from "../envelope.ts";
import { DIGEST_BYTES, TRUST_LIMITS, UUID_BYTES } from "../limits.ts";
import type { Field } from "./fields.ts";
import {
  bytes,
  codec,
  counter,
  date,
  FORMAT,
  kernelName,
  listOf,
  nested,
  optional,
  record,
  text,
  tuple,
  unsigned,
} from "./fields.ts";

/** One slot that the module asks for. Asking grants nothing: the operator's configuration does. */
export interface AskedCapability {
  readonly slot: string;
  readonly interface: string;
  readonly rights: readonly string[];
}

export interface ModuleClaims {
  readonly abi: number;
  /** Semantic version, for people; `sequence` is what is compared. */
  readonly version: string;
  /** In ascending order of slots. */
  readonly capabilities: readonly AskedCapability[];
  /** Most pages of 64 KiB that the module needs. */
  readonly memoryPages: number;
  /** When it was signed, in seconds since 1970. Moves the gateway's clock floor. */
  readonly released: number;
  /** After this it is not installed any more; what runs goes on. */
  readonly expires: number;
  readonly stateSchema: number;
  /** SHA-256 of a provenance file, where there is one. */
  readonly provenance: Uint8Array | undefined;
}

export interface ModuleDocument {
  readonly name: string;
  readonly sequence: number;
  /** RFC 9562 version 5 UUIDs, 16 bytes: see `vendorId`, `classId`. */
  readonly vendor: Uint8Array;
  readonly class: Uint8Array;
  readonly wasmDigest: Uint8Array;
  readonly wasmSize: number;
  readonly claims: ModuleClaims;
}

/** SUIT's numbers (draft-ietf-suit-manifest section 11): directives, conditions, and the policy to report everything. */
const OVERRIDE_PARAMETERS = 20;
const FETCH = 21;
const CONDITION_VENDOR = 1;
const CONDITION_CLASS = 2;
const CONDITION_IMAGE_MATCH = 3;
const REPORT_ALL = 15;
const PARAMETER_URI = 21;

const FETCH_SEQUENCE = [FETCH, REPORT_ALL, CONDITION_IMAGE_MATCH, REPORT_ALL];
const VALIDATE = encodeCbor([CONDITION_IMAGE_MATCH, REPORT_ALL]);
const INSTALL = encodeCbor([OVERRIDE_PARAMETERS, new Map([[PARAMETER_URI, "#wasm"]]), ...FETCH_SEQUENCE]);

const SEMANTIC_VERSION = /^(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;

const semanticVersion = text(
  (found) => SEMANTIC_VERSION.test(found),
  TRUST_LIMITS.versionLength,
  "a semantic version such as 1.4.0",
);

const capability = tuple<AskedCapability>({
  slot: [0, kernelName],
  interface: [1, kernelName],
  rights: [2, listOf(kernelName, TRUST_LIMITS.rights)],
});

const capabilityList = listOf(capability, TRUST_LIMITS.capabilities);
const capabilities: typeof capabilityList = {
  ...capabilityList,
  read: (value, name) => {
    const list = capabilityList.read(value, name);
    const isAscending = list.every(({ slot }, index) => index === 0 || (list[index - 1]?.slot ?? "") < slot);
    if (isAscending) return list;
    throw new Refusal("E_CBOR", "capabilities are not in ascending order of slots, each once");
  },
};

const claims = record<ModuleClaims>({
  abi: [1, counter],
  version: [2, semanticVersion],
  capabilities: [3, capabilities],
  memoryPages: [4, unsigned(LIMITS.memoryPages)],
  released: [5, date],
  expires: [6, date],
  stateSchema: [7, counter],
  provenance: [8, optional(bytes(DIGEST_BYTES))],
});

/** `[-16, hash]`, as SUIT writes the digest of an image. */
const imageDigest: Field<Uint8Array> = {
  read: (value, name) => bytes(DIGEST_BYTES).read(expectArray(value, name, 2)[1], name),
  write: (digest) => [SHA_256, digest],
};

type Parameters = Pick<ModuleDocument, "vendor" | "class" | "wasmDigest" | "wasmSize">;

const parameters = record<Parameters>({
  vendor: [1, bytes(UUID_BYTES)],
  class: [2, bytes(UUID_BYTES)],
  wasmDigest: [3, nested(imageDigest)],
  wasmSize: [14, unsigned(LIMITS.binaryBytes)],
});

/** Sets the parameters, then checks vendor and class. */
const sharedSequence: Field<Parameters> = {
  read: (value, name) => parameters.read(expectArray(value, name)[1], name),
  write: (module) => {
    const conditions = [CONDITION_VENDOR, REPORT_ALL, CONDITION_CLASS, REPORT_ALL];
    return [OVERRIDE_PARAMETERS, parameters.write(module) ?? null, ...conditions];
  },
};

/** One component, whose identifier is the module's name. */
const components: Field<string> = {
  read: (value, name) => {
    const component = expectBytes(expectArray(expectArray(value, name, 1)[0], name, 1)[0], name);
    return kernelName.read(Buffer.from(component).toString("latin1"), "module name");
  },
  write: (name) => [[new TextEncoder().encode(name)]],
};

const common = record<{ readonly name: string; readonly parameters: Parameters }>({
  name: [2, components],
  parameters: [4, nested(sharedSequence)],
});

/** A SUIT manifest; the claims stand under a key for private use. */
const manifest = record(
  { sequence: [2, counter], common: [3, nested(common)], claims: [-65_537, nested(claims)] },
  new Map<number, CborInput>([...FORMAT, [7, VALIDATE], [20, INSTALL]]),
);

const document: Field<ModuleDocument> = {
  read: (value, what) => {
    const { sequence, common: found, claims: claimed } = manifest.read(value, what);
    return { name: found.name, sequence, ...found.parameters, claims: claimed };
  },
  write: (module) => manifest.write({ ...module, common: { name: module.name, parameters: module } }),
};

export const { encode: encodeModule, decode: decodeModule } = codec("module document", document);

/** UUID of a vendor: version 5 of its domain name (draft-ietf-suit-manifest section 8.4.8.1). 16 bytes. */
export function vendorId(domain: string): Uint8Array {
  // The DNS namespace of RFC 9562 section 6.6.
  return uuidV5(Buffer.from("6ba7b8109dad11d180b400c04fd430c8", "hex"), domain);
}

/** UUID of a class of gateways: version 5 of its name within the vendor's. 16 bytes. */
export function classId(vendor: Uint8Array, name: string): Uint8Array {
  return uuidV5(vendor, name);
}

function uuidV5(namespace: Uint8Array, name: string): Uint8Array {
  const uuid = new Uint8Array(createHash("sha1").update(namespace).update(name, "utf8").digest()).slice(0, UUID_BYTES);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x50;
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return uuid;
}
