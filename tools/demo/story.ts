/** The demo's story, step by step: each step observes from outside what it claims, or says that it did not happen. */
import { createPublicKey } from "node:crypto";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeCbor, inspectModule } from "../../kernel/index.ts";
import { developmentKeys, signForDevelopment } from "../build/development.ts";
import type { DevelopmentKeys } from "../build/development.ts";
import { buildAll } from "../build/build.ts";
import { hasCompiler } from "../build/compile.ts";
import { pushUpdate } from "../push/push.ts";
import type { PushResult } from "../push/push.ts";
import type { ReleasedModule } from "../push/release.ts";
import { readRelease } from "../push/release.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { attacks } from "./attacks.ts";
import type { Broker } from "./broker.ts";
import { startBroker } from "./broker.ts";
import { GatewayProcess } from "./gateway-process.ts";
import { plugMeter } from "./meter.ts";
import type { Meter } from "./meter.ts";
import type { SequenceCounts } from "./readings.ts";
import { Subscriber } from "./readings.ts";
import type { View } from "./view.ts";

/** What `--json` prints. */
export interface DemoResult {
  readings: SequenceCounts;
  swap: { committed: boolean; pauseMs: number; lost: number };
  refused: { attempt: string; code: string }[];
  recovered: { module: string; cause: string; ms: number }[];
  seconds: number;
}

const GATEWAY = "gw-demo";
const TARGET = { vendor: "bulkhead.example", class: "raspberry-pi" };
const MODULES = [
  "system-monitor",
  "bme280",
  "ds18b20",
  "ads1115",
  "modbus-rtu",
  "trapper",
  "spinner",
  "threshold",
  "control",
  "uplink",
];
const SENSORS = ["system-monitor", "bme280", "ads1115", "trapper", "spinner"];
/** A conversion, or a slow line, takes its time: they count like the others, and the steps do not wait for them. */
const UNHURRIED = ["ds18b20", "modbus-rtu"];
/** Readings come each second from a real gateway; the demo asks its drivers for this period. */
const PERIOD_MS = 100;
/** What has a period in the demo's configuration. */
const PERIODS = /\bperiod: (\d+)/g;
const PROBATION_MS = 1000;
/** The serial line in the demo's configuration. */
const LINE = "/dev/ttyMETER";
const STEP_MS = 20_000;

export class Story {
  readonly result: DemoResult = {
    readings: { received: 0, lost: 0, duplicated: 0, reordered: 0 },
    swap: { committed: false, pauseMs: 0, lost: 0 },
    refused: [],
    recovered: [],
    seconds: 0,
  };
  /** What was promised and not observed, in words. */
  readonly failures: string[] = [];
  readonly #view: View;
  readonly #signal: AbortSignal;
  readonly #patience: number;
  readonly #stepMs: number;
  #planVersion = 0;
  #folder = "";
  #keys: DevelopmentKeys | undefined = undefined;
  #broker: Broker | undefined = undefined;
  #subscriber: Subscriber | undefined = undefined;
  #gateway: GatewayProcess | undefined = undefined;
  #meter: Meter | undefined = undefined;

  /** Each step gets `patience` times what a quiet machine needs at most, and readings come as much more slowly. */
  constructor(view: View, signal: AbortSignal, patience = 1) {
    this.#view = view;
    this.#signal = signal;
    this.#patience = patience;
    this.#stepMs = STEP_MS * patience;
  }

