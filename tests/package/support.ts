/** One Debian package of each architecture for all tests of a file, and what of Debian's tools is there. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll } from "vitest";
import { pack } from "../../tools/launch/pack.ts";
import { makePackage } from "../../tools/package/deb.ts";
import type { Package } from "../../tools/package/deb.ts";
import type { Architecture } from "../../tools/package/runtime.ts";

export const ROOT = path.resolve(import.meta.dirname, "../..");

/** True where a command is there; what needs it is skipped otherwise, and vitest shows that. */
export function has(command: string): boolean {
  const search = { env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` } };
  return spawnSync("sh", ["-c", `command -v ${command}`], search).status === 0;
}

export interface Workshop {
  readonly folder: string;
  /** Makes a package of the product, which is compiled once. */
  make(architecture: Architecture, version?: string, name?: string): Promise<Package>;
  /** Unpacks it. @returns the folder that stands for `/` */
  unpack(file: string): string;
}

/** A folder for packages, removed after the tests of the file. */
export function openWorkshop(): Workshop {
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-deb-test-"));
  const compiled = path.join(folder, "dist");
  let isCompiled = false;
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    folder,
    async make(architecture, version, name = "out") {
      if (!isCompiled) pack(ROOT, compiled);
      isCompiled = true;
      const output = path.join(folder, name);
      const options = { architecture, output, compiled, compression: "gzip" } as const;
      return await makePackage(version === undefined ? options : { ...options, version });
    },
    unpack(file) {
      const root = mkdtempSync(path.join(folder, "root-"));
      mkdirSync(root, { recursive: true });
      execFileSync("dpkg-deb", ["-x", file, root]);
      return root;
    },
  };
}
