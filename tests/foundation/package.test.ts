/** The packed Bulkhead: compiled JavaScript under node_modules, complete, and with nothing native in it. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pack, renameSourceUrls } from "../../tools/launch/pack.ts";
import { danglingLinks } from "../support/links.ts";
import { ROOT } from "./support.ts";

describe("what tsc leaves alone is renamed", () => {
  test.each([
    ['new Worker(new URL("./worker.ts", import.meta.url))', 'new Worker(new URL("./worker.js", import.meta.url))'],
    ['new URL(\n  "../a/b.ts",\n  import.meta.url\n)', 'new URL(\n  "../a/b.js",\n  import.meta.url\n)'],
    ['new URL("data.json", import.meta.url)', 'new URL("data.json", import.meta.url)'],
    ['"generated/slots.ts"', '"generated/slots.ts"'],
    ['new URL("./worker.ts", base)', 'new URL("./worker.ts", base)'],
  ])("%s", (source, expected) => {
    expect(renameSourceUrls(source)).toBe(expected);
  });
});

/** The packages that an installed Bulkhead has, by the lock file; the runtime itself is the one that runs these tests. */
function runtimePackages(): string[] {
  const { packages } = JSON.parse(readFileSync(path.join(ROOT, "package-lock.json"), "utf8")) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  return Object.entries(packages)
    .filter(([name, { dev }]) => dev !== true && /^node_modules\/(?!node-linux-)(@[^/]+\/)?[^/]+$/.test(name))
    .map(([name]) => name.slice("node_modules/".length))
    .filter((name) => existsSync(path.join(ROOT, "node_modules", name)));
}

