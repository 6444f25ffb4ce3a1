/** The check's other rules, each with something planted that it must find. */
import { describe, expect, test } from "vitest";
import { checkModules } from "../../tools/check/assembly-script.ts";
import { checkGenerated, type Generator, loadGenerators, writeGenerated } from "../../tools/check/generated.ts";
import { checkOpenings, countKernelLines, KERNEL_LINE_BUDGET, KERNEL_LINE_CEILING } from "../../tools/check/sources.ts";
import { plant, plantTree, ROOT, runTool, temporaryFolder } from "./support.ts";

describe("the kernel's line budget", () => {
  test("the kernel keeps the ceiling that holds until it keeps the budget", () => {
    const finding = countKernelLines(ROOT);
    expect(finding.ok, finding.details).toBe(true);
    expect(KERNEL_LINE_BUDGET).toBe(6000);
  });

  test("every line counts, one over the budget is said, one over the ceiling fails, and the largest files are named", () => {
    const folder = temporaryFolder();
    plant(folder, { "kernel/small.ts": "\n".repeat(1000), "kernel/deep/large.ts": "\n".repeat(5000) });
    expect(countKernelLines(folder)).toMatchObject({
      ok: true,
      summary: "6000 of 6000 lines, 0 of them code, in 2 files",
    });
    plant(folder, { "kernel/one.ts": "export const one = 1; // One more.\n" });
    expect(countKernelLines(folder).summary).toMatch(/^6001 of 6000 lines, 1 of them code, in 3 files: 1 over budget/);
    plant(folder, { "kernel/rest.ts": "\n".repeat(KERNEL_LINE_CEILING - 6000) });
    const finding = countKernelLines(folder);
    expect(finding.ok).toBe(false);
    expect(finding.details).toMatch(/5000 +0 kernel\/deep\/large\.ts/);
  });

  test("an empty kernel is no kernel within budget", () => {
    expect(countKernelLines(temporaryFolder()).ok).toBe(false);
  });
});

test("a file that does not open with what it is for is named", () => {
  const folder = temporaryFolder();
  plant(folder, {
    "kernel/said.ts": "/** What this is for. */\nexport {};\n",
    "tools/script.ts": "#!/usr/bin/env node\n/** What this is for. */\nexport {};\n",
    "gateway/silent.ts": 'import "./other.ts";\n',
    "modules/empty-words.ts": "/** */\nexport {};\n",
  });
  const finding = checkOpenings(folder);
  expect(finding).toMatchObject({ ok: false, summary: "2 of 4 files" });
  expect(finding.details.split("\n").map((line) => line.split(":")[0])).toEqual([
    "gateway/silent.ts",
    "modules/empty-words.ts",
  ]);
});

describe("generated files", () => {
  const generators: Generator[] = [
    { path: "docs/one.md", generate: () => "one\n" },
    { path: "docs/two.md", generate: () => Promise.resolve("two\n") },
  ];

  test("are written, and then up to date", async () => {
    const folder = temporaryFolder();
    await writeGenerated(folder, generators);
    expect(await checkGenerated(folder, generators)).toMatchObject({ ok: true, summary: "2 files" });
  });

  test("that were edited or removed are named", async () => {
    const folder = temporaryFolder();
    plant(folder, { "docs/one.md": "one, edited\n" });
    const finding = await checkGenerated(folder, generators);
    expect(finding.ok).toBe(false);
    expect(finding.details).toContain("docs/one.md is not what its generator makes");
    expect(finding.details).toContain("docs/two.md is not what its generator makes");
  });

  test("come from files that export a path and how to make it", async () => {
    const folder = temporaryFolder();
    plant(folder, { "abi.ts": 'export const path = "docs/abi.md";\nexport const generate = (): string => "abi";\n' });
    const loaded = await loadGenerators(folder);
    expect(loaded.map((generator) => generator.path)).toEqual(["docs/abi.md"]);
    plant(folder, {
      "each.ts":
        'const make = (path) => ({ path, generate: () => path });\nexport const files = async () => ["a", "b"].map(make);\n',
    });
    expect((await loadGenerators(folder)).map((generator) => generator.path)).toEqual(["docs/abi.md", "a", "b"]);
    plant(folder, { "half.ts": 'export const path = "docs/half.md";\n' });
    await expect(loadGenerators(folder)).rejects.toThrow("half.ts exports neither path and generate() nor files()");
  });
});

