/** What a call costs among ten, a hundred and a thousand modules, every second one a caller. */
import { checkReplies, Product } from "../product.ts";
import type { BenchRow, Contestant } from "../statistics.ts";
import { cpuNanoseconds, durationRow, inTurns } from "../statistics.ts";
import { callContestant, loadPairs, LOADING_MS } from "./call.ts";

const SIZES = [10, 100, 1000];
const CALLS_IN_A_ROW = 1000;

/** Callers work one after the other, a thousand calls each, going round through all of them from sample to sample. */
function turnsContestant(name: string, product: Product, callers: readonly string[], turns: number): Contestant {
  let next = 0;
  const sample = (): Promise<number> =>
    cpuNanoseconds(turns * CALLS_IN_A_ROW, async () => {
      for (let turn = 0; turn < turns; turn++) {
        const caller = callers[next++ % callers.length] ?? "";
        checkReplies(await product.batch([caller], CALLS_IN_A_ROW));
      }
    });
  return { name, sample };
}

export async function measureScale(quick: boolean): Promise<BenchRow[]> {
  const turns = quick ? 10 : 100;
  const calls = quick ? 20_000 : 200_000;
  const rounds = quick ? 3 : 20;
  const products: Product[] = [];
  const inTurn: Contestant[] = [];
  const together: Contestant[] = [];
  for (const size of SIZES) {
    const product = await Product.start(["main"], { stuckMs: LOADING_MS });
    const callers = await loadPairs(product, size / 2);
    products.push(product);
    inTurn.push(turnsContestant(`${size} modules`, product, callers, turns));
    together.push(callContestant(`${size} modules together`, product, callers, calls));
  }
  const samples = await inTurns([...inTurn, ...together], rounds, 2);
  await Promise.all(products.map((product) => product.stop()));
  const row = (name: string, index: number, base: number): BenchRow =>
    durationRow(
      { name, unit: "ns", clock: "cpu" },
      ["", "with 10 modules"],
      [samples[index] ?? [], samples[base] ?? []],
    );
  return SIZES.flatMap((size, index) => [
    row(`scale.modules.${size}`, index, 0),
    row(`scale.modules.${size}.together`, SIZES.length + index, SIZES.length),
  ]);
}
