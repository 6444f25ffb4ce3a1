/** What a gateway says of itself while it runs: one line an event, as text for people or as JSON for programs. */
import { KERNEL_PORT } from "../../kernel/index.ts";
import type { KernelEvent } from "../../kernel/index.ts";
import { reachText } from "../config/resource.ts";
import type { Action } from "../wire/operator.ts";
import { escapeControls } from "../wire/escape.ts";
import { LEVELS } from "../wire/operator.ts";
import type { CapsuleNotice } from "../wire/trust-protocol.ts";

/** An event of the kernel, of a host process, of an update, or of the gateway as a whole. */
export type GatewayEvent =
  | KernelEvent
  | { readonly type: "gateway"; readonly state: "starting" | "running" | "stopping" | "stopped"; readonly text: string }
  | { readonly type: "host"; readonly process: "device" | "link"; readonly state: string; readonly text: string }
  | { readonly type: "refused"; readonly module: string; readonly code: string; readonly text: string }
  | { readonly type: "finding" | "warning"; readonly text: string }
  /** What led to a failure is on disk: `bulkhead replay` runs it again. */
  | ({ readonly type: "capsule" } & CapsuleNotice)
  /** The owner turned a simulated quantity. */
  | { readonly type: "simulated"; readonly device: string; readonly quantity: string; readonly script: string }
  /** The console's token, told once to whoever starts the gateway, and to nobody else; empty where others would read it. */
  | { readonly type: "token"; readonly token: string; readonly file: string }
  /** Somebody at the page or at the command line did something to a module. */
  | { readonly type: "operator"; readonly action: Action; readonly module: string; readonly by: string }
  | {
      readonly type: "update";
      readonly source: "trust" | "broker";
      readonly plan: string;
      readonly state: string;
      readonly percent: number;
      readonly code: string;
      readonly reason: string;
    };

const WARNINGS: ReadonlySet<GatewayEvent["type"]> = new Set([
  "fault",
  "held",
  "denied",
  "refused",
  "finding",
  "warning",
  "partition-lost",
  "swap-reverted",
]);

/** What somebody should look at. */
export function isWarning(event: GatewayEvent): boolean {
  return WARNINGS.has(event.type) || (event.type === "log" && event.level <= LEVELS.indexOf("warning"));
}

/** One line without its end. Control characters of modules and brokers are shown, never obeyed. */
export function eventText(event: GatewayEvent): string {
  return escapeControls(describe(event));
}

/** What was being handled, without its content, which no log should hold: `bulkhead dev` shows it, and a capsule has it. */
function describeInput(input: Extract<KernelEvent, { type: "fault" }>["input"]): string {
  if (input === undefined) return "";
  const port = input.port === KERNEL_PORT ? "the kernel's port" : `port ${input.port}`;
  return `; it was handling ${input.payload.length} bytes on ${port}`;
}

function describe(event: GatewayEvent): string {
  switch (event.type) {
    case "loaded":
      return `${event.module}: loaded, generation ${event.generation}${event.restored ? ", state restored" : ""}`;
    case "admitted":
      return `${event.module}: admitted ${event.version}, sha256 ${event.sha256}`;
    case "fault":
      return `${event.module}: stopped (${event.cause}): ${event.text}${describeInput(event.input)}`;
    case "restarted":
      return `${event.module}: running again after ${event.milliseconds.toFixed(1)} ms (${event.cause})`;
    case "held":
      return `${event.module}: held: ${event.reason}; \`bulkhead restart\` or a new version frees it`;
    case "final-message":
      return `${event.module}: its final message ${event.isSent ? "was sent" : "could not be sent"} to ${event.to}`;
    case "granted":
    case "revoked":
      return `${event.module}: ${event.type} ${event.slot}: ${reachText(event.grant)}`;
    case "denied":
      return `${event.module}: ${event.slot}.${event.operation} refused: ${event.result}${event.text === "" ? "" : `: ${event.text}`}`;
    case "log":
      return `${event.module}: ${LEVELS[event.level] ?? "debug"}: ${event.text}`;
    case "partition-lost":
      return `partition ${event.partition} lost: ${event.reason}`;
    case "partition-replaced":
      return `partition ${event.partition} replaced after ${event.milliseconds.toFixed(0)} ms`;
    case "partition-unkillable":
      return `partition ${event.partition} cannot be ended: the process must be restarted`;
    case "swapped":
      return `swapped ${event.modules.join(", ")}; pause ${event.pauseMs.toFixed(2)} ms, ${event.held} messages waited`;
    case "swap-reverted":
      return `${event.module}: went back to the old version (${event.cause}): ${event.text}`;
    case "committed":
      return `committed ${event.modules.join(", ")}`;
    case "gateway":
      return `gateway ${event.state}${event.text === "" ? "" : `: ${event.text}`}`;
    case "host":
      return `${event.process}: ${event.state}: ${event.text}`;
    case "refused":
      return `${event.module}: refused: ${event.text}`;
    case "finding":
    case "warning":
      return `${event.type}: ${event.text}`;
    case "capsule":
      return `${event.module}: capsule ${event.path} (${event.form}, ${event.bytes} bytes); \`bulkhead replay\` runs it again`;
    case "simulated":
      return `${event.device}: ${event.quantity} is now ${event.script}`;
    case "token":
      return event.token === ""
        ? `console: log in with the token in ${event.file}`
        : `console: log in with the token ${event.token}; it is kept in ${event.file} and not shown again`;
    case "operator":
      return `${event.module}: ${event.action} by ${event.by}`;
    case "update":
      return `update ${event.plan.slice(0, 12)}: ${event.state} ${event.percent}%${event.code === "" ? "" : ` ${event.code}`} ${event.reason}`;
  }
}
