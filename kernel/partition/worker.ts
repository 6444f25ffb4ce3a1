/** A partition's worker thread: starts the loop with what the supervisor handed it. */
import { workerData } from "node:worker_threads";
import type { PartitionData } from "./protocol.ts";
import { PartitionRuntime } from "./runtime.ts";

// SAFETY: only the supervisor starts this file, with exactly this.
await new PartitionRuntime(workerData as PartitionData).run();
