/** Makes the Debian package: lays its files out, and hands them to dpkg-deb. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { pack } from "../launch/pack.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { layOut } from "./tree.ts";
import type { TreeOptions } from "./tree.ts";

export interface PackageOptions extends Pick<TreeOptions, "architecture"> {
  /** The compiled product, where there is one already; it is compiled anew where absent. */
  readonly compiled?: string;
  /** The folder that the package is written to. */
  readonly output: string;
  /** The version; that of package.json where absent. */
  readonly version?: string;
  /** How dpkg-deb packs: `xz` is what is shipped, `gzip` is quick. */
  readonly compression: "xz" | "gzip";
}

export interface Package {
  readonly file: string;
  readonly bytes: number;
  readonly installedBytes: number;
  readonly sha256: string;
}

/** @throws Refusal E_UNKNOWN where this machine lacks what it needs */
export async function makePackage(options: PackageOptions): Promise<Package> {
  const { architecture, compression } = options;
  const version = options.version ?? ownVersion();
  const seconds = sourceDate();
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-deb-"));
  try {
    const tree = path.join(folder, "tree");
    mkdirSync(tree);
    const compiled = options.compiled ?? path.join(folder, "dist");
    if (options.compiled === undefined) pack(PACKAGE_ROOT, compiled);
    await layOut(tree, { architecture, compiled, version, seconds });
    const file = path.join(path.resolve(options.output), `bulkhead_${version}_${architecture}.deb`);
    mkdirSync(path.dirname(file), { recursive: true });
    build(tree, file, compression, seconds);
    const kibibytes = /^Installed-Size: (\d+)$/m.exec(readFileSync(path.join(tree, "DEBIAN/control"), "utf8"))?.[1];
    const sha256 = createHash("sha256").update(readFileSync(file)).digest("hex");
    return { file, bytes: statSync(file).size, installedBytes: Number(kibibytes) * 1024, sha256 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function build(tree: string, file: string, compression: string, seconds: number): void {
  const parameters = ["--root-owner-group", `-Z${compression}`, ...(compression === "gzip" ? ["-z1"] : [])];
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(seconds) };
  try {
    execFileSync("dpkg-deb", [...parameters, "--build", tree, file], { env, stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    throw new Refusal("E_UNKNOWN", "dpkg-deb is not there", { hint: "make the package on a Debian or Ubuntu system" });
  }
}

export function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(path.join(PACKAGE_ROOT, "package.json"), "utf8")) as { version: string };
  return version;
}

/** The time that everything in the package carries: SOURCE_DATE_EPOCH, or that of the last commit. */
function sourceDate(): number {
  const told = process.env["SOURCE_DATE_EPOCH"];
  if (told !== undefined && /^\d{1,12}$/.test(told)) return Number(told);
  try {
    return Number(execFileSync("git", ["log", "-1", "--format=%ct"], { cwd: PACKAGE_ROOT, stdio: "pipe" }));
  } catch {
    const hint = "set SOURCE_DATE_EPOCH to the seconds since 1970 that the files shall carry";
    throw new Refusal("E_UNKNOWN", "the date of the sources is not known: there is no git here", { hint });
  }
}
