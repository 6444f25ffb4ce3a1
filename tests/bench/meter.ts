/** Benchmarks the cost of metering: eight compute kernels as they are, metered, and with canonical NaNs, measured in turns. */

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { DEFAULT_METER_OPTIONS, meter } from "../../kernel/wasm/meter.ts";

/** One line of the benchmark suite. `ratio` is value over the first baseline's value. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly p50: number;
  readonly p99: number;
  readonly baseline: readonly { readonly name: string; readonly value: number }[];
  readonly ratio: number;
}

/** What is used of the compiler's API. */
interface Compiler {
  readonly main: (
    options: readonly string[],
    api: {
      readonly stderr: { write(chunk: string | Uint8Array): unknown };
      readFile(name: string, base: string): string | null;
      writeFile(name: string, content: Uint8Array | string): void;
      listFiles(name: string, base: string): string[];
    },
  ) => Promise<{ readonly error: Error | null }>;
}

const KERNELS = join(dirname(fileURLToPath(import.meta.url)), "kernels");
const COMPILER: string = "assemblyscript/asc";

/** Work of one sample, chosen so that it takes about a millisecond unmetered. */
const WORK: Readonly<Record<string, number>> = {
  crc32: 120,
  sha256: 1800,
  matrix: 8,
  heapsort: 5,
  fibonacci: 24,
  parse: 450,
  garbage: 60,
  filters: 70,
};

/** Compiles a kernel as modules are compiled, optimized, with the garbage collector that frees. */
export async function compileKernel(name: string): Promise<Uint8Array<ArrayBuffer>> {
  // SAFETY: the shape of the package's export, pinned in the lock file.
  const { main } = (await import(COMPILER)) as Compiler;
  let binary: Uint8Array | undefined;
  let messages = "";
  const options = ["kernel.ts", "-O3", "--runtime", "incremental", "--exportStart", "_initialize", "--use", "abort="];
  const { error } = await main([...options, "--outFile", "kernel.wasm"], {
    stderr: { write: (chunk) => (messages += String(chunk)) },
    readFile: (file) => (file === "kernel.ts" ? readFileSync(join(KERNELS, `${name}.ts`), "utf8") : null),
    writeFile: (_, content) => {
      if (typeof content !== "string") binary = content;
    },
    listFiles: () => [],
  });
  if (error !== null || binary === undefined) throw new Error(`${name} does not compile: ${messages}`);
  return Uint8Array.from(binary);
}

export function kernelNames(): string[] {
  return readdirSync(KERNELS)
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.replace(/\.ts$/, ""))
    .sort();
}

type Run = (work: number) => number;

interface PlainExports {
  readonly run: Run;
  readonly _initialize: () => void;
}

function startPlain(binary: Uint8Array<ArrayBuffer>): Run {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(binary), {});
  const { run, _initialize } = instance.exports as unknown as PlainExports;
  _initialize();
  return run;
}

interface MeteredRun {
  readonly run: Run;
  readonly arm: () => void;
  readonly remaining: () => number;
}

/** Fuel for one sample: far more than any needs, so that no slice ends while it is measured. */
const PLENTY = 2_000_000_000;

