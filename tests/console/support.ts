/** For the tests of the console: the page's server with a core that is made up, and a real browser. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { expect, vi } from "vitest";
import type { OperatorRequest, Snapshot } from "../../gateway/wire/operator.ts";
import { parseLinkSettings } from "../../gateway/link/settings.ts";
import { Web } from "../../gateway/link/web/server.ts";
import { Refusal } from "../../kernel/index.ts";

export const TOKEN = "a-token-of-24-characters";
export const TOKEN_DIGEST = new Uint8Array(createHash("sha256").update(TOKEN).digest());

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));

/** The part of a page of playwright-core that the tests use. */
export interface Page {
  goto(url: string): Promise<unknown>;
  fill(selector: string, text: string): Promise<void>;
  click(selector: string): Promise<void>;
  textContent(selector: string): Promise<string | null>;
  getAttribute(selector: string, name: string): Promise<string | null>;
  isVisible(selector: string): Promise<boolean>;
  waitForSelector(selector: string, options?: { timeout?: number; state?: "visible" | "attached" }): Promise<unknown>;
  evaluate(code: string): Promise<unknown>;
  screenshot(options: { path: string; fullPage?: boolean }): Promise<unknown>;
  on(event: "pageerror" | "console" | "dialog", listener: (event: { text?: () => string }) => void): unknown;
  readonly keyboard: { press(key: string): Promise<void>; type(text: string): Promise<void> };
  close(): Promise<void>;
}

interface Context {
  newPage(): Promise<Page>;
  cookies(): Promise<{ name: string; httpOnly: boolean; sameSite: string; secure: boolean }[]>;
  close(): Promise<void>;
}

export interface Browser {
  newContext(options?: {
    viewport?: { width: number; height: number };
    colorScheme?: "light" | "dark";
    ignoreHTTPSErrors?: boolean;
  }): Promise<Context>;
  close(): Promise<void>;
}

/** Why there is no browser, for the names of tests that are then skipped. */
export const NO_BROWSER = CHROMIUM === undefined ? "no Debian package chromium here" : "";

export async function openBrowser(): Promise<Browser> {
  // By a name that is not resolved while types are checked: who has not installed it can work on the rest.
  const name: string = "playwright-core";
  const { chromium } = (await import(name)) as { chromium: { launch(options: object): Promise<Browser> } };
  const args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
  return await chromium.launch({ executablePath: CHROMIUM, args, timeout: 120_000 });
}

/** Waits until an expression is true in the page. The page's own policy lets nobody wait for it in there. */
export async function until(page: Page, expression: string): Promise<void> {
  await vi.waitFor(
    async () => {
      expect(await page.evaluate(expression), expression).toBe(true);
    },
    { timeout: 30_000, interval: 100 },
  );
}

const MODULE = {
  version: "1.0.0",
  partition: "drivers",
  state: "idle",
  reason: "",
  generation: 1,
  activations: 100,
  fuel: 1_000_000,
  activationsPerSecond: 4.2,
  fuelPerSecond: 120_000,
  fuelLimitPerSecond: 1_000_000,
  memoryBytes: 196_608,
  memoryLimitBytes: 1_048_576,
  queued: 0,
  lost: 0,
  isThrottled: false,
  waitingMs: 0,
  longestWaitMs: 0,
  restarts: 0,
  faults: 0,
  denials: 0,
  policy: "restart",
  lastFault: null,
  authority: [{ slot: "sensor", interface: "i2c-device", rights: ["read"], resource: "bus 1, address 118" }],
};
const ROUTE = { slot: "readings", sent: 420, refused: 0, dropped: 0, queued: 0, perSecond: 4.2, droppedPerSecond: 0 };

export function fakeSnapshot(): Snapshot {
  return {
    time: Date.now(),
    gateway: {
      id: "gw-7",
      vendor: "bulkhead.example",
      class: "raspberry-pi",
      state: "running",
      startedAt: Date.now() - 60_000,
      rootVersion: 1,
      source: "installed",
    },
    partitions: [
      { name: "drivers", heapMiB: 64, answers: true, lost: 0 },
      { name: "services", heapMiB: 64, answers: true, lost: 0 },
    ],
    modules: [
      { ...MODULE, name: "bme280" },
      { ...MODULE, name: "uplink", partition: "services" },
    ],
    routes: [{ ...ROUTE, from: "bme280", to: "uplink.readings" }],
    next: null,
    hosts: [{ process: "link", state: "online", text: "" }],
    readings: [
      {
        topic: "site/7/t",
        quantity: "temperature",
        module: "uplink",
        time: Date.now(),
        value: 21.5,
        unit: "°C",
        text: "",
      },
    ],
    updates: [],
  };
}

export interface Core {
  snapshot: Snapshot;
  /** What has been asked for, looks left out. */
  readonly acts: OperatorRequest[];
  readonly logs: string[];
  /** How often it was asked for anything. */
  asked: number;
  isSilent: boolean;
  auditDetail: string;
  logText: string;
}

export interface TestWeb {
  readonly core: Core;
  readonly port: number;
  readonly url: string;
  stop(): Promise<void>;
}

/** The server in this process, with a core that answers from `core.snapshot`. */
export async function startWeb(tls: { cert?: string; key?: string } = {}): Promise<TestWeb> {
  const fresh = { isSilent: false, auditDetail: "{}", logText: "hello" };
  const core: Core = { snapshot: fakeSnapshot(), acts: [], logs: [], asked: 0, ...fresh };
  const settings = parseLinkSettings({
    clientId: "gw-7",
    console: { address: "127.0.0.1", port: 0, tokenDigest: TOKEN_DIGEST, tls },
  }).console;
  if (settings === null) throw new Error("there are no settings");
  const ask = (request: OperatorRequest): Promise<unknown> => {
    core.asked++;
    if (core.isSilent) return Promise.reject(new Refusal("E_TIMEOUT", "the core does not answer"));
    if (request.kind === "act") core.acts.push(request);
    return Promise.resolve(answer(core, request));
  };
  const log = (_: number, text: string): void => void core.logs.push(text);
  const web = new Web(settings, { ask, log }, () => ({ outboxMessages: 0, outboxBytes: 0, outboxDropped: 0 }));
  await web.listen();
  const url = /https?:\/\/\S+/.exec(core.logs.join(" "))?.[0] ?? "";
  return { core, url, port: Number(new URL(url).port), stop: () => web.stop() };
}

function answer(core: Core, request: OperatorRequest): unknown {
  switch (request.kind) {
    case "snapshot":
      return { ...core.snapshot, time: Date.now() };
    case "history": {
      const entry = { sequence: 1, time: Date.now(), type: "log", module: "bme280", level: 2, text: core.logText };
      return { entries: request.since === 0 ? [entry] : [], next: 1, missed: 0 };
    }
    case "audit": {
      const entry = { sequence: 7, time: Date.now(), kind: "restart", source: "console", subject: "bme280" };
      const chain = { state: "whole", verified: 7, last: 7, reason: "" };
      return { entries: [{ ...entry, detail: core.auditDetail }], chain };
    }
    case "health":
      return { live: true, ready: false, reasons: ["module bme280 is held"] };
    case "act":
      return null;
  }
}
