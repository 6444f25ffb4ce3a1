/** The Node of an architecture: from node_modules, or its npm package as the lock file pins it. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { PACKAGE_ROOT } from "../root.ts";
import type { LockedPackage } from "./dependencies.ts";
import { readLock } from "./dependencies.ts";

/** Debian's name of an architecture, and Node's. */
export const ARCHITECTURES = Object.freeze({ amd64: "x64", arm64: "arm64" });
export type Architecture = keyof typeof ARCHITECTURES;

const KEPT = path.join(PACKAGE_ROOT, "node_modules/.cache/bulkhead");

/** @returns the folder of the runtime's npm package: `bin/node`, `LICENSE`. @throws Refusal E_DIGEST */
export function runtimeFolder(architecture: Architecture): string {
  const name = `node-linux-${ARCHITECTURES[architecture]}`;
  const installed = path.join(PACKAGE_ROOT, "node_modules", name);
  const locked = readLock().get(`node_modules/${name}`);
  if (locked?.version === undefined) throw new Error(`the lock file does not pin ${name}`);
  if (existsSync(path.join(installed, "bin/node"))) return installed;
  const kept = path.join(KEPT, `${name}-${locked.version}`);
  if (!existsSync(kept)) fetch(name, locked, kept);
  return kept;
}

/** npm itself knows where packages come from; what it brings is compared with the lock file before it is unpacked. */
function fetch(name: string, { version, integrity }: LockedPackage, target: string): void {
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-runtime-"));
  try {
    const options = ["--silent", "--pack-destination", folder];
    const output = execFileSync("npm", ["pack", `${name}@${version}`, ...options], { cwd: folder, encoding: "utf8" });
    const tarball = path.join(folder, output.trim().split("\n").at(-1) ?? "");
    checkIntegrity(readFileSync(tarball), integrity ?? "", name);
    execFileSync("tar", ["-xzf", tarball, "-C", folder]);
    mkdirSync(path.dirname(target), { recursive: true });
    execFileSync("cp", ["-a", path.join(folder, "package"), `${target}.${process.pid}`]);
    renameSync(`${target}.${process.pid}`, target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @throws Refusal E_DIGEST where the bytes are not those that the lock file pins */
export function checkIntegrity(bytes: Uint8Array, integrity: string, name: string): void {
  const found = `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
  if (found === integrity) return;
  throw new Refusal("E_DIGEST", `${name} is not the package that the lock file pins`, {
    expected: integrity,
    found,
    hint: "look at where npm gets its packages from",
  });
}
