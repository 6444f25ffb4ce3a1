/** `npm run fuzz`: seeded mutations against the parsers of hostile bytes, for as many inputs as there is patience. */
import { parseArgs } from "node:util";
import { fuzzEnvelope } from "./envelope.ts";
import { fuzzWasm } from "./wasm.ts";

interface Options {
  readonly count: number;
  readonly seed: number;
  readonly onProgress: (done: number) => void;
}

/** Whatever else a target reports, it lists what must not be. */
interface Report {
  readonly failures: readonly unknown[];
}

const TARGETS = new Map<string, (options: Options) => Report | Promise<Report>>([
  ["envelope", fuzzEnvelope],
  ["wasm", fuzzWasm],
]);

const HELP = `npm run fuzz -- [target ...] [--count <inputs>] [--seed <number>] [--json]

Targets: ${[...TARGETS.keys()].join(", ")}; without one every one runs. The same seed gives the same inputs; a failure names
what to repeat it with.
`;

function progress(name: string, count: number): (done: number) => void {
  if (!process.stderr.isTTY) return () => undefined;
  return (done) => process.stderr.write(`\r${name} ${done} of ${count}${done === count ? "\n" : ""}`);
}

function describe(name: string, { failures, ...rest }: Report): string {
  const facts = Object.entries(rest).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
  const lines = [`${failures.length === 0 ? "ok  " : "FAIL"} ${name}: ${facts.join(", ")}`];
  return [...lines, ...failures.map((failure) => `     ${JSON.stringify(failure)}`)].join("\n");
}

async function fuzz(names: readonly string[], count: number, seed: number, json: boolean): Promise<boolean> {
  const reports: Record<string, Report> = {};
  for (const [name, run] of TARGETS) {
    if (names.length > 0 && !names.includes(name)) continue;
    const report = await run({ count, seed, onProgress: progress(name, count) });
    reports[name] = report;
    if (!json) process.stdout.write(`${describe(name, report)}\n`);
  }
  if (json) process.stdout.write(`${JSON.stringify(reports)}\n`);
  return Object.values(reports).every(({ failures }) => failures.length === 0);
}

function wholeNumber(text: string, option: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new TypeError(`--${option} is a whole number of 1 or more`);
  return number;
}

function readCommandLine() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      count: { type: "string", default: "100000" },
      seed: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const unknown = positionals.filter((name) => !TARGETS.has(name));
  if (unknown.length > 0)
    throw new TypeError(`no target ${unknown.join(", ")}; there are ${[...TARGETS.keys()].join(", ")}`);
  return {
    ...values,
    names: positionals,
    count: wholeNumber(values.count, "count"),
    seed: wholeNumber(values.seed, "seed"),
  };
}

/** Undefined where the command line is wrong, which has then been said. */
function readOptions(): ReturnType<typeof readCommandLine> | undefined {
  try {
    return readCommandLine();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`fuzz: ${error.message}\n${HELP}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  const { help, names, count, seed, json } = options;
  if (help) process.stdout.write(HELP);
  return help || (await fuzz(names, count, seed, json)) ? 0 : 1;
}

process.exitCode = await main();
