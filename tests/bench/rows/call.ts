/** Calls between two modules of one partition, 64 bytes each way, beside a bare Wasm call and a MessageChannel. */
import { ECHO, watModule } from "../../support/modules.ts";
import { bareCalls } from "../baselines/wasm.ts";
import { Peer } from "../baselines/threads.ts";
import { CALLER_WAT, checkReplies, Product } from "../product.ts";
import type { BenchRow, Contestant } from "../statistics.ts";
import { cpuNanoseconds, durationRow, inTurns } from "../statistics.ts";

const BARE_CALLS = 5_000_000;
/** Loading hundreds of modules one by one keeps a partition busy with link orders for longer than it may be silent. */
export const LOADING_MS = 60_000;

/** Loads pairs of a caller and a direct module that answers it. @returns the callers' names. */
export async function loadPairs(product: Product, pairs: number): Promise<string[]> {
  const callers: string[] = [];
  for (let pair = 0; pair < pairs; pair++) {
    await product.load(`echo${pair}`, { wat: watModule("", ECHO) });
    await product.load(`caller${pair}`, { wat: CALLER_WAT, out: `echo${pair}.in`, reports: true, blocking: true });
    callers.push(`caller${pair}`);
  }
  product.kernel.begin();
  return callers;
}

/** Processor time of a call: `calls` of them, shared out among the callers, all under way at once. */
export function callContestant(name: string, product: Product, callers: readonly string[], calls: number): Contestant {
  const each = Math.ceil(calls / callers.length);
  return {
    name,
    sample: () =>
      cpuNanoseconds(each * callers.length, async () => {
        checkReplies(await product.batch(callers, each));
      }),
  };
}

export async function measureCalls(quick: boolean): Promise<BenchRow[]> {
  // The event that starts a batch, and its report, cross threads: beside so many calls they weigh nothing.
  const calls = quick ? 500_000 : 1_000_000;
  const trips = quick ? 500 : 2000;
  const peer = new Peer();
  const bare = bareCalls();
  const one = await Product.start();
  const many = await Product.start(["main"], { stuckMs: LOADING_MS });
  const contestants = [
    callContestant("one pair", one, await loadPairs(one, 1), calls),
    callContestant("200 pairs", many, await loadPairs(many, 200), calls),
    {
      name: "bare cross-instance Wasm call",
      sample: () =>
        cpuNanoseconds(BARE_CALLS, () => {
          bare(BARE_CALLS);
        }),
    },
    {
      name: "MessageChannel round trip",
      sample: () => cpuNanoseconds(trips, () => peer.roundTrips(trips)),
    },
  ];
  const [single = [], pairs = [], wasm = [], channel = []] = await inTurns(contestants, quick ? 5 : 30, quick ? 2 : 3);
  await Promise.all([one.stop(), many.stop(), peer.stop()]);
  const names = ["", "bare cross-instance Wasm call", "MessageChannel round trip"];
  return [
    durationRow({ name: "ipc.call.direct.64B", unit: "ns", clock: "cpu" }, names, [single, wasm, channel]),
    durationRow({ name: "ipc.call.direct.64B.pairs200", unit: "ns", clock: "cpu" }, names, [pairs, wasm, channel]),
  ];
}
