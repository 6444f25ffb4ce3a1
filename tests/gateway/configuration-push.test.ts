/** `push --configuration` against a whole gateway: the core, its processes and a broker, from the envelope to the next boot. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connectAsync } from "mqtt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadConfiguration } from "../../gateway/config/index.ts";
import { Gateway } from "../../gateway/core/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { AUDIT_FILE, PUBLIC_KEY_FILE, readAudit } from "../../gateway/trust/index.ts";
import type { DevelopmentKeys } from "../../tools/build/development.ts";
import { developmentKeys, signForDevelopment } from "../../tools/build/development.ts";
import { signConfiguration } from "../../tools/keys/index.ts";
import type { PushResult } from "../../tools/push/index.ts";
import { pushUpdate, readRelease } from "../../tools/push/index.ts";
import { readGatewayKey } from "../../tools/push/options.ts";
import type { TestBroker } from "../updates/mqtt.ts";
import { startAedes } from "../updates/mqtt.ts";

const MODULES = fileURLToPath(new URL("../../build/modules/", import.meta.url));
const ISSUED = Math.floor(Date.now() / 1000);
const TIMES = { probationMs: 300, probationMessages: 0 };

let folder = "";
let broker: TestBroker;
let keys: DevelopmentKeys;
let gateway: Gateway;
let events: GatewayEvent[] = [];

function release(name: string): Uint8Array {
  return signForDevelopment(new Uint8Array(readFileSync(join(MODULES, `${name}.wasm`))), "1.0.0", keys.release);
}

const HEAD = (url: string): string => `gateway: { id: gw-pushed, vendor: bulkhead.example, class: raspberry-pi }
data: data
trust: { root: keys/root.envelope }
broker: { url: "${url}" }
`;
const UPLINK = (topic: string): string => `  uplink:
    envelope: uplink.envelope
    partition: services
    memory: 1MiB
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: ["${topic}"] } }
`;
const THRESHOLD = `  threshold:
    envelope: threshold.envelope
    partition: services
    grants:
      log: { log: {} }
      alarms: { endpoint: { to: uplink.alarms, local-only: true } }
`;
const SENSOR = `  bme280:
    partition: drivers
    grants:
      tick: { timer: {} }
      clock: { clock: {} }
      log: { log: {} }
      sensor: { i2c-device: { bus: 1, address: 0x76 } }
      readings: { endpoint: { to: uplink.readings, badge: 2 } }
`;
const TRAPPER = `  trapper:
    partition: drivers
    grants:
      tick: { timer: {} }
      clock: { clock: {} }
      log: { log: {} }
      commands: { mqtt: { subscribe: [demo/trapper] } }
      readings: { endpoint: { to: uplink.readings, badge: 3 } }
`;
const SIMULATED = "devices: { i2c: { 1: { backend: simulator, simulate: [{ chip: bme280, address: 0x76 }] } } }\n";
const PLACES = "partitions: { drivers: {}, services: {} }\nmodules:\n";

async function start(): Promise<void> {
  events = [];
  const configuration = await loadConfiguration(join(folder, "gateway.yaml"));
  gateway = new Gateway(configuration, { onEvent: (event) => events.push(event), updateTimes: TIMES });
  await gateway.start();
}

let version = 0;

/** Pushes a configuration with these modules, and waits for the gateway's word. */
async function push(content: string, modules: readonly string[], without: readonly string[] = []): Promise<PushResult> {
  // Plans are numbered by the second, and the gateway has seen the last one.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const document = { target: "gw-pushed", version: ++version, issued: ISSUED, content };
  return await pushUpdate({
    broker: { url: broker.url },
    gatewayId: "gw-pushed",
    gatewayKey: await readGatewayKey(join(folder, "data", PUBLIC_KEY_FILE)),
    modules: modules.map((name) => readRelease(release(name))),
    configuration: signConfiguration(document, [keys.operator]),
    without,
    deployKey: keys.deploy,
    timeoutMs: 60_000,
  });
}

async function names(): Promise<string[]> {
  return (await gateway.kernel.top()).map(({ name }) => name).sort();
}

