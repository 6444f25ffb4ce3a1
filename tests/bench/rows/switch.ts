/** A switch between two handlers at the end of a slice, beside a bare suspension under JavaScript Promise Integration. */
import { watModule } from "../../support/modules.ts";
import { bareSuspensions } from "../baselines/wasm.ts";
import { PAYLOAD_AT, PORT, Product, REPORT_IMPORT, SCRATCH_AT } from "../product.ts";
import type { BenchRow, Contestant } from "../statistics.ts";
import { cpuNanoseconds, durationRow, inTurns, median } from "../statistics.ts";

/** Fuel of a slice where switches are many, and where they are too few to matter. */
const SHORT_SLICE = 2000;
const LONG_SLICE = 2_000_000;
const SPINNERS = ["left", "right"];

/** Runs an empty loop as often as the event says, then reports. */
const SPINNER = watModule(
  REPORT_IMPORT,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
     (if (i32.ne (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (local.set $n (i32.load (i32.const ${PAYLOAD_AT})))
     (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
     (drop (call $report (i32.const ${SCRATCH_AT}) (i32.const 4)))
     (i64.const 0))`,
);

async function startSpinners(sliceFuel: number): Promise<Product> {
  const product = await Product.start(["main"], { sliceFuel });
  for (const name of SPINNERS) await product.load(name, { wat: SPINNER, reports: true, blocking: true });
  product.kernel.begin();
  return product;
}

async function fuelOf(product: Product): Promise<number> {
  const rows = await product.kernel.top();
  return rows.reduce((sum, { fuel }) => sum + fuel, 0);
}

/** The same loops with many switches and with few: the difference of their times is the switches' cost. */
export async function measureSwitch(quick: boolean): Promise<BenchRow[]> {
  const loops = quick ? 5_000_000 : 20_000_000;
  const suspensions = quick ? 100_000 : 500_000;
  const short = await startSpinners(SHORT_SLICE);
  const long = await startSpinners(LONG_SLICE);
  const bare = bareSuspensions();
  const contestant = (name: string, product: Product): Contestant => ({
    name,
    sample: () => cpuNanoseconds(1, () => product.batch(SPINNERS, loops)),
  });
  const before = await fuelOf(short);
  await short.batch(SPINNERS, loops);
  const switches = ((await fuelOf(short)) - before) / SHORT_SLICE;
  const contestants = [
    contestant("short slices", short),
    contestant("long slices", long),
    { name: "bare", sample: () => cpuNanoseconds(suspensions, () => bare(suspensions)) },
  ];
  const [many = [], few = [], alone = []] = await inTurns(contestants, quick ? 8 : 40);
  await Promise.all([short.stop(), long.stop()]);
  const unswitched = median(few);
  const own = many.map((time) => (time - unswitched) / switches);
  const frame = { name: "sched.switch", unit: "ns", clock: "cpu" } as const;
  return [durationRow(frame, ["", "bare suspension and resumption (JSPI)"], [own, alone])];
}
