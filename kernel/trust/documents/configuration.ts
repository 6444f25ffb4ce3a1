/** The configuration document: the operator's `gateway.yaml` for one gateway or for a class of them. */

import { encodeCbor, expectBytes, expectText } from "../../cbor/index.ts";
import type { CborInput, CborMap } from "../../cbor/index.ts";
import { TRUST_LIMITS } from "../limits.ts";
import { decodeExactly, expectCounter, expectDate, expectIdentifier, FORMAT_VERSION } from "./document.ts";

export interface ConfigurationDocument {
  /** A gateway's id, or the 16 bytes of a class (`classId`). */
  readonly target: string | Uint8Array;
  readonly version: number;
  /** Seconds since 1970, for people: a configuration does not expire, the plan that names it does. */
  readonly issued: number;
  /** The text of a `gateway.yaml`, checked as a local one is. */
  readonly content: string;
}

const CONFIGURATION = Object.freeze({ format: 1, target: 2, version: 3, issued: 4, content: 5 });
const CLASS_BYTES = 16;

export function encodeConfiguration(configuration: ConfigurationDocument): Uint8Array {
  return encodeCbor(
    new Map<number, CborInput>([
      [CONFIGURATION.format, FORMAT_VERSION],
      [CONFIGURATION.target, configuration.target],
      [CONFIGURATION.version, configuration.version],
      [CONFIGURATION.issued, configuration.issued],
      [CONFIGURATION.content, configuration.content],
    ]),
  );
}

/** @throws Refusal E_CBOR, E_SIZE */
export function decodeConfiguration(payload: Uint8Array): ConfigurationDocument {
  return decodeExactly(payload, "configuration document", readConfiguration, encodeConfiguration);
}

function readConfiguration(map: CborMap): ConfigurationDocument {
  const target = map.get(CONFIGURATION.target);
  const isClass = target instanceof Uint8Array;
  return {
    target: isClass ? expectBytes(target, "target class", CLASS_BYTES) : expectIdentifier(target, "target gateway"),
    version: expectCounter(map.get(CONFIGURATION.version), "configuration version"),
    issued: expectDate(map.get(CONFIGURATION.issued), "issue date"),
    content: expectText(map.get(CONFIGURATION.content), "content", TRUST_LIMITS.payloadBytes),
  };
}
