/** Which events the audit log keeps, and under whose name. */
import { type ResourceBinding, resultName } from "../../kernel/index.ts";
import { reachText } from "../config/resource.ts";
import type { AuditNote } from "../wire/trust-protocol.ts";
import type { GatewayEvent } from "./events.ts";

/** @returns undefined for what is for the log of the day only: lines of modules, states of processes. */
export function auditNote(event: GatewayEvent): AuditNote | undefined {
  switch (event.type) {
    case "granted":
    case "revoked":
      return note(event.type, event.module, event.slot, {
        interface: event.grant.interface,
        reaches: reachText(event.grant),
      });
    case "admitted":
      return note("admitted", event.module, event.version, { sha256: event.sha256 });
    case "denied":
      return denial(event);
    case "fault":
      return note("fault", event.module, event.cause, { text: event.text, generation: event.generation });
    case "held":
      return note("held", event.module, "", { reason: event.reason });
    case "refused":
      return note("refused", event.module, event.code, { text: event.text });
    case "swapped":
      return note("swapped", "kernel", event.modules.join(", "), { pauseMs: event.pauseMs, held: event.held });
    case "swap-reverted":
      return note("swap-reverted", event.module, event.cause, { text: event.text, replayed: event.replayed });
    case "committed":
      return note("committed", "kernel", event.modules.join(", "), {});
    case "partition-lost":
      return note("partition-lost", "kernel", event.partition, { reason: event.reason });
    case "finding":
      return note("finding", "trust", "boot", { text: event.text });
    case "gateway":
      return note("gateway", "core", event.state, { text: event.text });
    case "operator":
      return operated(event);
    case "capsule":
      return note("capsule", event.module, event.form, { path: event.path, bytes: event.bytes });
    case "simulated":
      return note("simulated", "owner", `${event.device} ${event.quantity}`, { script: event.script });
    case "update":
      // The steps between are in the reports; the log keeps how it ended. Junk from the broker takes no room of real ones.
      return event.code === "" ? undefined : note("update", event.source, event.plan, pick(event));
    default:
      return undefined;
  }
}

/** The link names addresses as it likes, and gets no more room in the log by naming many. */
function operated({ action, module, by }: Extract<GatewayEvent, { type: "operator" }>): AuditNote {
  const [source = by] = by.split(" (", 1);
  return note(action, source, module, source === by ? {} : { by });
}

/** A message against its contract is told apart from a right that is lacking; `untold` are those that were only counted. */
function denial({
  module,
  slot,
  operation,
  result,
  text,
  untold,
}: Extract<GatewayEvent, { type: "denied" }>): AuditNote {
  const kind = result === "contract" ? "contract" : "denied";
  const more = { ...(text === "" ? {} : { text }), ...(untold === 0 ? {} : { untold }) };
  return note(kind, module, `${slot}.${operation}`, { result, ...more });
}

/** One use of a resource of which every use is kept. What was asked for is left out: it may hold secrets. */
export function useNote(
  { module, slot, interface: name }: ResourceBinding,
  operation: string,
  result: number,
): AuditNote {
  return note("used", module, `${slot}.${operation}`, {
    interface: name,
    result: result < 0 ? resultName(result) : result,
  });
}

function pick({ state, code, reason }: Extract<GatewayEvent, { type: "update" }>): AuditNote["detail"] {
  return { state, code, reason };
}

function note(kind: string, source: string, subject: string, detail: AuditNote["detail"]): AuditNote {
  return { kind, source, subject, detail };
}
