/** Measures how long fuel takes on this machine, so that a slice is 200 µs or less. */
import { LIMITS } from "../limits.ts";
import { Assembly, assemble, bodies, FUNCTION_TYPE, I32, I64, OP } from "./assembly.ts";
import { ByteWriter } from "./bytes.ts";
import { compileOwn, instantiateModule } from "./engine.ts";
import { METER_MODULE, meter } from "./meter.ts";

const SLICE_NANOSECONDS = 200_000;
/** Runs of some microseconds each: the fastest is the one that nothing interrupted. */
const RUNS = 40;
const ROUNDS = 1000;
const PLENTY = 1_000_000;

/** `run(n)`: n divisions in a row, each by the result of the one before, as costly as instructions of one fuel get. */
function makeLoop(): Uint8Array<ArrayBuffer> {
  const [n, x] = [0, 1];
  const code = new Assembly(64).raw(1, 1, I64, OP.loop, OP.empty);
  // x = (2^56 - 1) / (n | x) + 2^40
  code.raw(OP.i64Const, ...new Uint8Array(8).fill(0xff), 0x00);
  code.get(n).raw(OP.i64ExtendUnsigned).get(x).raw(OP.i64Or, OP.i64DivideUnsigned);
  code.raw(OP.i64Const, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, OP.i64Add).set(x);
  code.get(n).constant(1).raw(OP.i32Subtract).tee(n).raw(OP.brIf, 0, OP.end).get(x);
  return assemble([
    [1, new ByteWriter().raw(1, FUNCTION_TYPE, 1, I32, 1, I64)],
    [3, new ByteWriter().raw(1, 0)],
    [7, new ByteWriter().u32(1).name("run").raw(0, 0)],
    bodies(code),
  ]);
}

/** Nanoseconds that one fuel takes here: of the fastest of many short runs. */
export function measureFuel(now: () => number): number {
  const never = (): never => {
    throw new RangeError("the measurement has its fuel");
  };
  const imports = { [METER_MODULE]: { exhausted: never, overflow: never } };
  // SAFETY: the loop exports `run`, the rewriter the others.
  const exports = instantiateModule(compileOwn(meter(makeLoop())), imports).exports as unknown as {
    run: (rounds: number) => bigint;
    "bulkhead:arm": (fuel: number, depth: number) => void;
    "bulkhead:remaining": () => number;
  };
  let least = Infinity;
  for (let run = 0; run < RUNS; run++) {
    exports["bulkhead:arm"](PLENTY, LIMITS.stackBytes);
    const started = now();
    exports.run(ROUNDS);
    least = Math.min(least, ((now() - started) * 1e6) / (PLENTY - exports["bulkhead:remaining"]()));
  }
  return least;
}

/** Fuel of a slice of 200 µs; never more than manifests count with, and never so little that switches are most of the work. */
export function sliceFuel(nanosecondsPerFuel: number): number {
  const fuel = Math.floor(SLICE_NANOSECONDS / nanosecondsPerFuel);
  return Math.max(Math.min(fuel, LIMITS.sliceFuel), LIMITS.sliceFuel / 16);
}
