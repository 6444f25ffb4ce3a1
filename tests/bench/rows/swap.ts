/** How long a module takes no messages while it is replaced under load, and whether any message is lost by it. */
import { setTimeout as pause } from "node:timers/promises";
import { admitModule } from "../../../kernel/index.ts";
import type { AdmittedModule } from "../../../kernel/index.ts";
import { moduleBinary, watBinary, watModule } from "../../support/modules.ts";
import { describeModule, PAYLOAD_AT, PORT, Product, SEND_IMPORT } from "../product.ts";
import type { Load } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow } from "../statistics.ts";

/** Messages of each tick of a millisecond: 100,000 a second. */
const BURST = 100;
const DEPTH = 60_000;
/** Swaps come at any time between two ticks. */
const BETWEEN_MS = 3;
const SENT_AT = 8000;
const COUNT_AT = 60_000;

/** Each millisecond it sends numbered messages, so many that the rate holds even where ticks were missed. */
const SOURCE = watModule(
  `${SEND_IMPORT}(import "timer" "every" (func $every (param i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
     (if (i32.gt_u (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (if (i32.eq (local.get $port) (i32.const ${PORT.go})) (then (drop (call $every (i32.const 1))) (return (i64.const 0))))
     (local.set $n (i32.const ${BURST}))
     (loop $again
       (if (i32.eqz (call $send (i32.const ${SENT_AT}) (i32.const 64) (i32.const 0) (i32.const 0)))
         (then (i32.store (i32.const ${SENT_AT}) (i32.add (i32.load (i32.const ${SENT_AT})) (i32.const 1)))))
       (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
     (i64.const 0))`,
);

/** Traps where a message is not the successor of the one before; its number is the state that a swap hands on. */
function sink(version: number): string {
  return watModule(
    "",
    `(global (export "version") i32 (i32.const ${version}))
     (func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.ne (local.get $port) (i32.const ${PORT.in})) (then (return (i64.const 0))))
       (if (i32.ne (i32.load (i32.const ${PAYLOAD_AT})) (i32.load (i32.const ${COUNT_AT}))) (then unreachable))
       (i32.store (i32.const ${COUNT_AT}) (i32.add (i32.load (i32.const ${COUNT_AT})) (i32.const 1)))
       (i64.const 0))
     (func (export "bulkhead_save") (result i64)
       (i64.or (i64.shl (i64.const ${COUNT_AT}) (i64.const 32)) (i64.const 4)))
     (func (export "bulkhead_state") (param i32) (result i32) (i32.const ${COUNT_AT}))
     (func (export "bulkhead_restore") (param i32 i32) (result i32) (i32.const 0))`,
  );
}

async function admitVersion(version: number): Promise<AdmittedModule> {
  const { spec, manifest } = describeModule("sink", sinkLoad(version));
  return await admitModule(moduleBinary(sink(version), manifest), spec);
}

function sinkLoad(version: number): Load {
  return { wat: sink(version), manifest: { state: 64 } };
}

/** Milliseconds that a bare instantiation of the same module takes. */
function bareInstantiation(module: WebAssembly.Module): number {
  const started = performance.now();
  const instance = new WebAssembly.Instance(module, {});
  return instance.exports["memory"] === undefined ? Number.NaN : performance.now() - started;
}

/** Messages that the sink has handled so far, in all its versions. */
async function handled(product: Product): Promise<number> {
  const rows = await product.kernel.top();
  return rows.find(({ name }) => name === "sink")?.activations ?? 0;
}

export async function measureSwapPause(quick: boolean): Promise<BenchRow[]> {
  const swaps = quick ? 20 : 1000;
  const product = await Product.start();
  await product.load("sink", sinkLoad(0));
  await product.load("source", { wat: SOURCE, out: "sink.in", rights: ["send"], depth: DEPTH, timer: true });
  product.kernel.begin();
  product.trigger("source", new Uint8Array(4));
  const versions = [await admitVersion(1), await admitVersion(2)];
  const bareModule = new WebAssembly.Module(Uint8Array.from(watBinary(sink(3))));
  let fault: Error | undefined;
  product.onEvent((event) => {
    if (event.type === "fault") fault = new Error(`a message was lost or overtaken: ${event.text}`);
  });
  const pauses: number[] = [];
  const bare: number[] = [];
  const before = await handled(product);
  const since = performance.now();
  for (let round = -2; round < swaps; round++) {
    await pause(BETWEEN_MS);
    const admitted = versions[(round + 2) % 2];
    if (admitted === undefined) continue;
    const { pauseMs } = await product.kernel.swap([{ name: "sink", admitted }]);
    const committed = product.next((event) => event.type === "committed");
    product.kernel.settle(["sink"], true);
    await committed;
    if (fault !== undefined) throw fault;
    if (round < 0) continue;
    pauses.push(pauseMs);
    bare.push(bareInstantiation(bareModule));
  }
  const rate = Math.round(((await handled(product)) - before) / (performance.now() - since));
  await product.stop();
  if (rate === 0) throw new Error("no messages came while modules were swapped");
  const note = `under ${rate},000 messages a second; none lost, none overtaken, or the row fails`;
  const frame = { name: "swap.pause", unit: "ms", clock: "wall", note } as const;
  return [durationRow(frame, ["", "bare instantiation"], [pauses, bare])];
}
