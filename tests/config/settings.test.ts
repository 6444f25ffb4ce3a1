/** A module's settings in the file: bounded data, checked against what the module says that it takes. */
import { describe, expect, it } from "vitest";
import { planChange, describeChange } from "../../gateway/config/change.ts";
import { checkAgainstManifests, type ManifestView } from "../../gateway/config/index.ts";
import { describeProblem } from "../../gateway/config/problem.ts";
import {
  decodeSettingsContract,
  encodeSettingsContract,
  type SettingsMap,
} from "../../gateway/config/settings-contract.ts";
import { encodeCbor, LIMITS } from "../../kernel/index.ts";
import { broken, parse, refusalOf } from "./support.ts";

const withSettings = (settings: string): string =>
  broken("    priority: 2\n", `    priority: 2\n    settings:${settings}\n`);

const CONTRACT: SettingsMap = {
  kind: "map",
  fields: [
    { name: "prefix", isOptional: false, default: null, type: { kind: "text", least: 1, most: 8 } },
    { name: "period", isOptional: true, default: 1000, type: { kind: "integer", least: 10, most: 5000 } },
    { name: "scale", isOptional: true, default: null, type: { kind: "number", least: 0, most: null } },
    { name: "on", isOptional: true, default: null, type: { kind: "boolean" } },
    { name: "order", isOptional: true, default: "high", type: { kind: "choice", values: ["high", "low"] } },
    {
      name: "limits",
      isOptional: true,
      default: null,
      type: {
        kind: "list",
        least: 1,
        most: 2,
        of: {
          kind: "map",
          fields: [
            { name: "high", isOptional: false, default: null, type: { kind: "number", least: null, most: null } },
          ],
        },
      },
    },
  ],
};

function view(settings: Uint8Array | null): ManifestView {
  return { name: "uplink", version: "1.0.0", ports: [], slots: new Map(), memory: 1, fuel: 1, settings };
}

/** The errors about settings, as they are told. */
function errorsOf(text: string, contract: Uint8Array | null = encodeSettingsContract(CONTRACT)): string[] {
  const { errors } = checkAgainstManifests(parse(text), new Map([["uplink", view(contract)]]));
  return errors.map(describeProblem).filter((line) => /settings/.test(line));
}

function specOf(text: string): Uint8Array | undefined {
  return parse(text).system.modules.find(({ name }) => name === "uplink")?.settings;
}

describe("settings as data", () => {
  it("are any maps, lists and scalars, as deterministic CBOR", () => {
    const text = withSettings(" { b: [1, -2, 1.5, true, null, text], a: { zero: -0.0, deep/er: 1 } }");
    expect(specOf(text)).toEqual(encodeCbor({ a: { "deep/er": 1, zero: 0 }, b: [1, -2, 1.5, true, null, "text"] }));
  });

  it("that are absent or empty are no bytes at all", () => {
    expect(specOf(broken("    priority: 2\n", ""))).toBeUndefined();
    expect(specOf(withSettings(""))).toEqual(new Uint8Array(0));
  });

  it("with names of prototypes are data like others, and reach nothing", () => {
    expect(specOf(withSettings(" { constructor: 1, toString: 2 }"))).toEqual(
      encodeCbor(
        new Map([
          ["constructor", 1],
          ["toString", 2],
        ]),
      ),
    );
    expect(refusalOf(withSettings(" { __proto__: 1 }")).message).toContain("the key '__proto__'");
    expect(({} as Record<string, unknown>)["constructor"]).toBe(Object);
  });

  it.each([
    ["a list", " [1]", "a map of the module's own settings"],
    ["a number", " 7", "a map of the module's own settings"],
    ["not a number", " { a: .nan }", "a finite number"],
    ["infinity", " { a: [-.inf] }", "a finite number"],
    ["a byte order mark", ' { a: "\\uFEFFx" }', "Unicode"],
    ["a key of an object", ' { "a b": 1 }', "letters, digits"],
    ["nine levels", ` { a: ${"[".repeat(8)}1${"]".repeat(8)} }`, "at most 8 levels"],
    ["more than 4 KiB", ` { a: ${"x".repeat(LIMITS.settingsBytes)} }`, "at most 4096 bytes"],
  ])("refuses %s with line and column", (_, settings, expected) => {
    const { problems } = refusalOf(withSettings(settings));
    expect(problems).toHaveLength(1);
    expect(problems[0]?.expected).toContain(expected);
    expect(problems[0]?.at).toMatchObject({ line: 34 });
    expect(problems[0]?.at.column).toBeGreaterThan(14);
  });

  it("eight levels are taken", () => {
    expect(specOf(withSettings(` { a: ${"[".repeat(7)}1${"]".repeat(7)} }`))).toBeDefined();
  });
});

