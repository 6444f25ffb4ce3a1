/** Small trees in temporary folders, for rules that are tried with a planted violation. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";

export const ROOT = path.resolve(import.meta.dirname, "../..");

export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-foundation-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function plant(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}

/** A tree with the repository's own configuration and packages, and only these files in it. */
export function plantTree(files: Readonly<Record<string, string>>, ...configuration: string[]): string {
  const folder = temporaryFolder();
  for (const name of ["package.json", "tsconfig.json", ...configuration]) {
    cpSync(path.join(ROOT, name), path.join(folder, name));
  }
  symlinkSync(path.join(ROOT, "node_modules"), path.join(folder, "node_modules"));
  plant(folder, files);
  return folder;
}

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a tool of node_modules in a tree, as `npm run check` runs it in the repository. */
export function runTool(folder: string, script: string, ...parameters: string[]): Outcome {
  return spawnSync(process.execPath, [path.join(ROOT, "node_modules", script), ...parameters], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
}
