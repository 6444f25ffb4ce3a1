/** Random programs cannot tell whether they are metered or recorded, nor in what slices; fuel is the same in all of them. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_METER_OPTIONS, meter } from "../../kernel/wasm/meter.ts";
import { makeProgram } from "./programs.ts";
import { chooser, compileWat, type MeteredExports, promising, suspending } from "./support.ts";
import { patiently, repeatedly } from "../support/patience.ts";

const DEPTH = 600_000;
const PLENTY = 1_000_000_000;

interface Run {
  readonly outcome: unknown;
  readonly used?: number;
  readonly depthLeft?: number;
}

type Call = (first: number, second: number) => unknown;

function observe(exports: WebAssembly.Exports, outcomes: unknown[]): unknown {
  const memory = exports["memory"] as WebAssembly.Memory;
  const global = exports["g"] as WebAssembly.Global<"i32">;
  let sum = 0;
  for (const word of new Uint32Array(memory.buffer)) sum = (Math.imul(sum, 31) + word) | 0;
  return { outcomes, pages: memory.buffer.byteLength >> 16, sum, g: global.value };
}

function say(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : "thrown";
}

async function callAll(
  exports: WebAssembly.Exports,
  call: (target: Call) => unknown,
  rearm: () => void,
): Promise<unknown> {
  const outcomes: unknown[] = [];
  for (const name of ["f0", "f1", "f2", "f3", "f4"]) {
    rearm();
    try {
      outcomes.push(await call(exports[name] as Call));
    } catch (error) {
      outcomes.push(say(error));
    }
  }
  return observe(exports, outcomes);
}

function refill(exports: WebAssembly.Exports): void {
  (exports["steps"] as WebAssembly.Global<"i32">).value = 400;
}

async function runPlain(binary: Uint8Array<ArrayBuffer>): Promise<Run> {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary), {});
  return {
    outcome: await callAll(
      exports,
      (target) => target(3, 5),
      () => {
        refill(exports);
      },
    ),
  };
}

/** `slice` 0 runs without a pause; otherwise every slice ends in a suspension, and debt is carried on. */
async function runMetered(binary: Uint8Array<ArrayBuffer>, slice: number, isRecorded = false): Promise<Run> {
  let granted = 0;
  const unbalanced: string[] = [];
  const hold: { exports?: MeteredExports } = {};
  const exhausted = async (): Promise<void> => {
    await Promise.resolve();
    if (hold.exports === undefined || slice === 0) throw new Error("exhausted");
    granted += slice;
    hold.exports["bulkhead:fuel"].value += slice;
  };
  const overflow = (): void => {
    throw new Error("overflow");
  };
  const grow = (pages: number): number => {
    try {
      return (hold.exports?.["memory"] as WebAssembly.Memory).grow(pages >>> 0);
    } catch {
      return -1;
    }
  };
  const imports = {
    "bulkhead:meter": { exhausted: slice === 0 ? overflow : suspending(exhausted), overflow, full: overflow, grow },
  };
  const options = { ...DEFAULT_METER_OPTIONS, recorded: isRecorded ? [] : undefined };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(meter(binary, options)), imports);
  const exports = instance.exports as MeteredExports;
  hold.exports = exports;
  const start = slice === 0 ? PLENTY : slice;
  let used = 0;
  const call = async (target: Call): Promise<unknown> => {
    granted = start;
    const result = await (slice === 0 ? target(3, 5) : promising(target)(3, 5));
    // Only a call that returned has given back its stack; after a trap the host arms anew.
    if (exports["bulkhead:depth"].value !== DEPTH) unbalanced.push(String(exports["bulkhead:depth"].value));
    return result;
  };
  const outcome = await callAll(
    exports,
    async (target) => {
      try {
        return await call(target);
      } finally {
        used += granted - exports["bulkhead:remaining"]();
      }
    },
    () => {
      refill(exports);
      exports["bulkhead:arm"](start, DEPTH);
    },
  );
  expect(unbalanced).toEqual([]);
  return { outcome, used };
}

describe("random programs", () => {
  it("come to the same results, traps, memory and fuel, metered, recorded or not, and in whatever slices", {
    timeout: patiently(120_000),
  }, async () => {
    const runs = Number(process.env["BULKHEAD_PROGRAMS"] ?? 150);
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const binary = await compileWat(makeProgram(chooser(seed)));
        const plain = await runPlain(binary);
        const whole = await runMetered(binary, 0);
        expect(whole.outcome).toEqual(plain.outcome);
        for (const slice of [0, 1, 7, 1000]) {
          const sliced = await runMetered(binary, slice, slice === 0 || slice === 1000);
          expect(sliced.outcome).toEqual(plain.outcome);
          expect(sliced.used).toBe(whole.used);
        }
      }),
      { numRuns: repeatedly(runs), seed: 20_261_121, endOnFailure: true },
    );
  });
});
