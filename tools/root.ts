/** The package's own folder, the same for the TypeScript of a checkout and for the JavaScript under dist/. */
import { existsSync } from "node:fs";
import path from "node:path";

function findRoot(folder: string): string {
  if (existsSync(path.join(folder, "package.json"))) return folder;
  const parent = path.dirname(folder);
  if (parent === folder) throw new Error(`no package.json above ${import.meta.dirname}`);
  return findRoot(parent);
}

/** Absolute path of the folder that holds package.json, modules/, build/ and docs/. */
export const PACKAGE_ROOT: string = findRoot(import.meta.dirname);
