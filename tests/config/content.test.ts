/** Content rules: which messages a route lets pass. */
import { describe, expect, it } from "vitest";
import {
  type CborInput,
  compileRequirements,
  encodeCbor,
  type EndpointGrant,
  type Requirement,
} from "../../kernel/index.ts";
import { broken, parse } from "./support.ts";

function grantWith(keys: string): EndpointGrant {
  const { system } = parse(broken("badge: 7", keys));
  const grant = system.modules.find(({ name }) => name === "bme280")?.grants.find(({ slot }) => slot === "readings");
  if (grant?.interface !== "endpoint") throw new Error("no such grant");
  return grant;
}

function requirements(text: string): readonly Requirement[] {
  return grantWith(`require: ${text}`).require ?? [];
}

function message(fields: Readonly<Record<string, CborInput>>): Map<string, CborInput> {
  return new Map(Object.entries(fields));
}

function unmetBy(value: CborInput, text: string): string | undefined {
  return compileRequirements(requirements(text))(encodeCbor(value));
}

describe("a content rule", () => {
  it("is kept with its route, beside the check that was asked for", () => {
    expect(grantWith("check: always, require: { topic: { below: site/7/# } }")).toMatchObject({
      check: true,
      require: [{ field: "topic", test: { below: "site/7/#" } }],
    });
    expect(grantWith("badge: 7")).not.toHaveProperty("check");
  });

  it.each([
    ["{ topic: { below: site/7/# } }", { topic: "site/7/x" }, undefined],
    ["{ topic: { below: site/7/# } }", { topic: "site/8/x" }, "topic"],
    ["{ topic: { below: site/7/# } }", { topic: 7 }, "topic"],
    ["{ topic: { below: site/7/# } }", {}, "topic"],
    ["{ level: { minimum: 1, maximum: 3 } }", { level: 3 }, undefined],
    ["{ level: { minimum: 1, maximum: 3 } }", { level: 4 }, "level"],
    ["{ level: { minimum: 1, maximum: 3 } }", { level: Number.NaN }, "level"],
    ["{ level: { minimum: 1 } }", { level: 2n }, undefined],
    ["{ level: { minimum: 1 } }", { level: "2" }, "level"],
    ["{ kind: { one-of: [on, off, 3, true] } }", { kind: "on" }, undefined],
    ["{ kind: { one-of: [on, off, 3, true] } }", { kind: 3n }, undefined],
    ["{ kind: { one-of: [on, off, 3, true] } }", { kind: "3" }, "kind"],
    ["{ a: { type: integer } }", { a: 1.5 }, "a"],
    ["{ a: { type: integer } }", { a: 2n }, undefined],
    ["{ a: { type: number } }", { a: 1.5 }, undefined],
    ["{ a: { type: text } }", { a: new Uint8Array() }, "a"],
    ["{ a: { type: bytes } }", { a: new Uint8Array() }, undefined],
    ["{ a: { type: boolean } }", { a: false }, undefined],
    ["{ a: {} }", { a: null }, undefined],
    ["{ a: {} }", {}, "a"],
    ["{ a: {}, b: {} }", { a: 1 }, "b"],
    ["{ a.b: { minimum: 1 } }", { a: message({ b: 1 }) }, undefined],
    ["{ a.b: { minimum: 1 } }", { a: 1 }, "a.b"],
    ["{ a.b: { minimum: 1 } }", { z: [1, { b: 5 }, [[]]], a: { c: { b: 5 }, b: 1 } }, undefined],
    ["{ constructor: {} }", {}, "constructor"],
    ["{ length: {} }", {}, "length"],
  ])("%s of %o", (text, fields, unmet) => {
    const found = unmetBy(message(fields), text);
    expect(found).toBe(unmet === undefined ? undefined : `the field ${unmet}, which the route requires`);
  });

  it.each([null, 1, "text", [], new Uint8Array(), {}])("lets no message pass that is not a map: %j", (value) => {
    expect(unmetBy(value, "{ a: {} }")).toBe("the field a, which the route requires");
  });
});
