/** A whole gateway of twenty modules, compiled: the time from its start to the first reading, and its memory. */
import { spawnSync } from "node:child_process";
import { rm } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { connectAsync } from "mqtt";
import { startBroker } from "../../../tools/demo/broker.ts";
import { bareNodeKilobytes, coreKilobytes, firstReading } from "../../../tools/footprint/footprint.ts";
import { coreGateway, wholeGateway } from "../../../tools/footprint/gateways.ts";
import { proportionalSetKilobytes } from "../../../tools/footprint/processes.ts";
import { compiledProduct } from "../../../tools/footprint/product.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow } from "../statistics.ts";

const READING = "site/7/readings/#";

/** Milliseconds of a Node that does nothing. */
function bareNode(node: string): number {
  const started = performance.now();
  spawnSync(node, ["-e", "0"]);
  return performance.now() - started;
}

export async function measureGateway(quick: boolean): Promise<BenchRow[]> {
  const rounds = quick ? 1 : 10;
  const settleMs = quick ? 1000 : 5000;
  const product = await compiledProduct();
  const broker = await startBroker();
  const client = await connectAsync(broker.url);
  await client.subscribeAsync(READING);
  const whole = await wholeGateway(broker.url);
  const core = await coreGateway();
  const samples = { boot: [] as number[], bareBoot: [] as number[], all: [] as number[], alone: [] as number[] };
  const bare: number[] = [];
  for (let round = 0; round < rounds; round++) {
    samples.bareBoot.push(bareNode(product.node));
    bare.push(await bareNodeKilobytes(product.node, settleMs));
    const { gateway, milliseconds } = await firstReading(product, whole.configuration, client);
    samples.boot.push(milliseconds);
    await pause(settleMs);
    samples.all.push([...gateway.processes().values()].reduce((sum, id) => sum + proportionalSetKilobytes(id), 0));
    await gateway.stop();
    samples.alone.push(await coreKilobytes(product, core.configuration, settleMs));
  }
  await client.endAsync();
  await broker.stop();
  await product.remove();
  for (const { folder } of [whole, core]) await rm(folder, { recursive: true, force: true });
  const { boot, bareBoot, all, alone } = samples;
  const names = ["", "bare Node"];
  const row = (name: string, unit: string, note: string, own: number[], beside: number[]): BenchRow =>
    durationRow({ name, unit, clock: "wall", note }, names, [own, beside]);
  return [
    row("boot.20modules", "ms", "to the first reading at the broker", boot, bareBoot),
    row("footprint.20modules", "kB", "PSS of the core alone", alone, bare),
    row("footprint.20modules.hosts", "kB", "PSS of core, device and link processes", all, bare),
  ];
}
