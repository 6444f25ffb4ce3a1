/** The messages between the supervisor on the main thread and a partition's worker. */
import type { MessagePort } from "node:worker_threads";
import type { ImportedOperation } from "../admission.ts";
import type { InterfaceName } from "../interfaces.ts";
import type { HandleContents } from "../ipc/capability.ts";
import type { Message } from "../ipc/mailbox.ts";
import type { RouteGuard } from "../ipc/policy.ts";
import type { SharedBuffer } from "../ipc/shared.ts";
import type { OverflowPolicy } from "../system.ts";
import type { CompiledModule } from "../wasm/engine.ts";
import type { RecordedEvents } from "./recording.ts";

/** What a worker thread starts with: it then waits for its first message, a `PartitionData`. */
export interface PartitionSeat {
  readonly control: SharedBuffer;
  readonly port: MessagePort;
}

/** Which partition a thread is to be. */
export interface PartitionData {
  readonly index: number;
  /** Number of this worker, given once: replies to its predecessor are not for it. */
  readonly life: number;
  /** One word for each edge: 1 where its capabilities were revoked, wherever they are held. */
  readonly revocations: SharedBuffer;
  readonly name: string;
  readonly sliceFuel: number;
}

/** The rings to and from one other partition; a replaced partition gets new ones. */
export interface ChannelOrder {
  readonly type: "channel";
  readonly partition: number;
  readonly life: number;
  readonly control: SharedBuffer;
  readonly incoming: SharedBuffer;
  readonly outgoing: SharedBuffer;
}

/** A route's receiving end. */
export interface RouteOrder {
  readonly type: "route";
  readonly edge: number;
  readonly depth: number;
  readonly overflow: OverflowPolicy;
}

/** One end of an endpoint slot. `port` is -1 where the other module is not loaded. */
export interface EdgeLink {
  readonly edge: number;
  readonly module: number;
  readonly partition: number;
  readonly port: number;
  readonly depth: number;
  readonly overflow: OverflowPolicy;
}

export interface SlotLink {
  readonly slot: string;
  readonly interface: InterfaceName;
  readonly rights: readonly string[];
  /** Port number for the slot's events, or -1. */
  readonly eventPort: number;
  /** The host's number for the bound resource; 0 where the partition answers itself. */
  readonly binding: number;
  /** Of `endpoint` slots, and of `handles`: there one, for what the module passes on. */
  readonly edges: readonly EdgeLink[];
  readonly badge: number;
  /** Of `handles`: the holder is told when what a handle leads to is gone, or there again. */
  readonly notify?: boolean;
}

/** Everything that a partition needs to make an instance. */
export interface ModuleOrder {
  readonly id: number;
  readonly generation: number;
  readonly name: string;
  readonly compiled: CompiledModule;
  readonly imports: readonly ImportedOperation[];
  readonly exports: readonly string[];
  readonly slots: readonly SlotLink[];
  readonly ports: readonly { readonly fuel: number; readonly stack: number }[];
  readonly inboxBytes: number;
  readonly stateBytes: number;
  readonly schema: number;
  /** Fuel of one activation. */
  readonly fuel: number;
  readonly priority: number;
  readonly fuelPerPeriod: number;
  readonly periodMs: number;
  readonly activationMs: number;
  readonly checkpointMessages: number;
  readonly checkpointMs: number;
  /** True where what goes into its instances is recorded, for a capsule should one fail. */
  readonly record: boolean;
  /** Digests, hexadecimal: of the binary as it was admitted, and as it was rewritten. */
  readonly sha256: string;
  readonly metered: string;
  /** CBOR, empty where there are none. */
  readonly settings: Uint8Array;
}

/** A saved state with the schema version of the module that saved it. */
export interface SavedState {
  readonly schema: number;
  readonly bytes: Uint8Array;
}

/** What has changed of levels, by module, and of what routes require, by edge. */
export interface PolicyOrder {
  readonly type: "policy";
  readonly levels: readonly (readonly [module: number, level: number])[];
  readonly guards: readonly (readonly [edge: number, guard: RouteGuard])[];
}

/** A timer as it is set: `due` is of performance.now(), a period of 0 fires once. */
export interface HeldTimer {
  readonly slot: string;
  readonly port: number;
  readonly due: number;
  readonly periodMs: number;
}

/** What a module holds beside its state. */
export interface Holdings {
  readonly handles: HandleContents;
  readonly timers: readonly HeldTimer[];
  readonly ticks: readonly (readonly [port: number, expirations: number])[];
}

export type PackedMessage = Omit<Message, "edge" | "words"> & { readonly edge: number };

