/** The machine that the figures come from, and how quiet it was while they were taken. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";
import { percentile } from "./statistics.ts";

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly platform: string;
  readonly kernel: string;
  readonly governor: string;
  readonly node: string;
  readonly v8: string;
  readonly commit: string;
  readonly load: { readonly before: number; readonly after: number };
  /** How much slower the slowest hundredth of equal pieces of work was than the median one; 1 is a silent machine. */
  readonly noise: { readonly p99OverP50: number; readonly samples: number };
}

/** Work of about half a millisecond. */
const CALIBRATION_STEPS = 500_000;
const CALIBRATION_MS = 100;

/** Does the same small work again and again while benchmarks run in other processes, and sees how its time varies. */
export class NoiseMeter {
  readonly #samples: number[] = [];
  readonly #loadBefore = loadavg()[0] ?? 0;
  readonly #timer: NodeJS.Timeout;

  constructor() {
    for (let warm = 0; warm < 20; warm++) work();
    // Idle pieces too: a run of one group may be over before the timer has fired often.
    for (let piece = 0; piece < 100; piece++) this.#sample();
    this.#timer = setInterval(() => {
      this.#sample();
    }, CALIBRATION_MS);
  }

  #sample(): void {
    const started = performance.now();
    work();
    this.#samples.push(performance.now() - started);
  }

  end(): Machine {
    clearInterval(this.#timer);
    const p99OverP50 = percentile(this.#samples, 0.99) / percentile(this.#samples, 0.5);
    return {
      ...describeMachine(),
      load: { before: this.#loadBefore, after: loadavg()[0] ?? 0 },
      noise: { p99OverP50: Number(p99OverP50.toFixed(2)), samples: this.#samples.length },
    };
  }
}

function work(): number {
  let value = 1;
  for (let step = 0; step < CALIBRATION_STEPS; step++) value = (Math.imul(value, 1_103_515_245) + step) | 0;
  return value;
}

function describeMachine(): Omit<Machine, "load" | "noise"> {
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform}-${process.arch}`,
    kernel: release(),
    governor: readGovernor(),
    node: process.versions.node,
    v8: process.versions.v8,
    commit: readCommit(),
  };
}

/** Frequency scaling spoils comparisons between runs; a virtual machine does not tell. */
function readGovernor(): string {
  try {
    return readFileSync("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "utf8").trim();
  } catch {
    return "not told";
  }
}

function readCommit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return "unknown";
  }
}
