/** Which npm packages a gateway needs, by the lock file: production dependencies, without what only authors compile with. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { PACKAGE_ROOT } from "../root.ts";

export interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly link?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

/**
 * The compiler is on the authors' machines; types and headers are for compilers; the runtime is placed by itself. A
 * gateway runs modules, and never makes them.
 */
const LEFT_OUT =
  /^(assemblyscript|binaryen|@assemblyscript\/loader|node-linux-.*|@types\/.*|undici-types|node-addon-api)$/;

export function readLock(): ReadonlyMap<string, LockedPackage> {
  const text = readFileSync(path.join(PACKAGE_ROOT, "package-lock.json"), "utf8");
  const { packages } = JSON.parse(text) as { readonly packages: Readonly<Record<string, LockedPackage>> };
  return new Map(Object.entries(packages));
}

/** Folders of packages, relative to the project, in order of their names: `node_modules/mqtt`. */
export function productionFolders(lock: ReadonlyMap<string, LockedPackage> = readLock()): string[] {
  const found = new Set<string>();
  const visit = (from: string): void => {
    for (const name of Object.keys(lock.get(from)?.dependencies ?? {})) {
      if (LEFT_OUT.test(name)) continue;
      const folder = resolve(lock, from, name);
      if (folder === undefined || found.has(folder)) continue;
      found.add(folder);
      visit(folder);
    }
  };
  visit("");
  // cbor-x asks for its native helper as an optional package: the stand-in says that there is none.
  found.add("node_modules/cbor-extract");
  return [...found].sort();
}

/** As Node looks for a package: in the nearest node_modules on the way up. */
function resolve(lock: ReadonlyMap<string, LockedPackage>, from: string, name: string): string | undefined {
  const candidate = path.posix.join(from, "node_modules", name);
  if (lock.has(candidate)) return candidate;
  if (from === "") return undefined;
  const above = from.lastIndexOf("/node_modules/");
  return resolve(lock, above < 0 ? "" : from.slice(0, above), name);
}
