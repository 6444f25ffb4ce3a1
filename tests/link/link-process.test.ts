/** The link process as the core starts it, against a real broker: publishing, receiving, and what modules may not. */
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { connectAsync } from "mqtt";
import type { MqttClient } from "mqtt";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LIMITS, RESULT } from "../../kernel/index.ts";
import { Link, listen, mqtt, startBroker, until } from "./fixtures.ts";
import type { Broker } from "./fixtures.ts";

let broker: Broker;
let link: Link;
let outside: MqttClient;
const received: { topic: string; payload: string; qos: number; retain: boolean }[] = [];

beforeEach(async () => {
  broker = await startBroker();
  outside = await connectAsync(broker.url, { reconnectPeriod: 0 });
  received.length = 0;
  outside.on("message", (topic, payload, { qos, retain }) => {
    received.push({ topic, payload: payload.toString(), qos, retain });
  });
  await outside.subscribeAsync("#", { qos: 1 });
  link = new Link({ broker: { url: broker.url } });
});

afterEach(async () => {
  await link.stop();
  await outside.endAsync(true);
  await broker.stop();
});

describe("publishing", () => {
  it("reaches an outside client with the topic, payload and quality that the module gave", async () => {
    await link.host.start([mqtt(1, ["site/7/#"])]);
    await link.online();
    expect(await link.publish(1, "site/7/t", "21.5")).toBe(0);
    expect(await link.publish(1, "site/7/t", "last", 3)).toBe(0);
    expect(await link.publish(1, "site/7/t", "at most once", 0)).toBe(0);
    await until(() => received.length === 3);
    expect(received.map(({ topic, payload, qos }) => [topic, payload, qos])).toEqual([
      ["site/7/t", "21.5", 1],
      ["site/7/t", "last", 1],
      ["site/7/t", "at most once", 0],
    ]);
    const late = await connectAsync(broker.url, { reconnectPeriod: 0 });
    const retained = new Promise<string>((resolve) =>
      late.on("message", (_topic, payload) => resolve(payload.toString())),
    );
    await late.subscribeAsync("site/7/t");
    expect(await retained).toBe("last");
    await late.endAsync(true);
  });

  it("keeps the order of a source", async () => {
    await link.host.start([mqtt(1, ["a"])]);
    await link.online();
    await Promise.all(Array.from({ length: 300 }, (_, index) => link.publish(1, "a", String(index))));
    await until(() => received.length >= 300);
    expect(received.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 300 }, (_, index) => index));
  });

  it("is denied outside the filters, and below bulkhead/ whatever the filters say", async () => {
    await link.host.start([mqtt(1, ["site/+/t"]), mqtt(2, ["#"]), mqtt(3, ["bulkhead/#"], [], { reserved: true })]);
    await link.online();
    for (const topic of ["site/7", "site/7/t/x", "other", "/site/7/t"]) {
      expect(await link.publish(1, topic, "x"), topic).toBe(RESULT.denied);
    }
    for (const topic of ["bulkhead", "bulkhead/v1/gw/x/desired", "$SYS/x"]) {
      expect(await link.publish(2, topic, "x"), topic).toBe(RESULT.denied);
    }
    expect(await link.publish(3, "bulkhead/v1/gw/x/reported", "x")).toBe(0);
    await until(() => received.length > 0);
    expect(received.map(({ topic }) => topic)).toEqual(["bulkhead/v1/gw/x/reported"]);
  });

  it("binds no filter that is malformed or the broker's own, and gives no right that the binding lacks", async () => {
    const hostile = ["", "a\0b", "a#", "a/#/b", "a+/b", "$SYS/#", "$share/g/a"];
    const bindings = hostile.map((filter, index) => mqtt(10 + index, [filter], [filter]));
    await link.host.start([...bindings, { ...mqtt(1, ["a"], ["a"]), rights: ["publish"] }, mqtt(2, ["a"])]);
    await link.online();
    for (const { id } of bindings) expect(await link.publish(id, "a", "x"), String(id)).toBe(RESULT["not-found"]);
    expect(link.logs.filter((line) => line.includes("E_CONFIG"))).toHaveLength(hostile.length);
    expect(await link.publish(1, "a", "x")).toBe(0);
    await until(() => received.length > 0);
    await sleep(100);
    expect(link.events).toEqual([]);
  });

  it("refuses what is no topic, no flags, or too large", async () => {
    await link.host.start([mqtt(1, ["#"])]);
    await link.online();
    const topics = [
      "",
      "a/+",
      "a/#",
      "a\0b",
      "\uFEFFa",
      Uint8Array.of(0xff),
      Uint8Array.of(0xed, 0xa0, 0x80),
      "x".repeat(65_536),
    ];
    for (const topic of topics) expect(await link.publish(1, topic, "x")).toBe(RESULT.invalid);
    for (const flags of [4, -1, 2 ** 31 - 1]) expect(await link.publish(1, "a", "x", flags)).toBe(RESULT.invalid);
    expect(await link.publish(1, "a", new Uint8Array(LIMITS.payloadBytes + 1))).toBe(RESULT["too-large"]);
    expect(await link.publish(1, "a", new Uint8Array(LIMITS.payloadBytes))).toBe(0);
    await until(() => received.length === 1);
  });
});

