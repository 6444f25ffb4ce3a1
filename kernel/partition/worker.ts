/** A partition's worker thread: waits for what it is to be, then runs the loop. */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { PartitionControl } from "../ipc/shared.ts";
import type { PartitionData, PartitionSeat } from "./protocol.ts";
import { PartitionRuntime } from "./runtime.ts";

const A_WHILE_MS = 60_000;

// SAFETY: only the supervisor starts this file, with exactly this.
const seat = workerData as PartitionSeat;
const control = new PartitionControl(seat.control);
let data: { message: unknown } | undefined;
for (;;) {
  const heard = control.listen();
  data = receiveMessageOnPort(seat.port);
  if (data !== undefined) break;
  control.sleep(heard, A_WHILE_MS);
}
// SAFETY: the supervisor's first message is this.
await new PartitionRuntime(data.message as PartitionData, seat.port, control).run();
