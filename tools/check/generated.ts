/** Files that are generated from a source of truth: written with --write, compared by the check. */
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { PACKAGE_ROOT } from "../root.ts";
import { type Finding, tell } from "./step.ts";

/** A file of tools/generate/ is one: it exports the file that it makes, relative to the root, and how. */
export interface Generator {
  readonly path: string;
  generate(): string | Promise<string>;
}

/** Or it makes many files, one for each of something, and exports them as a list. */
interface GeneratorList {
  files(): Promise<readonly Generator[]>;
}

function isGenerator(value: object): value is Generator {
  return "path" in value && typeof value.path === "string" && "generate" in value;
}

function isList(value: object): value is GeneratorList {
  return "files" in value && typeof value.files === "function";
}

async function load(folder: string, file: string): Promise<readonly Generator[]> {
  const loaded = (await import(pathToFileURL(path.join(folder, file)).href)) as object;
  if (isList(loaded)) return loaded.files();
  if (isGenerator(loaded)) return [loaded];
  throw new Error(`tools/generate/${file} exports neither path and generate() nor files()`);
}

/** Every generator of a folder, in the order of the file names. */
export async function loadGenerators(folder: string): Promise<Generator[]> {
  const lists = await Promise.all(
    globSync("*.ts", { cwd: folder })
      .sort()
      .map((file) => load(folder, file)),
  );
  return lists.flat();
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** Compares what the generators make with what stands below `root`. */
export async function checkGenerated(root: string, generators: readonly Generator[]): Promise<Finding> {
  const stale: string[] = [];
  for (const generator of generators) {
    const made = await generator.generate();
    if (readIfThere(path.join(root, generator.path)) !== made) stale.push(generator.path);
  }
  return {
    ok: stale.length === 0,
    summary: stale.length === 0 ? `${generators.length} files` : `${stale.length} of ${generators.length} files`,
    details: stale.map((file) => `${file} is not what its generator makes: run npm run generate`).join("\n"),
  };
}

export async function writeGenerated(root: string, generators: readonly Generator[]): Promise<void> {
  for (const generator of generators) {
    const file = path.join(root, generator.path);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, await generator.generate());
  }
}

if (import.meta.main) {
  const generators = await loadGenerators(path.join(PACKAGE_ROOT, "tools/generate"));
  if (process.argv.includes("--write")) {
    await writeGenerated(PACKAGE_ROOT, generators);
    process.stdout.write(generators.map((generator) => `wrote ${generator.path}\n`).join(""));
  } else tell(await checkGenerated(PACKAGE_ROOT, generators));
}
