/** The module document: a SUIT manifest whose command sequences are constants, with the release engineer's claims. */

import { createHash } from "node:crypto";
import { encodeCbor, expectArray, expectBytes, expectMap, expectText, expectUnsigned } from "../../cbor/index.ts";
import type { CborInput, CborMap, CborValue } from "../../cbor/index.ts";
import { Refusal } from "../../errors.ts";
import { LIMITS } from "../../limits.ts";
import { encodeDigest } from "../envelope.ts";
import { DIGEST_BYTES, TRUST_LIMITS } from "../limits.ts";
import { decodeExactly, decodeNested, expectCounter, expectDate, expectName, FORMAT_VERSION } from "./document.ts";

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

/** SUIT manifest keys (draft-ietf-suit-manifest section 11.2); claims have a private one. */
const MANIFEST = Object.freeze({ version: 1, sequence: 2, common: 3, validate: 7, install: 20, claims: -65_537 });
const COMMON = Object.freeze({ components: 2, sharedSequence: 4 });
const PARAMETER = Object.freeze({ vendor: 1, class: 2, imageDigest: 3, imageSize: 14, uri: 21 });
const CLAIM = Object.freeze({
  abi: 1,
  version: 2,
  capabilities: 3,
  memoryPages: 4,
  released: 5,
  expires: 6,
  stateSchema: 7,
  provenance: 8,
});
const OVERRIDE_PARAMETERS = 20;
const CONDITION_VENDOR = 1;
const CONDITION_CLASS = 2;
const CONDITION_IMAGE_MATCH = 3;
const DIRECTIVE_FETCH = 21;
/** Report success and failure, records and system information. */
const REPORT_ALL = 15;
const UUID_BYTES = 16;
const SEMANTIC_VERSION = /^(?:0|[1-9]\d{0,8})(?:\.(?:0|[1-9]\d{0,8})){2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/;

const VALIDATE = encodeCbor([CONDITION_IMAGE_MATCH, REPORT_ALL]);
const INSTALL = encodeCbor([
  OVERRIDE_PARAMETERS,
  new Map([[PARAMETER.uri, "#wasm"]]),
  DIRECTIVE_FETCH,
  REPORT_ALL,
  CONDITION_IMAGE_MATCH,
  REPORT_ALL,
]);

export function encodeModule(module: ModuleDocument): Uint8Array {
  const parameters = new Map<number, CborInput>([
    [PARAMETER.vendor, module.vendor],
    [PARAMETER.class, module.class],
    [PARAMETER.imageDigest, encodeDigest(module.wasmDigest)],
    [PARAMETER.imageSize, module.wasmSize],
  ]);
  const shared = [OVERRIDE_PARAMETERS, parameters, CONDITION_VENDOR, REPORT_ALL, CONDITION_CLASS, REPORT_ALL];
  const common = new Map<number, CborInput>([
    [COMMON.components, [[new TextEncoder().encode(module.name)]]],
    [COMMON.sharedSequence, encodeCbor(shared)],
  ]);
  return encodeCbor(
    new Map<number, CborInput>([
      [MANIFEST.version, FORMAT_VERSION],
      [MANIFEST.sequence, module.sequence],
      [MANIFEST.common, encodeCbor(common)],
      [MANIFEST.validate, VALIDATE],
      [MANIFEST.install, INSTALL],
      [MANIFEST.claims, encodeClaims(module.claims)],
    ]),
  );
}

function encodeClaims(claims: ModuleClaims): Uint8Array {
  const map = new Map<number, CborInput>([
    [CLAIM.abi, claims.abi],
    [CLAIM.version, claims.version],
    [CLAIM.capabilities, claims.capabilities.map((asked) => [asked.slot, asked.interface, asked.rights])],
    [CLAIM.memoryPages, claims.memoryPages],
    [CLAIM.released, claims.released],
    [CLAIM.expires, claims.expires],
    [CLAIM.stateSchema, claims.stateSchema],
  ]);
  if (claims.provenance !== undefined) map.set(CLAIM.provenance, claims.provenance);
  return encodeCbor(map);
}

/** @throws Refusal E_CBOR, E_SIZE */
export function decodeModule(payload: Uint8Array): ModuleDocument {
  return decodeExactly(payload, "module document", readModule, encodeModule);
}

function readModule(map: CborMap): ModuleDocument {
  const common = expectNestedMap(map.get(MANIFEST.common), "common");
  const components = expectArray(common.get(COMMON.components), "components", 1);
  const component = expectBytes(expectArray(components[0], "component", 1)[0], "component");
  const shared = expectArray(
    decodeNested(expectBytes(common.get(COMMON.sharedSequence), "shared sequence")),
    "shared sequence",
  );
  const parameters = expectMap(shared[1], "parameters");
  const digest = expectArray(
    decodeNested(expectBytes(parameters.get(PARAMETER.imageDigest), "image digest")),
    "image digest",
    2,
  );
  return {
    name: expectName(Buffer.from(component).toString("latin1"), "module name"),
    sequence: expectCounter(map.get(MANIFEST.sequence), "sequence number"),
    vendor: expectBytes(parameters.get(PARAMETER.vendor), "vendor", UUID_BYTES),
    class: expectBytes(parameters.get(PARAMETER.class), "class", UUID_BYTES),
    wasmDigest: expectBytes(digest[1], "image digest", DIGEST_BYTES),
    wasmSize: expectUnsigned(parameters.get(PARAMETER.imageSize), "image size", LIMITS.binaryBytes),
    claims: readClaims(expectNestedMap(map.get(MANIFEST.claims), "claims")),
  };
}

function expectNestedMap(value: CborValue | undefined, field: string): CborMap {
  return expectMap(decodeNested(expectBytes(value, field)), field);
}

function readClaims(map: CborMap): ModuleClaims {
  const version = expectText(map.get(CLAIM.version), "version", TRUST_LIMITS.versionLength);
  if (!SEMANTIC_VERSION.test(version)) throw new Refusal("E_CBOR", "version is not a semantic version");
  const provenance = map.get(CLAIM.provenance);
  return {
    abi: expectCounter(map.get(CLAIM.abi), "ABI"),
    version,
    capabilities: readCapabilities(expectArray(map.get(CLAIM.capabilities), "capabilities")),
    memoryPages: expectUnsigned(map.get(CLAIM.memoryPages), "memory pages", LIMITS.memoryPages),
    released: expectDate(map.get(CLAIM.released), "release date"),
    expires: expectDate(map.get(CLAIM.expires), "expiry"),
    stateSchema: expectCounter(map.get(CLAIM.stateSchema), "state schema"),
    provenance: provenance === undefined ? undefined : expectBytes(provenance, "provenance", DIGEST_BYTES),
  };
}

function readCapabilities(list: readonly CborValue[]): readonly AskedCapability[] {
  if (list.length > TRUST_LIMITS.capabilities) throw new Refusal("E_CBOR", "too many capabilities");
  const capabilities = list.map((value) => {
    const [slot, interfaceName, rights] = expectArray(value, "capability", 3);
    const names = expectArray(rights, "rights");
    if (names.length > TRUST_LIMITS.rights) throw new Refusal("E_CBOR", "too many rights");
    return {
      slot: expectName(slot, "slot"),
      interface: expectName(interfaceName, "interface"),
      rights: names.map((name) => expectName(name, "right")),
    };
  });
  const isAscending = capabilities.every(
    (asked, index) => index === 0 || (capabilities[index - 1]?.slot ?? "") < asked.slot,
  );
  if (!isAscending) throw new Refusal("E_CBOR", "capabilities are not in ascending order of slots, each once");
  return capabilities;
}

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
