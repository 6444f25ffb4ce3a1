/** Runs one group of the suite in a process of its own, pinned to one processor where the group asks for it. */
import { execFile, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { BenchRow } from "./statistics.ts";
import type { Placement } from "./suite.ts";
import { SUITE } from "./suite.ts";

const run = promisify(execFile);
const CHILD = fileURLToPath(new URL("child.ts", import.meta.url));
const FLAGS = ["--disable-warning=ExperimentalWarning", "--expose-gc"];
const GROUP_MS = 900_000;
const OUTPUT_BYTES = 16 * 1024 * 1024;

/** The last processor, which interrupts and daemons use least; undefined where processes can't be pinned here. */
const PINNED_TO: string | undefined = (() => {
  const last = `${availableParallelism() - 1}`;
  return spawnSync("taskset", ["-c", last, "true"]).status === 0 ? last : undefined;
})();

/** Whether `taskset` is there; without it every group runs free, and its rows say so. */
export const CAN_PIN = PINNED_TO !== undefined;

/** @throws an Error with the child's last words where it failed. */
export async function runGroup(name: string, quick: boolean): Promise<BenchRow[]> {
  const wanted: Placement = SUITE[name]?.placement ?? "free";
  const pin = wanted === "pinned" && PINNED_TO !== undefined ? PINNED_TO : undefined;
  const node = [process.execPath, ...FLAGS, CHILD, name, quick ? "quick" : "full"];
  const [command = "", ...parameters] = pin === undefined ? node : ["taskset", "-c", pin, ...node];
  const env = { ...process.env, BENCH_PLACEMENT: pin === undefined ? "free" : "pinned" };
  const { stdout } = await run(command, parameters, { env, timeout: GROUP_MS, maxBuffer: OUTPUT_BYTES });
  // SAFETY: child.ts prints exactly this as its last line.
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "[]") as BenchRow[];
}
