/** Files that are generated from a source of truth: written with --write, compared by the check. */
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { PACKAGE_ROOT } from "../root.ts";
import type { Finding } from "./step.ts";

/** Each file of tools/generate/ is one: it exports the file that it makes, relative to the root, and how. */
export interface Generator {
  readonly path: string;
  generate(): string | Promise<string>;
}

function isGenerator(value: object): value is Generator {
  return "path" in value && typeof value.path === "string" && "generate" in value;
}

export async function loadGenerators(folder: string): Promise<Generator[]> {
  const files = globSync("*.ts", { cwd: folder }).sort();
  return Promise.all(
    files.map(async (file) => {
      const loaded = (await import(pathToFileURL(path.join(folder, file)).href)) as object;
      if (!isGenerator(loaded)) throw new Error(`tools/generate/${file} does not export path and generate()`);
      return loaded;
    }),
  );
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

if (import.meta.main && process.argv.includes("--write")) {
  const generators = await loadGenerators(path.join(PACKAGE_ROOT, "tools/generate"));
  await writeGenerated(PACKAGE_ROOT, generators);
  process.stdout.write(generators.map((generator) => `wrote ${generator.path}\n`).join(""));
}
