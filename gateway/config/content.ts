/** Content rules: the fields that a route requires of each of its messages. */
import type { ConfigurationNode } from "./document.ts";
import { filterMatches, refuseFilter } from "./topic.ts";
import { choice, finiteNumber, list, type Located, optional, record, type Shape, table, text } from "./shape.ts";

/** What a field's value must be. All that are present must hold. */
export interface FieldTest {
  /** Exactly one of these values. */
  readonly oneOf?: readonly (string | number | boolean)[];
  /** A text that this MQTT filter matches: `site/7/#`. */
  readonly below?: string;
  /** A number at least, at most. */
  readonly minimum?: number;
  readonly maximum?: number;
  readonly type?: FieldType;
}

export type FieldType = "text" | "bytes" | "integer" | "number" | "boolean";

/** A message passes where it has the field (a map's key; dots descend) and its value passes the test. */
export interface Requirement {
  readonly field: string;
  readonly test: FieldTest;
}

const scalarValue: Shape<string | number | boolean> = {
  what: "text, a number, true or false",
  read(node: ConfigurationNode, path, problems) {
    if (node.kind === "scalar" && node.value !== null) return node.value;
    problems.add(node.at, `${path} is not valid`, { expected: "text, a number, true or false" });
    return undefined;
  },
  schema: () => ({ type: ["string", "number", "boolean"] }),
};

const fieldTest = record("what the field's value must be", {
  "one-of": optional(list(scalarValue, 1, 256), "exactly one of these values"),
  below: optional(
    text("an MQTT topic filter such as site/7/#", { refuse: refuseFilter }),
    "a text that this filter matches",
  ),
  minimum: optional(finiteNumber(), "a number of at least this"),
  maximum: optional(finiteNumber(), "a number of at most this"),
  type: optional(choice(["text", "bytes", "integer", "number", "boolean"]), "a value of this type"),
});

const FIELD = {
  what: "a field of the message: names joined by dots",
  pattern: "^[A-Za-z0-9_-]{1,64}(\\.[A-Za-z0-9_-]{1,64}){0,7}$",
};
const fields = table("fields that a message must have", fieldTest, { key: FIELD, maximum: 32, minimum: 1 });

function values<T>(located: Located<readonly Located<T>[]> | undefined): readonly T[] | undefined {
  return located?.value.map(({ value }) => value);
}

/** The `require:` key of an endpoint grant. */
export const requirements: Shape<readonly Requirement[]> = {
  what: fields.what,
  read(node, path, problems) {
    const read = fields.read(node, path, problems);
    if (read === undefined) return undefined;
    return [...read].map(([field, { value, at }]) => {
      const [minimum, maximum] = [value.minimum?.value, value.maximum?.value];
      if (minimum !== undefined && maximum !== undefined && minimum > maximum) {
        problems.add(at, `${path}.${field}: no number is at least ${minimum} and at most ${maximum}`);
      }
      const oneOf = values(value["one-of"]);
      return {
        field,
        test: {
          ...(oneOf === undefined ? {} : { oneOf }),
          ...(value.below === undefined ? {} : { below: value.below.value }),
          ...(minimum === undefined ? {} : { minimum }),
          ...(maximum === undefined ? {} : { maximum }),
          ...(value.type === undefined ? {} : { type: value.type.value }),
        },
      };
    });
  },
  schema: () => fields.schema(),
};

function isOfType(value: unknown, type: FieldType): boolean {
  if (type === "text") return typeof value === "string";
  if (type === "bytes") return value instanceof Uint8Array;
  if (type === "boolean") return typeof value === "boolean";
  if (type === "integer") return typeof value === "bigint" || Number.isSafeInteger(value);
  return typeof value === "number" || typeof value === "bigint";
}

function passes(value: unknown, { oneOf, below, minimum, maximum, type }: FieldTest): boolean {
  if (type !== undefined && !isOfType(value, type)) return false;
  const comparable = typeof value === "bigint" ? Number(value) : value;
  if (oneOf !== undefined && !oneOf.some((candidate) => candidate === comparable)) return false;
  if (below !== undefined && (typeof value !== "string" || !filterMatches(below, value))) return false;
  if (minimum === undefined && maximum === undefined) return true;
  return typeof comparable === "number" && comparable >= (minimum ?? -Infinity) && comparable <= (maximum ?? Infinity);
}

function lookUp(message: unknown, field: string): unknown {
  let value = message;
  for (const part of field.split(".")) value = value instanceof Map ? value.get(part) : undefined;
  return value;
}

/** The first field that a decoded message (maps as `Map`) lacks or has wrong, or undefined where it may pass. */
export function firstUnmet(message: unknown, list_: readonly Requirement[]): string | undefined {
  return list_.find(({ field, test }) => {
    const value = lookUp(message, field);
    return value === undefined || !passes(value, test);
  })?.field;
}
