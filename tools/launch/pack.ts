/** Compiles the TypeScript to dist/ for a packed Bulkhead: Node does not strip types under node_modules. */
import { spawnSync } from "node:child_process";
import { cpSync, globSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { PACKAGE_ROOT } from "../root.ts";

const FOLDERS = ["kernel", "gateway", "tools"];
/** What only authors of Bulkhead use; tsconfig.build.json leaves it out too. */
const NOT_PACKED = ["check", "fuzz", "generate", "launch", "left-out", "powercut", "footprint", "soak", "package"].map(
  (name) => `tools/${name}/`,
);

/** A worker or a child process is named by the URL of its TypeScript; tsc rewrites imports and leaves these alone. */
const SOURCE_URL = /(new URL\(\s*"[^"]+\.)ts("\s*,\s*import\.meta\.url\s*\))/g;

export function renameSourceUrls(javascript: string): string {
  return javascript.replaceAll(SOURCE_URL, "$1js$2");
}

function compile(root: string, destination: string): void {
  const compiler = path.join(root, "node_modules/typescript/bin/tsc");
  const parameters = [compiler, "-p", "tsconfig.build.json", "--outDir", destination];
  const { status } = spawnSync(process.execPath, parameters, { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("the TypeScript does not compile");
}

/** Pages, schemas and example files lie beside the code that reads them. */
function copyAssets(root: string, destination: string): void {
  const files = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*`, { cwd: root }));
  for (const file of files) {
    if (file.endsWith(".ts") || NOT_PACKED.some((prefix) => file.startsWith(prefix))) continue;
    if (statSync(path.join(root, file)).isFile()) cpSync(path.join(root, file), path.join(destination, file));
  }
}

/** Compiles, renames and copies into `destination`, which is emptied first. */
export function pack(root: string, destination: string): void {
  rmSync(destination, { recursive: true, force: true });
  compile(root, destination);
  for (const file of globSync("**/*.js", { cwd: destination })) {
    const target = path.join(destination, file);
    writeFileSync(target, renameSourceUrls(readFileSync(target, "utf8")));
  }
  copyAssets(root, destination);
}

if (import.meta.main) pack(PACKAGE_ROOT, path.join(PACKAGE_ROOT, "dist"));