/** What goes after a module that moves to another partition. */
export interface Luggage {
  readonly messages: readonly PackedMessage[];
  readonly lost: readonly (readonly [port: number, count: number])[];
  readonly notices: readonly Uint8Array[];
  /** What it has asked and waits for, by correlation: the answer comes to that partition, and is for this port. */
  readonly requests: readonly (readonly [number, { readonly partition: number; readonly port: number }])[];
  /** Messages that an earlier version has handled already. */
  readonly replayed: number;
}

/** A module stays in its partition when it is swapped, or leaves it and arrives in another. */
export type SwapRole = "stay" | "leave" | "arrive";

export interface SwapOrder {
  readonly type: "prepare-swap";
  readonly module: ModuleOrder;
  readonly deadlineMs: number;
  readonly role: SwapRole;
  /** Of one that arrives: what it has saved and held where it comes from, and since when it takes no messages. */
  readonly state?: SavedState | undefined;
  readonly holdings?: Holdings;
  readonly heldSince?: number;
}

/** Messages for a module go to that partition from now on. */
export interface PlaceOrder {
  readonly type: "place";
  readonly module: number;
  readonly partition: number;
  /** Where it was: told of the last message that is sent there. `others` are the partitions that will say so. */
  readonly left?: { readonly partition: number; readonly life: number; readonly others: readonly number[] };
  readonly generation: number;
}

export type Order =
  | ChannelOrder
  | RouteOrder
  | PolicyOrder
  | PlaceOrder
  | SwapOrder
  /** A held module gets its place, with its state, and no instance. */
  | {
      readonly type: "load";
      readonly module: ModuleOrder;
      readonly state: SavedState | undefined;
      readonly isHeld: boolean;
    }
  | { readonly type: "link"; readonly module: number; readonly slots: readonly SlotLink[] }
  | { readonly type: "start"; readonly module: number }
  | { readonly type: "restart"; readonly module: number; readonly generation: number; readonly dropState: boolean }
  | { readonly type: "hold"; readonly module: number }
  | { readonly type: "unload"; readonly module: number }
  /** Save the state now where the module is idle: the process is about to stop. */
  | { readonly type: "save"; readonly module: number }
  /** A notice of the kernel's, or on another port its message. */
  | { readonly type: "tell"; readonly module: number; readonly port: number; readonly payload: Uint8Array }
  | { readonly type: "flip-swap"; readonly module: number; readonly luggage?: Luggage }
  | { readonly type: "abort-swap"; readonly module: number }
  | {
      readonly type: "settle-swap";
      readonly module: number;
      readonly keep: boolean;
      readonly luggage?: readonly Luggage[];
    }
  | { readonly type: "finish-swap"; readonly module: number }
  | { readonly type: "module-dead"; readonly module: number }
  /** For who holds handles to the module: it is gone, or there again. */
  | { readonly type: "peer"; readonly module: number; readonly notice: number }
  /** An answer to what a module has asked before it came here. */
  | ({ readonly type: "answered" } & Answered)
  /** The table of revocations has changed: calls in flight are looked at. */
  | { readonly type: "revoked" }
  | { readonly type: "host-reply"; readonly request: number; readonly result: number; readonly bytes: Uint8Array }
  | { readonly type: "host-event"; readonly module: number; readonly slot: string; readonly payload: Uint8Array }
  /** `trace` begins a trace, or goes on with it, and gives what it has; false ends it; without it none is touched. */
  | { readonly type: "inspect"; readonly request: number; readonly trace?: boolean | undefined }
  | { readonly type: "stop" }
  /** For tests of the watch only: the partition stops answering, as a fault in the kernel would make it. */
  | { readonly type: "freeze"; readonly where: Freeze };

/** An endless loop, which can be interrupted, or a native call that ends hours later, which cannot. */
export type Freeze = "loop" | "native";

/** Why a module was stopped. */
export type FaultCause = "trap" | "budget" | "stack" | "timeout" | "contract" | "host" | "state" | "health";

/** The message of a fault: the port's number and the beginning of its payload. */
export interface FaultInput {
  readonly port: number;
  readonly payload: Uint8Array;
}

/** A failure with all that led to it: what a capsule is made of. */
export interface RecordedFailure {
  readonly name: string;
  readonly generation: number;
  readonly sha256: string;
  readonly metered: string;
  /** In the order of the binary; recorded calls name an import by its place here. */
  readonly imports: readonly ImportedOperation[];
  readonly cause: FaultCause;
  readonly text: string;
  readonly trace: string | undefined;
  /** True where every NaN that the module computed has the same bits on every processor. */
  readonly canonicalNans: boolean;
  /** Fuel left at the failure. */
  readonly fuel: number;
  readonly sliceFuel: number;
  readonly memoryBytes: number;
  readonly events: RecordedEvents;
}

