/**
 * What an operator sees of a gateway and may ask of it, on the page as on the command line. Looking changes nothing; the
 * actions stop and start what the configuration has placed, and give nobody a right.
 */
import { expectKeys, expectMap, expectText, expectUnsigned, LIMITS, Refusal } from "../../kernel/index.ts";
import type { CborValue } from "../../kernel/index.ts";
import type { UpdateState } from "./update-report.ts";

export const ACTIONS = Object.freeze(["restart", "hold", "resume"] as const);
export type Action = (typeof ACTIONS)[number];

export type OperatorRequest =
  /** A page of what runs, from that module on. Answer: `Snapshot`. */
  | { readonly kind: "snapshot"; readonly from: number }
  /** What happened since that entry. Answer: `History`. */
  | { readonly kind: "history"; readonly since: number }
  /** The newest entries of the audit log that hold a text; an empty one is in all. Answer: `AuditPage`. */
  | { readonly kind: "audit"; readonly limit: number; readonly about: string }
  /** Answer: `Health`. */
  | { readonly kind: "health" }
  /** `by` is who asked, as far as the asker knows. Answer: null. */
  | { readonly kind: "act"; readonly action: Action; readonly module: string; readonly by: string };

/** A grant in force. */
export interface Authority {
  readonly slot: string;
  readonly interface: string;
  readonly rights: readonly string[];
  /** The resource or the ports, as the configuration names them. */
  readonly resource: string;
}

export interface Failure {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly generation: number;
  readonly cause: string;
  readonly text: string;
  /** Where its capsule lies, if one was written. */
  readonly capsule: string | null;
}

export interface ModuleView {
  readonly name: string;
  readonly version: string;
  readonly partition: string;
  /** `idle`, `running`, `suspended`, `dead`, `held`; `refused` and `unknown` are the gateway's: never admitted, no answer. */
  readonly state: string;
  /** Why it is held or was refused. */
  readonly reason: string;
  readonly generation: number;
  readonly activations: number;
  readonly fuel: number;
  /** Null until there were two looks. */
  readonly activationsPerSecond: number | null;
  readonly fuelPerSecond: number | null;
  readonly fuelLimitPerSecond: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly queued: number;
  /** Messages lost to it: its mailbox was full, or they were dropped by a route's policy. */
  readonly lost: number;
  /** True where it has used up its fuel for now. */
  readonly isThrottled: boolean;
  /** How long it has been ready and not had its turn, at this moment; and the longest that it ever was. */
  readonly waitingMs: number;
  readonly longestWaitMs: number;
  readonly restarts: number;
  readonly faults: number;
  readonly denials: number;
  readonly policy: string;
  readonly lastFault: Failure | null;
  readonly authority: readonly Authority[];
}

export interface RouteView {
  readonly from: string;
  readonly slot: string;
  readonly to: string;
  readonly sent: number;
  readonly refused: number;
  readonly dropped: number;
  readonly queued: number;
  readonly perSecond: number | null;
  readonly droppedPerSecond: number | null;
}

/** The newest message of a topic, and of one quantity where the message names one. */
export interface ReadingView {
  readonly topic: string;
  readonly quantity: string;
  readonly module: string;
  readonly time: number;
  readonly value: number | null;
  readonly unit: string;
  /** The message as text, cut short. */
  readonly text: string;
}

export interface UpdateView {
  readonly time: number;
  readonly plan: string;
  readonly state: UpdateState;
  readonly percent: number;
  readonly code: string;
  readonly reason: string;
}

export interface HostView {
  readonly process: string;
  readonly state: string;
  readonly text: string;
}

export interface Snapshot {
  readonly time: number;
  readonly gateway: {
    readonly id: string;
    readonly vendor: string;
    readonly class: string;
    readonly state: string;
    readonly startedAt: number;
    readonly rootVersion: number;
    /** What was booted: `installed`, `delivered`, … */
    readonly source: string;
  };
  readonly partitions: readonly {
    readonly name: string;
    readonly heapMiB: number;
    readonly answers: boolean;
    readonly lost: number;
  }[];
  readonly modules: readonly ModuleView[];
  /** Of the modules of this page, as senders. */
  readonly routes: readonly RouteView[];
  /** Where the next page begins, or null. */
  readonly next: number | null;
  readonly hosts: readonly HostView[];
  readonly readings: readonly ReadingView[];
  /** The newest first. */
  readonly updates: readonly UpdateView[];
}

export const LEVELS = Object.freeze(["error", "warning", "information", "debug"] as const);

export interface HistoryEntry {
  readonly sequence: number;
  readonly time: number;
  readonly type: string;
  /** Empty where it concerns none. */
  readonly module: string;
  /** An index of `LEVELS`. */
  readonly level: number;
  readonly text: string;
}

export interface History {
  readonly entries: readonly HistoryEntry[];
  /** What `since` is the next time. */
  readonly next: number;
  /** Entries that were gone before they were asked for. */
  readonly missed: number;
}

export interface AuditView {
  readonly sequence: number;
  readonly time: number;
  readonly kind: string;
  readonly source: string;
  readonly subject: string;
  /** JSON. */
  readonly detail: string;
}

export interface AuditPage {
  /** The oldest first. */
  readonly entries: readonly AuditView[];
  readonly chain: ChainStatus;
}

/** How far the chain has been walked; `broken` says where it is not what it was. */
export interface ChainStatus {
  readonly state: "whole" | "walking" | "broken" | "unknown";
  readonly verified: number;
  readonly last: number;
  readonly reason: string;
}

/** `live` is the kernel's heartbeat, `ready` that everything does what the configuration says; reasons for either not. */
export interface Health {
  readonly live: boolean;
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

/** What the partitions have traced since the last answer; the command line only. */
export interface TraceAnswer {
  readonly modules: readonly { readonly id: number; readonly name: string; readonly partition: string }[];
  readonly partitions: readonly string[];
  /** The kernel's records as bytes of 64-bit floats in this machine's order. */
  readonly pieces: readonly { readonly partition: string; readonly lost: number; readonly records: Uint8Array }[];
  /** Ask again at once. */
  readonly hasMore: boolean;
}

const KIND_CHARACTERS = 16;
const TEXT_CHARACTERS = 128;
const AUDIT_ENTRIES = 500;

/** Every field is hostile. @throws Refusal E_CBOR */
export function parseOperatorRequest(value: CborValue | undefined): OperatorRequest {
  const map = expectMap(value, "request");
  const kind = expectText(map.get("kind"), "kind", KIND_CHARACTERS);
  const text = (field: string): string => expectText(map.get(field), field, TEXT_CHARACTERS);
  const number = (field: string, maximum = Number.MAX_SAFE_INTEGER): number =>
    expectUnsigned(map.get(field), field, maximum);
  const only = (...fields: string[]): void => {
    expectKeys(map, ["kind", ...fields], "request");
  };
  switch (kind) {
    case "snapshot":
      only("from");
      return { kind, from: number("from") };
    case "history":
      only("since");
      return { kind, since: number("since") };
    case "audit":
      only("limit", "about");
      return { kind, limit: number("limit", AUDIT_ENTRIES), about: text("about") };
    case "health":
      only();
      return { kind };
    case "act": {
      only("action", "module", "by");
      const action = ACTIONS.find((candidate) => candidate === map.get("action"));
      if (action === undefined) throw new Refusal("E_CBOR", "no such action", { expected: ACTIONS.join(", ") });
      return { kind, action, module: expectText(map.get("module"), "module", LIMITS.nameLength), by: text("by") };
    }
    default:
      throw new Refusal("E_CBOR", "a request of an unknown kind", { found: kind });
  }
}
