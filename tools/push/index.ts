/** Updates from the release engineer's side. */

export { push } from "./push-command.ts";
export { pushUpdate } from "./push.ts";
export type { PushOptions, PushProgress, PushResult } from "./push.ts";
export { readRelease } from "./release.ts";
export type { ReleasedModule } from "./release.ts";
export { status } from "./status-command.ts";
export { rollout } from "./rollout-command.ts";
