/** A small fleet's worth of keys and documents for the tests of trust: deterministic keys, valid documents to break. */

import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { RefusalCode } from "../../kernel/index.ts";
import type {
  ConfigurationDocument,
  ModuleDocument,
  PlanDocument,
  Role,
  RootDocument,
  TrustState,
} from "../../gateway/envelopes/index.ts";
import { compareBytes, Refusal } from "../../kernel/index.ts";
import { classId, decodeEnvelope, initialTrust, sha256, vendorId } from "../../gateway/envelopes/index.ts";
import type { SigningKey } from "../../tools/keys/key.ts";
import { keyFromSeed } from "../../tools/keys/key.ts";
import { signConfiguration, signModule, signPlan, signRoot } from "../../tools/keys/sign.ts";

/** The key of this role and number: the same in every run. */
export function key(role: Role, number = 1): SigningKey {
  const seed = createHash("sha256").update(`bulkhead test key ${role} ${number}`).digest();
  return keyFromSeed(role, new Uint8Array(seed));
}

export const rootKeys = [key("root", 1), key("root", 2), key("root", 3)];
export const release = key("release");
export const deploy = key("deploy");
export const operator = key("operator");

/** 2026-01-01T00:00:00Z, and days around it, in seconds. */
export const NOW = 1_767_225_600;
export const DAY = 86_400;

export const VENDOR = vendorId("bulkhead.example");
export const CLASS = classId(VENDOR, "pi-gateway");
export const GATEWAY = "gw-7";
export const WASM = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);

/** Ascending, as documents have them. */
export function publicKeys(...keys: SigningKey[]): Uint8Array[] {
  return keys.map(({ publicKey }) => publicKey).sort(compareBytes);
}

export function rootDocument(changes: Partial<RootDocument> = {}): RootDocument {
  return {
    version: 1,
    issued: NOW - 10 * DAY,
    expires: NOW + 365 * DAY,
    roles: {
      root: { threshold: 2, keys: publicKeys(...rootKeys) },
      release: { threshold: 1, keys: publicKeys(release) },
      deploy: { threshold: 1, keys: publicKeys(deploy) },
      operator: { threshold: 1, keys: publicKeys(operator) },
    },
    floors: new Map(),
    revokedKeys: [],
    revokedDigests: [],
    development: undefined,
    ...changes,
  };
}

export function moduleDocument(
  changes: Partial<ModuleDocument> = {},
  claims: Partial<ModuleDocument["claims"]> = {},
): ModuleDocument {
  return {
    name: "threshold",
    sequence: 5,
    vendor: VENDOR,
    class: CLASS,
    wasmDigest: sha256(WASM),
    wasmSize: WASM.length,
    claims: {
      abi: 1,
      version: "2.0.0",
      capabilities: [
        { slot: "alarms", interface: "endpoint", rights: ["send"] },
        { slot: "log", interface: "log", rights: [] },
      ],
      memoryPages: 16,
      released: NOW - DAY,
      expires: NOW + 90 * DAY,
      stateSchema: 1,
      provenance: undefined,
      ...claims,
    },
    ...changes,
  };
}

export function planDocument(changes: Partial<PlanDocument> = {}): PlanDocument {
  const envelope = signModule(moduleDocument(), [release]);
  return {
    gateway: GATEWAY,
    version: 3,
    issued: NOW - 60,
    expires: NOW + 7 * DAY,
    rootVersion: 1,
    modules: new Map([["threshold", { sequence: 5, digest: decodeEnvelope(envelope, "module").digest }]]),
    configuration: undefined,
    rollout: "wave-1",
    ...changes,
  };
}

export function configurationDocument(changes: Partial<ConfigurationDocument> = {}): ConfigurationDocument {
  return { target: GATEWAY, version: 2, issued: NOW - 60, content: "gateway:\n  id: gw-7\n", ...changes };
}

export const rootBytes = signRoot(rootDocument(), rootKeys.slice(0, 2));
export const moduleBytes = signModule(moduleDocument(), [release]);
export const moduleWithWasm = signModule(moduleDocument(), [release], WASM);
export const planBytes = signPlan(planDocument(), [deploy]);
export const configurationBytes = signConfiguration(configurationDocument(), [operator]);

const trust = initialTrust(rootBytes);

/** The state of a gateway that was given the first root: immutable, so one is enough. */
export function trusted(): TrustState {
  return trust;
}

/** Runs what must refuse, and returns its refusal for a closer look. */
export function refusal(code: RefusalCode, act: () => unknown): Refusal {
  let caught: unknown;
  try {
    act();
  } catch (error) {
    caught = error;
  }
  expect(caught, "a refusal").toBeInstanceOf(Refusal);
  expect(caught).toMatchObject({ code });
  return caught as Refusal;
}
