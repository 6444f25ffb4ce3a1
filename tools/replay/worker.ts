/** The thread in which a recording runs again: with a partition's stack, and ended from outside where it takes too long. */
import { createHash } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import type { Capsule } from "../../gateway/wire/capsule.ts";
import type { RefusalData } from "../../gateway/wire/trust-protocol.ts";
import { refusalData } from "../../gateway/wire/trust-protocol.ts";
import { compileModule, inspectModule, meter, meterOptions, Refusal } from "../../kernel/index.ts";
import type { RunResult } from "./machine.ts";
import { run } from "./machine.ts";

export interface ReplayOrder {
  readonly capsule: Capsule;
  readonly binary: Uint8Array;
  readonly until: number | undefined;
  readonly tries: number;
  readonly mostFuel: number;
}

export type ReplayAnswer =
  | { readonly runs: readonly RunResult[]; readonly isSame: boolean; readonly isMeteredAlike: boolean }
  | { readonly refusal: RefusalData };

async function replay({ capsule, binary, until, tries, mostFuel }: ReplayOrder): Promise<ReplayAnswer> {
  const inspection = inspectModule(binary);
  const metered = meter(binary, meterOptions(inspection, true));
  const isMeteredAlike = createHash("sha256").update(metered).digest("hex") === capsule.metered;
  const isSame = inspection.sha256 === capsule.sha256 && isMeteredAlike;
  const program = { capsule, inspection, compiled: await compileModule(metered), isSame, until, mostFuel };
  return { runs: Array.from({ length: tries }, () => run(program)), isSame, isMeteredAlike };
}

// SAFETY: the other end is our own verb.
const answer = await replay(workerData as ReplayOrder).catch((error: unknown): ReplayAnswer => {
  if (error instanceof Refusal) return { refusal: refusalData(error) };
  throw error;
});
parentPort?.postMessage(answer);
