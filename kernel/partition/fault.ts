/** Names for what can stop a module, and the errors that the kernel throws into it. */
import { Refusal } from "../errors.ts";
import { isTrap } from "../wasm/engine.ts";
import type { Incarnation } from "./cell.ts";
import type { ModuleInstance } from "./instance.ts";
import type { FaultCause, FaultReport, RecordedFailure } from "./protocol.ts";

/** Thrown into a guest to stop it; the cause is the kernel's own verdict. */
export class GuestStopped extends Error {
  readonly faultCause: FaultCause;

  constructor(faultCause: FaultCause, message: string) {
    super(message);
    this.name = "GuestStopped";
    this.faultCause = faultCause;
  }
}

export type FaultDescription = Readonly<Omit<FaultReport, "input">>;

const FRAME = /wasm:\/\/wasm\/[^:\s]*:wasm-function\[\d+\]:0x[0-9a-f]+/g;
const MAXIMUM_FRAMES = 16;

function traceOf({ stack = "" }: Error): string {
  return (stack.match(FRAME) ?? []).slice(0, MAXIMUM_FRAMES).join(" ");
}

/** V8 refuses to suspend what was not entered through `promising`: a blocking import outside a handler. */
export function isSuspension(error: unknown): boolean {
  return error instanceof Error && error.name === "SuspendError";
}

/** `instance` is the one that failed, where it has come so far as to have an inbox. */
export function describeFault(error: unknown, instance?: ModuleInstance): FaultDescription {
  if (error instanceof GuestStopped) return { cause: error.faultCause, text: error.message };
  if (error instanceof Refusal)
    return { cause: error.code === "E_STATE" ? "state" : "contract", text: error.describe() };
  // V8's own stack check answers where the metered depth does not: host frames on a deep guest stack.
  if (error instanceof RangeError) return { cause: "stack", text: error.message };
  if (isSuspension(error)) return { cause: "contract", text: "it called a blocking import outside its handler" };
  if (isTrap(error)) {
    const words = instance?.lastWords() ?? "";
    return { cause: "trap", text: words === "" ? error.message : `${error.message}; ${words}`, trace: traceOf(error) };
  }
  return { cause: "host", text: error instanceof Error ? error.message : "unknown" };
}

/** What led to a failure, where it has been recorded. */
export function recordedFailure(
  { order, instance }: Incarnation,
  { cause, text, trace }: FaultDescription,
  sliceFuel: number,
): RecordedFailure | undefined {
  if (instance.recording === undefined) return undefined;
  const { name, generation, sha256, metered, imports, canonicalNans } = order;
  return {
    ...{ name, generation, sha256, metered, imports, canonicalNans, cause, text, trace },
    fuel: instance.remaining(),
    sliceFuel,
    memoryBytes: instance.memory.size,
    events: instance.recording.events(),
  };
}
