/** `npm run bench`: every benchmark in turn, as a table or as JSON, with the machine that it ran on. */
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { benchMeter, type Row } from "./meter.ts";

const HELP = `npm run bench -- [benchmark ...] [--quick] [--json]

Without a name every one runs. Each figure stands beside what was measured with it in the same run.
`;

const BENCHMARKS: ReadonlyMap<string, (quick: boolean) => Promise<Row[]>> = new Map([["meter", benchMeter]]);

/** What a figure is worth nothing without. */
function machine() {
  const [processor] = cpus();
  return {
    processor: processor?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
    v8: process.versions.v8,
  };
}

function describe({ name, value, unit, p50, p99, baseline, ratio }: Row): string {
  const figure = (number: number) => `${Number(number.toPrecision(4))} ${unit}`;
  const beside = baseline.map((other) => `${other.name}: ${figure(other.value)}`).join(", ");
  const spread = `p50 ${figure(p50)}, p99 ${figure(p99)}`;
  return `${name.padEnd(32)} ${figure(value).padStart(14)}  ×${ratio.toFixed(3)} of ${beside}; ${spread}`;
}

async function bench(names: readonly string[], quick: boolean, json: boolean): Promise<void> {
  const here = machine();
  if (!json)
    process.stdout.write(
      `${Object.entries(here)
        .map(([key, value]) => `${key} ${value}`)
        .join(", ")}\n`,
    );
  const rows: Row[] = [];
  for (const [name, run] of BENCHMARKS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const measured = await run(quick);
    rows.push(...measured);
    if (!json) process.stdout.write(`${measured.map(describe).join("\n")}\n`);
  }
  if (json) process.stdout.write(`${JSON.stringify({ machine: here, quick, rows })}\n`);
}

function readCommandLine() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const unknown = positionals.filter((name) => !BENCHMARKS.has(name));
  if (unknown.length === 0) return { ...values, names: positionals };
  throw new TypeError(`no benchmark ${unknown.join(", ")}; there are ${[...BENCHMARKS.keys()].join(", ")}`);
}

/** Undefined where the command line is wrong, which has then been said. */
function readOptions(): ReturnType<typeof readCommandLine> | undefined {
  try {
    return readCommandLine();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`bench: ${error.message}\n${HELP}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  if (options.help) process.stdout.write(HELP);
  else await bench(options.names, options.quick, options.json);
  return 0;
}

process.exitCode = await main();
