/** What a module costs beyond its linear memory: a kernel's size with few modules and with a hundred more. */
import { setTimeout as pause } from "node:timers/promises";
import { ECHO, watModule } from "../../support/modules.ts";
import { proportionalSetKilobytes } from "../../../tools/footprint/processes.ts";
import { Product } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow } from "../statistics.ts";

const MORE = 100;
const SETTLE_MS = 300;

/** Size after a collection; the partition's own garbage is collected when it likes, and is part of the figure. */
async function settled(): Promise<number> {
  await pause(SETTLE_MS);
  globalThis.gc?.();
  await pause(SETTLE_MS);
  return proportionalSetKilobytes(process.pid);
}

/** Bytes of linear memory that the module has touched: the inbox's page of 4 KiB. */
const TOUCHED_KILOBYTES = 4;

export async function measureFootprint(quick: boolean): Promise<BenchRow[]> {
  const product = await Product.start();
  let loaded = 0;
  const load = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) await product.load(`echo-${loaded++}`, { wat: watModule("", ECHO) });
    product.kernel.begin();
    await product.kernel.top();
  };
  await load(MORE);
  const samples: number[] = [];
  for (let round = 0; round < (quick ? 2 : 5); round++) {
    const before = await settled();
    await load(MORE);
    samples.push(((await settled()) - before) / MORE - TOUCHED_KILOBYTES);
  }
  await product.stop();
  const bare = proportionalSetKilobytes(process.pid);
  const note = `${MORE} more echo modules each time`;
  const frame = { name: "footprint.module", unit: "kB", clock: "wall", note } as const;
  return [durationRow(frame, ["", "this Node without a partition"], [samples, samples.map(() => bare)])];
}
