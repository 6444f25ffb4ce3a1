/** A whole gateway, its link process included, takes an update over each broker that we name. */

import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { BrokerOptions } from "../../tools/push/broker.ts";
import { pushUpdate, readRelease } from "../../tools/push/index.ts";
import { Field, FIELD_GATEWAY, worker } from "../security/updates/field.ts";
import { deploy } from "../trust/fixture.ts";
import { findBroker, startGuardedMosquitto, startMosquitto, startNats } from "./brokers.ts";
import { startAedes } from "./mqtt.ts";

const mosquitto = findBroker("mosquitto");
const nats = findBroker("nats-server");
if (mosquitto === undefined) console.warn("SKIPPED: mosquitto is not installed (apt-get install mosquitto)");
if (nats === undefined) console.warn("SKIPPED: NATS is not installed (apt-get install nats-server)");

let field: Field | undefined;
afterEach(async () => {
  await field?.close();
  field = undefined;
}, 60_000);

/** Pushes a release, and gives what the link said of its connection. */
async function update(started: Field, broker: BrokerOptions): Promise<string> {
  field = started;
  const result = await pushUpdate({
    broker,
    gatewayId: FIELD_GATEWAY,
    gatewayKey: await started.publicKey,
    modules: [readRelease(worker(2).whole)],
    deployKey: deploy,
    timeoutMs: 60_000,
  });
  expect(result).toMatchObject({ code: "OK", state: "committed", forged: 0 });
  expect(await started.running()).toMatchObject({ worker: "2.0.0" });
  const links = started.events.flatMap((event) => {
    return event.type === "host" && event.process === "link" && event.state === "online" ? [event.text] : [];
  });
  return links.join();
}

describe("a whole gateway takes an update", { timeout: 180_000 }, () => {
  it("over aedes", async () => {
    const broker = await startAedes();
    await update(await Field.startAt(broker, { url: broker.url }), { url: broker.url });
  });

  it.skipIf(mosquitto === undefined)("over Mosquitto with MQTT 5", async () => {
    const broker = await startMosquitto(mosquitto ?? "");
    const options = { url: broker.url, protocolVersion: 5 } as const;
    expect(await update(await Field.startAt(broker, options), options)).toContain("with MQTT 5");
  });

  it.skipIf(mosquitto === undefined)(
    "over Mosquitto with TLS, client certificates and the access list that we ship",
    async () => {
      const broker = await startGuardedMosquitto(mosquitto ?? "", [FIELD_GATEWAY, "deployer"]);
      const file = (name: string): string => join(broker.folder, name);
      const caFile = file("ca.crt");
      const options = { url: broker.url, caFile, certificateFile: file("deployer.crt"), keyFile: file("deployer.key") };
      const own = `certificate-file: ${file(`${FIELD_GATEWAY}.crt`)}, key-file: ${file(`${FIELD_GATEWAY}.key`)}`;
      const started = await Field.startAt(broker, options, `, ca-file: ${caFile}, ${own}`);
      expect(await update(started, options)).toContain("connected to 127.0.0.1");
    },
  );

  it.skipIf(nats === undefined)("over NATS, which speaks MQTT 3.1.1 only", async () => {
    const broker = await startNats(nats ?? "");
    expect(await update(await Field.startAt(broker, { url: broker.url }), { url: broker.url })).toContain("MQTT 3.1.1");
  });
});
