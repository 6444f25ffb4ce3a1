/** The cost of metering, kernel by kernel, as rows of the suite. */
import { benchMeter } from "../meter.ts";
import type { BenchRow } from "../statistics.ts";
import { placement } from "../statistics.ts";

export async function measureMeter(quick: boolean): Promise<BenchRow[]> {
  const rows = await benchMeter(quick);
  return rows.map((row) => ({ ...row, clock: "wall", placement: placement() }));
}
