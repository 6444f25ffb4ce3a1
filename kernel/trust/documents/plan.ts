/** The plan document: the whole set of modules that one gateway is to run. */

import { encodeCbor, expectArray, expectBytes, expectMap } from "../../cbor/index.ts";
import type { CborInput, CborMap } from "../../cbor/index.ts";
import { DIGEST_BYTES } from "../limits.ts";
import { decodeExactly, expectCounter, expectDate, expectIdentifier, expectName, FORMAT_VERSION } from "./document.ts";

/** One module of the set: its sequence number and the digest of its envelope. */
export interface PlannedModule {
  readonly sequence: number;
  readonly digest: Uint8Array;
}

export interface PlanDocument {
  readonly gateway: string;
  readonly version: number;
  /** Seconds since 1970. Believed for nothing: the deploy key is online. */
  readonly issued: number;
  readonly expires: number;
  /** The root version that the plan was made under. */
  readonly rootVersion: number;
  readonly modules: ReadonlyMap<string, PlannedModule>;
  /** Digest of the configuration envelope; undefined leaves the configuration as it is. */
  readonly configuration: Uint8Array | undefined;
  readonly rollout: string | undefined;
}

const PLAN = Object.freeze({
  format: 1,
  gateway: 2,
  version: 3,
  issued: 4,
  expires: 5,
  rootVersion: 6,
  modules: 7,
  configuration: 8,
  rollout: 9,
});

export function encodePlan(plan: PlanDocument): Uint8Array {
  const modules = Array.from(plan.modules, ([name, { sequence, digest }]) => [name, [sequence, digest]] as const);
  const map = new Map<number, CborInput>([
    [PLAN.format, FORMAT_VERSION],
    [PLAN.gateway, plan.gateway],
    [PLAN.version, plan.version],
    [PLAN.issued, plan.issued],
    [PLAN.expires, plan.expires],
    [PLAN.rootVersion, plan.rootVersion],
    [PLAN.modules, new Map<string, CborInput>(modules)],
  ]);
  if (plan.configuration !== undefined) map.set(PLAN.configuration, plan.configuration);
  if (plan.rollout !== undefined) map.set(PLAN.rollout, plan.rollout);
  return encodeCbor(map);
}

/** @throws Refusal E_CBOR, E_SIZE */
export function decodePlan(payload: Uint8Array): PlanDocument {
  return decodeExactly(payload, "plan document", readPlan, encodePlan);
}

function readPlan(map: CborMap): PlanDocument {
  const configuration = map.get(PLAN.configuration);
  const rollout = map.get(PLAN.rollout);
  return {
    gateway: expectIdentifier(map.get(PLAN.gateway), "gateway id"),
    version: expectCounter(map.get(PLAN.version), "plan version"),
    issued: expectDate(map.get(PLAN.issued), "issue date"),
    expires: expectDate(map.get(PLAN.expires), "expiry"),
    rootVersion: expectCounter(map.get(PLAN.rootVersion), "root version"),
    modules: readModules(expectMap(map.get(PLAN.modules), "modules")),
    configuration: configuration === undefined ? undefined : expectBytes(configuration, "configuration", DIGEST_BYTES),
    rollout: rollout === undefined ? undefined : expectIdentifier(rollout, "rollout id"),
  };
}

function readModules(map: CborMap): ReadonlyMap<string, PlannedModule> {
  const modules = new Map<string, PlannedModule>();
  for (const [name, value] of map) {
    const [sequence, digest] = expectArray(value, "planned module", 2);
    modules.set(expectName(typeof name === "string" ? name : undefined, "module name"), {
      sequence: expectCounter(sequence, "sequence number"),
      digest: expectBytes(digest, "envelope digest", DIGEST_BYTES),
    });
  }
  return modules;
}
