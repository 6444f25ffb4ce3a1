/** Replays a capsule: finds its binary, runs it in a thread of its own, and says what it came to. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Capsule } from "../../gateway/wire/capsule.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { inspectModule, Refusal, meterOptions } from "../../kernel/index.ts";
import { refusalFrom } from "../../gateway/wire/trust-protocol.ts";
import { describeFrame, Locator } from "../source-map/locate.ts";
import type { Divergence, Ending, ReplayState } from "./machine.ts";
import type { ReplayAnswer, ReplayOrder } from "./worker.ts";

/** A binary with the source map of its build, where there is one. */
export interface FoundBinary {
  readonly path: string;
  readonly wasm: Uint8Array;
  readonly map: string | undefined;
}

export interface Replayed {
  readonly outcome: "reproduced" | "diverged" | "stopped";
  readonly isSameBinary: boolean;
  readonly isMeteredAlike: boolean;
  /** Each try's end, where it came to one. */
  readonly endings: readonly Ending[];
  /** Frames of the failure, the innermost first. */
  readonly frames: readonly string[];
  readonly divergence: Divergence | undefined;
  readonly state: ReplayState | undefined;
}

const TRIES = 3;
/** Of one try, a minute on a laptop: a recording that holds more than that is not one of a gateway that did its work. */
const MOST_FUEL = 200_000_000_000;
/** As a partition's: the metered allowance of a guest and headroom. */
const STACK_MIB = 4;
const WORKER = new URL(`./worker${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`, import.meta.url);
/** Where a build puts its binaries, from the working folder. */
const BUILD_FOLDER = "build/modules";

/** @throws Refusal E_UNKNOWN where no binary of that digest is found */
export async function findBinary(capsule: Capsule, capsulePath: string, named?: string): Promise<FoundBinary> {
  if (named !== undefined) return await readBinary(named);
  // A capsule lies in <data>/capsules/<module>/.
  const stored = join(dirname(capsulePath), "../../trust/blobs", capsule.sha256);
  const built = await readdir(BUILD_FOLDER).catch(() => []);
  const candidates = built.filter((name) => name.endsWith(".wasm")).map((name) => join(BUILD_FOLDER, name));
  for (const path of [...candidates, stored]) {
    if (!existsSync(path)) continue;
    const found = await readBinary(path);
    if (sha256Hex(found.wasm) === capsule.sha256) return found;
  }
  throw new Refusal("E_UNKNOWN", `the binary of ${capsule.name} is not here`, {
    expected: `sha256 ${capsule.sha256} in ${BUILD_FOLDER} or the gateway's store`,
    hint: "name it with --wasm <file>",
  });
}

async function readBinary(path: string): Promise<FoundBinary> {
  try {
    const wasm = new Uint8Array(await readFile(path));
    return { path, wasm, map: await readFile(`${path}.map`, "utf8").catch(() => undefined) };
  } catch (error) {
    throw new Refusal("E_UNKNOWN", `cannot read ${path}`, { found: error instanceof Error ? error.message : "" });
  }
}

/** @throws Refusal E_STATE where the capsule holds too little to run again */
export function checkReplayable({ isRedacted, events, name }: Capsule, until?: number): void {
  if (isRedacted) {
    throw new Refusal("E_STATE", `this capsule of ${name} can be inspected only: what was secret has been left out`, {
      hint: "name a recipient under `capsules:` in gateway.yaml, and later capsules are whole and sealed to it",
    });
  }
  if (!events.isWhole) {
    throw new Refusal("E_STATE", `this capsule of ${name} can be inspected only: its recording is not whole`, {
      found: "the module changes tables, its memory is too large, or one activation was too long to be recorded",
    });
  }
  if (until === undefined || (until > events.before && until <= events.messages)) return;
  throw new Refusal("E_UNKNOWN", `there is no message ${until} in this capsule`, {
    expected: `${events.before + 1} to ${events.messages}`,
  });
}

/** @throws Refusal as the machine, the meter and the inspection do; E_ABORTED where `signal` ended it */
export async function replay(
  capsule: Capsule,
  binary: FoundBinary,
  {
    until,
    signal,
    mostFuel = MOST_FUEL,
  }: { readonly until?: number | undefined; readonly signal?: AbortSignal; readonly mostFuel?: number } = {},
): Promise<Replayed> {
  checkReplayable(capsule, until);
  const tries = until === undefined ? TRIES : 1;
  const answer = await inThread({ capsule, binary: binary.wasm, until, tries, mostFuel }, signal);
  if ("refusal" in answer) throw refusalFrom(answer.refusal);
  const { runs, isSame, isMeteredAlike } = answer;
  const endings = runs.flatMap((each) => (each.kind === "ended" ? [each.ending] : []));
  const divergence = runs.find((each) => each.kind === "diverged")?.divergence ?? differing(capsule, endings, isSame);
  const state = runs.find((each) => each.kind === "stopped")?.state;
  return {
    outcome: divergence !== undefined ? "diverged" : state === undefined ? "reproduced" : "stopped",
    isSameBinary: sha256Hex(binary.wasm) === capsule.sha256,
    isMeteredAlike,
    endings,
    frames: framesOf(endings[0]?.trace ?? "", binary),
    divergence,
    state,
  };
}

/** The first try whose end is not that of the capsule. Of another binary only the cause can be the same. */
function differing(capsule: Capsule, endings: readonly Ending[], isSame: boolean): Divergence | undefined {
  const words = ({
    cause,
    text,
    fuel,
    trace,
    memoryBytes,
  }: Omit<Ending, "trace"> & { trace?: string | undefined }): string =>
    isSame ? `${cause}: ${text}; ${fuel} fuel left, ${memoryBytes} bytes of memory; ${places(trace ?? "")}` : cause;
  const expected = words(capsule);
  const other = endings.find((ending) => words(ending) !== expected);
  if (other === undefined) return undefined;
  return { event: 0, message: capsule.events.messages, expected, found: words(other) };
}

/** Functions and offsets of the module's own frames, the innermost; what called it is the kernel's. */
function places(trace: string): string {
  const frames = [...trace.matchAll(/(wasm:\/\/wasm\/[^:\s]*):(wasm-function\[\d+\]:0x[0-9a-f]+)/g)];
  const own = frames.filter(([, url]) => url === frames[0]?.[1]);
  return own.map(([, , place]) => place).join(" ");
}

function framesOf(trace: string, { wasm, map }: FoundBinary): string[] {
  if (trace === "") return [];
  const options = meterOptions(inspectModule(wasm), true);
  // A source map that is broken costs the lines, not the replay.
  const locate = (sourceMap: string | undefined): string[] =>
    new Locator({ binary: wasm, options, sourceMap }).frames(trace).map(describeFrame);
  try {
    return locate(map);
  } catch {
    return locate(undefined);
  }
}

async function inThread(order: ReplayOrder, signal: AbortSignal | undefined): Promise<ReplayAnswer> {
  if (signal?.aborted === true) throw new Refusal("E_ABORTED", "the replay was stopped");
  const worker = new Worker(WORKER, { name: "replay", workerData: order, resourceLimits: { stackSizeMb: STACK_MIB } });
  const abort = (): void => void worker.terminate();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await new Promise<ReplayAnswer>((done, fail) => {
      worker.once("message", done);
      worker.once("error", fail);
      worker.once("exit", () => {
        fail(new Refusal("E_ABORTED", "the replay was stopped"));
      });
    });
  } finally {
    signal?.removeEventListener("abort", abort);
    await worker.terminate();
  }
}
