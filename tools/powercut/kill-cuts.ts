/** Kills the real agent and store, in a child process on a real disk, at random instants of random updates. */

import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nodeFileSystem } from "../../gateway/trust/index.ts";
import type { CutCounts } from "./disk-cuts.ts";
import { noCuts } from "./disk-cuts.ts";
import type { Random } from "./fault-disk.ts";
import { seededRandom } from "./fault-disk.ts";
import { MemoryBroker } from "./memory-broker.ts";
import { publishSet, SimulatedGateway } from "./simulation.ts";

/** Latest instant of a kill after the child has begun: a few updates. */
const LATEST_MS = 120;
/** A child on a loaded machine takes a second to start. */
const START_MS = 60_000;
const FINISH_MS = 30_000;
/** Updates on one folder, after which a new gateway is begun: first starts must be cut too. */
const CUTS_PER_FOLDER = 25;

/** Kills `count` times; the same folder goes on through many kills, as a gateway does. */
export async function killAtRandom(
  count: number,
  seed: number,
  onProgress: (done: number, of: number) => void,
): Promise<CutCounts> {
  const random = seededRandom(seed);
  const counts = noCuts();
  let folder = "";
  for (let cut = 0; cut < count; cut++) {
    if (cut % CUTS_PER_FOLDER === 0) folder = freshFolder(folder);
    await killOnce(folder, random, counts);
    onProgress(cut + 1, count);
  }
  rmSync(folder, { recursive: true, force: true });
  return counts;
}

function freshFolder(old: string): string {
  if (old !== "") rmSync(old, { recursive: true, force: true });
  return mkdtempSync(join(tmpdir(), "bulkhead-powercut-"));
}

async function killOnce(folder: string, random: Random, counts: CutCounts): Promise<void> {
  counts.cuts++;
  const { committed, pushed } = await runAndKill(folder, random() * LATEST_MS);
  const broker = new MemoryBroker();
  const version = bootedVersion(folder, broker, committed, pushed, counts);
  if (version === undefined) return;
  counts.completeSets++;
  if (await finish(folder, broker, pushed)) counts.finished++;
  else counts.failures.push(`cut ${counts.cuts}: version ${pushed} not reached from ${version}`);
}

/** How far the child told that it was. Its last lines may be lost with it, so versions between are right too. */
async function runAndKill(folder: string, delayMs: number): Promise<{ committed: number; pushed: number }> {
  const path = new URL("./child.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [path, folder], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  await begun(child, () => text.includes("\n"));
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill("SIGKILL");
  await ended;
  const committed = lastNumber(text, "committed");
  // Killed between the two lines, it has pushed nothing new yet.
  return { committed, pushed: Math.max(committed, lastNumber(text, "pushed")) };
}

async function begun(child: ChildProcess, hasSpoken: () => boolean): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (!hasSpoken()) {
    if (child.exitCode !== null) throw new Error(`the gateway ended by itself with exit code ${child.exitCode}`);
    if (Date.now() > deadline) throw new Error("the gateway did not start");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function lastNumber(text: string, word: string): number {
  const found = [...text.matchAll(new RegExp(`^${word} (\\d+)$`, "gm"))].at(-1)?.[1];
  return Number(found ?? 1);
}

/** The version of the complete set that a boot finds: not older than what was committed, not newer than what was pushed. */
function bootedVersion(
  folder: string,
  broker: MemoryBroker,
  committed: number,
  pushed: number,
  counts: CutCounts,
): number | undefined {
  try {
    const { bootedVersion: version } = new SimulatedGateway(nodeFileSystem, folder, broker);
    counts.bootable++;
    if (version !== undefined && version >= committed && version <= pushed) return version;
    counts.failures.push(`cut ${counts.cuts}: version ${version ?? "mixed"}, not ${committed} to ${pushed}`);
  } catch (error) {
    counts.failures.push(`cut ${counts.cuts}: ${String(error)}`);
  }
  return undefined;
}

/** What the gateway does after the power is back: takes the retained plan, and ends at its version. */
async function finish(folder: string, broker: MemoryBroker, version: number): Promise<boolean> {
  publishSet(broker, version);
  const gateway = new SimulatedGateway(nodeFileSystem, folder, broker);
  gateway.start();
  const isDone = () => gateway.store.state.candidate === undefined && gateway.version === version;
  for (const deadline = Date.now() + FINISH_MS; !isDone() && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await gateway.stop();
  return isDone();
}
