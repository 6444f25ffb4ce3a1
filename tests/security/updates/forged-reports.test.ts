/** Whoever can publish on a gateway's topics cannot speak for it. */

import { connectAsync } from "mqtt";
import type { MqttClient } from "mqtt";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256Hex } from "../../../gateway/wire/digest.ts";
import { encodeEvent, encodeReport, REPORT_CONTENT_TYPES } from "../../../gateway/wire/update-report.ts";
import { topics } from "../../../gateway/wire/update-topics.ts";
import { encodeSign1, toBeSigned } from "../../../gateway/envelopes/index.ts";
import type { SigningKey } from "../../../tools/keys/key.ts";
import { signEd25519 } from "../../../tools/keys/key.ts";
import { pushUpdate, readRelease } from "../../../tools/push/index.ts";
import { GatewayWatch } from "../../../tools/push/watch.ts";
import { deploy, GATEWAY, key } from "../../trust/fixture.ts";
import { Bench, deliveredAs, makeModule } from "../../updates/bench.ts";
import { MqttTransport, startAedes } from "../../updates/mqtt.ts";
import type { TestBroker } from "../../updates/mqtt.ts";

const first = makeModule("threshold", 1);
const second = makeModule("threshold", 2);
const thief = key("deploy", 66);

function signedBy(signer: SigningKey, kind: "event" | "reported", payload: Uint8Array): Uint8Array {
  const contentType = REPORT_CONTENT_TYPES[kind];
  const signature = signEd25519(toBeSigned(contentType, signer.id, payload), signer);
  return encodeSign1({ contentType, keyId: signer.id, payload, signature });
}

function committed(plan: string, counter: number): Uint8Array {
  return encodeEvent({
    gateway: GATEWAY,
    counter,
    plan,
    state: "committed",
    percent: 100,
    code: "OK",
    reason: "",
    final: true,
    pauseMs: undefined,
  });
}

function report(gateway: string, counter: number): Uint8Array {
  const modules = new Map([["threshold", { sequence: 99, envelope: second.digest, version: "99.0.0" }]]);
  return encodeReport({
    gateway,
    counter,
    rootVersion: 1,
    plan: undefined,
    configuration: undefined,
    modules,
    last: undefined,
  });
}

describe("forged reports at the broker", () => {
  let broker: TestBroker;
  let transport: MqttTransport;
  let gateway: Bench;
  let attacker: MqttClient;

  beforeEach(async () => {
    broker = await startAedes();
    transport = await MqttTransport.connect(broker.url);
    gateway = new Bench({ delivered: [deliveredAs(first)], transport });
    attacker = await connectAsync(broker.url);
  });

  afterEach(async () => {
    await attacker.endAsync();
    await gateway.close();
    await transport.client.endAsync();
    await broker.close();
  });

  it("make no push believe that a silent gateway has committed", async () => {
    await attacker.subscribeAsync(topics.gateway(GATEWAY, "desired"));
    attacker.on("message", (_topic, payload) => {
      const event = committed(sha256Hex(payload), 1_000_000);
      attacker.publish(topics.gateway(GATEWAY, "event"), Buffer.from(signedBy(thief, "event", event)));
      attacker.publish(topics.gateway(GATEWAY, "event"), Buffer.from(event));
      attacker.publish(topics.gateway(GATEWAY, "event"), Buffer.from(signedBy(thief, "reported", event)));
    });
    const result = await pushUpdate({
      broker: { url: broker.url },
      gatewayId: GATEWAY,
      gatewayKey: gateway.key.publicKey,
      modules: [readRelease(second.whole)],
      deployKey: deploy,
      timeoutMs: 700,
    });
    expect(result.code).toBe("E_TIMEOUT");
    expect(result.forged).toBe(3);
  });

  it("do not displace a true report, whatever their counter", () => {
    const watch = new GatewayWatch(GATEWAY, gateway.key.publicKey);
    const genuine = (counter: number, id = GATEWAY) =>
      gateway.key.sign(REPORT_CONTENT_TYPES.reported, report(id, counter));
    watch.takeReported(genuine(7));
    watch.takeReported(signedBy(thief, "reported", report(GATEWAY, 1_000_000)));
    watch.takeReported(genuine(6));
    watch.takeReported(genuine(9, "gw-8"));
    watch.takeReported(gateway.key.sign(REPORT_CONTENT_TYPES.event, report(GATEWAY, 10)));
    expect(watch.reported?.counter).toBe(7);
    expect(watch.forged).toBe(3);
  });

  it("cannot be old true ones: an event counts once, and only while its counter rises", () => {
    const watch = new GatewayWatch(GATEWAY, gateway.key.publicKey);
    const event = gateway.key.sign(REPORT_CONTENT_TYPES.event, committed("ab".repeat(32), 5));
    const older = gateway.key.sign(REPORT_CONTENT_TYPES.event, committed("cd".repeat(32), 4));
    for (const payload of [event, event, older]) watch.takeEvent(payload);
    expect(watch.takeEvents().map(({ counter }) => counter)).toEqual([5]);
  });
});
