/** Fuzzes the Wasm reader and rewriter with seeded mutations of real binaries. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DEFAULT_METER_OPTIONS, meter, Refusal } from "../../kernel/index.ts";

export interface WasmFuzzOptions {
  /** How many mutated binaries. */
  readonly count: number;
  /** The same seed gives the same binaries. */
  readonly seed: number;
  readonly onProgress?: (done: number) => void;
  /** Binaries to mutate; the official test suite's by default. */
  readonly corpus?: readonly Uint8Array[];
  /**
   * The engine's own validation (`WebAssembly.validate`), where the caller may use it: then what was invalid must be
   * invalid after rewriting, and what was valid must be valid.
   */
  readonly validate?: (binary: Uint8Array<ArrayBuffer>) => boolean;
}

export interface WasmFuzzFailure {
  readonly index: number;
  readonly kind: "threw" | "over-read" | "slow" | "became-valid" | "became-invalid";
  readonly detail: string;
  /** The binary, base64. */
  readonly binary: string;
}

export interface WasmFuzzResult {
  readonly count: number;
  readonly refused: number;
  readonly accepted: number;
  readonly slowestMs: number;
  readonly failures: readonly WasmFuzzFailure[];
}

/** Refusing or rewriting takes at most this long, twenty times what was seen: more is not linear. */
const ALLOWED_MS = 20;
const ALLOWED_MS_PER_BYTE = 0.005;
/** Bytes around the binary in its buffer: if they change the outcome, they were read. */
const GUARD = 64;

