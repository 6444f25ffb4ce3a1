/** What systemd is told, on a real datagram socket; the test is systemd: it watches, kills and starts anew. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { ServiceManager } from "../../gateway/core/service-manager.ts";
import { buildAll } from "../../tools/build/build.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const RECEIVER = fileURLToPath(new URL("../support/datagram-receiver.ts", import.meta.url));
const STUCK = fileURLToPath(new URL("stuck-process.ts", import.meta.url));
const QUIET = "--disable-warning=ExperimentalWarning";
/** Short for a test, long for a laden machine. */
const WATCHDOG_MS = 1000;

let folder = "";
const children = new Set<ChildProcess>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bulkhead-notify-"));
});
afterEach(() => {
  for (const child of children) child.kill("SIGKILL");
  children.clear();
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface Manager {
  readonly address: string;
  /** Each datagram that came, with when it came. */
  readonly told: { readonly text: string; readonly at: number }[];
  readonly until: (pattern: RegExp, after?: number) => Promise<string>;
}

let sockets = 0;

async function listen(isAbstract = false): Promise<Manager> {
  const path = join(folder, `notify-${++sockets}`);
  const address = isAbstract ? `@${path}` : path;
  const child = spawn(process.execPath, [QUIET, RECEIVER, address], { stdio: ["ignore", "pipe", "inherit"] });
  children.add(child);
  const told: Manager["told"] = [];
  let wake: () => void = () => undefined;
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    told.push({ text: JSON.parse(line) as string, at: performance.now() });
    wake();
  });
  const until: Manager["until"] = async (pattern, after = 0) => {
    for (;;) {
      const found = told.slice(after).find(({ text }) => pattern.test(text));
      if (found !== undefined) return found.text;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  await until(/^bound$/);
  return { address, told, until };
}

function start(script: readonly string[], { address }: Manager, changes: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, [QUIET, ...script], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, NOTIFY_SOCKET: address, WATCHDOG_USEC: `${WATCHDOG_MS * 1000}`, ...changes },
  });
  children.add(child);
  return child;
}

const beats = ({ told }: Manager): number => told.filter(({ text }) => text === "WATCHDOG=1\n").length;

/** As systemd does: resolves when the watchdog has heard nothing for its whole time. */
async function untilSilent(manager: Manager): Promise<void> {
  for (;;) {
    const silence = performance.now() - (manager.told.at(-1)?.at ?? 0);
    if (silence >= WATCHDOG_MS) return;
    await pause(WATCHDOG_MS - silence);
  }
}

describe("a gateway under systemd", { timeout: 240_000 }, () => {
  let configuration = "";
  beforeAll(async () => {
    await buildAll({ output: join(folder, "build/modules"), developmentKeys: join(folder, ".bulkhead/dev") });
    configuration = join(folder, "gateway.yaml");
    const example = await readFile(join(ROOT, "gateway.example.yaml"), "utf8");
    await writeFile(configuration, example.replace("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1"));
  }, 300_000);

  /** One life of the service: its main process's number, and what it has printed. */
  async function live(manager: Manager): Promise<{ child: ChildProcess; pid: number; output: () => string }> {
    const before = manager.told.length;
    const child = start([join(ROOT, "tools/launch/bulkhead.js"), "run", configuration], manager);
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await manager.until(/^READY=1\nSTATUS=\d of \d modules/, before);
    const [, pid = "0"] = /MAINPID=(\d+)/.exec(await manager.until(/MAINPID=/, before)) ?? [];
    return { child, pid: Number(pid), output: () => text };
  }

  const ended = (child: ChildProcess): Promise<unknown> => new Promise((resolve) => child.once("close", resolve));

  test("says that it is ready and alive and that it stops; stopped in its tracks it is started anew and has its state", async () => {
    const manager = await listen();
    const first = await live(manager);
    const heard = beats(manager);
    await manager.until(/^WATCHDOG=1\n$/, manager.told.length);
    await manager.until(/^WATCHDOG=1\n$/, manager.told.length);
    expect(beats(manager)).toBeGreaterThanOrEqual(heard + 2);
    first.child.kill("SIGTERM");
    await manager.until(/^STOPPING=1/);
    await ended(first.child);

    const second = await live(manager);
    process.kill(second.pid, "SIGSTOP");
    await untilSilent(manager);
    const over = ended(second.child);
    process.kill(second.pid, "SIGKILL");
    await over;
    // Nothing spoke for it after its main thread had stopped.
    expect(manager.told.at(-1)?.text).not.toMatch(/STOPPING/);

    const third = await live(manager);
    expect(third.output()).toMatch(/bme280: loaded, generation 1, state restored/);
    third.child.kill("SIGTERM");
    await ended(third.child);
  });
});

describe("the heartbeat", { timeout: 60_000 }, () => {
  test.each([
    ["a path", false],
    ["an abstract name", true],
  ])("goes to %s, and ends where the main thread is stuck, though the process lives", async (_, isAbstract) => {
    const manager = await listen(isAbstract);
    const child = start([STUCK], manager);
    await manager.until(/^READY=1\nSTATUS=as well as can be\n$/);
    await manager.until(/^WATCHDOG=1\n$/, manager.told.length);
    child.stdin?.write("now");
    await manager.until(/^STATUS=stuck/);
    const heard = beats(manager);
    await untilSilent(manager);
    expect(beats(manager)).toBe(heard);
    expect(child.exitCode).toBeNull();
  });

  test("is another process's where WATCHDOG_PID names it", async () => {
    const manager = await listen();
    start([STUCK], manager, { WATCHDOG_PID: "1", WATCHDOG_USEC: "20000" });
    await manager.until(/^READY=1/);
    await pause(200);
    expect(beats(manager)).toBe(0);
  });
});

describe("an environment", () => {
  test("without a service manager has none", () => {
    expect(ServiceManager.find({})).toBeUndefined();
    expect(ServiceManager.find({ NOTIFY_SOCKET: "" })).toBeUndefined();
  });

  test.each(["relative/path", "@", "/", `/${"x".repeat(107)}`, "/nobody/listens/here"])(
    "that names %s is refused, and is not handed on to other processes",
    (address) => {
      const environment = { NOTIFY_SOCKET: address, WATCHDOG_USEC: "1000", WATCHDOG_PID: "1", HOME: "/" };
      expect(() => ServiceManager.find(environment)).toThrow(
        expect.objectContaining({ code: "E_CONFIG", detail: expect.objectContaining({ found: address }) as object }),
      );
      expect(environment).toEqual({ HOME: "/" });
    },
  );
});

test("a status is one line, whatever it is made of", () => {
  const sent: string[] = [];
  const manager = new ServiceManager((text) => sent.push(text) > 0, undefined);
  manager.status("one\nSTOPPING=1\u0000\r");
  expect(sent).toEqual(["STATUS=one STOPPING=1  \n"]);
});
