/** Messages a second through a mailbox, to a direct and to a blocking module, with counters and policy on. */
import { EventEmitter } from "node:events";
import { watModule } from "../../support/modules.ts";
import { Peer } from "../baselines/threads.ts";
import { MESSAGE_BYTES, PAYLOAD_AT, PORT, Product, REPORTER, SCRATCH_AT, SEND_IMPORT } from "../product.ts";
import type { BenchRow, Contestant } from "../statistics.ts";
import { cpuNanoseconds, inTurns, rateRow } from "../statistics.ts";

/** Messages on their way between the two modules at any time. */
const CIRCULATING = 16;
const COUNT_AT = SCRATCH_AT - 8;

/**
 * Hands each message on to `out`. The event `go` says how many: when that many have passed here, the end is told on
 * `done` and the rest of the circle is swallowed.
 */
const CIRCULATOR = watModule(
  `${SEND_IMPORT}(import "done" "send" (func $done (param i32 i32 i32 i32) (result i32)))`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64) (local $n i32)
     (if (i32.gt_u (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (if (i32.eq (local.get $port) (i32.const ${PORT.go})) (then
       (i32.store (i32.const ${COUNT_AT}) (i32.load (i32.const ${PAYLOAD_AT})))
       (local.set $n (i32.const ${CIRCULATING}))
       (loop $again
         (drop (call $send (i32.const ${SCRATCH_AT}) (i32.const ${MESSAGE_BYTES}) (i32.const 0) (i32.const 0)))
         (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
       (return (i64.const 0))))
     (local.set $n (i32.sub (i32.load (i32.const ${COUNT_AT})) (i32.const 1)))
     (i32.store (i32.const ${COUNT_AT}) (local.get $n))
     (if (i32.gt_s (local.get $n) (i32.const 0)) (then
       (drop (call $send (i32.const ${PAYLOAD_AT}) (local.get $length) (i32.const 0) (i32.const 0)))
       (return (i64.const 0))))
     (if (i32.eqz (local.get $n)) (then
       (drop (call $done (i32.const ${PAYLOAD_AT}) (i32.const 4) (i32.const 0) (i32.const 0)))))
     (i64.const 0))`,
);

/** Sends every message back where it came from. */
const RETURNER = watModule(
  SEND_IMPORT,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (if (i32.eqz (local.get $port)) (then
       (drop (call $send (i32.const ${PAYLOAD_AT}) (local.get $length) (i32.const 0) (i32.const 0)))))
     (i64.const 0))`,
);

export async function startCircle(blocking: boolean, record = false): Promise<Product> {
  const product = await Product.start();
  await product.load("reporter", REPORTER);
  await product.load("first", {
    spec: { record },
    wat: CIRCULATOR,
    out: "second.in",
    rights: ["send"],
    blocking,
    slots: { done: { interface: "endpoint", rights: ["send"], port: null } },
    grants: [
      {
        slot: "done",
        interface: "endpoint",
        to: [{ module: "reporter", port: "in" }],
        rights: ["send"],
        badge: 1,
        depth: 4,
        overflow: "refuse",
      },
    ],
  });
  await product.load("second", { spec: { record }, wat: RETURNER, out: "first.in", rights: ["send"], blocking });
  product.kernel.begin();
  return product;
}

/** Each round of the circle is two messages: to the second module and back to the first. */
export function circleContestant(name: string, product: Product, rounds: number): Contestant {
  return {
    name,
    sample: () =>
      cpuNanoseconds(rounds * 2, async () => {
        const ended = product.report("reporter");
        const payload = new Uint8Array(MESSAGE_BYTES);
        new DataView(payload.buffer).setUint32(0, rounds, true);
        product.trigger("first", payload);
        await ended;
      }),
  };
}

/** The listener keeps a copy and looks into it, as a receiver that owns its message would. */
function emit(count: number): void {
  const emitter = new EventEmitter();
  let sum = 0;
  emitter.on("message", (message: Uint8Array) => {
    sum += message[0] ?? 0;
  });
  const message = new Uint8Array(MESSAGE_BYTES).fill(1);
  for (let index = 0; index < count; index++) emitter.emit("message", message.slice());
  if (sum !== count) throw new Error("the baseline lost messages");
}

export async function measureSends(quick: boolean): Promise<BenchRow[]> {
  const rounds = quick ? 50_000 : 250_000;
  const emitted = quick ? 200_000 : 1_000_000;
  const flooded = quick ? 10_000 : 50_000;
  const peer = new Peer();
  const direct = await startCircle(false);
  const blocking = await startCircle(true);
  const contestants = [
    circleContestant("direct", direct, rounds),
    circleContestant("blocking", blocking, rounds),
    {
      name: "EventEmitter with a copied buffer",
      sample: () =>
        cpuNanoseconds(emitted, () => {
          emit(emitted);
        }),
    },
    { name: "MessageChannel one way", sample: () => cpuNanoseconds(flooded, () => peer.flood(flooded)) },
  ];
  const [toDirect = [], toBlocking = [], emitter = [], channel = []] = await inTurns(
    contestants,
    quick ? 5 : 30,
    quick ? 2 : 3,
  );
  await Promise.all([direct.stop(), blocking.stop(), peer.stop()]);
  const names = ["", "EventEmitter with a copied buffer", "MessageChannel one way"];
  return [
    rateRow({ name: "ipc.send.direct.64B", unit: "1/s", clock: "cpu" }, names, [toDirect, emitter, channel]),
    rateRow({ name: "ipc.send.blocking.64B", unit: "1/s", clock: "cpu" }, names, [toBlocking, emitter, channel]),
  ];
}
