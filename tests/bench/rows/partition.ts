/** Calls between modules of two partitions, 64 bytes each way, beside raw Atomics and a MessageChannel. */
import { ECHO, watModule } from "../../support/modules.ts";
import { Peer } from "../baselines/threads.ts";
import { CALLER_WAT, checkReplies, Product } from "../product.ts";
import type { BenchRow, Clock } from "../statistics.ts";
import { durationRow, inTurns, nanoseconds, placement } from "../statistics.ts";

/** On one processor the processor's time is the delay of a quiet machine; on several, waiting belongs to the figure. */
export async function measurePartitionCalls(quick: boolean): Promise<BenchRow[]> {
  const where = placement();
  const clock: Clock = where === "pinned" ? "cpu" : "wall";
  const calls = quick ? 2000 : 10_000;
  const peer = new Peer();
  const product = await Product.start(["main", "other"]);
  await product.load("echo", { wat: watModule("", ECHO), spec: { partition: "other" } });
  await product.load("caller", { wat: CALLER_WAT, out: "echo.in", reports: true, blocking: true });
  product.kernel.begin();
  const names = ["the product", "raw Atomics.wait and notify, there and back", "MessageChannel round trip"];
  const samplers = [
    async () => {
      checkReplies(await product.batch(["caller"], calls));
    },
    () => {
      peer.pingPong(calls);
    },
    () => peer.roundTrips(calls),
  ];
  const contestants = samplers.map((sample, index) => ({
    name: names[index] ?? "",
    sample: async () => {
      if (index === 1) await peer.ready(calls);
      return await nanoseconds(clock, calls, sample);
    },
  }));
  const samples = await inTurns(contestants, quick ? 8 : 40);
  await Promise.all([product.stop(), peer.stop()]);
  return [durationRow({ name: `ipc.call.partition.64B.${where}`, unit: "ns", clock }, names, samples)];
}