function startMetered(binary: Uint8Array<ArrayBuffer>, canonicalNans = false): MeteredRun {
  const stop = (): never => {
    throw new Error("the meter stopped a benchmark");
  };
  const module = new WebAssembly.Module(meter(binary, { ...DEFAULT_METER_OPTIONS, canonicalNans }));
  const instance = new WebAssembly.Instance(module, { "bulkhead:meter": { exhausted: stop, overflow: stop } });
  const exports = instance.exports as unknown as Record<string, (...values: number[]) => number>;
  const pick = (name: string): ((...values: number[]) => number) => {
    const found = exports[name];
    if (found === undefined) throw new Error(`no export ${name}`);
    return found;
  };
  const arm = (): void => {
    pick("bulkhead:arm")(PLENTY, 262_144);
  };
  arm();
  pick("bulkhead:initialize")();
  return { run: pick("run"), arm, remaining: () => pick("bulkhead:remaining")() };
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

function ascending(samples: readonly number[]): number[] {
  return [...samples].sort((a, b) => a - b);
}

/** How a kernel fared. Times in milliseconds per sample; `ratio` is the median of the pairs' ratios. */
export interface KernelResult {
  readonly name: string;
  readonly plain: readonly number[];
  readonly metered: readonly number[];
  readonly ratio: number;
  readonly fuelPerMicrosecond: number;
}

export async function measureKernel(name: string, pairs: number): Promise<KernelResult> {
  const binary = await compileKernel(name);
  return compare(name, startPlain(binary), startMetered(binary), pairs);
}

/** The same against the binary metered as any other: what canonical NaNs cost. */
async function measureNans(name: string, pairs: number): Promise<KernelResult> {
  const binary = await compileKernel(name);
  const other = startMetered(binary);
  const plain = (work: number): number => {
    other.arm();
    return other.run(work);
  };
  return compare(name, plain, startMetered(binary, true), pairs);
}

/** Samples come in pairs, plain and metered in alternating order, so that drift and neighbours meet both alike. */
function compare(name: string, plain: Run, metered: MeteredRun, pairs: number): KernelResult {
  const work = WORK[name] ?? 1;
  const time = (run: Run): number => {
    metered.arm();
    const started = performance.now();
    run(work);
    return performance.now() - started;
  };
  for (let warm = 0; warm < 60; warm += 1) {
    metered.arm();
    if (plain(work) !== metered.run(work)) throw new Error(`${name}: metered and unmetered results differ`);
  }
  const fuel = PLENTY - metered.remaining();
  const samples = { plain: [] as number[], metered: [] as number[], ratios: [] as number[] };
  for (let pair = 0; pair < pairs; pair += 1) {
    const [first, second] = pair % 2 === 0 ? [plain, metered.run] : [metered.run, plain];
    const times = [time(first), time(second)] as const;
    const [plainTime, meteredTime] = pair % 2 === 0 ? times : [times[1], times[0]];
    samples.plain.push(plainTime);
    samples.metered.push(meteredTime);
    samples.ratios.push(meteredTime / plainTime);
  }
  const sorted = ascending(samples.metered);
  return {
    name,
    plain: ascending(samples.plain),
    metered: sorted,
    ratio: percentile(ascending(samples.ratios), 0.5),
    fuelPerMicrosecond: fuel / (percentile(sorted, 0.5) * 1000),
  };
}

/** Kernels that compute with floats. */
const FLOATING = ["filters", "matrix"];

function toRow(result: KernelResult, kind = "", baseline = "the same binary unmetered"): Row {
  const p50 = percentile(result.metered, 0.5);
  return {
    name: `meter.overhead.${kind}${result.name}`,
    value: p50,
    unit: "ms",
    p50,
    p99: percentile(result.metered, 0.99),
    baseline: [{ name: baseline, value: percentile(result.plain, 0.5) }],
    ratio: result.ratio,
  };
}

/** The rows `meter.overhead.<kernel>`, `meter.overhead.geomean` of them, and `meter.overhead.nans.<kernel>`. */
export async function benchMeter(quick: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  const pairs = quick ? 100 : 600;
  for (const name of kernelNames()) rows.push(toRow(await measureKernel(name, pairs)));
  const nans: Row[] = [];
  for (const name of FLOATING)
    nans.push(toRow(await measureNans(name, pairs), "nans.", "metered without canonical NaNs"));
  const ratio = Math.exp(rows.reduce((sum, row) => sum + Math.log(row.ratio), 0) / rows.length);
  const worst = Math.max(...rows.map((row) => row.ratio));
  const unmetered = [{ name: "unmetered", value: 1 }];
  return [
    ...rows,
    { name: "meter.overhead.geomean", value: ratio, unit: "x", p50: ratio, p99: worst, baseline: unmetered, ratio },
    ...nans,
  ];
}