  /** Tells the story to its end, or to its first step that cannot go on; `finish` must follow in either case. */
  async tell(): Promise<void> {
    const steps = [
      () => this.#prepare(),
      () => this.#startGateway(),
      () => this.#showReadings(),
      () => this.#swap(),
      () => this.#attack(),
      () => this.#break("trapper", "trap", "trap"),
      () => this.#break("spinner", "spin", "budget"),
    ];
    for (const step of steps) {
      if (this.#signal.aborted) throw new Error("stopped by Ctrl-C");
      await step();
    }
  }

  /** What the gateway itself told of, the latest last: for whoever wonders about a failure. */
  get troubles(): readonly string[] {
    return this.#gateway?.troubles ?? [];
  }

  get brokerUrl(): string {
    return this.#broker?.url ?? "";
  }

  /** Stops everything, counts once more, and looks at how the gateway ended. */
  async finish(): Promise<void> {
    const code = await this.#gateway?.stop();
    this.#meter?.close();
    if (code !== undefined && code !== 0)
      this.failures.push(`the gateway ended with exit code ${code}: ${this.#gateway?.errors}`);
    if (this.#subscriber !== undefined) this.#count(this.#subscriber);
    await this.#subscriber?.close();
    await this.#broker?.stop();
    if (this.#folder !== "") await rm(this.#folder, { recursive: true, force: true });
  }

  #count(subscriber: Subscriber): void {
    Object.assign(this.result.readings, subscriber.counts());
    const { received, lost, duplicated, reordered } = this.result.readings;
    if (received === 0) this.failures.push("no reading was received");
    if (lost + duplicated + reordered > 0) {
      this.failures.push(`${lost} readings lost, ${duplicated} duplicated, ${reordered} reordered`);
    }
    if (subscriber.malformed > 0)
      this.failures.push(`${subscriber.malformed} messages were not what the contract says`);
  }

  async #prepare(): Promise<void> {
    this.#view.step("Build the modules, make keys, sign");
    const needed = [...MODULES, "threshold-v2"];
    const built = hasCompiler() ? await buildAll({ only: needed }) : await shippedModules(needed);
    this.#folder = await mkdtemp(join(tmpdir(), "bulkhead-demo-"));
    this.#keys = await developmentKeys(join(this.#folder, "keys"));
    const modules = join(this.#folder, "modules");
    await mkdir(modules);
    for (const name of MODULES) {
      const module = built.find((candidate) => candidate.name === name && candidate.version.startsWith("1."));
      if (module === undefined) throw new Error(`the build made no module ${name}`);
      const envelope = signForDevelopment(await readFile(module.wasm), module.version, this.#keys.release, TARGET);
      await writeFile(join(modules, `${name}.envelope`), envelope);
      await cp(module.wasm, join(modules, `${name}.wasm`));
    }
    const second = built.find(({ name, version }) => name === "threshold" && version.startsWith("2."));
    if (second === undefined) throw new Error("the build made no version 2 of threshold");
    await cp(second.wasm, join(modules, "threshold-v2.wasm"));
    this.#view.good(`${MODULES.length} modules, ${this.#folder}`);
  }

  async #startGateway(): Promise<void> {
    this.#view.step("Start a broker and a gateway: core, device and link processes, two partitions");
    this.#broker = await startBroker();
    this.#subscriber = await Subscriber.connect(this.#broker.url);
    const template = await readFile(new URL("gateway.yaml", import.meta.url), "utf8");
    const path = join(this.#folder, "gateway.yaml");
    this.#meter = plugMeter();
    const line = this.#meter?.path ?? LINE;
    const configuration = template.replace("mqtt://127.0.0.1:1883", this.#broker.url).replaceAll(LINE, line);
    await writeFile(
      path,
      configuration.replaceAll(PERIODS, (_, period: string) => `period: ${this.#slowly(period)}`),
    );
    this.#gateway = new GatewayProcess(path, ["--probation-ms", String(PROBATION_MS)], this.#patience);
    const running = await this.#gateway.waitFor("gateway", {
      timeoutMs: this.#stepMs,
      predicate: ({ state }) => state === "running",
    });
    this.#view.good(`${this.#broker.url}; ${running.text}`);
    if (this.#meter !== undefined) this.#view.good(`a Modbus meter at the other end of a pseudo-terminal, ${line}`);
  }

  async #showReadings(): Promise<void> {
    const subscriber = this.#outside;
    this.#view.step("Subscribe as an outside client, and decode what comes");
    this.#view.live(subscriber);
    const faster = { period: this.#slowly(PERIOD_MS) };
    await subscriber.publish("demo/settings", encodeCbor(faster));
    await subscriber.more(SENSORS, 5, this.#stepMs);
    await subscriber.more(UNHURRIED, 1, this.#stepMs);
    this.#view.snapshot();
    this.#view.good(`readings of ${[...SENSORS, ...UNHURRIED].join(", ")}`);
  }

  async #swap(): Promise<void> {
    this.#view.step("Push version 2 of threshold, signed, over MQTT, while readings go on");
    const subscriber = this.#outside;
    const before = subscriber.counts();
    const binary = new Uint8Array(await readFile(this.#module("threshold-v2.wasm")));
    const envelope = signForDevelopment(binary, "2.0.0", this.#signingKeys.release, TARGET);
    const pushed = await this.#push(readRelease(envelope), true);
    const committed = pushed.code === "OK" && pushed.state === "committed";
    this.result.swap.committed = committed;
    this.result.swap.pauseMs = pushed.pauseMs ?? 0;
    if (!committed) this.failures.push(`version 2 was not committed: ${pushed.code} ${pushed.reason}`);
    // Only version 2 announces itself, and what it announces is the number of readings that version 1 had seen.
    const takeover = (): boolean => subscriber.alarms.some(({ state, value }) => state === "takeover" && value > 0);
    await subscriber.until("word from version 2 with the state of version 1", takeover, this.#stepMs);
    await subscriber.more(SENSORS, 3, this.#stepMs);
    this.result.swap.lost = subscriber.counts().lost - before.lost;
    const seen = subscriber.alarms.find(({ state }) => state === "takeover")?.value ?? 0;
    const pause = this.result.swap.pauseMs.toFixed(2);
    this.#view.good(
      `committed; pause ${pause} ms, ${this.result.swap.lost} lost; ${seen} readings carried over as state`,
    );
  }

  async #attack(): Promise<void> {
    this.#view.step("Attack it, with the stolen deploy key: each attempt must be refused by its code");
    const read = async (file: string): Promise<Uint8Array> => new Uint8Array(await readFile(this.#module(file)));
    const material = {
      keys: this.#signingKeys,
      first: await read("threshold.wasm"),
      second: await read("threshold-v2.wasm"),
      uplink: await read("uplink.wasm"),
      target: TARGET,
    };
    for (const { attempt, expected, release } of attacks(material)) {
      const { code, reason } = await this.#push(release, false);
      this.result.refused.push({ attempt, code });
      if (code === expected) this.#view.good(`${attempt}: ${code}`);
      else this.#fail(`${attempt} ended with ${code} (${reason}), not with ${expected}`);
    }
    await this.#outside.more(SENSORS, 2, this.#stepMs);
  }

  /** A saboteur fails by command; it must be back, and its neighbours must not have noticed. */
  async #break(module: string, command: string, cause: string): Promise<void> {
    this.#view.step(cause === "trap" ? "Let a driver trap" : "Let a module spin for ever");
    const gateway = this.#running;
    const subscriber = this.#outside;
    const { mark } = gateway;
    await subscriber.publish(`demo/${module}`, command);
    const predicate = (event: { module: string }): boolean => event.module === module;
    const fault = await gateway.waitFor("fault", { mark, predicate, timeoutMs: this.#stepMs });
    const back = await gateway.waitFor("restarted", { mark, predicate, timeoutMs: this.#stepMs });
    await subscriber.more(SENSORS, 3, this.#stepMs);
    this.result.recovered.push({ module, cause: fault.cause, ms: back.milliseconds });
    const neighbours = subscriber.counts([...SENSORS, ...UNHURRIED].filter((sensor) => sensor !== module));
    const undisturbed = neighbours.lost + neighbours.duplicated + neighbours.reordered === 0;
    if (fault.cause !== cause) this.#fail(`${module} was stopped for ${fault.cause}, not for ${cause}`);
    else if (!undisturbed) this.#fail(`neighbours of ${module} were disturbed: ${JSON.stringify(neighbours)}`);
    else this.#view.good(`${module}: stopped (${fault.cause}), running again after ${back.milliseconds.toFixed(1)} ms`);
  }

  async #push(release: ReleasedModule, isShown: boolean): Promise<PushResult> {
    const pem = await readFile(join(this.#folder, "data", "gateway.pub"), "utf8");
    const { x } = createPublicKey(pem).export({ format: "jwk" });
    const gatewayKey = Uint8Array.fromBase64(x ?? "", { alphabet: "base64url" });
    const options = {
      broker: { url: this.brokerUrl },
      gatewayId: GATEWAY,
      gatewayKey,
      modules: [release],
      deployKey: this.#signingKeys.deploy,
      planVersion: this.#nextPlanVersion(),
      timeoutMs: this.#stepMs,
      signal: this.#signal,
    };
    return await pushUpdate(options, (progress) => {
      if (isShown && progress.kind === "state") this.#view.line(`      ${progress.state} ${progress.percent}%`);
    });
  }

  /** By default a plan's version is the time in seconds, and several of ours fall into one. */
  #nextPlanVersion(): number {
    this.#planVersion = Math.max(this.#planVersion + 1, Math.floor(Date.now() / 1000));
    return this.#planVersion;
  }

  /** A period that a machine on which all takes that much longer keeps up with. */
  #slowly(period: number | string): number {
    return Number(period) * this.#patience;
  }

  #fail(text: string): void {
    this.failures.push(text);
    this.#view.bad(text);
  }

  #module(file: string): string {
    return join(this.#folder, "modules", file);
  }

  get #outside(): Subscriber {
    return present(this.#subscriber);
  }

  get #running(): GatewayProcess {
    return present(this.#gateway);
  }

  get #signingKeys(): DevelopmentKeys {
    return present(this.#keys);
  }
}

function present<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("a step of the demo ran before the one that it needs");
  return value;
}

/** On a gateway, where there is no compiler: the binaries that came with the package. */
async function shippedModules(names: readonly string[]) {
  const files = names.map((name) => join(PACKAGE_ROOT, "build/modules", `${name}.wasm`));
  return await Promise.all(
    files.map(async (wasm) => {
      const { name, version } = inspectModule(await readFile(wasm)).manifest;
      return { name, version, wasm };
    }),
  );
}
