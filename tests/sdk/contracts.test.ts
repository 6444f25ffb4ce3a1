/** The generator of contracts: what it makes compiles, decodes what it encodes, and refuses CDDL that it does not know. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { assemblyScriptOf } from "../../tools/build/contracts/assembly-script.ts";
import { readContract } from "../../tools/build/contracts/model.ts";
import { typescriptOf } from "../../tools/build/contracts/typescript.ts";

const folder = mkdtempSync(join(tmpdir(), "bulkhead-contracts-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function contract(cddl: string) {
  const path = join(folder, "sample.cddl");
  writeFileSync(path, cddl);
  return readContract(path);
}

async function refusal(cddl: string): Promise<Refusal> {
  const error: unknown = await contract(cddl).catch((reason: unknown) => reason);
  if (!(error instanceof Refusal)) throw new Error("it was not refused");
  return error;
}

describe("a contract", () => {
  it("is read field by field", async () => {
    const sample = `valve-state = {
  name: tstr .size (1..8), ; of the valve
  ? serial: bytes .size 4,
  mode: "auto" / "hand",
  turns: uint .size 4,
  total: uint,
  percent: 0..100,
  steps: 0...100,
  offset: int,
  flow: number,
  open: bool,
}`;
    expect(await contract(sample)).toEqual({
      name: "sample",
      rule: "valve-state",
      fields: [
        { name: "name", isOptional: false, type: { kind: "text", least: 1, most: 8 }, comment: "of the valve" },
        { name: "serial", isOptional: true, type: { kind: "bytes", least: 4, most: 4 }, comment: undefined },
        { name: "mode", isOptional: false, type: { kind: "choice", values: ["auto", "hand"] }, comment: undefined },
        { name: "turns", isOptional: false, type: { kind: "unsigned", bits: 32 }, comment: undefined },
        { name: "total", isOptional: false, type: { kind: "unsigned", bits: 64 }, comment: undefined },
        { name: "percent", isOptional: false, type: { kind: "range", least: 0, most: 100 }, comment: undefined },
        { name: "steps", isOptional: false, type: { kind: "range", least: 0, most: 99 }, comment: undefined },
        { name: "offset", isOptional: false, type: { kind: "integer" }, comment: undefined },
        { name: "flow", isOptional: false, type: { kind: "number" }, comment: undefined },
        { name: "open", isOptional: false, type: { kind: "boolean" }, comment: undefined },
      ],
    });
  });

  it("becomes a class that checks each field, and a type", async () => {
    const made = await contract('s = { on: bool, ? at: uint .size 4, mode: "a" / "b" }');
    const source = assemblyScriptOf(made);
    expect(source).toContain("if ((seen & 5) != 5) reader.fail(Fault.contract);");
    expect(source).toContain('if (!this.mode.is("a") && !this.mode.is("b")) reader.fail(Fault.contract);');
    expect(source.indexOf('"at"', source.indexOf("encode("))).toBeLessThan(
      source.indexOf('"on"', source.indexOf("encode(")),
    );
    expect(typescriptOf([made], "sample.cddl", "bulkhead/testkit")).toContain(
      '  readonly at?: number;\n  readonly mode: "a" | "b";',
    );
  });

  it("that is not there is said so", async () => {
    const reading = readContract(join(folder, "absent.cddl"));
    await expect(reading).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("no file") as string,
    });
  });

  it.each([
    ["a rule that is no map", "s = text"],
    ["a field that repeats", "s = { * a: uint }"],
    ["a choice of numbers", "s = { a: 1 / 2 }"],
    ["a tag", "s = { a: #6.2(bytes) }"],
    ["another rule", "s = { a: other }\nother = { b: uint }"],
    ["a regular expression", 's = { a: text .regexp "x" }'],
    ["a uint of three bytes", "s = { a: uint .size 3 }"],
    ["a key that no field can be named after", "s = { a-b: uint }"],
    ["33 fields", `s = { ${Array.from({ length: 33 }, (_, i) => `f${i}: uint`).join(", ")} }`],
    ["what is not CDDL", "s = {{{"],
  ])("is refused with %s", async (_, cddl) => {
    const { code, message } = await refusal(cddl);
    expect(code).toBe("E_CONFIG");
    expect(message).toContain("sample.cddl");
  });
});
