/** What this release does not carry out is refused, and not ignored. */
import { describe, expect, it } from "vitest";
import { ConfigurationError, parseConfiguration } from "../../gateway/config/index.ts";
import { ALL_FEATURES, type Feature } from "../../gateway/config/supported.ts";
import { broken, parse } from "./support.ts";

const USES: readonly (readonly [Feature, string, string, string])[] = [
  ["console", "data: data", "data: data\nconsole: { port: 0 }", "6:1"],
];

function without(feature: Feature, text: string): unknown {
  const supported = new Set(ALL_FEATURES);
  supported.delete(feature);
  return parseConfiguration(text, "gateway.yaml", { folder: "/", supported });
}

describe("what a release does not carry out", () => {
  it.each(USES)("is refused at its place: %s", (feature, piece, becomes, place) => {
    const text = broken(piece, becomes);
    expect(() => without(feature, text)).toThrow(ConfigurationError);
    expect(() => without(feature, text)).toThrow(`gateway.yaml:${place}: E_CONFIG: `);
    expect(() => without(feature, text)).toThrow("is not carried out by this release; remove it");
  });

  it.each(USES)("is accepted where it is carried out: %s", (_, piece, becomes) => {
    expect(parse(broken(piece, becomes)).gateway.id).toBe("gw-7");
  });

  it("is all in this table", () => {
    expect(new Set(USES.map(([feature]) => feature))).toEqual(ALL_FEATURES);
  });
});
