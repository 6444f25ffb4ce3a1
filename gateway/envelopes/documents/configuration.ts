/** The configuration document: the operator's `gateway.yaml` for one gateway or for a class of them. */

import { expectText } from "../../../kernel/index.ts";
import { TRUST_LIMITS, UUID_BYTES } from "../limits.ts";
import type { Field } from "./fields.ts";
import { bytes, codec, counter, date, FORMAT, identifier, record } from "./fields.ts";

export interface ConfigurationDocument {
  /** A gateway's id, or the 16 bytes of a class (`classId`). */
  readonly target: string | Uint8Array;
  readonly version: number;
  /** Seconds since 1970, for people: a configuration does not expire, the plan that names it does. */
  readonly issued: number;
  /** The text of a `gateway.yaml`, checked as a local one is. */
  readonly content: string;
}

const target: Field<string | Uint8Array> = {
  read: (value, name) => (value instanceof Uint8Array ? bytes(UUID_BYTES) : identifier).read(value, name),
  write: (value) => value,
};

const content: Field<string> = {
  read: (value, name) => expectText(value, name, TRUST_LIMITS.payloadBytes),
  write: (value) => value,
};

export const { encode: encodeConfiguration, decode: decodeConfiguration } = codec(
  "configuration document",
  record<ConfigurationDocument>(
    { target: [2, target], version: [3, counter], issued: [4, date], content: [5, content] },
    FORMAT,
  ),
);
