/** The same update over other brokers: Mosquitto with MQTT 3.1.1, MQTT 5, TLS and the access list that we ship; NATS. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import type { IClientOptions, MqttClient } from "mqtt";
import { afterEach, describe, expect, it } from "vitest";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { BrokerOptions } from "../../tools/push/broker.ts";
import { pushUpdate, readRelease } from "../../tools/push/index.ts";
import { Bench, deliveredAs, deploy, GATEWAY, makeModule, makePlan } from "./bench.ts";
import { findBroker, startGuardedMosquitto, startMosquitto, startNats } from "./brokers.ts";
import { MqttTransport } from "./mqtt.ts";

const mosquitto = findBroker("mosquitto");
const nats = findBroker("nats-server");
if (nats === undefined) console.warn("SKIPPED: NATS is not installed (apt-get install nats-server)");
if (mosquitto === undefined)
  console.warn("SKIPPED: mosquitto is not installed, so nothing here ran (apt-get install mosquitto)");

const first = makeModule("threshold", 1);
const second = makeModule("threshold", 2, { size: 100_000 });
const third = makeModule("threshold", 3, { size: 5_000 });

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startGateway(url: string, options: IClientOptions): Promise<Bench> {
  const transport = await MqttTransport.connect(url, options);
  const gateway = new Bench({
    delivered: [deliveredAs(first)],
    transport,
    times: { documentMs: 5_000, stallMs: 5_000 },
  });
  transport.onMessage = (topic, payload) => {
    gateway.agent.message(topic, payload);
  };
  ends.push(() => transport.client.endAsync());
  ends.push(() => gateway.close());
  return gateway;
}

function push(gateway: Bench, broker: BrokerOptions, module = second): ReturnType<typeof pushUpdate> {
  return pushUpdate({
    broker,
    gatewayId: GATEWAY,
    gatewayKey: gateway.key.publicKey,
    modules: [readRelease(module.whole)],
    deployKey: deploy,
    planVersion: module.sequence,
    timeoutMs: 20_000,
  });
}

/** Topics of blocks that are still retained. */
async function retainedBlocks(url: string): Promise<string[]> {
  const reader = await connectAsync(url);
  ends.push(() => reader.endAsync());
  const left: string[] = [];
  reader.on("message", (topic) => left.push(topic));
  await reader.subscribeAsync("bulkhead/v1/blob/#");
  await new Promise((resolve) => setTimeout(resolve, 200));
  return left;
}

describe.skipIf(mosquitto === undefined)("an update over Mosquitto", () => {
  for (const protocolVersion of [4, 5] as const) {
    it(`commits over MQTT ${protocolVersion === 4 ? "3.1.1" : "5"}`, async () => {
      const broker = await startMosquitto(mosquitto ?? "");
      ends.push(() => broker.close());
      const gateway = await startGateway(broker.url, { protocolVersion });
      const result = await push(gateway, { url: broker.url, protocolVersion });
      expect(result).toMatchObject({ code: "OK", state: "committed" });
      expect(gateway.runtime.running.get("threshold")).toBe(second.digest);
      expect(await retainedBlocks(broker.url)).toEqual([]);
    });
  }

  it("commits over TLS with client certificates, and the access list keeps strangers from the update topics", async () => {
    const broker = await startGuardedMosquitto(mosquitto ?? "", [GATEWAY, "deployer", "gw-8"]);
    ends.push(() => broker.close());
    const file = (name: string) => join(broker.folder, name);
    const tls = (name: string): IClientOptions => ({
      ca: readFileSync(file("ca.crt")),
      cert: readFileSync(file(`${name}.crt`)),
      key: readFileSync(file(`${name}.key`)),
    });
    const gateway = await startGateway(broker.url, tls(GATEWAY));
    const neighbour: MqttClient = await connectAsync(broker.url, tls("gw-8"));
    ends.push(() => neighbour.endAsync());
    const heard: string[] = [];
    neighbour.on("message", (topic) => heard.push(topic));
    for (const topic of [topics.gateway(GATEWAY, "desired"), topics.gateway(GATEWAY, "reported")]) {
      await neighbour.subscribeAsync(topic).catch(() => undefined);
      await neighbour.publishAsync(topic, Buffer.from(makePlan(1, [third])), { qos: 1 });
    }
    const deployer = {
      url: broker.url,
      caFile: file("ca.crt"),
      certificateFile: file("deployer.crt"),
      keyFile: file("deployer.key"),
    };
    expect(await push(gateway, deployer)).toMatchObject({ code: "OK", forged: 0 });
    expect(gateway.events.some(({ code }) => code !== undefined && code !== "OK")).toBe(false);
    expect(heard).toEqual([]);
    await expect(connectAsync(broker.url, { ca: readFileSync(file("ca.crt")), reconnectPeriod: 0 })).rejects.toThrow();
  });
});

describe.skipIf(nats === undefined)("an update over NATS", () => {
  it("commits over its MQTT gateway, and leaves no blocks behind", async () => {
    const broker = await startNats(nats ?? "");
    ends.push(() => broker.close());
    const gateway = await startGateway(broker.url, {});
    expect(await push(gateway, { url: broker.url })).toMatchObject({ code: "OK", state: "committed" });
    expect(await push(gateway, { url: broker.url }, third)).toMatchObject({ code: "OK" });
    expect(gateway.runtime.running.get("threshold")).toBe(third.digest);
    expect(await retainedBlocks(broker.url)).toEqual([]);
  });
});
