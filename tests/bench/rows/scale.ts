/** What a call costs among ten, a hundred and a thousand modules, every second one a caller, all at it at once. */
import { Product } from "../product.ts";
import type { BenchRow } from "../statistics.ts";
import { durationRow, inTurns } from "../statistics.ts";
import { callContestant, loadPairs, LOADING_MS } from "./call.ts";

const SIZES = [10, 100, 1000];

export async function measureScale(quick: boolean): Promise<BenchRow[]> {
  const calls = quick ? 60_000 : 200_000;
  const products: Product[] = [];
  const contestants = [];
  for (const size of SIZES) {
    const product = await Product.start(["main"], { stuckMs: LOADING_MS });
    products.push(product);
    contestants.push(callContestant(`${size} modules`, product, await loadPairs(product, size / 2), calls));
  }
  const samples = await inTurns(contestants, quick ? 3 : 20, quick ? 1 : 3);
  await Promise.all(products.map((product) => product.stop()));
  return SIZES.map((size, index) => {
    const frame = { name: `scale.modules.${size}`, unit: "ns", clock: "cpu" } as const;
    return durationRow(frame, ["", "with 10 modules"], [samples[index] ?? [], samples[0] ?? []]);
  });
}
