/** The JSON Schema that ships for editors says what the reader says. */
import { readFileSync } from "node:fs";
import { Ajv } from "ajv";
import { describe, expect, it } from "vitest";
import { parse as parseYaml } from "yaml";
import { generate } from "../../tools/generate/gateway-schema.ts";
import { broken, VALID } from "./support.ts";

const schema = JSON.parse(generate()) as Record<string, unknown>;
const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema);

function errorsOf(text: string): readonly string[] {
  validate(parseYaml(text));
  return (validate.errors ?? []).map(({ instancePath, keyword }) => `${instancePath} ${keyword}`);
}

describe("docs/gateway-schema.json", () => {
  it("is what its generator makes", () => {
    const file = readFileSync(new URL("../../docs/gateway-schema.json", import.meta.url), "utf8");
    expect(file === generate()).toBe(true);
  });

  it("accepts what the reader accepts", () => {
    expect(errorsOf(VALID)).toEqual([]);
    expect(errorsOf(readFileSync(new URL("../../gateway.example.yaml", import.meta.url), "utf8"))).toEqual([]);
  });

  it.each([
    ["an unknown key", "priority: 2", "prioritty: 2", "/modules/uplink additionalProperties"],
    ["a number out of range", "priority: 2", "priority: 8", "/modules/uplink/priority maximum"],
    ["a text for a number", "priority: 2", "priority: high", "/modules/uplink/priority type"],
    ["a size in an unknown unit", "memory: 2MiB", "memory: 2MB", "/modules/threshold/memory pattern"],
    ["a duration without its unit", "activation: 5s", "activation: 5000", "/modules/uplink/activation type"],
    ["a missing key", "  id: gw-7\n", "", "/gateway required"],
    ["an unknown choice", "backend: simulator", "backend: simulated", "/devices/i2c/1/backend enum"],
    ["a name in capitals", "  bme280:\n    env", "  BME280:\n    env", "/modules propertyNames"],
    ["an unknown interface", "i2c-device: { bus", "i2c: { bus", "/modules/bme280/grants/sensor oneOf"],
    ["two interfaces", "tick: { timer: {} }", "tick: { timer: {}, log: {} }", "/modules/bme280/grants/tick oneOf"],
    ["no targets", "[threshold.readings, uplink.readings]", "[]", "/modules/bme280/grants/readings oneOf"],
  ])("refuses %s", (_, piece, becomes, expected) => {
    expect(errorsOf(broken(piece, becomes))).toContain(expected);
  });
});
