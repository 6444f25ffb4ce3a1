/** The console and its commands at a gateway that runs: what they show is so, what they do is done, and strangers change nothing. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import type { MqttClient } from "mqtt";
import { connectAsync } from "mqtt";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { decodeCbor, expectMap } from "../../kernel/index.ts";
import type { Snapshot } from "../../gateway/wire/operator.ts";
import { buildAll } from "../../tools/build/build.ts";
import { GatewayProcess } from "../../tools/demo/gateway-process.ts";
import { SequenceAudit } from "../../tools/demo/readings.ts";
import type { TraceEvent } from "../../tools/operate/perfetto.ts";
import type { Broker } from "../link/fixtures.ts";
import { startBroker } from "../link/fixtures.ts";
import type { Browser, Page } from "./support.ts";
import { NO_BROWSER, openBrowser, until } from "./support.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const LAUNCHER = join(ROOT, "tools/launch/bulkhead.js");
const CBOR = { maxBytes: 4096, maxDepth: 4, maxItems: 64, tags: [], deterministic: false };

let folder: string;
let broker: Broker;
let client: MqttClient;
let gateway: GatewayProcess;
let token: string;
let url: string;
const audits = new Map<string, SequenceAudit>();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-console-"));
  const only = ["system-monitor", "bme280", "threshold", "uplink"];
  await buildAll({ output: join(folder, "build/modules"), developmentKeys: join(folder, ".bulkhead/dev"), only });
  broker = await startBroker();
  client = await connectAsync(broker.url);
  client.on("message", (topic, payload) => {
    const map = expectMap(decodeCbor(new Uint8Array(payload), CBOR), "reading");
    const audit = audits.get(topic) ?? new SequenceAudit();
    audits.set(topic, audit);
    audit.take(Number(map.get("sequence")));
  });
  await client.subscribeAsync("site/7/readings/#", { qos: 1 });
  const example = readFileSync(join(ROOT, "gateway.example.yaml"), "utf8");
  const path = join(folder, "gateway.yaml");
  writeFileSync(path, `${example.replace("mqtt://127.0.0.1:1883", broker.url)}\nconsole: { port: 0 }\n`);
  gateway = new GatewayProcess(path);
  token = (await gateway.waitFor("token", { timeoutMs: 60_000 })).token;
  const listening = await gateway.waitFor("log", {
    timeoutMs: 60_000,
    predicate: ({ text }) => text.startsWith("console at "),
  });
  url = listening.text.slice("console at ".length);
  await gateway.waitFor("gateway", { timeoutMs: 60_000, predicate: ({ state }) => state === "running" });
  await gateway.waitFor("host", { timeoutMs: 60_000, predicate: ({ state }) => state === "online" });
}, 300_000);

afterAll(async () => {
  await gateway.stop();
  await client.endAsync();
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
}

function bulkhead(...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [LAUNCHER, ...args], {
    cwd: folder,
    encoding: "utf8",
    timeout: 60_000,
  });
  return { code: status, stdout: stdout + stderr };
}

/** Each on a connection of its own: one that is kept has ended when a command has held this process up for long. */
const get = (path: string, headers = {}): Promise<Response> =>
  fetch(`${url}${path}`, { headers: { connection: "close", ...headers } });
const snapshot = async (): Promise<Snapshot> =>
  (await (await get("api/snapshot", { authorization: `Bearer ${token}` })).json()) as Snapshot;

