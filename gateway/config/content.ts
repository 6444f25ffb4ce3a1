/** Content rules: the fields that a route requires of each of its messages. */
import type { Requirement } from "../../kernel/index.ts";
import type { ConfigurationNode } from "./document.ts";
import { refuseFilter } from "./topic.ts";
import { choice, finiteNumber, list, type Located, optional, record, type Shape, table, text } from "./shape.ts";

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
