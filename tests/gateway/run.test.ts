/** `bulkhead run` as an operator meets it: bad input, damaged files, an absent broker, Ctrl-C. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { buildAll } from "../../tools/build/build.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const LAUNCHER = join(ROOT, "tools/launch/bulkhead.js");

let folder = "";
let running: ChildProcess | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bulkhead-run-"));
  await buildAll({ output: join(folder, "build/modules"), developmentKeys: join(folder, ".bulkhead/dev") });
}, 240_000);
afterEach(() => {
  running?.kill("SIGKILL");
  running = undefined;
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The example's configuration, changed; every call gets a data folder of its own. */
async function configure(name: string, change: (text: string) => string): Promise<string> {
  const example = await readFile(join(ROOT, "gateway.example.yaml"), "utf8");
  const path = join(folder, `${name}.yaml`);
  const own = example.replace("data: .bulkhead/example", `data: data-${name}`);
  await writeFile(path, change(own.replace("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1")));
  return path;
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs until it ends, or until a line of stdout matches `stopAt` and Ctrl-C has ended it. */
async function run(args: readonly string[], stopAt?: RegExp): Promise<Ended> {
  const child = spawn(process.execPath, [LAUNCHER, "run", ...args], { stdio: ["ignore", "pipe", "pipe"] });
  running = child;
  let stdout = "";
  let stderr = "";
  let isInterrupted = false;
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    if (isInterrupted || stopAt?.test(stdout) !== true) return;
    isInterrupted = true;
    child.kill("SIGINT");
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

const RUNNING = /gateway running/;

test("the console's token is printed for whoever starts the gateway, and not into systemd's journal", async () => {
  const paths = await Promise.all(
    ["shown", "journal"].map((name) => configure(name, (text) => `${text}\nconsole: { port: 0 }\n`)),
  );
  const tokens: string[] = [];
  const outputs: string[] = [];
  for (const [index, path] of paths.entries()) {
    const output = await open(`${path}.out`, "w+");
    const { dev, ino } = await output.stat();
    const journal = index === 0 ? {} : { JOURNAL_STREAM: `${dev}:${ino}` };
    const stdio = ["ignore", output.fd, "ignore"] as const;
    const child = spawn(process.execPath, [LAUNCHER, "run", path], {
      stdio: [...stdio],
      env: { ...process.env, ...journal },
    });
    running = child;
    const ended = new Promise((resolve) => child.on("close", resolve));
    await vi.waitFor(async () => expect(await readFile(`${path}.out`, "utf8")).toMatch(RUNNING), 60_000);
    child.kill("SIGINT");
    await ended;
    await output.close();
    outputs.push(await readFile(`${path}.out`, "utf8"));
    tokens.push(
      (await readFile(join(folder, `data-${index === 0 ? "shown" : "journal"}/console.token`), "utf8")).trim(),
    );
  }
  expect(outputs.map((text, index) => text.includes(tokens[index] ?? ""))).toEqual([true, false]);
  expect(outputs[1]).toMatch(/log in with the token in .*console\.token/);
}, 180_000);

describe("a configuration that is not valid starts nothing", () => {
  test.each([
    ["a typo", "partition: drivers", "partiton: drivers", /typo\.yaml:\d+:\d+: .*did you mean 'partition'/s],
    ["an unknown module", "to: uplink.alarms", "to: uplonk.alarms", /:\d+:\d+: .*did you mean 'uplink/s],
    [
      "a missing grant",
      "      clock: { clock: {} }\n",
      "",
      /asks for 'clock', which is not granted.*add under modules\./s,
    ],
    ["a wrong type", "address: 0x76 } }", "address: seventy } }", /:\d+:\d+: /],
    ["an unknown port", "to: uplink.alarms", "to: uplink.alarm", /:\d+:\d+: .*did you mean/s],
  ])(
    "%s",
    async (what, from, to, message) => {
      const name = what === "a typo" ? "typo" : what.replaceAll(" ", "-");
      const path = await configure(name, (text) => text.replace(from, to));
      const { code, stdout, stderr } = await run([path]);
      expect(stderr).toMatch(message);
      expect(stderr).not.toMatch(/\bat .*\.ts:\d+/);
      expect(stdout).not.toMatch(/loaded/);
      expect(code).toBe(2);
    },
    60_000,
  );

  test.each([
    ["--patience", "0"],
    ["--patience", "many"],
    ["--patience", "Infinity"],
    ["--patience", "1e9"],
    ["--probation-ms", ""],
    ["--probation-ms", "-1"],
    ["--probation-ms", "1e12"],
    ["--probation-messages", "NaN"],
  ])("a number that is none of use: %s %j", async (flag, value) => {
    const { code, stdout, stderr } = await run([join(folder, "absent.yaml"), `${flag}=${value}`]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(new RegExp(`^bulkhead run: ${flag} takes a number from \\d+ to \\d+$`, "m"));
  });

  test("a file that is not there", async () => {
    const { code, stderr } = await run([join(folder, "absent.yaml")]);
    expect(stderr).toMatch(/absent\.yaml/);
    expect(stderr).not.toMatch(/\bat .*\.ts:\d+/);
    expect(code).toBe(2);
  });
});

test("a corrupt module file is refused by name, and the rest starts", { timeout: 60_000 }, async () => {
  const modules = join(folder, "corrupt");
  await cp(join(folder, "build/modules"), modules, { recursive: true });
  const envelope = join(modules, "bme280.envelope");
  const bytes = await readFile(envelope);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0x40;
  await writeFile(envelope, bytes);
  const path = await configure("damaged", (text) => text.replaceAll("build/modules/", "corrupt/"));
  const { code, stdout } = await run([path], RUNNING);
  expect(stdout).toMatch(/bme280: refused: E_/);
  expect(stdout).toMatch(/running: 3 of 4 modules/);
  expect(stdout).toMatch(/system-monitor: loaded/);
  expect(code).toBe(0);
});

test("a broker that is absent is said once, and Ctrl-C ends with exit code 0", { timeout: 60_000 }, async () => {
  const path = await configure("offline", (text) => text);
  const { code, stdout, stderr } = await run(
    [path],
    /link: offline[^]*gateway running|gateway running[^]*link: offline/,
  );
  expect(stdout.match(/link: offline/g)).toHaveLength(1);
  expect(stdout).toMatch(/i2c-1: simulator/);
  expect(stdout).toMatch(/gateway stopped/);
  expect(stderr).toBe("");
  expect(code).toBe(0);
});

test("a data folder that cannot be written is one line that says what to do", { timeout: 60_000 }, async () => {
  await mkdir(join(folder, "blocked"), { recursive: true });
  await writeFile(join(folder, "blocked/file"), "in the way");
  const path = await configure("unwritable", (text) => text.replace("data: data-unwritable", "data: blocked/file"));
  const { code, stdout, stderr } = await run([path]);
  expect(stderr).toMatch(/E_STORE: the data folder .* cannot be written.*name another one/);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stdout).not.toMatch(/loaded/);
  expect(code).toBe(1);
});

test("with --json every line is an object", { timeout: 60_000 }, async () => {
  const path = await configure("json", (text) => text);
  const { code, stdout } = await run([path, "--json"], /"state":"running"/);
  const events = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string; time: number });
  expect(events.map(({ type }) => type)).toEqual(expect.arrayContaining(["gateway", "granted", "loaded", "host"]));
  expect(events.every(({ time }) => time > 1e12)).toBe(true);
  expect(code).toBe(0);
});

test("--check reads the configuration and starts nothing", { timeout: 60_000 }, async () => {
  const path = await configure("check", (text) => text);
  expect(await run([path, "--check"])).toMatchObject({ code: 0, stdout: `${path} is valid\n` });
});

test("what modules had saved when the gateway stopped is theirs again at the next start", {
  timeout: 90_000,
}, async () => {
  const path = await configure("states", (text) => text);
  const first = await run([path], RUNNING);
  expect(first.stdout).not.toMatch(/state restored/);
  expect(first.code).toBe(0);
  const second = await run([path], RUNNING);
  expect(second.stdout).toMatch(/bme280: loaded, generation 1, state restored/);
  expect(second.code).toBe(0);
});
