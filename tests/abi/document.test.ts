/** The pages that module authors and operators read say what the tables of the kernel say. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { findOperation, type InterfaceName, INTERFACES, RESULT_CODES } from "../../kernel/index.ts";
import * as abi from "../../tools/generate/abi.ts";
import * as interfaces from "../../tools/generate/interfaces.ts";
import { INTERFACE_TEXTS } from "../../tools/generate/texts/abi.ts";

test.each([abi, interfaces])("$path is what its generator makes", ({ path, generate }) => {
  expect(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")).toBe(generate());
});

test("every result code and every operation is documented", () => {
  const pages = abi.generate() + interfaces.generate();
  for (const { code, name } of RESULT_CODES) expect(pages).toContain(`| ${code} | \`${name}\` |`);
  for (const name of Object.keys(INTERFACES) as InterfaceName[]) {
    expect(pages).toContain(`## ${name}\n`);
    for (const [operation, meaning] of Object.entries(INTERFACE_TEXTS[name].operations)) {
      expect(findOperation(name, operation)).toBeDefined();
      expect(pages).toContain(meaning);
    }
  }
});