describe("an installed package", () => {
  let consumer: string;
  let installed: string;

  beforeAll(() => {
    consumer = mkdtempSync(path.join(tmpdir(), "bulkhead-package-"));
    installed = path.join(consumer, "node_modules/bulkhead");
    pack(ROOT, path.join(installed, "dist"));
    // What npm would pack, from the same list; `dist` has just been made, and an author builds the modules anew.
    const { files } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as { files: string[] };
    const always = ["package.json", "README.md"];
    const packed = globSync([...always, ...files.filter((name) => name !== "dist" && name !== "build")], { cwd: ROOT });
    for (const name of packed) cpSync(path.join(ROOT, name), path.join(installed, name), { recursive: true });
    // Hoisted, as npm does it; copies, because the host processes may read nothing outside the consumer's folder.
    const hoisted = path.join(consumer, "node_modules");
    for (const name of runtimePackages()) {
      mkdirSync(path.dirname(path.join(hoisted, name)), { recursive: true });
      cpSync(path.join(ROOT, "node_modules", name), path.join(hoisted, name), { recursive: true, dereference: true });
    }
  }, 120_000);

  afterAll(() => rmSync(consumer, { recursive: true, force: true }));

  test("knows when it was made, and believes no clock below that", () => {
    const file = readFileSync(path.join(installed, "dist/gateway/trust/build-date.js"), "utf8");
    const seconds = Number(/BUILD_DATE = (\d+);/.exec(file)?.[1]);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(Date.now() / 1000);
  });

  const bulkhead = (...parameters: string[]) =>
    spawnSync(process.execPath, [path.join(installed, "tools/launch/bulkhead.js"), ...parameters], {
      cwd: consumer,
      encoding: "utf8",
    });

  test("holds JavaScript and declarations, and nothing that only authors of Bulkhead use", () => {
    const files = globSync("**/*", { cwd: path.join(installed, "dist") });
    expect(files.filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))).toEqual([]);
    // `doctor` measures the address space as the launcher does.
    const isForDevelopers =
      /^(tests|modules)\/|^tools\/(check|fuzz|generate|launch\/(?!address-space\.)|left-out|powercut)/;
    expect(files.filter((file) => isForDevelopers.test(file) && !file.endsWith("tools/launch"))).toEqual([]);
    for (const file of ["kernel/index.js", "kernel/index.d.ts", "kernel/partition/worker.js", "tools/cli.js"]) {
      expect(files).toContain(file);
    }
  });

  test("has every file that its own code imports or starts by its URL", () => {
    const dist = path.join(installed, "dist");
    const relative = /(?:from |import\(|import |new URL\(\s*)"(\.{1,2}\/[^"]+\.\w+)"/g;
    const missing = globSync("**/*.js", { cwd: dist }).flatMap((file) =>
      [...readFileSync(path.join(dist, file), "utf8").matchAll(relative)]
        .map(([, target]) => path.join(dist, path.dirname(file), String(target)))
        .filter((target) => !target.endsWith("package.json") && !existsSync(target))
        .map((target) => `${file}: ${path.relative(dist, target)}`),
    );
    expect(missing).toEqual([]);
  });

  test("has what its pages lead to", () => {
    expect(danglingLinks(installed, "{*.md,{docs,kernel,modules}/**/*.md}")).toEqual([]);
  });

  test("runs the command", () => {
    const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as { version: string };
    expect(bulkhead("--version")).toMatchObject({ status: 0, stdout: `bulkhead ${version}\n`, stderr: "" });
    const help = bulkhead("--help");
    expect(help).toMatchObject({ status: 0, stderr: "" });
    expect(help.stdout).toMatch(/^ {2}run {2,}\S/m);
  });

  test("builds the modules that come with it, and runs a gateway with its processes and workers", async () => {
    const build = bulkhead("build", "--dev-keys", ".bulkhead/dev");
    expect(build.status, build.stderr).toBe(0);
    const example = readFileSync(path.join(installed, "gateway.example.yaml"), "utf8");
    writeFileSync(path.join(consumer, "gateway.yaml"), example.replace("127.0.0.1:1883", "127.0.0.1:1"));
    const launcher = path.join(installed, "tools/launch/bulkhead.js");
    const gateway = spawn(process.execPath, [launcher, "run", "gateway.yaml"], { cwd: consumer });
    let isStopped = false;
    let output = "";
    gateway.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      // The link process has loaded its packages once it says that the broker is away.
      if (isStopped || !/gateway running/.test(output) || !/link: offline/.test(output)) return;
      isStopped = true;
      gateway.kill("SIGINT");
    });
    const code = await new Promise((resolve) => gateway.on("close", resolve));
    expect(output).toMatch(/gateway running: 4 of 4 modules in 2 partitions/);
    expect(output).toMatch(/i2c-1: simulator/);
    expect(output).not.toMatch(/stopped \(|held:/);
    expect(code, output).toBe(0);
  }, 180_000);

  test("names its entry, its command and its runtime", () => {
    const manifest = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8")) as {
      readonly bin: Record<string, string>;
      readonly exports: Record<string, string>;
    };
    for (const target of [...Object.values(manifest.bin), ...Object.values(manifest.exports)]) {
      // A pattern stands for at least one file.
      expect(globSync(target, { cwd: installed }).length, target).toBeGreaterThan(0);
    }
  });
});

test("the tarball brings cbor-x together with the stand-in for its native helper, and no tests", () => {
  const listing = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  const [{ files }] = JSON.parse(listing.stdout) as [{ files: readonly { readonly path: string }[] }];
  const names = files.map((file) => file.path);
  expect(names).toEqual(
    expect.arrayContaining([
      "node_modules/cbor-x/dist/index-no-eval.cjs",
      "node_modules/cbor-extract/package.json",
      "tools/launch/bulkhead.js",
      "tools/launch/launch.js",
      "tools/launch/runtime.js",
      "LICENSE",
      "gateway.example.yaml",
    ]),
  );
  expect(names.filter((name) => /\.node$|^tests\/|^node_modules\/(?!cbor-)/.test(name))).toEqual([]);
});
