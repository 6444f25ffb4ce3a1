/** `npm run faults`: seeded faults into real modules under load, each range of numbers in a process of its own. */
import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { parseArgs } from "node:util";
import type { Counts } from "./campaign.ts";
import { buildAll } from "../../tools/build/build.ts";
import { addCounts, noCounts, runRange } from "./campaign.ts";

const HELP = `npm run faults -- [--count <faults>] [--seed <number>] [--only <number>] [--jobs <processes>] [--json]

Puts faults into the modules that ship, on simulated devices and under load: mutated instructions, flipped bits in memory and in
messages, traps and loops at random fuel, exhausted stacks and memories, devices that answer wrongly, floods, failed saves,
lost partitions. Neighbours beside them count their messages. The same seed gives the same faults; a failure names its number,
and --only <number> runs the trial of that number alone.

Exit code 0 only where the kernel never failed, no neighbour was disturbed and nothing hung.
`;

/** Faults that one process puts into one system before a fresh one takes over. */
const RANGE = 20_000;
/** A process that says nothing for so long is stuck: a trial's own limits are shorter. */
const SILENCE_MS = 120_000;

interface Range {
  readonly from: number;
  readonly to: number;
}

type FromChild = { readonly at: number } | { readonly counts: Counts };

async function runInChild(seed: number, { from, to }: Range, onProgress: (at: number) => void): Promise<Counts> {
  const child = fork(import.meta.filename, ["--child", String(seed), String(from), String(to)], {
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let stderr = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4000);
  });
  let counts: Counts | undefined;
  let at = from;
  const watch = watchdog(child);
  child.on("message", (message: FromChild) => {
    watch.beat();
    if ("counts" in message) counts = message.counts;
    else onProgress((at = message.at));
  });
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on("exit", (...end) => {
      resolve(end);
    });
  });
  watch.stop();
  if (counts !== undefined) return counts;
  const lost = noCounts();
  lost.injected = at - from;
  const what = watch.isStuck() ? "the process stood still" : `the process ended (${signal ?? String(code)}): ${stderr}`;
  (watch.isStuck() ? lost.hangs : lost.kernelFailures).push({ number: at, kind: "process", victim: "", what });
  return lost;
}

function watchdog(child: ChildProcess): { beat: () => void; stop: () => void; isStuck: () => boolean } {
  let isStuck = false;
  const kill = (): void => {
    isStuck = true;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(kill, SILENCE_MS);
  const stop = (): void => {
    clearTimeout(timer);
  };
  return {
    beat: () => {
      stop();
      timer = setTimeout(kill, SILENCE_MS);
    },
    stop,
    isStuck: () => isStuck,
  };
}

async function childMain(seed: number, from: number, to: number): Promise<void> {
  let told = performance.now();
  const counts = await runRange(seed, from, to, (at) => {
    if (performance.now() - told < 1000) return;
    told = performance.now();
    process.send?.({ at });
  });
  process.send?.({ counts }, () => {
    process.exit(0);
  });
}

interface Options {
  readonly count: number;
  readonly seed: number;
  readonly only: number | undefined;
  readonly jobs: number;
  readonly json: boolean;
}

async function campaign({ count, seed, only, jobs, json }: Options): Promise<boolean> {
  const begin = performance.now();
  const total = noCounts();
  const ranges = rangesOf(count, only);
  const reached = new Map<Range, number>();
  const tell = (): void => {
    if (!process.stderr.isTTY) return;
    const done = [...reached].reduce((sum, [{ from }, at]) => sum + at - from, 0);
    const seconds = (performance.now() - begin) / 1000;
    process.stderr.write(
      `\r${done} of ${only === undefined ? count : 1} faults, ${Math.round(done / seconds)} a second `,
    );
  };
  const next = async (): Promise<void> => {
    for (let range = ranges.shift(); range !== undefined; range = ranges.shift()) {
      const mine = range;
      addCounts(
        total,
        await runInChild(seed, mine, (at) => {
          reached.set(mine, at);
          tell();
        }),
      );
      reached.set(mine, mine.to);
      tell();
    }
  };
  await Promise.all(Array.from({ length: jobs }, next));
  if (process.stderr.isTTY) process.stderr.write("\n");
  const seconds = Math.round((performance.now() - begin) / 1000);
  const { kernelFailures, neighboursDisturbed, hangs, causes, ...rest } = total;
  const zero = {
    kernelFailures: kernelFailures.length,
    neighboursDisturbed: neighboursDisturbed.length,
    hangs: hangs.length,
  };
  const problems = [...kernelFailures, ...neighboursDisturbed, ...hangs];
  const failures = Object.entries(causes).reduce((sum, [cause, count]) => (cause === "denied" ? sum : sum + count), 0);
  const report = { ...rest, failures, causes, ...zero, seed, seconds, problems: problems.slice(0, 50) };
  process.stdout.write(`${json ? JSON.stringify(report) : describe(report)}\n`);
  return problems.length === 0;
}

function describe(report: object): string {
  return Object.entries(report)
    .map(([key, value]) => `${key.padEnd(20)} ${JSON.stringify(value)}`)
    .join("\n");
}

function rangesOf(count: number, only: number | undefined): Range[] {
  if (only !== undefined) return [{ from: only, to: only + 1 }];
  return Array.from({ length: Math.ceil(count / RANGE) }, (_, index) => ({
    from: index * RANGE,
    to: Math.min(count, (index + 1) * RANGE),
  }));
}

function wholeNumber(text: string, option: string, least: number): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= least) return number;
  throw new TypeError(`--${option} is a whole number of ${least} or more`);
}

function readOptions(): (Options & { help: boolean }) | undefined {
  try {
    const { values } = parseArgs({
      options: {
        count: { type: "string", default: "20000" },
        seed: { type: "string", default: "1" },
        only: { type: "string" },
        jobs: { type: "string", default: "1" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    return {
      ...values,
      count: wholeNumber(values.count, "count", 1),
      seed: wholeNumber(values.seed, "seed", 0),
      only: values.only === undefined ? undefined : wholeNumber(values.only, "only", 0),
      jobs: wholeNumber(values.jobs, "jobs", 1),
    };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`faults: ${error.message}\n${HELP}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  if (options.help) process.stdout.write(HELP);
  if (options.help) return 0;
  // What did not change is not compiled again.
  await buildAll();
  return (await campaign(options)) ? 0 : 1;
}

const [mode, ...numbers] = process.argv.slice(2);
if (mode === "--child") await childMain(...(numbers.map(Number) as [number, number, number]));
else process.exitCode = await main();
