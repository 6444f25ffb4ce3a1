/** The load of a soak: drivers that send fast, saboteurs that fail by command, a service that is replaced again and again. */
import { createPublicKey } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { encodeCbor } from "../../kernel/index.ts";
import { buildAll } from "../build/build.ts";
import type { DevelopmentKeys } from "../build/development.ts";
import { developmentKeys, signForDevelopment } from "../build/development.ts";
import { withCustomSection } from "../build/section.ts";
import { Subscriber } from "../demo/readings.ts";
import { startAnyBroker } from "../footprint/broker.ts";
import type { NamedBroker } from "../footprint/broker.ts";
import { pushUpdate } from "../push/push.ts";
import { readRelease } from "../push/release.ts";

const GATEWAY = "gw-soak";
const MODULES = ["system-monitor", "bme280", "trapper", "spinner", "threshold", "control", "uplink"];
/** Those whose sequence numbers must stay whole: nobody makes them fail. */
const STEADY = ["system-monitor", "bme280"];
/** Of the steady drivers; each sends several quantities in a period, to two services. */
const PERIOD_MS = 50;
/** Of the steady drivers' routes: 17 s of their readings, on a machine whose other work lets no module run for that long. */
const DEPTH = 1024;
const CRASH_EVERY_MS = 2000;
const SWAP_EVERY_MS = 10_000;
const PUSH_MS = 60_000;
const FIRST_READINGS_MS = 30_000;

export interface LoadCounts {
  crashes: number;
  swaps: number;
  readings: number;
  lost: number;
  duplicated: number;
  reordered: number;
  malformed: number;
}

export class Load {
  readonly folder: string;
  readonly broker: NamedBroker;
  readonly #keys: DevelopmentKeys;
  readonly #threshold: Uint8Array;
  readonly #subscriber: Subscriber;
  #crashes = 0;
  #swaps = 0;

  private constructor(
    folder: string,
    broker: NamedBroker,
    keys: DevelopmentKeys,
    threshold: Uint8Array,
    subscriber: Subscriber,
  ) {
    this.folder = folder;
    this.broker = broker;
    this.#keys = keys;
    this.#threshold = threshold;
    this.#subscriber = subscriber;
  }

  static async prepare(): Promise<Load> {
    const built = await buildAll({ only: MODULES });
    const folder = await mkdtemp(join(tmpdir(), "bulkhead-soak-"));
    const keys = await developmentKeys(join(folder, "keys"));
    await mkdir(join(folder, "modules"));
    let threshold = new Uint8Array(0);
    for (const name of MODULES) {
      const found = built.find((module) => module.name === name && module.version.startsWith("1."));
      if (found === undefined) throw new Error(`the build made no module ${name}`);
      const wasm = new Uint8Array(await readFile(found.wasm));
      if (name === "threshold") threshold = wasm;
      await writeFile(join(folder, "modules", `${name}.envelope`), signForDevelopment(wasm, "1.0.0", keys.release));
    }
    const broker = await startAnyBroker();
    await writeFile(join(folder, "gateway.yaml"), JSON.stringify(configuration(broker.url)));
    return new Load(folder, broker, keys, threshold, await Subscriber.connect(broker.url));
  }

  get configuration(): string {
    return join(this.folder, "gateway.yaml");
  }

