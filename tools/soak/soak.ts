/** `npm run soak`: a gateway whose modules crash, swap and send for a long time must end as small as it began. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { anonymousKilobytes, fileDescriptors, mappings, threads } from "../footprint/processes.ts";
import { compiledProduct, folderBytes, folderFiles } from "../footprint/product.ts";
import { RunningGateway } from "../footprint/running.ts";
import type { Kind, Verdict } from "./flat.ts";
import { judge } from "./flat.ts";
import type { LoadCounts } from "./load.ts";
import { Load } from "./load.ts";
import type { Remark } from "./said.ts";
import { Said } from "./said.ts";

const HELP = `usage: npm run soak [-- [--minutes N] [--json]]

Runs the compiled gateway with a real Mosquitto (the embedded broker where none is installed) for N minutes (default 3):
two drivers that send fast, a module that fails every two seconds, a signed update over MQTT every ten. Memory, threads,
file descriptors, mapped regions and the data folder are sampled; the median of the last fifth of the run must not be
above that of the second by more than the tolerance of tools/soak/flat.ts, no reading may be lost, and every update must
be committed.

  --minutes  how long; at least 1
  --json     one object: {minutes, broker, product, load, faults, restarts, series, remarks, failures}

Exit codes: 0 all of that held, 1 not, 2 a wrong command line.
`;

const PROBATION_MS = "1000";
const SAMPLES = 300;
const FASTEST_SAMPLE_MS = 2000;
const PROGRESS_MS = 60_000;
/** The audit log only ever grows, within what its throttle lets through. */
const AUDIT_BYTES_AN_HOUR = 4 * 1024 * 1024;
const AUDIT_BYTES_AT_ONCE = 512 * 1024;

interface Result {
  readonly minutes: number;
  readonly broker: string;
  readonly product: string;
  readonly load: LoadCounts;
  readonly faults: number;
  readonly restarts: number;
  readonly auditBytes: number;
  readonly series: readonly Verdict[];
  /** Warnings, refusals and changes of processes, by kind. */
  readonly remarks: readonly Remark[];
  readonly failures: readonly string[];
}

/** Samples by series, in the order they were taken. */
class Recorder {
  readonly #series = new Map<string, { readonly kind: Kind; readonly samples: number[] }>();

  async sample(gateway: RunningGateway, dataFolder: string): Promise<void> {
    for (const [name, id] of gateway.processes()) {
      this.#add(`${name} memory`, "memory", anonymousKilobytes(id));
      this.#add(`${name} threads`, "threads", threads(id));
      this.#add(`${name} file descriptors`, "descriptors", fileDescriptors(id));
      this.#add(`${name} mapped regions`, "mappings", mappings(id));
    }
    this.#add("data folder without the audit log", "disk", (await folderBytes(dataFolder)) - auditBytes(dataFolder));
    this.#add("files in the data folder", "files", await folderFiles(dataFolder));
  }

  verdicts(): Verdict[] {
    return Array.from(this.#series, ([name, { kind, samples }]) => judge(name, kind, samples));
  }

  #add(name: string, kind: Kind, value: number): void {
    const series = this.#series.get(name) ?? { kind, samples: [] };
    this.#series.set(name, series);
    series.samples.push(value);
  }
}

function auditBytes(dataFolder: string): number {
  const files = ["audit.sqlite", "audit.sqlite-wal", "audit.sqlite-shm"].map((file) => join(dataFolder, file));
  return files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
}

async function soak(minutes: number, signal: AbortSignal): Promise<Result> {
  const product = await compiledProduct();
  const load = await Load.prepare();
  const counted = { fault: 0, restarted: 0, held: 0, refused: 0, "partition-lost": 0 };
  const losses = new Set<string>();
  const said = new Said();
  const count = (event: GatewayEvent): void => {
    said.take(event);
    if (event.type in counted) counted[event.type as keyof typeof counted]++;
    if (event.type === "partition-lost") losses.add(`${event.partition}: ${event.reason}`);
  };
  const gateway = new RunningGateway(product, load.configuration, ["--probation-ms", PROBATION_MS], count);
  const recorder = new Recorder();
  const failures: string[] = [];
  const end = new AbortController();
  const dataFolder = join(load.folder, "data");
  try {
    await gateway.running();
    const loading = load.run(end.signal).catch((error: unknown) => {
      failures.push(error instanceof Error ? error.message : String(error));
      end.abort();
    });
    await watch(minutes * 60_000, gateway, () => recorder.sample(gateway, dataFolder), [end.signal, signal]);
    if (gateway.hasEnded) failures.push(`the gateway ended by itself: ${gateway.lastWords}`);
    if (signal.aborted) failures.push("stopped by a signal before its time");
    end.abort();
    await loading;
  } finally {
    end.abort();
    const code = await gateway.stop();
    if (code !== 0) failures.push(`the gateway ended with exit code ${code}: ${gateway.lastWords}`);
    await product.remove();
  }
  const counts = load.counts();
  const audit = auditBytes(dataFolder);
  await load.stop();
  const series = verdicts(recorder, failures);
  failures.push(...mistakes(counts, counted), ...losses);
  if (audit > AUDIT_BYTES_AT_ONCE + (AUDIT_BYTES_AN_HOUR * minutes) / 60)
    failures.push(`the audit log has ${audit} bytes`);
  const { name: broker } = load.broker;
  const { fault: faults, restarted: restarts } = counted;
  return {
    minutes,
    broker,
    product: product.origin,
    load: counts,
    faults,
    restarts,
    auditBytes: audit,
    series,
    remarks: said.remarks(),
    failures,
  };
}