test("the token is 192 random bits in a file that nobody else reads, shown once and kept out of the log", () => {
  const file = join(folder, ".bulkhead/example/console.token");
  expect(readFileSync(file, "utf8").trim()).toBe(token);
  expect(token).toMatch(/^[A-Za-z0-9_-]{32}$/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  for (const shown of [
    bulkhead("logs", "--json"),
    bulkhead("audit", "list", "--data", ".bulkhead/example", "--json"),
  ]) {
    expect(shown.stdout).not.toContain(token);
  }
});

describe("on the command line", () => {
  test("top tells in JSON all that the page is told", async () => {
    await vi.waitFor(async () => {
      expect((await snapshot()).readings.length).toBeGreaterThan(3);
    }, 60_000);
    const { code, stdout } = bulkhead("top", "--once", "--json");
    expect(code).toBe(0);
    const seen = JSON.parse(stdout) as Snapshot;
    const page = await snapshot();
    expect(Object.keys(seen)).toEqual(Object.keys(page));
    expect(seen.modules.map(({ name }) => name)).toEqual(page.modules.map(({ name }) => name));
    const uplink = seen.modules.find(({ name }) => name === "uplink");
    expect(uplink).toMatchObject({ partition: "services", version: "1.0.0", memoryLimitBytes: 1_048_576 });
    expect(uplink?.authority.find(({ interface: name }) => name === "mqtt")?.resource).toContain("site/7/#");
    expect(uplink?.fuelPerSecond).toBeGreaterThanOrEqual(0);
    const route = seen.routes.find(({ from, to }) => from === "bme280" && to === "uplink.readings");
    expect(route?.sent).toBeGreaterThan(0);
    expect(seen.readings.map(({ quantity }) => quantity)).toEqual(expect.arrayContaining(["temperature"]));
    expect(seen.hosts).toContainEqual(expect.objectContaining({ process: "link", state: "online" }));
  }, 120_000);

  test("top draws on a real terminal, ends at q and gives the terminal back", async () => {
    const command = `stty rows 30 cols 100; ${process.execPath} ${LAUNCHER} top --interval 0.5; echo "ended $?"`;
    const terminal = spawn("script", ["-qec", command, "/dev/null"], {
      cwd: folder,
      env: { ...process.env, SHELL: "/bin/bash" },
    });
    let shown = "";
    terminal.stdout.setEncoding("utf8").on("data", (text: string) => {
      shown += text;
      if (/uplink.*TOPIC/s.test(shown) && !terminal.stdin.writableEnded) terminal.stdin.end("q");
    });
    terminal.stdin.on("error", () => undefined);
    await new Promise((resolve) => terminal.on("close", resolve));
    expect(shown).toMatch(/MODULE +PARTITION +STATE.*bme280 +drivers +idle.*ROUTE +TO.*ended 0/s);
    const [drawn = "", after = ""] = shown.split("\u001b[?1049l");
    expect(drawn).toContain("\u001b[?1049h");
    expect(after).not.toContain("\u001b[?1049h");
    // The terminal puts a carriage return of its own before each line's end.
    for (const line of drawn.split(/\r+\n/)) expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(100);
  }, 90_000);

  test("trace writes a file for Perfetto, with a track for each module and arrows between them", () => {
    const told = JSON.parse(bulkhead("trace", "--perfetto", "out.json", "--for", "4", "--json").stdout) as {
      arrows: number;
    };
    const file = JSON.parse(readFileSync(join(folder, "out.json"), "utf8")) as { traceEvents: TraceEvent[] };
    const tracks = file.traceEvents.filter(({ name }) => name === "thread_name").map(({ args }) => args?.["name"]);
    expect(tracks.sort()).toEqual(["bme280", "system-monitor", "threshold", "uplink"]);
    const arrows = file.traceEvents.filter(({ ph }) => ph === "s");
    expect([arrows.length > 0, arrows.length]).toEqual([true, told.arrows]);
    expect(bulkhead("trace", "--for", "4").code).toBe(2);
  }, 120_000);

  test("logs shows what happened, of one module and level where asked", () => {
    const all = bulkhead("logs");
    expect(all.stdout).toMatch(/gateway running/);
    const some = bulkhead("logs", "--module", "uplink", "--level", "information", "--json");
    const entries = some.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { module: string; level: number });
    expect(entries.length).toBeGreaterThan(0);
    expect(entries.every(({ module, level }) => module === "uplink" && level <= 2)).toBe(true);
    expect(bulkhead("logs", "--level", "loud").code).toBe(2);
  }, 120_000);

  test("hold, resume and restart do what they say, refuse what makes no sense, and are audited", async () => {
    expect(bulkhead("hold", "threshold").stdout).toBe("threshold is held\n");
    expect((await snapshot()).modules.find(({ name }) => name === "threshold")).toMatchObject({
      state: "held",
      reason: "held by owner",
    });
    expect((await get("readyz")).status).toBe(503);
    expect(bulkhead("resume", "threshold").code).toBe(0);
    expect(bulkhead("resume", "threshold").stdout).toContain("threshold is not held");
    expect(bulkhead("restart", "nobody").stdout).toContain("there is no module nobody");
    const listed = bulkhead("audit", "list", "--data", ".bulkhead/example", "--json").stdout;
    expect(listed).toMatch(/"hold"/);
    expect(listed).toMatch(/"resume"/);
  }, 180_000);
});

