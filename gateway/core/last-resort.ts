/** The end of the process where a part of it cannot be ended: an orderly exit would wait for that part. */
import type { GatewayEvent } from "./events.ts";

/** What is said of the end may still leave the process. */
const LAST_WORDS_MS = 100;

/** A thread that cannot be ended may go on writing to what others share: the process kills itself, and systemd starts it anew. */
export function watchForUnkillable(event: GatewayEvent): void {
  if (event.type !== "partition-unkillable") return;
  setTimeout(() => process.kill(process.pid, "SIGKILL"), LAST_WORDS_MS);
}