  counts(): LoadCounts {
    const { received, ...sequence } = this.#subscriber.counts(STEADY);
    const { malformed } = this.#subscriber;
    return { crashes: this.#crashes, swaps: this.#swaps, readings: received, ...sequence, malformed };
  }

  /** Makes the drivers fast, then keeps failing and replacing modules until the signal. @throws where an update fails. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#subscriber.more(STEADY, 1, FIRST_READINGS_MS);
    await this.#subscriber.publish("demo/settings", encodeCbor({ period: PERIOD_MS }));
    await Promise.all([this.#crash(signal), this.#swap(signal)]);
  }

  async stop(): Promise<void> {
    await this.#subscriber.close();
    await this.broker.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  async #crash(signal: AbortSignal): Promise<void> {
    while (await paused(CRASH_EVERY_MS, signal)) {
      const [module, command] =
        this.#crashes % 2 === 0 ? (["trapper", "trap"] as const) : (["spinner", "spin"] as const);
      await this.#subscriber.publish(`demo/${module}`, command);
      this.#crashes++;
    }
  }

  async #swap(signal: AbortSignal): Promise<void> {
    const pem = await readFile(join(this.folder, "data", "gateway.pub"), "utf8");
    const { x } = createPublicKey(pem).export({ format: "jwk" });
    const gatewayKey = Uint8Array.fromBase64(x ?? "", { alphabet: "base64url" });
    for (let release = 1; await paused(SWAP_EVERY_MS, signal); release++) {
      // A custom section makes it another binary, which is fetched, stored, compiled and swapped like any.
      const binary = withCustomSection(this.#threshold, "soak", new TextEncoder().encode(String(release)));
      const facts = { vendor: "bulkhead.example", class: "raspberry-pi", sequence: 1_000_000 + release };
      const { code, reason } = await pushUpdate({
        broker: { url: this.broker.url },
        gatewayId: GATEWAY,
        gatewayKey,
        modules: [readRelease(signForDevelopment(binary, "1.0.0", this.#keys.release, facts))],
        deployKey: this.#keys.deploy,
        timeoutMs: PUSH_MS,
        signal,
      });
      if (signal.aborted) return;
      if (code !== "OK") throw new Error(`update ${release} of the soak ended with ${code}: ${reason}`);
      this.#swaps++;
    }
  }
}

/** False where the signal came first. */
async function paused(milliseconds: number, signal: AbortSignal): Promise<boolean> {
  await pause(milliseconds, undefined, { signal }).catch(() => undefined);
  return !signal.aborted;
}

function configuration(brokerUrl: string): object {
  // Failures come far more often than in the field: no module is held for them.
  const restart = { policy: "restart", intensity: 1000, window: "60s", backoff: "10ms", maximum: "100ms" };
  const readings = (badge: number) => ({
    endpoint: { to: ["threshold.readings", "uplink.readings"], badge, depth: DEPTH },
  });
  const file = (path: string) => ({ file: { path, rights: ["read"] } });
  const base = { tick: { timer: {} }, clock: { clock: {} }, log: { log: {} } };
  const driver = (name: string, grants: object) => ({
    envelope: `modules/${name}.envelope`,
    partition: "drivers",
    checkpoint: { messages: 1 },
    restart,
    grants: { ...base, ...grants },
  });
  const service = (name: string, grants: object) => ({
    envelope: `modules/${name}.envelope`,
    partition: "services",
    restart,
    grants: { log: { log: {} }, ...grants },
  });
  const commands = (topic: string) => ({ mqtt: { subscribe: [topic] } });
  const monitored = { loadavg: file("/proc/loadavg"), meminfo: file("/proc/meminfo"), stat: file("/proc/stat") };
  return {
    gateway: { id: GATEWAY, vendor: "bulkhead.example", class: "raspberry-pi" },
    data: "data",
    trust: { root: "keys/root.envelope" },
    broker: { url: brokerUrl },
    devices: { i2c: { 1: { backend: "simulator", simulate: [{ chip: "bme280", address: 0x76 }] } } },
    partitions: { drivers: {}, services: {} },
    modules: {
      "system-monitor": driver("system-monitor", { ...monitored, readings: readings(1) }),
      bme280: driver("bme280", { sensor: { "i2c-device": { bus: 1, address: 0x76 } }, readings: readings(2) }),
      trapper: driver("trapper", { commands: commands("demo/trapper"), readings: readings(3) }),
      spinner: driver("spinner", { commands: commands("demo/spinner"), readings: readings(4) }),
      threshold: service("threshold", { alarms: { endpoint: { to: "uplink.alarms" } } }),
      control: service("control", {
        commands: commands("demo/settings"),
        settings: { endpoint: { to: ["system-monitor.settings", "bme280.settings", "threshold.settings"] } },
      }),
      uplink: {
        ...service("uplink", { north: { mqtt: { publish: ["site/7/#"] } } }),
        settings: { prefix: "site/7" },
      },
    },
  };
}