describe("settings by the module's contract", () => {
  it("that fit are no error", () => {
    const all = " { prefix: a/b, period: 10, scale: 0, on: false, order: low, limits: [{ high: -1.5 }] }";
    expect(errorsOf(withSettings(all))).toEqual([]);
    expect(errorsOf(withSettings(" { prefix: x }"))).toEqual([]);
  });

  it.each([
    [" { prefix: x, perod: 10 }", "unknown key 'perod' in modules.uplink.settings; did you mean 'period'"],
    [" { }", "modules.uplink.settings lacks the key 'prefix'; expected text of 1 to 8 bytes; add 'prefix: …'"],
    ["", "lacks the key 'prefix'"],
    [
      " { prefix: 7 }",
      "settings.prefix is not what the module takes; expected text of 1 to 8 bytes; found number 7; put it in quotes",
    ],
    [" { prefix: ééééé }", "settings.prefix is not what the module takes"],
    [" { prefix: x, period: 9 }", "expected a whole number from 10 to 5000; found number 9"],
    [" { prefix: x, period: 10.5 }", "expected a whole number"],
    [" { prefix: x, scale: -1 }", "expected a number from 0; found number -1"],
    [" { prefix: x, on: 1 }", "expected true or false"],
    [" { prefix: x, order: up }", "expected one of high or low"],
    [" { prefix: x, limits: [] }", "expected a list of 1 to 2"],
    [" { prefix: x, limits: [{ high: 1 }, { high: 1 }, { high: 1 }] }", "found a list of 3"],
    [" { prefix: x, limits: [{ high: 1 }, { low: 1 }] }", "unknown key 'low' in modules.uplink.settings.limits[1]"],
    [" { prefix: x, limits: { high: 1 } }", "found a map"],
    [" { prefix: null }", "found nothing"],
  ])("%s is told at its place", (settings, message) => {
    const [first, ...others] = errorsOf(withSettings(settings)).filter((line) => line.includes(message));
    expect(first).toMatch(/^gateway\.yaml:3[0-9]:\d+: E_(CONFIG|UNKNOWN): /);
    expect(others).toEqual([]);
  });

  it("that are needed and not there are told at the module", () => {
    expect(errorsOf(broken("    priority: 2\n", ""))[0]).toMatch(/^gateway\.yaml:31:\d+: .*lacks the key 'prefix'/);
  });

  it("of a module that takes none are an error", () => {
    expect(errorsOf(withSettings(" { prefix: x }"), null)[0]).toContain("uplink takes no settings");
  });
});

describe("the contract in a manifest", () => {
  it("comes back as it was written", () => {
    expect(decodeSettingsContract(encodeSettingsContract(CONTRACT))).toEqual(CONTRACT);
  });

  it.each<[string, Parameters<typeof encodeCbor>[0]]>([
    ["no CBOR array", 7],
    ["a type that is not known", ["set"]],
    ["a list at the top", ["list", 0, 1, ["boolean"]]],
    ["a field without a name", ["map", [1, true, null, ["boolean"]]]],
    ["a name of a prototype", ["map", ["__proto__", true, null, ["boolean"]]]],
    ["a default that is a list", ["map", ["a", true, [], ["boolean"]]]],
    ["a size below 0", ["map", ["a", true, null, ["text", -1, 2]]]],
    [
      "thirty levels",
      Array.from({ length: 30 }).reduce<Parameters<typeof encodeCbor>[0]>((of) => ["list", 0, 1, of], ["boolean"]),
    ],
  ])("is refused where it is %s, and the module's place told", (_, value) => {
    expect(() => decodeSettingsContract(encodeCbor(value))).toThrow("the settings of the manifest are not valid");
    expect(errorsOf(withSettings(" { prefix: x }"), encodeCbor(value))[0]).toContain("E_MANIFEST");
  });
});

it("a change of settings restarts the module, and the plan says which", () => {
  const [before, after] = [" { prefix: a, period: 10 }", " { prefix: a, period: 20, on: true }"].map((settings) =>
    parse(withSettings(settings)),
  );
  if (before === undefined || after === undefined) throw new Error("two configurations");
  expect(describeChange(planChange(before, after))).toContain(
    "~ module   uplink: restarted; settings.period 10 -> 20; settings.on absent -> true",
  );
  expect(planChange(before, before).modules).toEqual([]);
});