describe("AssemblyScript", () => {
  const SDK = { "modules/sdk/index.ts": "export function two(): i32 {\n  return 2;\n}\n" };
  const MANIFEST = "name: planted\nversion: 1.0.0\nkind: service\n";
  const moduleFiles = (source: string) => ({
    ...SDK,
    "modules/services/planted/module.yaml": MANIFEST,
    "modules/services/planted/index.ts": source,
  });

  test("that compiles passes", async () => {
    const folder = temporaryFolder();
    plant(folder, moduleFiles("export function one(): i32 {\n  return 1;\n}\n"));
    expect(await checkModules(folder)).toMatchObject({ ok: true, summary: "the SDK and 1 modules", details: "" });
  });

  test("with a type error in a module is named with its file and line", async () => {
    const folder = temporaryFolder();
    plant(folder, moduleFiles("export const one: i32 = 1;\nexport const two: i32 = missing;\n"));
    const finding = await checkModules(folder);
    expect(finding).toMatchObject({ ok: false, summary: "1 of the SDK and 1 modules" });
    expect(finding.details).toMatch(/index\.ts:2:\d+/);
  });

  test("with a type error in a part of the SDK that no module uses is named too", async () => {
    const folder = temporaryFolder();
    const unused = { "modules/sdk/index.ts": 'export function two(): i32 {\n  return "two";\n}\n' };
    plant(folder, { ...moduleFiles("export const one: i32 = 1;\n"), ...unused });
    expect((await checkModules(folder)).details).toContain("modules/sdk/index.ts(2,");
  });

  test("of which there is none is a failure, not a pass", async () => {
    const folder = temporaryFolder();
    plant(folder, SDK);
    expect((await checkModules(folder)).ok).toBe(false);
  });
});

test("TypeScript that is not erasable, not typed or not unused-free does not pass", () => {
  const tree = plantTree({
    "kernel/index.ts":
      "export enum Colour {\n  red,\n}\nexport const first = ([] as string[])[0].length;\nconst unused = 1;\n",
  });
  const outcome = runTool(tree, "typescript/bin/tsc", "-p", ".", "--pretty", "false");
  const codes = [...outcome.stdout.matchAll(/error (TS\d+)/g)].map(([, code]) => code);
  expect(codes.toSorted()).toEqual(["TS1294", "TS2532", "TS6133"]);
  expect(outcome.status).not.toBe(0);
});

test("a file that Biome would format otherwise does not pass", () => {
  const tree = plantTree({ "kernel/index.ts": "export const one = 'single quotes'\n" }, "biome.json");
  const outcome = runTool(tree, "@biomejs/biome/bin/biome", "format", "--colors=off", "kernel");
  expect(outcome.status).not.toBe(0);
  expect(outcome.stdout + outcome.stderr).toContain("kernel/index.ts");
});

test("a file, an export and a package that nothing uses are found", () => {
  const files = {
    "tools/cli.ts": 'import { used } from "./part.ts";\nprocess.exitCode = used;\n',
    "tools/part.ts": "export const used = 1;\nexport const unusedExport = 2;\n",
    "tools/unused-file.ts": "export const nobody = 3;\n",
  };
  const outcome = runTool(plantTree(files, "knip.jsonc"), "knip/bin/knip.js", "--no-progress", "--reporter", "json");
  expect(outcome.status).not.toBe(0);
  expect(outcome.stdout).toContain("tools/unused-file.ts");
  expect(outcome.stdout).toContain("unusedExport");
  expect(outcome.stdout).toContain("aedes");
});
