/** The plan document: the whole set of modules that one gateway is to run. */

import { DIGEST_BYTES } from "../limits.ts";
import {
  bytes,
  codec,
  counter,
  date,
  FORMAT,
  identifier,
  kernelName,
  mapOf,
  optional,
  record,
  tuple,
} from "./fields.ts";

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

const plannedModule = tuple<PlannedModule>({ sequence: [0, counter], digest: [1, bytes(DIGEST_BYTES)] });

export const { encode: encodePlan, decode: decodePlan } = codec(
  "plan document",
  record<PlanDocument>(
    {
      gateway: [2, identifier],
      version: [3, counter],
      issued: [4, date],
      expires: [5, date],
      rootVersion: [6, counter],
      modules: [7, mapOf(kernelName, plannedModule)],
      configuration: [8, optional(bytes(DIGEST_BYTES))],
      rollout: [9, optional(identifier)],
    },
    FORMAT,
  ),
);
