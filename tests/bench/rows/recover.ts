/** How soon a module serves again after a trap, after an endless loop, and after the loss of its partition. */
import { watModule } from "../../support/modules.ts";
import { bareWorkerMilliseconds } from "../baselines/threads.ts";
import { CALL_IMPORT, CLOCK_IMPORT, PAYLOAD_AT, PORT, Product, REPORT_IMPORT, SCRATCH_AT } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow } from "../statistics.ts";

/** First byte of what the victim is sent: what it is to do. */
const ORDER = Object.freeze({ echo: 0, trap: 1, loop: 2 } as const);
/** What a looping victim may use: about a millisecond. */
const LOOP_FUEL = 1_000_000;
const REPLY_AT = 9000;
const SPARE_START_MS = 300;
/** A caller that has lost its peer asks again, and does not wait long for one answer. */
const RETRY_MS = 100;

const VICTIM = watModule(
  "",
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (if (i32.ne (local.get $port) (i32.const ${PORT.in})) (then (return (i64.const 0))))
     (if (i32.eq (i32.load8_u (i32.const ${PAYLOAD_AT})) (i32.const ${ORDER.trap})) (then unreachable))
     (if (i32.eq (i32.load8_u (i32.const ${PAYLOAD_AT})) (i32.const ${ORDER.loop})) (then (loop $l (br $l))))
     (i64.or (i64.shl (i64.const ${PAYLOAD_AT}) (i64.const 32)) (i64.extend_i32_u (local.get $length))))`,
);

/** Sends the order of the event, then calls until it is served, and reports the times of: order, its failure, service. */
const PROBER = watModule(
  `${REPORT_IMPORT}${CALL_IMPORT}${CLOCK_IMPORT}`,
  `(func $try (result i32)
     (call $call (i32.const ${REPLY_AT + 100}) (i32.const 8) (i32.const ${REPLY_AT}) (i32.const 64)
       (i32.const ${RETRY_MS})))
   (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (if (i32.ne (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (i64.store (i32.const ${SCRATCH_AT}) (call $now))
     (drop (call $call (i32.const ${PAYLOAD_AT}) (i32.const 8) (i32.const ${REPLY_AT}) (i32.const 64) (i32.const 30000)))
     (i64.store (i32.const ${SCRATCH_AT + 8}) (call $now))
     (loop $again (br_if $again (i32.ne (call $try) (i32.const 8))))
     (i64.store (i32.const ${SCRATCH_AT + 16}) (call $now))
     (drop (call $report (i32.const ${SCRATCH_AT}) (i32.const 24)))
     (i64.const 0))`,
);

interface Recovery {
  /** Milliseconds from the order to its failure, and from there to the next service. */
  readonly failed: number;
  readonly served: number;
}

async function recover(product: Product, order: number): Promise<Recovery> {
  const payload = new Uint8Array(8);
  payload[0] = order;
  const report = product.report("prober");
  product.trigger("prober", payload);
  const bytes = await report;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const [ordered = 0n, failed = 0n, served = 0n] = [0, 8, 16].map((at) => view.getBigInt64(at, true));
  return { failed: Number(failed - ordered) / 1e6, served: Number(served - failed) / 1e6 };
}

async function start(partitions: readonly string[], spare = false): Promise<Product> {
  const product = await Product.start(partitions, { spare });
  product.tolerateFaults();
  // Restarted at once however often it fails: what is measured is a first failure, many times.
  const restart = { policy: "restart", intensity: 1e9, windowMs: 1, backoffMs: 0, maximumBackoffMs: 0 } as const;
  const spec = { partition: partitions.at(-1) ?? "main", restart };
  await product.load("victim", { wat: VICTIM, blocking: true, manifest: { fuel: LOOP_FUEL }, spec });
  await product.load("prober", { wat: PROBER, out: "victim.in", reports: true, clock: true, blocking: true });
  product.kernel.begin();
  return product;
}

async function measureFault(name: string, order: number, count: number, workers: number[]): Promise<BenchRow> {
  const product = await start(["main"]);
  const served: number[] = [];
  const failed: number[] = [];
  const bare: number[] = [];
  for (let round = -2; round < count; round++) {
    const recovery = await recover(product, order);
    if (round < 0) continue;
    served.push(recovery.served);
    failed.push(recovery.failed);
    // A worker takes many times as long: a few beside the failures are enough.
    if (round % 10 === 0) workers.push(await bareWorkerMilliseconds());
    bare.push(workers.at(-1) ?? Number.NaN);
  }
  await product.stop();
  const names = ["", "creation of a bare worker", "from the order to the caller's error"];
  return durationRow({ name, unit: "ms", clock: "wall" }, names, [served, bare, failed]);
}

/** Until the thread that waits for a loss, as a gateway is configured by default, is there. */
async function untilSpare({ kernel }: Product): Promise<void> {
  while (!kernel.hasSpare) await new Promise((resolve) => setTimeout(resolve, 10));
  // It has been made, and starts.
  await new Promise((resolve) => setTimeout(resolve, SPARE_START_MS));
}

/**
 * From the freeze to the next service, a spare thread ready: how it is found stuck is part of it. Each round has a kernel
 * of its own, whose first loss it is: later ones wait for their backoff.
 */
async function measurePartition(count: number): Promise<BenchRow> {
  const served: number[] = [];
  const found: number[] = [];
  const bare: number[] = [];
  while (served.length < count) {
    const worker = await bareWorkerMilliseconds();
    const product = await start(["main", "victims"], true);
    await recover(product, ORDER.echo);
    await untilSpare(product);
    let lostAt = 0;
    product.onEvent((event) => {
      if (event.type === "partition-lost") lostAt = performance.now();
    });
    const frozenAt = performance.now();
    product.kernel.freezePartition("victims");
    await recover(product, ORDER.echo);
    const servedAt = performance.now();
    // The call may have been served just before the freeze.
    if (lostAt !== 0) {
      served.push(servedAt - frozenAt);
      found.push(servedAt - lostAt);
      bare.push(worker);
    }
    await product.stop();
  }
  const frame = { name: "recover.partition", unit: "ms", clock: "wall" } as const;
  return durationRow(
    frame,
    ["", "creation of a bare worker", "of it, after it was found stuck"],
    [served, bare, found],
  );
}

export async function measureRecovery(quick: boolean): Promise<BenchRow[]> {
  const workers: number[] = [await bareWorkerMilliseconds()];
  const faults = quick ? 30 : 300;
  return [
    await measureFault("recover.trap", ORDER.trap, faults, workers),
    await measureFault("recover.loop", ORDER.loop, faults, workers),
    await measurePartition(quick ? 3 : 25),
  ];
}
