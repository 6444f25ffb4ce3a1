/** Cuts the power at every single disk operation of an update, on a disk that loses and tears what was not synced. */

import { Refusal } from "../../kernel/index.ts";
import { FaultDisk, seededRandom } from "./fault-disk.ts";
import type { Random } from "./fault-disk.ts";
import { MemoryBroker } from "./memory-broker.ts";
import { publishSet, SimulatedGateway } from "./simulation.ts";

export interface CutCounts {
  cuts: number;
  /** Cuts after which the boot found something to run. */
  bootable: number;
  /** Of these, boots whose modules were all of the old or all of the new version, verified. */
  completeSets: number;
  /** Gateways that ended at the new version without anybody's help. */
  finished: number;
  /** What went wrong, for people. */
  readonly failures: string[];
}

export function noCuts(): CutCounts {
  return { cuts: 0, bootable: 0, completeSets: 0, finished: 0, failures: [] };
}

const FOLDER = "/data";
/** The delivered set is version 1; version 2 is committed before the cuts begin, so that there is a previous set too. */
const OLD = 2;
const NEW = 3;
/** A simulated update takes about 20 ms. */
const PATIENCE_MS = 20_000;

/**
 * One scenario for each operation that an update, and the boots around it, carry out; `repeat` times with other random
 * survivors. Every other scenario is cut a second time, while it recovers.
 */
export async function cutEveryOperation(
  seed: number,
  repeat: number,
  onProgress: (done: number, of: number) => void,
): Promise<CutCounts> {
  const operations = await countOperations(seed);
  const counts = noCuts();
  for (let round = 0; round < repeat; round++) {
    for (let operation = 1; operation <= operations; operation++) {
      await cutOnce(seededRandom(seed + round * 1_000_003 + operation), operation, counts);
      onProgress(counts.cuts, operations * repeat);
    }
  }
  return counts;
}

/** Operations of a boot and an undisturbed update. */
async function countOperations(seed: number): Promise<number> {
  const disk = await preparedDisk(seededRandom(seed));
  const before = disk.operations;
  await update(disk, brokerWith(NEW), NEW);
  return disk.operations - before;
}

async function preparedDisk(random: Random): Promise<FaultDisk> {
  const disk = new FaultDisk(random);
  await update(disk, brokerWith(OLD), OLD);
  disk.restart();
  return disk;
}

function brokerWith(version: number): MemoryBroker {
  const broker = new MemoryBroker();
  publishSet(broker, version);
  return broker;
}

async function cutOnce(random: Random, operation: number, counts: CutCounts): Promise<void> {
  const disk = await preparedDisk(random);
  const broker = brokerWith(NEW);
  counts.cuts++;
  disk.cutAt(operation);
  await update(disk, broker, NEW);
  disk.restart();
  if (random() < 0.5) {
    disk.cutAt(1 + Math.floor(random() * operation));
    await update(disk, broker, NEW);
    disk.restart();
  }
  const booted: { version: number | undefined } = { version: undefined };
  const isFinished = await update(disk, broker, NEW, ({ bootedVersion }) => {
    counts.bootable++;
    booted.version = bootedVersion;
    const isComplete = booted.version === OLD || booted.version === NEW;
    if (isComplete) counts.completeSets++;
    return isComplete;
  });
  if (isFinished) counts.finished++;
  else counts.failures.push(`cut at operation ${operation}: not finished, from version ${booted.version ?? "unknown"}`);
}

/**
 * Boots and updates until the version is committed or the power is off; true for the former. Each boot counts against
 * the candidate's tries, as ever, so nothing else may boot between two cuts.
 */
async function update(
  disk: FaultDisk,
  broker: MemoryBroker,
  version: number,
  isWorthwhile: (gateway: SimulatedGateway) => boolean = () => true,
): Promise<boolean> {
  try {
    const gateway = new SimulatedGateway(disk, FOLDER, broker);
    if (!isWorthwhile(gateway)) return false;
    gateway.start();
    const isDone = () => gateway.store.state.installed !== undefined && gateway.version === version;
    const deadline = Date.now() + PATIENCE_MS;
    while (!disk.isOff && !(isDone() && gateway.store.state.candidate === undefined) && Date.now() < deadline) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await gateway.stop();
    return !disk.isOff && isDone();
  } catch (error) {
    // With the power off anything may fail; with the power on a boot that finds nothing to run is what we look for.
    if (error instanceof Refusal) return false;
    throw error;
  }
}
