/** Content rules: which decoded messages a route lets pass. */
import { describe, expect, it } from "vitest";
import { firstUnmet, type Requirement } from "../../gateway/config/index.ts";
import { broken, parse } from "./support.ts";

function requirements(text: string): readonly Requirement[] {
  const { routes } = parse(broken("badge: 7", `require: ${text}`));
  return routes.get("bme280.readings")?.require ?? [];
}

function message(fields: Readonly<Record<string, unknown>>): Map<string, unknown> {
  return new Map(Object.entries(fields));
}

describe("a content rule", () => {
  it("is kept with its route, beside the check that was asked for", () => {
    const { routes } = parse(broken("badge: 7", "check: always, require: { topic: { below: site/7/# } }"));
    expect([...routes]).toEqual([
      ["bme280.readings", { check: "always", require: [{ field: "topic", test: { below: "site/7/#" } }] }],
    ]);
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
    ["{ a.b: { minimum: 1 } }", { a: { b: 1 } }, "a.b"],
    ["{ constructor: {} }", {}, "constructor"],
    ["{ length: {} }", {}, "length"],
  ])("%s of %o", (text, fields, unmet) => {
    expect(firstUnmet(message(fields), requirements(text))).toBe(unmet);
  });

  it.each([null, 1, "text", [], new Uint8Array(), {}])("lets no message pass that is not a map: %j", (value) => {
    expect(firstUnmet(value, requirements("{ a: {} }"))).toBe("a");
  });
});
