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

/** As it stands in the checkout, and in what the compiler makes of it. */
const NO_BUILD_DATE = "BUILD_DATE = 0;";

/** Seconds since 1970: SOURCE_DATE_EPOCH or the last commit, so that equal sources give equal bytes; never in the future. */
function sourceDate(root: string): number {
  const now = Math.floor(Date.now() / 1000);
  const commit = spawnSync("git", ["log", "-1", "--format=%ct"], { cwd: root, encoding: "utf8" });
  const found = Number(process.env["SOURCE_DATE_EPOCH"] ?? (commit.status === 0 ? commit.stdout : ""));
  return Number.isSafeInteger(found) && found > 0 ? Math.min(found, now) : now;
}

/** Gateways of this build believe no clock below this date. */
export function writeBuildDate(destination: string, seconds: number): void {
  const file = path.join(destination, "gateway/trust/build-date.js");
  const javascript = readFileSync(file, "utf8");
  if (!javascript.includes(NO_BUILD_DATE)) throw new Error(`${file} has no place for the build date`);
  writeFileSync(file, javascript.replace(NO_BUILD_DATE, `BUILD_DATE = ${seconds};`));
}

/** Compiles, renames and copies into `destination`, which is emptied first. */
export function pack(root: string, destination: string): void {
  rmSync(destination, { recursive: true, force: true });
  compile(root, destination);
  for (const file of globSync("**/*.js", { cwd: destination })) {
    const target = path.join(destination, file);
    writeFileSync(target, renameSourceUrls(readFileSync(target, "utf8")));
  }
  writeBuildDate(destination, sourceDate(root));
  copyAssets(root, destination);
}

if (import.meta.main) pack(PACKAGE_ROOT, path.join(PACKAGE_ROOT, "dist"));