export interface ModuleStatistics {
  readonly module: number;
  readonly state: string;
  readonly generation: number;
  readonly activations: number;
  readonly fuel: number;
  /** Messages that wait; let in, refused to their senders, dropped by a route's policy, and lost to it, since it was loaded. */
  readonly queued: number;
  readonly accepted: number;
  readonly refused: number;
  readonly dropped: number;
  readonly lost: number;
  /** True where it waits for its next period. */
  readonly isThrottled: boolean;
  /** For how long it has been ready and not run, and the longest that it ever was: what starves shows here. */
  readonly waitingMs: number;
  readonly longestWaitMs: number;
  readonly memoryBytes: number;
}

/** As `TRACE` says; `lost` were left out because nobody fetched. */
export interface TraceRecords {
  readonly records: Float64Array;
  readonly lost: number;
}

/** Counts of one route at its receiver, since that partition started. */
export interface EdgeStatistics {
  readonly edge: number;
  readonly sent: number;
  readonly refused: number;
  readonly dropped: number;
  readonly queued: number;
}

interface Answered {
  readonly module: number;
  readonly correlation: number;
  readonly result: number;
  readonly bytes: Uint8Array;
}

export type Report =
  | { readonly type: "up" }
  | ({ readonly type: "answered" } & Answered)
  | { readonly type: "loaded"; readonly module: number; readonly generation: number; readonly restored: boolean }
  | {
      readonly type: "fault";
      readonly module: number;
      readonly generation: number;
      readonly cause: FaultCause;
      readonly text: string;
      readonly fuel: number;
      readonly trace?: string | undefined;
      /** What was being handled, as it then stood in the inbox. */
      readonly input?: FaultInput | undefined;
      readonly justRestored: boolean;
    }
  | { readonly type: "checkpoint"; readonly module: number; readonly state: SavedState }
  | { readonly type: "failure"; readonly module: number; readonly failure: RecordedFailure }
  /** Reports of a swap carry the generation of the new version: those of an earlier set are late news. */
  | { readonly type: "swap-prepared"; readonly module: number; readonly generation: number }
  | {
      readonly type: "swap-saved";
      readonly module: number;
      readonly generation: number;
      readonly state: SavedState | undefined;
      readonly holdings: Holdings;
      readonly heldSince: number;
    }
  | { readonly type: "swap-luggage"; readonly module: number; readonly generation: number; readonly luggage: Luggage }
  /** What has arrived from another partition goes back there. */
  | {
      readonly type: "swap-returning";
      readonly module: number;
      readonly generation: number;
      readonly cause: FaultCause | "order";
      readonly text: string;
    }
  | {
      readonly type: "swap-refused";
      readonly module: number;
      readonly generation: number;
      readonly code: "E_STATE" | "E_TIMEOUT" | "E_PROBATION";
      readonly text: string;
    }
  | {
      readonly type: "swap-flipped";
      readonly module: number;
      readonly generation: number;
      readonly pauseMs: number;
      readonly held: number;
    }
  | {
      readonly type: "swap-reverted";
      readonly module: number;
      readonly generation: number;
      readonly cause: FaultCause | "order";
      readonly text: string;
      readonly replayed: number;
      /** False where there was no old instance to go on: it had failed or was held before the swap. */
      readonly isAlive: boolean;
    }
  /** Its probation is over for the partition: from now on it goes back by order only. */
  | { readonly type: "swap-settled"; readonly module: number; readonly generation: number }
  | {
      readonly type: "host-request";
      readonly request: number;
      readonly module: number;
      readonly binding: number;
      readonly operation: string;
      readonly numbers: readonly number[];
      readonly bytes: readonly Uint8Array[];
      readonly capacity: number;
    }
  | { readonly type: "host-cancel"; readonly request: number }
  | { readonly type: "log"; readonly module: number; readonly level: number; readonly text: string }
  | {
      readonly type: "denied";
      readonly module: number;
      readonly slot: string;
      readonly operation: string;
      readonly result: number;
      /** What was wrong with the message, where the result alone does not say. */
      readonly text: string;
      /** Denials of this module that were not told since the last that was. */
      readonly untold: number;
    }
  | {
      readonly type: "statistics";
      readonly request: number;
      readonly modules: readonly ModuleStatistics[];
      readonly edges: readonly EdgeStatistics[];
      readonly trace?: TraceRecords | undefined;
    };
