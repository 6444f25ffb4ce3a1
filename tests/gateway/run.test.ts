/** `bulkhead run` as an operator meets it: bad input, damaged files, an absent broker, Ctrl-C. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { nodeFileSystem, Store } from "../../gateway/trust/index.ts";
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
      const checked = await run([path, "--check"]);
      expect(checked.stderr).toMatch(message);
      expect(checked).toMatchObject({ code: 2, stdout: "" });
    },
    60_000,
  );

  test.each([
    ["a simulator that does not exist", "chip: bme280", "chip: bme281", /no simulator of this chip.*found bme281/],
    [
      "a password that is not there",
      "127.0.0.1:1\n",
      "127.0.0.1:1\n  username: a\n  password-file: none\n",
      /none cannot be read/,
    ],
    [
      "a token for the console that others know",
      "partitions:",
      "console: { port: 0, token-file: known }\npartitions:",
      /chmod 600/,
    ],
  ])(
    "%s, which a check finds too",
    async (what, from, to, message) => {
      await writeFile(join(folder, "known"), "k".repeat(24), { mode: 0o644 });
      const path = await configure(what.replaceAll(" ", "-"), (text) =>
        text.replace("backend: auto", "backend: simulator").replace(from, to),
      );
      const checked = await run([path, "--check"]);
      expect(checked.stderr).toMatch(message);
      expect(checked).toMatchObject({ code: 2, stdout: "" });
      const started = await run([path]);
      expect(started.stdout + started.stderr).toMatch(message);
      expect(started.code).not.toBe(0);
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

describe("--check", () => {
  test("compares all that a start does, and starts and writes nothing", { timeout: 60_000 }, async () => {
    const button = "  gpio: { 99: { simulate: [{ chip: button, line: 17, period: 1 }] } }\n  i2c:\n";
    const path = await configure("check", (text) => text.replace("  i2c:\n", button));
    const { code, stdout, stderr } = await run([path, "--check"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${path} is valid\n` });
    expect(stderr).toMatch(/^! the trust root is a development root: .*\n$/);
    expect(existsSync(join(folder, "data-check"))).toBe(false);
  });

  test("leaves the state of a gateway that was there as it is", { timeout: 60_000 }, async () => {
    const path = await configure("tried", (text) => text);
    const trust = join(folder, "data-tried/trust");
    const set = { modules: new Map(), configuration: null, plan: "ab".repeat(32) };
    new Store(nodeFileSystem, trust).save({ candidate: { set, tries: 1 } });
    const { code, stderr } = await run([path, "--check"]);
    expect(stderr).toMatch(/^! the new set is damaged: it is fetched again$/m);
    expect(code).toBe(0);
    expect(new Store(nodeFileSystem, trust).state.candidate).toMatchObject({ tries: 1 });
  });

  test("tells what a start would refuse and go on, and what it cannot compare", { timeout: 60_000 }, async () => {
    await writeFile(join(folder, "damaged.envelope"), "no envelope");
    const path = await configure("warned", (text) =>
      text
        .replace("build/modules/bme280.envelope", "damaged.envelope")
        .replace("tick: { timer: {} }", "tock: { log: {} }\n      tick: { timer: {} }"),
    );
    const { code, stdout } = await run([path, "--check", "--json"]);
    const { ok, errors, warnings } = JSON.parse(stdout) as { ok: boolean; errors: unknown[]; warnings: string[] };
    expect({ code, ok, errors }).toEqual({ code: 0, ok: true, errors: [] });
    expect(warnings.join("\n")).toMatch(/^bme280: refused: E_CBOR/m);
    expect(warnings.join("\n")).toMatch(/excess privilege: system-monitor has no slot 'tock'/);
    const rootless = await configure("rootless", (text) => text.replace(".bulkhead/dev/root.envelope", "no.envelope"));
    const without = await run([rootless, "--check"]);
    expect(without.stderr).toMatch(
      /^! no start without the root of trust, so no signature is checked: E_STORE: .*no\.envelope/,
    );
    expect(without.code).toBe(0);
  });

  test("gives each mistake as an object, with its place", { timeout: 60_000 }, async () => {
    const path = await configure("mistaken", (text) => text.replace("to: uplink.alarms", "to: uplink.alarm"));
    const { code, stdout } = await run([path, "--check", "--json"]);
    const place = { file: path, line: expect.any(Number) as number, column: expect.any(Number) as number };
    expect(JSON.parse(stdout)).toMatchObject({ ok: false, file: path, errors: [{ code: "E_UNKNOWN", at: place }] });
    expect(code).toBe(2);
  });
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