/** The first reading below this topic. */
async function published(topic: string): Promise<string> {
  const client = await connectAsync(broker.url);
  const first = new Promise<string>((resolve, reject) => {
    setTimeout(reject, 20_000, new Error(`nothing came below ${topic}`));
    client.on("message", (found) => {
      resolve(found);
    });
  });
  await client.subscribeAsync(topic);
  const found = await first;
  await client.endAsync();
  return found;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-configured-"));
  broker = await startAedes();
  keys = await developmentKeys(join(folder, "keys"));
  for (const name of ["uplink", "threshold"]) writeFileSync(join(folder, `${name}.envelope`), release(name));
  const own = `${HEAD(broker.url)}partitions: { services: {} }\nmodules:\n${UPLINK("site/7/alarms/#")}${THRESHOLD}`;
  writeFileSync(join(folder, "gateway.yaml"), own);
  await start();
}, 120_000);
afterAll(async () => {
  await gateway.stop();
  await broker.close();
  rmSync(folder, { recursive: true, force: true });
});

const NEW = SIMULATED + PLACES + UPLINK("site/7/#") + SENSOR;

test("a driver, its device and its route come with one plan; another module goes", { timeout: 120_000 }, async () => {
  expect(await names()).toEqual(["threshold", "uplink"]);
  expect(events.some((event) => event.type === "host" && event.process === "device")).toBe(false);
  expect(await push(NEW, ["bme280"], ["threshold"])).toMatchObject({ code: "OK", state: "committed" });
  expect(await names()).toEqual(["bme280", "uplink"]);
  expect(await published("site/7/readings/#")).toBe("site/7/readings/bme280");
});

test("what would widen a mark of the gateway's own file is refused, and the reason is said", {
  timeout: 120_000,
}, async () => {
  const other = SENSOR.replace("uplink.readings, badge: 2", "uplink.alarms");
  const result = await push(SIMULATED + PLACES + UPLINK("site/7/#") + other, []);
  expect(result).toMatchObject({ code: "E_CAP", state: "rejected" });
  expect(result.reason).toContain("bme280.readings would gain 'send' on uplink.alarms");
  expect(await names()).toEqual(["bme280", "uplink"]);
});

test("a set that fails on probation goes back with its configuration", { timeout: 120_000 }, async () => {
  const client = await connectAsync(broker.url);
  await client.publishAsync("demo/trapper", "trap", { retain: true });
  await client.endAsync();
  const result = await push(SIMULATED + PLACES + UPLINK("site/7/alarms/#") + SENSOR + TRAPPER, ["trapper"]);
  expect(result).toMatchObject({ code: "E_PROBATION", state: "rolled-back" });
  expect(result.reason).toContain("trapper failed");
  expect(await names()).toEqual(["bme280", "uplink"]);
  expect(await published("site/7/readings/#")).toBe("site/7/readings/bme280");
  const reasons = readAudit(join(folder, "data", AUDIT_FILE), {}).map((entry) => JSON.stringify(entry));
  expect(reasons.some((line) => line.includes("E_PROBATION") && line.includes("trapper failed"))).toBe(true);
});

test("the next start runs what was committed, not what the file says", { timeout: 120_000 }, async () => {
  await gateway.stop();
  await start();
  expect(await names()).toEqual(["bme280", "uplink"]);
  expect(events.some((event) => event.type === "finding" && event.text.includes("is in force"))).toBe(true);
  expect(await published("site/7/readings/#")).toBe("site/7/readings/bme280");
});

test("a file that was marked since then takes a configuration out of force, and the gateway says so", {
  timeout: 120_000,
}, async () => {
  await gateway.stop();
  const path = join(folder, "gateway.yaml");
  writeFileSync(path, `${readFileSync(path, "utf8")}rules:\n  - { deny: "* -> i2c-device", local-only: true }\n`);
  await start();
  expect(await names()).toEqual(["threshold", "uplink"]);
  const findings = events.flatMap((event) => (event.type === "finding" ? [event.text] : []));
  expect(findings.join("\n")).toMatch(/the installed set is not used: E_CAP: .*bme280\.sensor would gain/);
});
