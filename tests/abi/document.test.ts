/** The page that module authors read says what the tables of the kernel say. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { generate, path } from "../../tools/generate/abi.ts";

test("docs/abi.md is what its generator makes", () => {
  expect(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")).toBe(generate());
});
