/** `npm run footprint`: what a gateway of twenty modules takes of memory, processor, disk and network, by itself and at work. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { cpus, release } from "node:os";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connectAsync } from "mqtt";
import type { MqttClient } from "mqtt";
import { encodeCbor } from "../../kernel/index.ts";
import { ByteCounter, startAnyBroker } from "./broker.ts";
import { coreGateway, SETTINGS_TOPIC, wholeGateway } from "./gateways.ts";
import { bytesWritten, processorSeconds, proportionalSetKilobytes } from "./processes.ts";
import type { Product } from "./product.ts";
import { installedProduct } from "./product.ts";
import { RunningGateway } from "./running.ts";

const HELP = `usage: npm run footprint [-- [--minutes N] [--json]]

Packs and installs Bulkhead, then runs a gateway of twenty modules with core, device and link processes against a real
Mosquitto (the embedded broker where none is installed): N minutes idle (default 5), N minutes at ten readings a second.
Rates are extrapolated from those minutes.

  --json  one object: {machine, product, broker, minutes, rows: [{name, value, unit, note}]}

Exit codes: 0 measured, 1 it could not be, 2 a wrong command line.
`;

const READING = "site/7/readings/#";
const STARTS = 5;
const SETTLE_MS = 10_000;
const READINGS_A_SECOND = 10;
/** The longest that a driver takes. */
const IDLE_PERIOD_MS = 3_600_000;
const HOUR_SECONDS = 3600;
const DAY_SECONDS = 86_400;

export interface FootprintRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly note: string;
}

