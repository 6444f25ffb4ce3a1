/** Store and forward: the broker goes and comes back, the link is killed, and no acknowledged message is lost. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Link, mqtt, startBroker, until } from "./fixtures.ts";
import type { Broker } from "./fixtures.ts";

let broker: Broker;
let link: Link;
let folder: string;
/** By source, in the order of arrival. */
const arrived = new Map<string, number[]>();

/** Counted where the broker takes a message, before it acknowledges: a subscriber's socket may be cut after that. */
async function startCounting(port = 0): Promise<void> {
  broker = await startBroker(port);
  broker.aedes.authorizePublish = (_client, { topic, payload }, done) => {
    arrived.set(topic, [...(arrived.get(topic) ?? []), Number(payload.toString())]);
    done(null);
  };
}

function makeLink(bytes = 2 ** 26): Link {
  const store = { path: join(folder, "outbox.sqlite"), bytes, ageMs: 86_400_000 };
  return new Link({ broker: { url: broker.url }, store }, folder);
}

beforeEach(async () => {
  arrived.clear();
  folder = mkdtempSync(join(tmpdir(), "bulkhead-forward-"));
  await startCounting();
  link = makeLink();
});

afterEach(async () => {
  await link.stop();
  await broker.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Publishes 0, 1, 2, … on the source's topic, one after the other as a module does, until told to stop. */
function load(source: string, binding: number) {
  const acknowledged: number[] = [];
  const state = { isRunning: true };
  const done = (async () => {
    for (let next = 0; state.isRunning; next++) {
      if ((await link.publish(binding, `site/${source}`, String(next))) === 0) acknowledged.push(next);
      else await sleep(20);
    }
  })();
  return {
    acknowledged,
    stop: () => {
      state.isRunning = false;
      return done;
    },
  };
}

/** At least once, and in order: repeats go back to where a connection ended, never past what was not seen before. */
function checkArrival(source: string, acknowledged: readonly number[]): void {
  const seen = arrived.get(`site/${source}`) ?? [];
  const missing = acknowledged.filter((value) => !seen.includes(value));
  expect(missing).toEqual([]);
  const firsts = [...new Set(seen)];
  expect(firsts).toEqual([...firsts].sort((a, b) => a - b));
}

async function allArrived(source: string, acknowledged: readonly number[]): Promise<void> {
  const last = acknowledged.at(-1) ?? -1;
  await until(() => arrived.get(`site/${source}`)?.includes(last) === true, 20_000);
  await sleep(100);
}

describe("store and forward", () => {
  it("delivers what was published while the broker was away, in order, also before the first connection", async () => {
    await broker.stop();
    await link.host.start([mqtt(1, ["site/#"])]);
    const results = await Promise.all(
      Array.from({ length: 500 }, (_, index) => link.publish(1, "site/a", String(index))),
    );
    expect(results.every((result) => result === 0)).toBe(true);
    await startCounting(broker.port);
    await until(() => (arrived.get("site/a")?.length ?? 0) >= 500, 20_000);
    expect(arrived.get("site/a")).toEqual(Array.from({ length: 500 }, (_, index) => index));
  });

  it("loses and reorders nothing acknowledged when the broker is cut twice under load", async () => {
    await link.host.start([mqtt(1, ["site/#"]), mqtt(2, ["site/#"])]);
    await link.online();
    const loads = { a: load("a", 1), b: load("b", 2) };
    for (let cut = 0; cut < 2; cut++) {
      await sleep(400);
      await broker.stop();
      await sleep(1500);
      await startCounting(broker.port);
      await until(() => link.statuses.filter((status) => status.startsWith("online")).length === cut + 2);
    }
    await sleep(400);
    for (const [source, { acknowledged, stop }] of Object.entries(loads)) {
      await stop();
      expect(acknowledged.length).toBeGreaterThan(20);
      await allArrived(source, acknowledged);
      checkArrival(source, acknowledged);
    }
  });

  it("loses nothing acknowledged when the link is killed under load, broker away or there", async () => {
    await link.host.start([mqtt(1, ["site/#"])]);
    await link.online();
    const running = load("a", 1);
    for (const isBrokerAway of [false, true]) {
      if (isBrokerAway) await broker.stop();
      await sleep(500);
      process.kill(link.host.pid ?? 0, "SIGKILL");
      await until(() => link.host.isReady);
      await sleep(300);
    }
    await startCounting(broker.port);
    await sleep(500);
    await running.stop();
    expect(link.host.restarts).toBe(2);
    expect(running.acknowledged.length).toBeGreaterThan(10);
    await allArrived("a", running.acknowledged);
    checkArrival("a", running.acknowledged);
  });

  it("drops the oldest when the store is full, says how many, and delivers the newest", async () => {
    await link.host.stop();
    await broker.stop();
    link = makeLink(100 * (6 + 6 + 64));
    await link.host.start([mqtt(1, ["site/#"])]);
    for (let index = 0; index < 250; index++) void link.publish(1, "site/a", String(100_000 + index));
    expect(await link.publish(1, "site/a", "100250")).toBe(0);
    await until(() => link.logs.some((line) => /\d+ of the oldest waiting messages were dropped/.test(line)));
    await startCounting(broker.port);
    await until(() => arrived.get("site/a")?.includes(100_250) === true, 20_000);
    const seen = arrived.get("site/a") ?? [];
    expect(seen.length).toBeGreaterThan(90);
    expect(seen.length).toBeLessThanOrEqual(100);
    expect(seen).toEqual(Array.from({ length: seen.length }, (_, index) => 100_251 - seen.length + index));
  });
});