/** Samples until the time is over, a signal comes or the gateway ends. */
async function watch(
  milliseconds: number,
  gateway: RunningGateway,
  sample: () => Promise<void>,
  signals: readonly AbortSignal[],
): Promise<void> {
  const period = Math.max(FASTEST_SAMPLE_MS, milliseconds / SAMPLES);
  const any = AbortSignal.any([...signals]);
  const since = performance.now();
  let progressAt = PROGRESS_MS;
  while (!any.aborted && !gateway.hasEnded && performance.now() - since < milliseconds) {
    await sample();
    await pause(period, undefined, { signal: any }).catch(() => undefined);
    const elapsed = performance.now() - since;
    if (elapsed < progressAt) continue;
    progressAt += PROGRESS_MS;
    process.stderr.write(`soak: ${Math.round(elapsed / 60_000)} of ${Math.round(milliseconds / 60_000)} minutes\n`);
  }
}

function verdicts(recorder: Recorder, failures: string[]): Verdict[] {
  try {
    const series = recorder.verdicts();
    for (const { name, second, last, limit, isFlat } of series) {
      if (!isFlat) failures.push(`${name} grew from ${second} to ${last}; ${Math.round(limit)} would be let pass`);
    }
    return series;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    failures.push(error.message);
    return [];
  }
}

/** What the load itself must show: that it was one, and that the neighbours of what failed did not notice. */
function mistakes(load: LoadCounts, counted: Readonly<Record<string, number>>): string[] {
  const { crashes, swaps, readings, lost, duplicated, reordered, malformed } = load;
  const { fault = 0, restarted = 0, held = 0, refused = 0, "partition-lost": partitions = 0 } = counted;
  const found: [boolean, string][] = [
    [crashes === 0 || swaps === 0 || readings === 0, `${crashes} crashes, ${swaps} swaps, ${readings} readings`],
    [lost + duplicated + reordered > 0, `${lost} readings lost, ${duplicated} doubled, ${reordered} overtaken`],
    [malformed > 0, `${malformed} messages were not what the contract says`],
    // The last command may not have arrived before the end.
    [fault < crashes - 1, `${crashes} commands to fail gave ${fault} faults`],
    [restarted < fault - 1, `${fault} faults gave ${restarted} restarts`],
    [held + refused > 0, `${held} modules held, ${refused} refused`],
    [partitions > 0, `${partitions} partitions lost`],
  ];
  return found.filter(([isWrong]) => isWrong).map(([, text]) => text);
}

function text(result: Result): string {
  const { minutes, broker, product, load, faults, restarts, series, remarks, failures } = result;
  const figure = (value: number): string => String(Math.round(value)).padStart(10);
  const rows = series.map(
    ({ name, unit, second, last, limit, isFlat }) =>
      `${name.padEnd(36)}${unit.padStart(3)}${figure(second)}${figure(last)}${figure(limit)}  ${isFlat ? "flat" : "GROWN"}`,
  );
  return [
    `${minutes} minutes, ${broker}, ${product}: ${load.readings} readings, ${load.crashes} commands to fail, ${faults} faults,`,
    `${restarts} restarts, ${load.swaps} updates committed; ${load.lost} lost, ${load.duplicated} doubled; audit ${result.auditBytes} B`,
    "",
    `${"".padEnd(39)}${"2nd fifth".padStart(10)}${"last".padStart(10)}${"limit".padStart(10)}`,
    ...rows,
    "",
    ...remarks.map(({ text, firstMs, count }) => `${String(count).padStart(6)} × ${text} (first after ${firstMs} ms)`),
    "",
    failures.length === 0 ? "flat" : failures.map((failure) => `FAILED: ${failure}`).join("\n"),
    "",
  ].join("\n");
}

function readCommandLine(): { minutes: number; json: boolean; help: boolean } | undefined {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: "string", default: "3" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    const minutes = Number(values.minutes);
    if (!(minutes >= 1 && minutes <= 100_000)) throw new TypeError(`--minutes ${values.minutes} is not 1 or more`);
    return { ...values, minutes };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`soak: ${error.message}\n${HELP}`);
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
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      stop.abort();
    });
  }
  const result = await soak(options.minutes, stop.signal);
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : text(result));
  return result.failures.length === 0 ? 0 : 1;
}

process.exitCode = await main();
