/** A relay in a whole gateway: off when the gateway stops, and as it was commanded when it starts again. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadConfiguration } from "../../gateway/config/index.ts";
import { Gateway } from "../../gateway/core/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { developmentKeys, signForDevelopment } from "../../tools/build/development.ts";
import { ControlClient } from "../../tools/dev/control-client.ts";
import { patiently } from "../support/patience.ts";
import type { TestBroker } from "../updates/mqtt.ts";
import { startAedes } from "../updates/mqtt.ts";

const MODULES = fileURLToPath(new URL("../../build/modules/", import.meta.url));
const LINE = "gpio-0/27";

let folder = "";
let broker: TestBroker;
let gateway: Gateway;
let events: GatewayEvent[] = [];

/** Who holds `threshold` switches the relay on: that is its final message. */
const configuration = (url: string): string => `gateway: { id: gw-safe, vendor: bulkhead.example, class: raspberry-pi }
data: data
trust: { root: keys/root.envelope }
broker: { url: "${url}" }
devices: { gpio: { 0: { backend: simulator } } }
partitions: { drivers: {}, services: {} }
modules:
  gpio-relay:
    envelope: gpio-relay.envelope
    partition: drivers
    grants:
      line: { gpio-line: { chip: 0, line: 27, direction: out } }
      clock: { clock: {} }
      log: { log: {} }
      readings: { endpoint: { to: uplink.readings, badge: 2 } }
  uplink:
    envelope: uplink.envelope
    partition: services
    memory: 1MiB
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: ["site/7/#"] } }
  threshold:
    envelope: threshold.envelope
    partition: services
    restart: { policy: safe-state, to: gpio-relay.commands, message: { on: true } }
    grants:
      log: { log: {} }
      alarms: { endpoint: { to: uplink.alarms } }
`;

async function start(): Promise<void> {
  events = [];
  const options = { onEvent: (event: GatewayEvent): unknown => events.push(event) };
  gateway = new Gateway(await loadConfiguration(join(folder, "gateway.yaml")), options);
  await gateway.start();
}

/** The relay's line, as the device process simulates it. */
async function level(): Promise<number | undefined> {
  const client = await ControlClient.connect(join(folder, "data"));
  const answer = await client?.simulators();
  client?.close();
  return answer?.parts.find(({ device }) => device === LINE)?.quantities["level"];
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-safe-"));
  broker = await startAedes();
  const keys = await developmentKeys(join(folder, "keys"));
  for (const name of ["gpio-relay", "uplink", "threshold"]) {
    const binary = new Uint8Array(readFileSync(join(MODULES, `${name}.wasm`)));
    writeFileSync(join(folder, `${name}.envelope`), signForDevelopment(binary, "1.0.0", keys.release));
  }
  writeFileSync(join(folder, "gateway.yaml"), configuration(broker.url));
}, 120_000);

afterAll(async () => {
  await gateway.stop();
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a relay that is on is off when the modules have stopped, and on again at the next start", async () => {
  await start();
  expect(await level()).toBe(0);
  gateway.kernel.hold("threshold");
  await expect.poll(level, { timeout: patiently(10_000) }).toBe(1);
  // The first thing that the gateway stops; the processes that serve modules are there until it is done.
  await gateway.kernel.stop();
  expect(await level()).toBe(0);
  await gateway.stop();
  expect(events.filter(({ type }) => type === "fault")).toEqual([]);
  await start();
  await expect.poll(level, { timeout: patiently(10_000) }).toBe(1);
}, 120_000);

test("the operator's hold switches it off as well, and a restart on again", async () => {
  gateway.kernel.hold("gpio-relay");
  await expect.poll(level, { timeout: patiently(10_000) }).toBe(0);
  gateway.kernel.restart("gpio-relay");
  await expect.poll(level, { timeout: patiently(10_000) }).toBe(1);
}, 120_000);
