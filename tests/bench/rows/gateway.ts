/** A whole gateway of twenty modules: the time from its start to the first reading at the broker, and its memory. */
import type { ChildProcess } from "node:child_process";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { connectAsync } from "mqtt";
import type { MqttClient } from "mqtt";
import { startBroker } from "../../../tools/demo/broker.ts";
import { PACKAGE_ROOT } from "../../../tools/root.ts";
import { commandLine, descendants, proportionalSetKilobytes } from "../../../tools/footprint/processes.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow } from "../statistics.ts";
import { coreGateway, wholeGateway } from "../twenty.ts";

const LAUNCHER = join(PACKAGE_ROOT, "tools/launch/bulkhead.js");
const READING = "site/7/#";
const START_MS = 120_000;

class RunningGateway {
  readonly startedAt = performance.now();
  readonly #launcher: ChildProcess;
  #output = "";

  constructor(configuration: string) {
    const args = [LAUNCHER, "run", configuration, "--json"];
    this.#launcher = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#launcher.stdout, this.#launcher.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => (this.#output += text));
    }
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const since = performance.now();
    while (!condition()) {
      if (performance.now() - since > START_MS || this.#launcher.exitCode !== null) {
        throw new Error(`the gateway of the benchmark gave no ${what}: ${this.#output.slice(-2000)}`);
      }
      await pause(5);
    }
  }

  /** Resolves when every module has been loaded. */
  async running(): Promise<void> {
    await this.until(() => this.#output.includes('"state":"running"'), "sign that it runs");
    if (this.#output.includes('"type":"refused"')) throw new Error(`a module was refused: ${this.#output}`);
  }

  /** PSS in kB of the core and of all its processes; the launcher's own is the last figure. */
  memory(): { core: number; all: number; launcher: number } {
    const launcher = this.#launcher.pid ?? 0;
    const processes = descendants(launcher);
    const core = processes.find((id) => commandLine(id).includes(" run ")) ?? 0;
    const sizes = processes.map(proportionalSetKilobytes);
    return {
      core: proportionalSetKilobytes(core),
      all: sizes.reduce((sum, size) => sum + size, 0),
      launcher: proportionalSetKilobytes(launcher),
    };
  }

  async stop(): Promise<void> {
    if (this.#launcher.exitCode !== null) return;
    this.#launcher.kill("SIGINT");
    await once(this.#launcher, "exit");
  }
}

/** Milliseconds of a Node that does nothing. */
function bareNode(): number {
  const started = performance.now();
  spawnSync(process.execPath, ["-e", "0"]);
  return performance.now() - started;
}

/** PSS in kB of a Node that waits and does nothing else. */
async function bareNodeMemory(settleMs: number): Promise<number> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" });
  await pause(settleMs);
  const size = proportionalSetKilobytes(child.pid ?? 0);
  child.kill();
  await once(child, "exit");
  return size;
}

async function bootOnce(configuration: string, client: MqttClient, settleMs: number) {
  let firstReading = 0;
  const onMessage = (): void => {
    firstReading ||= performance.now();
  };
  client.on("message", onMessage);
  const gateway = new RunningGateway(configuration);
  try {
    await gateway.until(() => firstReading !== 0, "reading");
    await gateway.running();
    await pause(settleMs);
    return { boot: firstReading - gateway.startedAt, memory: gateway.memory() };
  } finally {
    client.off("message", onMessage);
    await gateway.stop();
  }
}

async function coreMemory(configuration: string, settleMs: number): Promise<number> {
  const gateway = new RunningGateway(configuration);
  try {
    await gateway.running();
    await pause(settleMs);
    return gateway.memory().core;
  } finally {
    await gateway.stop();
  }
}

export async function measureGateway(quick: boolean): Promise<BenchRow[]> {
  const rounds = quick ? 1 : 10;
  const settleMs = quick ? 1000 : 5000;
  const broker = await startBroker();
  const client = await connectAsync(broker.url);
  await client.subscribeAsync(READING);
  const whole = await wholeGateway(broker.url);
  const core = await coreGateway();
  const boots: number[] = [];
  const bareBoots: number[] = [];
  const all: number[] = [];
  const alone: number[] = [];
  const bare: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bareBoots.push(bareNode());
    const { boot, memory } = await bootOnce(whole.configuration, client, settleMs);
    boots.push(boot);
    all.push(memory.all);
    bare.push(await bareNodeMemory(settleMs));
    alone.push(await coreMemory(core.configuration, settleMs));
  }
  await client.endAsync();
  await broker.stop();
  for (const { folder } of [whole, core]) await rm(folder, { recursive: true, force: true });
  const clock = "wall";
  const names = ["", "bare Node"];
  const hosts = "core, device and link processes, the launcher not counted";
  return [
    durationRow({ name: "boot.20modules", unit: "ms", clock, note: "to the first reading at the broker" }, names, [
      boots,
      bareBoots,
    ]),
    durationRow({ name: "footprint.20modules", unit: "kB", clock, note: "PSS of the core alone" }, names, [
      alone,
      bare,
    ]),
    durationRow({ name: "footprint.20modules.hosts", unit: "kB", clock, note: `PSS of ${hosts}` }, names, [all, bare]),
  ];
}
