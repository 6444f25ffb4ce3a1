/** What recording costs a message to a blocking module: the circle of `ipc.send.blocking.64B`, recorded and not. */
import type { BenchRow } from "../statistics.ts";
import { durationRow, inTurns } from "../statistics.ts";
import { circleContestant, startCircle } from "./send.ts";

export async function measureRecording(quick: boolean): Promise<BenchRow[]> {
  const rounds = quick ? 50_000 : 250_000;
  const recorded = await startCircle(true, true);
  const plain = await startCircle(true, false);
  const contestants = [circleContestant("recorded", recorded, rounds), circleContestant("not", plain, rounds)];
  const samples = await inTurns(contestants, quick ? 5 : 30, quick ? 2 : 3);
  await Promise.all([recorded.stop(), plain.stop()]);
  return [durationRow({ name: "record.overhead", unit: "ns", clock: "cpu" }, ["", "not recorded"], samples)];
}