/** PSS in kB of a Node that waits and does nothing else. */
export async function bareNodeKilobytes(node: string, settleMs: number): Promise<number> {
  const child = spawn(node, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" });
  await pause(settleMs);
  const size = proportionalSetKilobytes(child.pid ?? 0);
  child.kill();
  await once(child, "exit");
  return size;
}

/** Milliseconds from the start of a gateway to its first reading at the broker. */
export async function firstReading(product: Product, configuration: string, client: MqttClient) {
  let first = 0;
  const onMessage = (): void => {
    first ||= performance.now();
  };
  client.on("message", onMessage);
  const gateway = new RunningGateway(product, configuration);
  try {
    await gateway.until(() => first !== 0, "reading");
    await gateway.running();
    return { gateway, milliseconds: first - gateway.startedAt };
  } catch (error) {
    await gateway.stop();
    throw error;
  } finally {
    client.off("message", onMessage);
  }
}

/** PSS in kB of the core of a gateway that needs no other process. */
export async function coreKilobytes(product: Product, configuration: string, settleMs: number): Promise<number> {
  const gateway = new RunningGateway(product, configuration);
  try {
    await gateway.running();
    await pause(settleMs);
    return [...gateway.processes().values()].reduce((sum, id) => sum + proportionalSetKilobytes(id), 0);
  } finally {
    await gateway.stop();
  }
}

interface Totals {
  readonly processor: number;
  readonly written: number;
  readonly up: number;
  readonly down: number;
}

function totals(gateway: RunningGateway, counter: ByteCounter): Totals {
  const ids = [...gateway.processes().values()];
  const sum = (of: (id: number) => number): number => ids.reduce((total, id) => total + of(id), 0);
  return { processor: sum(processorSeconds), written: sum(bytesWritten), up: counter.up, down: counter.down };
}

/** What each of those totals grew by in a second, over so many minutes. */
async function rates(gateway: RunningGateway, counter: ByteCounter, minutes: number): Promise<Totals> {
  const before = totals(gateway, counter);
  const since = performance.now();
  await pause(minutes * 60_000);
  const seconds = (performance.now() - since) / 1000;
  const after = totals(gateway, counter);
  return {
    processor: (after.processor - before.processor) / seconds,
    written: (after.written - before.written) / seconds,
    up: (after.up - before.up) / seconds,
    down: (after.down - before.down) / seconds,
  };
}

function memoryRows(gateway: RunningGateway, when: string, note: string): FootprintRow[] {
  const sizes = Array.from(gateway.processes(), ([name, id]) => [name, proportionalSetKilobytes(id)] as const);
  const all = sizes.reduce((sum, [, size]) => sum + size, 0);
  const rows = sizes.map(([name, value]) => ({ name: `memory.${when}.${name}`, value, unit: "kB", note: "PSS" }));
  return [{ name: `memory.${when}.all`, value: all, unit: "kB", note }, ...rows];
}

function rateRows(when: string, { processor, written, up, down }: Totals): FootprintRow[] {
  return [
    { name: `processor.${when}`, value: processor * 100, unit: "%", note: "of one core, all processes" },
    {
      name: `disk.${when}`,
      value: written * HOUR_SECONDS,
      unit: "B/h",
      note: "write_bytes of /proc, all processes; the file system's own journal not counted",
    },
    {
      name: `network.${when}`,
      value: (up + down) * DAY_SECONDS,
      unit: "B/day",
      note: `TCP payload at the broker's socket; ${Math.round(up * DAY_SECONDS)} of it up; headers come on top`,
    },
  ];
}

/** Installs, starts, idles, works. @param minutes of each of the two phases */
async function measure(minutes: number) {
  const say = (text: string): void => void process.stderr.write(`footprint: ${text}\n`);
  say("packs and installs the product");
  const product = await installedProduct();
  const broker = await startAnyBroker();
  const counter = await ByteCounter.start(broker.url);
  const client = await connectAsync(broker.url);
  await client.subscribeAsync(READING);
  const whole = await wholeGateway(counter.url);
  const core = await coreGateway();
  const rows: FootprintRow[] = [];
  const row = (name: string, value: number, unit: string, note: string): void =>
    void rows.push({ name, value, unit, note });
  try {
    if (product.installedBytes !== undefined)
      row("size.installed", product.installedBytes, "B", "with all packages and Node's runtime");
    row("memory.bare-node", await bareNodeKilobytes(product.node, SETTLE_MS), "kB", "PSS of a Node that does nothing");
    row(
      "memory.core",
      await coreKilobytes(product, core.configuration, SETTLE_MS),
      "kB",
      "PSS, 20 modules, no other process",
    );
    say(`starts it ${STARTS} times`);
    const starts: number[] = [];
    for (let start = 1; start < STARTS; start++) {
      const { gateway, milliseconds } = await firstReading(product, whole.configuration, client);
      starts.push(milliseconds);
      await gateway.stop();
    }
    const { gateway, milliseconds } = await firstReading(product, whole.configuration, client);
    starts.push(milliseconds);
    try {
      starts.sort((a, b) => a - b);
      row(
        "start.first-reading",
        starts[Math.floor(STARTS / 2)] ?? Number.NaN,
        "ms",
        `median of ${STARTS}; a driver's first period is 1 s of it`,
      );
      rows.push(...(await phases(gateway, counter, client, minutes, say)));
    } finally {
      await gateway.stop();
    }
  } finally {
    await client.endAsync();
    await counter.stop();
    await broker.stop();
    await product.remove();
    for (const { folder } of [whole, core]) await rm(folder, { recursive: true, force: true });
  }
  row(
    "compare.greengrass-nucleus-lite",
    16_000,
    "kB",
    "published by its makers as 12 to 16 MB, not measured here: in C, without Node",
  );
  const machine = `${cpus()[0]?.model.trim() ?? "unknown"}, ${cpus().length} cores, Linux ${release()}, Node ${process.versions.node}`;
  return { machine, product: product.origin, broker: broker.name, minutes, rows };
}

async function phases(
  gateway: RunningGateway,
  counter: ByteCounter,
  client: MqttClient,
  minutes: number,
  say: (text: string) => void,
): Promise<FootprintRow[]> {
  let received = 0;
  client.on("message", () => received++);
  await pause(SETTLE_MS);
  const perSecond = (received * 1000) / SETTLE_MS;
  const setPeriod = async (period: number): Promise<void> => {
    await client.publishAsync(SETTINGS_TOPIC, Buffer.from(encodeCbor({ period })), { qos: 1 });
    await pause(SETTLE_MS);
  };
  say(`idles for ${minutes} minutes`);
  await setPeriod(IDLE_PERIOD_MS);
  received = 0;
  const idle = await rates(gateway, counter, minutes);
  const rows = [...memoryRows(gateway, "idle", "PSS"), ...rateRows("idle", idle)];
  if (received > 0) throw new Error(`${received} readings came from a gateway that should have been idle`);
  say(`works for ${minutes} minutes`);
  // At a period of one second they send this many a second.
  await setPeriod(Math.round((perSecond * 1000) / READINGS_A_SECOND));
  received = 0;
  const working = await rates(gateway, counter, minutes);
  const note = `PSS, after ${minutes} minutes at ${(received / minutes / 60).toFixed(1)} readings a second`;
  return [...rows, ...memoryRows(gateway, "working", note), ...rateRows("working", working)];
}

function readCommandLine(): { minutes: number; json: boolean; help: boolean } | undefined {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: "string", default: "5" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    const minutes = Number(values.minutes);
    if (!(minutes > 0 && minutes <= 10_000)) throw new TypeError(`--minutes ${values.minutes} is not above 0`);
    return { ...values, minutes };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`footprint: ${error.message}\n${HELP}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readCommandLine();
  if (options === undefined) return 2;
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  try {
    const result = await measure(options.minutes);
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    else {
      process.stdout.write(
        `${result.machine}\n${result.product}; ${result.broker}; ${result.minutes} minutes each\n\n`,
      );
      for (const { name, value, unit, note } of result.rows) {
        process.stdout.write(
          `${name.padEnd(34)}${String(Number(value.toPrecision(4))).padStart(12)} ${unit.padEnd(6)} ${note}\n`,
        );
      }
    }
    return 0;
  } catch (error) {
    process.stderr.write(`footprint: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

if (import.meta.main) process.exitCode = await main();