/** mulberry32: small, seeded, good enough to choose mutations. */
function randomSource(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

interface PackedScript {
  readonly commands: readonly { readonly type: string; readonly binary?: string }[];
}

/** The modules of the official test suite, as packed for the tests. */
function suiteCorpus(): Uint8Array[] {
  const packed = readFileSync(new URL("../../tests/wasm/suite/core.json.gz", import.meta.url));
  const scripts = JSON.parse(gunzipSync(packed).toString("utf8")) as PackedScript[];
  return scripts.flatMap(({ commands }) =>
    commands.flatMap((command) => (command.binary === undefined ? [] : [Buffer.from(command.binary, "base64")])),
  );
}

/** Bytes that mean something to the format: section ids, opcodes, types, LEB128 edges. */
const TELLING = [
  0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x0b, 0x0c, 0x10, 0x40, 0x60, 0x6f, 0x70, 0x7b, 0x7f, 0x80, 0xfc, 0xfd, 0xfe,
  0xff,
];

/** One mutation; those that keep the length (`kinds` 3) leave most of the structure whole, so they get further in. */
function mutate(
  bytes: number[],
  kinds: number,
  corpus: readonly Uint8Array[],
  random: (below: number) => number,
): void {
  const at = random(bytes.length + 1);
  switch (random(kinds)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      return;
    case 1:
      if (at < bytes.length) bytes[at] = random(256);
      return;
    case 2:
      if (at < bytes.length) bytes[at] = TELLING[random(TELLING.length)] ?? 0;
      return;
    case 3:
      bytes.splice(at, 0, TELLING[random(TELLING.length)] ?? 0);
      return;
    case 4:
      bytes.splice(at, 1 + random(4));
      return;
    case 5:
      bytes.length = at;
      return;
    case 6:
      bytes.splice(at, 0, ...bytes.slice(at, at + 1 + random(16)));
      return;
    default: {
      const donor = corpus[random(corpus.length)] ?? new Uint8Array();
      const from = random(donor.length + 1);
      bytes.splice(at, random(16), ...donor.subarray(from, from + random(32)));
    }
  }
}

interface Outcome {
  readonly error: unknown;
  readonly metered: Uint8Array<ArrayBuffer> | undefined;
  readonly ms: number;
}

/** Every fourth binary asks for canonical NaNs. */
function asksForNans(index: number): boolean {
  return index % 4 === 3;
}

/** Meters the binary from the middle of a buffer filled with `guard`. */
function run(binary: readonly number[], guard: number, canonicalNans: boolean): Outcome {
  const buffer = new Uint8Array(binary.length + 2 * GUARD).fill(guard);
  buffer.set(binary, GUARD);
  const view = buffer.subarray(GUARD, GUARD + binary.length);
  const started = performance.now();
  try {
    const metered = meter(view, { ...DEFAULT_METER_OPTIONS, canonicalNans });
    return { error: undefined, metered, ms: performance.now() - started };
  } catch (error) {
    return { error, metered: undefined, ms: performance.now() - started };
  }
}

function describe({ error, metered }: Outcome): string {
  if (error instanceof Refusal) return error.describe();
  return metered === undefined
    ? `threw ${error instanceof Error ? error.message : typeof error}`
    : Buffer.from(metered).toString("base64");
}

/** Time of this thread's own: on a busy machine a clock on the wall proves nothing. */
function processorMs(binary: readonly number[], canonicalNans: boolean): number {
  const before = process.threadCpuUsage();
  run(binary, 0, canonicalNans);
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}

type Fault = Pick<WasmFuzzFailure, "kind" | "detail">;

function inspect(
  binary: readonly number[],
  outcome: Outcome,
  validate: WasmFuzzOptions["validate"],
  canonicalNans: boolean,
): Fault | undefined {
  const { error, metered, ms } = outcome;
  if (error !== undefined && !(error instanceof Refusal)) {
    return { kind: "threw", detail: error instanceof Error ? (error.stack ?? "") : typeof error };
  }
  const allowed = ALLOWED_MS + binary.length * ALLOWED_MS_PER_BYTE;
  if (ms > allowed) {
    const again = Math.min(...[1, 2, 3].map(() => processorMs(binary, canonicalNans)));
    if (again > allowed) return { kind: "slow", detail: `${again.toFixed(1)} ms for ${binary.length} bytes` };
  }
  if (metered === undefined || validate === undefined) return undefined;
  const before = validate(Uint8Array.from(binary));
  const after = validate(metered);
  if (before === after) return undefined;
  return {
    kind: after ? "became-valid" : "became-invalid",
    detail: "the engine judges the rewritten binary otherwise",
  };
}

/**
 * Mutates binaries and rewrites them. Nothing but `Refusal` may be thrown, bytes around the binary may not matter (tried
 * on every fifth), and the time must stay linear. Ends early after 20 failures.
 */
export async function fuzzWasm(options: WasmFuzzOptions): Promise<WasmFuzzResult> {
  const corpus = options.corpus ?? suiteCorpus().filter((binary) => run([...binary], 0, false).metered !== undefined);
  const random = randomSource(options.seed);
  const failures: WasmFuzzFailure[] = [];
  let accepted = 0;
  let slowestMs = 0;
  let index = 0;
  for (; index < options.count && failures.length < 20; index += 1) {
    const binary = [...(corpus[random(corpus.length)] ?? [])];
    const kinds = random(2) === 0 ? 3 : 8;
    for (let left = 1 + random(random(4) === 0 ? 12 : 2); left > 0; left -= 1) mutate(binary, kinds, corpus, random);
    const canonicalNans = asksForNans(index);
    const outcome = run(binary, 0, canonicalNans);
    if (outcome.metered !== undefined) accepted += 1;
    slowestMs = Math.max(slowestMs, outcome.ms);
    let fault = inspect(binary, outcome, options.validate, canonicalNans);
    // Five is no multiple of four: both sorts are tried.
    if (fault === undefined && index % 5 === 0 && describe(outcome) !== describe(run(binary, 0xff, canonicalNans))) {
      fault = { kind: "over-read", detail: describe(outcome) };
    }
    if (fault !== undefined) failures.push({ index, ...fault, binary: Buffer.from(binary).toString("base64") });
    if (index % 10_000 === 9999) {
      options.onProgress?.(index + 1);
      // Lets a progress bar be drawn and Ctrl-C be heard.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return { count: index, refused: index - accepted, accepted, slowestMs, failures };
}
