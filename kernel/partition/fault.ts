/** Names for what can stop a module, and the errors that the kernel throws into it. */
import { Refusal } from "../errors.ts";
import { isTrap } from "../wasm/engine.ts";
import type { FaultCause } from "./protocol.ts";

/** Thrown into a guest to stop it; the cause is the kernel's own verdict. */
export class GuestStopped extends Error {
  readonly faultCause: FaultCause;

  constructor(faultCause: FaultCause, message: string) {
    super(message);
    this.name = "GuestStopped";
    this.faultCause = faultCause;
  }
}

export interface FaultDescription {
  readonly cause: FaultCause;
  readonly text: string;
}

/** V8 refuses to suspend what was not entered through `promising`: a blocking import outside a handler. */
export function isSuspension(error: unknown): boolean {
  return error instanceof Error && error.name === "SuspendError";
}

export function describeFault(error: unknown): FaultDescription {
  if (error instanceof GuestStopped) return { cause: error.faultCause, text: error.message };
  if (error instanceof Refusal)
    return { cause: error.code === "E_STATE" ? "state" : "contract", text: error.describe() };
  // V8's own stack check answers where the metered depth does not: host frames on a deep guest stack.
  if (error instanceof RangeError) return { cause: "stack", text: error.message };
  if (isSuspension(error)) return { cause: "contract", text: "it called a blocking import outside its handler" };
  if (isTrap(error)) return { cause: "trap", text: error.message };
  return { cause: "host", text: error instanceof Error ? error.message : "unknown" };
}