describe("while strangers do their worst at the page", () => {
  const sockets: Socket[] = [];
  const port = (): number => Number(new URL(url).port);

  /** A connection that says this and then waits. */
  function say(text: string): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect(port(), "127.0.0.1", () => {
        socket.write(text);
        setTimeout(resolve, 5);
      });
      socket.on("error", () => {
        resolve();
      });
      sockets.push(socket);
    });
  }

  test("the modules' sequence numbers stay whole", async () => {
    const before = [...audits.values()].reduce((sum, { counts }) => sum + counts.received, 0);
    const host = `Host: 127.0.0.1:${port()}\r\n`;
    const json = { "content-type": "application/json", "x-bulkhead": "1", origin: url.slice(0, -1) };
    const login = await fetch(`${url}api/login`, { method: "POST", headers: json, body: JSON.stringify({ token }) });
    const cookie = (login.headers.get("set-cookie") ?? "").split(";")[0] ?? "";
    expect(cookie).not.toBe("");
    // Three thousand live views of one who may look, in waves that each fill the places there are.
    for (let wave = 0; wave < 30; wave++) {
      const stream = `GET /api/stream HTTP/1.1\r\n${host}Cookie: ${cookie}\r\n\r\n`;
      await Promise.all(Array.from({ length: 100 }, () => say(stream)));
      for (const socket of sockets.splice(0, 90)) socket.destroy();
    }
    for (let index = 0; index < 300; index++) {
      await say(`GET /api/stream HTTP/1.1\r\n${host}`);
      await say(`POST /api/login HTTP/1.1\r\n${host}Content-Length: 999999999\r\n\r\n{`);
      await say(`GET /${"a".repeat(20_000)} HTTP/1.1\r\n${host}\r\n`);
      await say(`\u0000\u0001\u0002\u0016\u0003\u0001\r\n\r\n`);
    }
    const guesses = Array.from({ length: 40 }, (_, guess) =>
      fetch(`${url}api/login`, {
        method: "POST",
        headers: json,
        body: JSON.stringify({ token: `guess-${guess}` }),
      }).then(
        ({ status }) => status,
        () => 0,
      ),
    );
    const statuses = new Set(await Promise.all(guesses));
    expect([...statuses].filter((status) => ![0, 401, 429].includes(status))).toEqual([]);
    await vi.waitFor(() => {
      const now = [...audits.values()].reduce((sum, { counts }) => sum + counts.received, 0);
      expect(now).toBeGreaterThan(before + 12);
    }, 60_000);
    for (const socket of sockets) socket.destroy();
    for (const [topic, { counts }] of audits) {
      expect([topic, counts.lost, counts.duplicated, counts.reordered]).toEqual([topic, 0, 0, 0]);
    }
    // Nobody had to be replaced, and the page still serves.
    await vi.waitFor(async () => {
      expect((await get("healthz")).status).toBe(200);
    }, 30_000);
    // From where so many guesses came the right token has to wait as well.
    const { partitions, modules } = await vi.waitFor(snapshot, 60_000);
    expect(partitions.map(({ lost }) => lost)).toEqual([0, 0]);
    expect(modules.map(({ faults }) => faults)).toEqual([0, 0, 0, 0]);
  }, 180_000);
});

describe.skipIf(NO_BROWSER !== "")(`in Chromium${NO_BROWSER === "" ? "" : ` (skipped: ${NO_BROWSER})`}`, () => {
  let browser: Browser;
  let page: Page;
  beforeAll(async () => {
    browser = await openBrowser();
  }, 180_000);
  afterAll(async () => {
    await browser.close();
  });

  async function open(width: number, height: number, colorScheme: "light" | "dark"): Promise<void> {
    page = await (await browser.newContext({ viewport: { width, height }, colorScheme })).newPage();
    await page.goto(url);
    await page.waitForSelector("#login", { timeout: 20_000 });
    await page.fill("#token", token);
    await page.click("#login button");
    await page.waitForSelector("#charts canvas", { timeout: 60_000, state: "attached" });
  }

  /** Pictures for the README are written where BULKHEAD_SCREENSHOTS names a folder. */
  async function picture(name: string): Promise<void> {
    const images = process.env["BULKHEAD_SCREENSHOTS"];
    if (images === undefined) return;
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    await page.screenshot({ path: join(images, name) });
  }

  test("a restart at the page starts the module afresh, and the audit log says who asked", async () => {
    await open(1280, 1000, "light");
    const generation = (await snapshot()).modules.find(({ name }) => name === "bme280")?.generation ?? 0;
    const place =
      "[...document.querySelectorAll('#modules .card')].find((card) => card.textContent.startsWith('bme280'))";
    await page.click('button[aria-label="Restart bme280"]');
    await page.waitForSelector("#confirm[open]");
    await page.click("#confirm-yes");
    await until(page, `${place}.textContent.includes('generation ${generation + 1}')`);
    await until(page, "document.getElementById('entries').textContent.includes('console (127.0.0.1)')");
    await until(
      page,
      "document.getElementById('events').textContent.includes('bme280: restart by console (127.0.0.1)')",
    );
    const entry = bulkhead("audit", "list", "--data", ".bulkhead/example", "--kind", "restart", "--json").stdout;
    expect(entry).toContain("console (127.0.0.1)");
    await picture("console.png");
    await page.close();
  }, 180_000);

  test("it all is there on a phone at night", async () => {
    await open(390, 844, "dark");
    await until(page, "document.getElementById('chain').textContent.includes('whole')");
    expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
    await picture("console-phone.png");
    await page.close();
  }, 180_000);
});
