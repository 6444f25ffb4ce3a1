/** The compiled product that is measured: installed from a packed tarball, or compiled beside the sources. */
import { execFile } from "node:child_process";
import { existsSync, globSync, statSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { pack } from "../launch/pack.ts";
import { PACKAGE_ROOT } from "../root.ts";

const run = promisify(execFile);
const INSTALL_MS = 300_000;

export interface Product {
  /** A runtime that no other process uses, so that its pages are shared with nobody. */
  readonly node: string;
  readonly cli: string;
  /** "installed from the tarball", or how it was made instead, and why. */
  readonly origin: string;
  /** Of everything that the package brings, in bytes; only where it was installed. */
  readonly installedBytes?: number;
  readonly remove: () => Promise<void>;
}

/** Compiles the sources to dist/, where that is older than they are. @returns the compiled command. */
export function compiledCli(): string {
  const cli = join(PACKAGE_ROOT, "dist/tools/cli.js");
  const sources = globSync("{kernel,gateway,tools}/**/*", { cwd: PACKAGE_ROOT }).map((file) =>
    join(PACKAGE_ROOT, file),
  );
  const newest = Math.max(...sources.map((file) => statSync(file).mtimeMs));
  if (!existsSync(cli) || statSync(cli).mtimeMs < newest) pack(PACKAGE_ROOT, join(PACKAGE_ROOT, "dist"));
  return cli;
}

/** The product as `npm run pack` makes it, without an installation. */
export async function compiledProduct(): Promise<Product> {
  const folder = await mkdtemp(join(tmpdir(), "bulkhead-compiled-"));
  const node = join(folder, "node");
  await copyFile(process.execPath, node);
  return {
    node,
    cli: compiledCli(),
    origin: "compiled to dist/",
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** The product as a user gets it; where npm cannot install it here, as `compiledProduct`, and `origin` says why. */
export async function installedProduct(): Promise<Product> {
  const folder = await mkdtemp(join(tmpdir(), "bulkhead-installed-"));
  compiledCli();
  try {
    const npm = async (cwd: string, ...args: string[]): Promise<string> =>
      (await run("npm", args, { cwd, timeout: INSTALL_MS })).stdout.trim();
    const tarball = (await npm(PACKAGE_ROOT, "pack", "--silent", "--pack-destination", folder)).split("\n").at(-1);
    await mkdir(join(folder, "home"));
    await writeFile(join(folder, "home", "package.json"), '{"private":true}');
    const options = ["--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"];
    await npm(join(folder, "home"), "install", join(folder, tarball ?? ""), ...options);
    const modules = join(folder, "home", "node_modules");
    return {
      node: join(modules, `node-${process.platform}-${process.arch}`, "bin/node"),
      cli: join(modules, "bulkhead/dist/tools/cli.js"),
      origin: "installed from the tarball of npm pack",
      installedBytes: await folderBytes(modules),
      remove: () => rm(folder, { recursive: true, force: true }),
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    const reason = error instanceof Error ? (error.message.split("\n")[0] ?? "") : "";
    const product = await compiledProduct();
    return { ...product, origin: `compiled to dist/, because it could not be installed: ${reason}` };
  }
}

/** Bytes that the files of a folder take on the disk. */
export async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) => statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0);
  return sizes.reduce((sum, size) => sum + size, 0);
}

export async function folderFiles(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries.filter((entry) => entry.isFile()).length;
}
