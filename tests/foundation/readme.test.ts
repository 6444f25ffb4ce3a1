/** The README tells the truth: its driver is the one that is built, its commands are verbs that exist. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { COMMANDS } from "../../tools/verbs/table.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (file: string): Promise<string> => readFile(fileURLToPath(new URL(file, ROOT)), "utf8");

test("the driver shown is the whole source of the example, in 25 lines at most", async () => {
  const source = await read("modules/examples/tmp102/index.ts");
  const [, shown] =
    /<!-- modules\/examples\/tmp102\/index\.ts -->\n```ts\n([^]*?)```/.exec(await read("README.md")) ?? [];
  expect(shown).toBe(source);
  expect(source.trimEnd().split("\n").length).toBeLessThanOrEqual(25);
});

test("every verb that the README names exists", async () => {
  const text = await read("README.md");
  const named = [...text.matchAll(/(?:bulkhead\.js|`bulkhead) ([a-z]+)/g)].map(([, verb]) => verb ?? "");
  expect(named.length).toBeGreaterThan(3);
  for (const verb of named) expect(COMMANDS.has(verb), verb).toBe(true);
});

test("every npm script that the README names exists", async () => {
  const text = await read("README.md");
  const { scripts } = JSON.parse(await read("package.json")) as { scripts: Record<string, string> };
  const named = [...text.matchAll(/npm (?:run )?(demo|test|start|check|[a-z]+:[a-z]+)\b/g)].map(
    ([, name]) => name ?? "",
  );
  expect(named.length).toBeGreaterThan(2);
  for (const name of named) expect(scripts, name).toHaveProperty(name);
});

test("every page that the README links to is there", async () => {
  const text = await read("README.md");
  const pages = [...text.matchAll(/\]\(([^)#:]+)\)/g)].map(([, page]) => page ?? "");
  expect(pages.length).toBeGreaterThan(5);
  for (const page of pages)
    await expect(read(page).catch((error: unknown) => (error as { code: string }).code)).resolves.not.toBe("ENOENT");
});
