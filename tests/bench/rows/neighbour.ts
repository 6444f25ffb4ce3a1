/** What a spinning module does to the timer of its neighbour: delays of 1 kHz ticks with it and without. */
import { watModule } from "../../support/modules.ts";
import { CLOCK_IMPORT, PAYLOAD_AT, PORT, Product, REPORT_IMPORT, SCRATCH_AT } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { percentile, placement } from "../statistics.ts";

const PERIOD_NS = 1_000_000;
/** Fuel of the spinner's loop for each millisecond that the ticks take, with plenty to spare. */
const SPIN_LOOPS = 0x7fff_ffff;
const TICKED_AT = SCRATCH_AT - 8;
const WANTED_AT = SCRATCH_AT - 4;

/** Notes the time of each tick; after as many as the event said it stops its timer and reports all times. */
const TICKER = watModule(
  `${REPORT_IMPORT}${CLOCK_IMPORT}
   (import "timer" "every" (func $every (param i32) (result i32)))
   (import "timer" "cancel" (func $cancel (result i32)))`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
     (if (i32.gt_u (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (if (i32.eq (local.get $port) (i32.const ${PORT.go})) (then
       (i32.store (i32.const ${TICKED_AT}) (i32.const 0))
       (i32.store (i32.const ${WANTED_AT}) (i32.load (i32.const ${PAYLOAD_AT})))
       (drop (call $every (i32.const 1)))
       (return (i64.const 0))))
     (local.set $n (i32.load (i32.const ${TICKED_AT})))
     (i64.store (i32.add (i32.const ${SCRATCH_AT}) (i32.shl (local.get $n) (i32.const 3))) (call $now))
     (local.set $n (i32.add (local.get $n) (i32.const 1)))
     (i32.store (i32.const ${TICKED_AT}) (local.get $n))
     (if (i32.eq (local.get $n) (i32.load (i32.const ${WANTED_AT}))) (then
       (drop (call $cancel))
       (drop (call $report (i32.const ${SCRATCH_AT}) (i32.shl (local.get $n) (i32.const 3))))))
     (i64.const 0))`,
);

/** Spins for as long as its neighbour ticks: until it is restarted. */
const SPINNER = watModule(
  "",
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
     (if (i32.ne (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (local.set $n (i32.const ${SPIN_LOOPS}))
     (loop $outer (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (br $outer))
     (i64.const 0))`,
);

/** By how many nanoseconds each tick came later after the one before it than it should have. */
function delays(report: Uint8Array): number[] {
  const view = new DataView(report.buffer, report.byteOffset, report.byteLength);
  const times = Array.from({ length: report.byteLength / 8 }, (_, index) => Number(view.getBigInt64(index * 8, true)));
  return times.slice(1).map((time, index) => Math.max(0, time - (times[index] ?? time) - PERIOD_NS));
}

/** Both modules have the same priority, so nothing but the slice protects the one that ticks. */
export async function measureNeighbourDelay(quick: boolean): Promise<BenchRow[]> {
  const pieces = quick ? 3 : 20;
  const ticks = quick ? 500 : 1000;
  const product = await Product.start();
  await product.load("ticker", { wat: TICKER, reports: true, clock: true, timer: true, blocking: true });
  await product.load("spinner", { wat: SPINNER, blocking: true });
  product.kernel.begin();
  const alone: number[] = [];
  const beside: number[] = [];
  for (let piece = 0; piece < pieces; piece++) {
    for (const [report] of [await product.batch(["ticker"], ticks)]) alone.push(...delays(report ?? new Uint8Array(0)));
    product.trigger("spinner", new Uint8Array(4));
    for (const [report] of [await product.batch(["ticker"], ticks)])
      beside.push(...delays(report ?? new Uint8Array(0)));
    const loaded = product.next((event) => event.type === "loaded");
    product.kernel.restart("spinner");
    await loaded;
  }
  await product.stop();
  const micro = (samples: readonly number[], share: number): number => percentile(samples, share) / 1000;
  const without = micro(alone, 0.999);
  return [
    {
      name: "sched.neighbour-delay",
      value: Math.max(0, micro(beside, 0.999) - without),
      unit: "us",
      p50: micro(beside, 0.5),
      p99: micro(beside, 0.99),
      baseline: [
        { name: "p99.9 without the spinner", value: without },
        { name: "p99.9 with it", value: micro(beside, 0.999) },
      ],
      ratio: micro(beside, 0.999) / without,
      clock: "wall",
      placement: placement(),
      note: "value: added p99.9",
    },
  ];
}