describe("receiving", () => {
  it("hands each message to the bindings whose filters match, and to no other", async () => {
    await link.host.start([mqtt(1, [], ["a/+"]), mqtt(2, [], ["a/#", "b"]), mqtt(3, [], ["c"])]);
    await link.online();
    await sleep(100);
    for (const topic of ["a/x", "a/x/y", "b", "d"]) await outside.publishAsync(topic, `on ${topic}`, { qos: 1 });
    await until(() => link.events.length >= 4);
    await sleep(50);
    expect(link.events).toEqual([
      { binding: 1, topic: "a/x", payload: "on a/x" },
      { binding: 2, topic: "a/x", payload: "on a/x" },
      { binding: 2, topic: "a/x/y", payload: "on a/x/y" },
      { binding: 2, topic: "b", payload: "on b" },
    ]);
  });

  it("never shows a module the topics of the update protocol or of the broker", async () => {
    await link.host.start([mqtt(1, [], ["#", "bulkhead/#"]), mqtt(2, [], ["bulkhead/v1/#"], { reserved: true })]);
    await link.online();
    await sleep(100);
    broker.aedes.publish(
      { cmd: "publish", topic: "$SYS/secret", payload: Buffer.from("x"), qos: 0, retain: false, dup: false },
      () => undefined,
    );
    await outside.publishAsync("bulkhead/v1/root/1", "root", { qos: 1 });
    await outside.publishAsync("last", "x", { qos: 1 });
    await until(() => link.events.some(({ topic }) => topic === "last"));
    expect(link.events.map(({ binding, topic }) => [binding, topic])).toEqual([
      [2, "bulkhead/v1/root/1"],
      [1, "last"],
    ]);
  });

  it("subscribes and unsubscribes as slots are bound and unbound, retained messages included", async () => {
    await outside.publishAsync("block/1", "one", { qos: 1, retain: true });
    await link.host.start([mqtt(1, [], ["other"])]);
    await link.online();
    link.host.bind([mqtt(2, [], ["block/1"])]);
    await until(() => link.events.length === 1);
    link.host.bind([mqtt(3, [], ["block/1"])]);
    await until(() => link.events.some(({ binding }) => binding === 3));
    link.host.unbind([2, 3]);
    await sleep(100);
    link.events.length = 0;
    await outside.publishAsync("block/1", "two", { qos: 1 });
    await outside.publishAsync("other", "x", { qos: 1 });
    await until(() => link.events.length > 0);
    expect(link.events).toEqual([{ binding: 1, topic: "other", payload: "x" }]);
  });

  it("drops and counts what is too large for a module, and acknowledges it so that the next ones come", async () => {
    await link.host.start([mqtt(1, [], ["#"])]);
    await link.online();
    await sleep(100);
    for (const size of [LIMITS.payloadBytes, 2 ** 20, 3 * 2 ** 20]) {
      await outside.publishAsync("large", Buffer.alloc(size), { qos: 1 });
    }
    for (let index = 0; index < 50; index++) await outside.publishAsync("small", String(index), { qos: 1 });
    await until(() => link.events.length >= 50);
    expect(link.events.every(({ topic }) => topic === "small")).toBe(true);
    expect(link.statuses.filter((status) => status.startsWith("offline"))).toEqual([]);
    await until(() => link.logs.some((line) => line.includes("3 messages from the broker were too large")), 15_000);
  });
});

describe("the connection", () => {
  it("says once that there is no broker, goes on trying, and says when there is one", async () => {
    const { port } = broker;
    await broker.stop();
    await link.host.start([mqtt(1, ["a"])]);
    await until(() => link.statuses.length > 0);
    await sleep(1500);
    expect(link.statuses).toHaveLength(1);
    expect(link.statuses[0]).toMatch(/^offline: no connection to 127\.0\.0\.1:\d+: .*ECONNREFUSED/);
    broker = await startBroker(port);
    await link.online();
    expect(link.statuses).toHaveLength(2);
  });

  it("lets the broker publish the will when the process dies, and not when it stops", async () => {
    const will = { topic: "gw/online", payload: new TextEncoder().encode("offline"), retain: true };
    await link.stop();
    link = new Link({ broker: { url: broker.url }, will });
    await link.host.start([]);
    await link.online();
    process.kill(link.host.pid ?? 0, "SIGKILL");
    await until(() => received.some(({ topic, payload }) => topic === "gw/online" && payload === "offline"));
    await until(() => link.statuses.filter((status) => status.startsWith("online")).length === 2);
    received.length = 0;
    await link.host.stop();
    await sleep(200);
    expect(received).toEqual([]);
  });

  it("survives a server that is no broker", async () => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.resume();
      socket.write(Buffer.from("220 mail.example ESMTP\r\n"));
      socket.write(Buffer.alloc(4096, 0xff));
    });
    const port = await listen(server);
    await link.stop();
    link = new Link({ broker: { url: `mqtt://127.0.0.1:${port}` } });
    await link.host.start([mqtt(1, ["a"])]);
    await until(() => link.statuses.length > 0);
    await sleep(500);
    expect(link.statuses[0]).toMatch(/^offline/);
    expect(link.host.restarts).toBe(0);
    await link.host.stop();
    await new Promise((resolve) => server.close(resolve));
  });
});

describe("without a broker", () => {
  it("says so, and publishing is answered with not-found", async () => {
    await link.stop();
    link = new Link({ broker: null });
    await link.host.start([mqtt(1, ["a"])]);
    expect(link.statuses).toEqual(["offline: no broker is configured"]);
    expect(await link.publish(1, "a", "x")).toBe(RESULT["not-found"]);
  });
});
