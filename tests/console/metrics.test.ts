/** What Prometheus reads is what the page of metrics says, and what the dashboard asks for is among it. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { METRICS, metricsText } from "../../gateway/link/web/metrics.ts";
import type { TestWeb } from "./support.ts";
import { fakeSnapshot, startWeb, TOKEN } from "./support.ts";

const read = (name: string): string => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");
const chain = { state: "whole", verified: 7, last: 7, reason: "" } as const;
const link = { outboxMessages: 1, outboxBytes: 2, outboxDropped: 3, streams: 4, loginFailures: 5 };
const health = { live: true, ready: false, reasons: [] };

const SAMPLE = /^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+-]+)$/;

function samples(text: string): { name: string; labels: string; value: number }[] {
  return text
    .trimEnd()
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => {
      const [, name = "", labels = "", value] = SAMPLE.exec(line) ?? [];
      expect(name, line).not.toBe("");
      return { name, labels, value: Number(value) };
    });
}

test("docs/metrics.md is the list: each metric with its type, its labels and its meaning, and no other", () => {
  const update = { time: 1, plan: "ab", state: "committed", percent: 100, code: "OK", reason: "" } as const;
  const found = samples(metricsText({ snapshot: { ...fakeSnapshot(), updates: [update] }, health, chain, link }));
  const expected = METRICS.map(({ name, type, help }) => {
    const labels = found.find((sample) => sample.name === name)?.labels ?? "no sample";
    const names = [...labels.matchAll(/([a-z_]+)="/g)].map(([, label]) => label).join(", ");
    return `| \`${name}\` | ${type} | ${names} | ${help} |`;
  });
  const rows = read("metrics.md")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  expect(rows).toEqual(expected);
});

test("every metric of the Grafana dashboard is on the list, and every metric is on the dashboard or says who, not what", () => {
  const dashboard = JSON.parse(read("grafana.json")) as { panels: { targets: { expr: string }[] }[] };
  const asked = dashboard.panels.flatMap(({ targets }) =>
    targets.flatMap(({ expr }) => [...expr.matchAll(/bulkhead_[a-z_]+/g)].map(([name]) => name)),
  );
  const known = METRICS.map(({ name }) => name);
  expect(asked.length).toBeGreaterThan(20);
  expect(asked.filter((name) => !known.includes(name))).toEqual([]);
  const facts = ["bulkhead_info", "bulkhead_start_time_seconds"];
  expect(known.filter((name) => !asked.includes(name) && !facts.includes(name))).toEqual([]);
});

test("a name that tries to be a line of its own stays a label", () => {
  const snapshot = fakeSnapshot();
  const name = 'x"} 1\nbulkhead_ready 1\\';
  const text = metricsText({
    snapshot: { ...snapshot, modules: snapshot.modules.map((module) => ({ ...module, name })) },
    health,
    chain,
    link,
  });
  const found = samples(text);
  expect(found.filter((sample) => sample.name === "bulkhead_ready").map(({ value }) => value)).toEqual([0]);
  expect(new Set(found.map((sample) => sample.name)).size).toBeLessThanOrEqual(METRICS.length);
});

describe("over HTTP", () => {
  let web: TestWeb;
  beforeEach(async () => {
    web = await startWeb();
  });
  afterEach(async () => {
    await web.stop();
  });
  const get = (path: string, token?: string): Promise<Response> =>
    fetch(`${web.url}${path}`, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } });

  test("the metrics are for whoever shows the token", async () => {
    expect((await get("metrics")).status).toBe(401);
    expect((await get("metrics", "wrong")).status).toBe(401);
    const answer = await get("metrics", TOKEN);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([
      200,
      "text/plain; version=0.0.4; charset=utf-8",
    ]);
    const found = samples(await answer.text());
    expect(found).toContainEqual({ name: "bulkhead_console_login_failures_total", labels: "", value: 1 });
    expect(found).toContainEqual({
      name: "bulkhead_module_memory_bytes",
      labels: 'module="bme280",partition="drivers"',
      value: 196_608,
    });
  });

  test("health is told to anybody, its reasons to whoever shows the token; a core that is silent is not well", async () => {
    expect((await get("healthz")).status).toBe(200);
    const ready = await get("readyz");
    expect([ready.status, await ready.text()]).toEqual([503, "not ok\n"]);
    expect(await (await get("readyz", TOKEN)).text()).toBe("not ok\nmodule bme280 is held\n");
    web.core.isSilent = true;
    await new Promise((resolve) => setTimeout(resolve, 600));
    const live = await get("healthz", TOKEN);
    expect([live.status, await live.text()]).toEqual([503, "not ok\nthe core does not answer\n"]);
    expect((await get("metrics", TOKEN)).status).toBe(504);
  });
});
