/** The messages between the supervisor on the main thread and a partition's worker. */
import type { MessagePort } from "node:worker_threads";
import type { AdmittedModule, ImportedOperation } from "../admission.ts";
import type { InterfaceName } from "../interfaces.ts";
import type { HandleContents } from "../ipc/capability.ts";
import type { Message } from "../ipc/mailbox.ts";
import type { RouteGuard } from "../ipc/policy.ts";
import type { SharedBuffer } from "../ipc/shared.ts";
import type { Manifest } from "../manifest.ts";
import type { ModuleSpec, OverflowPolicy } from "../system.ts";
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
export interface ModuleOrder
  extends Pick<AdmittedModule, "compiled" | "imports" | "exports" | "sha256" | "metered">,
    Pick<Manifest, "name" | "inbox" | "state" | "schema" | "fuel" | "canonicalNans">,
    Pick<ModuleSpec, "priority" | "fuelPerPeriod" | "periodMs" | "activationMs" | "checkpointMessages">,
    Required<Pick<ModuleSpec, "checkpointMs" | "record" | "settings">> {
  readonly id: number;
  readonly generation: number;
  readonly slots: readonly SlotLink[];
  readonly ports: readonly { readonly fuel: number; readonly stack: number }[];
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

export type PackedMessage = Omit<Message, "edge" | "words" | "next"> & { readonly edge: number };

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

/** The shapes of a table as one type: `type` is the key. */
export type Tagged<Table, Common = unknown> = {
  [Type in keyof Table]: Readonly<{ type: Type } & Common & Table[Type]>;
}[keyof Table];

interface OrdersToPartition {
  /** A held module gets its place, with its state, and no instance. */
  load: { module: ModuleOrder; state: SavedState | undefined; isHeld: boolean };
  /** The table of revocations has changed: calls in flight are looked at. */
  revoked: unknown;
  "host-reply": HostReply & { request: number };
  /** `trace` begins a trace, or goes on with it, and gives what it has; false ends it; without it none is touched. */
  inspect: { request: number; trace?: boolean | undefined };
  /** The module is gone: calls to it fail. */
  "module-dead": { module: number };
  /** For who holds handles to the module: it is gone, or there again. */
  peer: { module: number; notice: number };
  /** For tests of the watch only: the partition stops answering, as a fault in the kernel would make it. */
  freeze: { where: Freeze };
}

interface OrdersToModule {
  link: { slots: readonly SlotLink[] };
  start: unknown;
  restart: { generation: number; dropState: boolean };
  /** One that is well has its last message first. */
  hold: unknown;
  unload: unknown;
  /** Save the state now, and where the module is at work when that has ended: the process is about to stop. */
  save: unknown;
  kept: unknown;
  /** A notice of the kernel's, or on another port its message. */
  tell: { port: number; payload: Uint8Array };
  "flip-swap": { luggage?: Luggage };
  "abort-swap": unknown;
  "settle-swap": { keep: boolean; luggage?: readonly Luggage[] };
  "finish-swap": unknown;
  /** An answer to what a module has asked before it came here. */
  answered: Answer;
  "host-event": { slot: string; payload: Uint8Array };
}

/** An order to one module of a partition, which is passed over where the module is not there any more. */
export type OrderToModule = SwapOrder | Tagged<OrdersToModule, { module: number }>;

export type Order = ChannelOrder | RouteOrder | PolicyOrder | PlaceOrder | Tagged<OrdersToPartition> | OrderToModule;

/** An endless loop, which can be interrupted, or a native call that ends hours later, which cannot. */
export type Freeze = "loop" | "native";

/** Why a module was stopped. */
export type FaultCause = "trap" | "budget" | "stack" | "timeout" | "contract" | "host" | "state" | "health";

/** The message of a fault: the port's number and the beginning of its payload. */
export interface FaultInput {
  readonly port: number;
  readonly payload: Uint8Array;
}

/** What is told of a failure to everybody. */
export interface FaultReport {
  cause: FaultCause;
  text: string;
  /** V8's frames of a trap, as `tools/source-map` reads them. */
  trace?: string | undefined;
  /** What was being handled, as it then stood in the inbox. It may hold what a log must not: for the author's eyes only. */
  input?: FaultInput | undefined;
}

/** A use of a slot that was refused. */
export interface Denial {
  slot: string;
  operation: string;
  /** What was wrong with the message, where the result alone does not say. */
  text: string;
  /** Denials of this module that were not told since the last that was: a flood is counted. */
  untold: number;
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

/** An answer of a host, or of a module. */
export interface HostReply {
  /** 0 and above success, else a result code. */
  readonly result: number;
  readonly bytes: Uint8Array;
}

type Answer = HostReply & { correlation: number };

interface ReportsOfPartition {
  up: unknown;
  statistics: {
    request: number;
    modules: readonly ModuleStatistics[];
    edges: readonly EdgeStatistics[];
    trace?: TraceRecords | undefined;
  };
}

interface ReportsOfModule {
  answered: Answer;
  loaded: { generation: number; restored: boolean };
  fault: FaultReport & { generation: number; justRestored: boolean };
  checkpoint: { state: SavedState };
  failure: { failure: RecordedFailure };
  "host-request": {
    request: number;
    binding: number;
    operation: string;
    numbers: readonly number[];
    bytes: readonly Uint8Array[];
    capacity: number;
  };
  log: { level: number; text: string };
  denied: Denial & { result: number };
}

/** They carry the generation of the new version: those of an earlier set are late news. */
interface ReportsOfSwap {
  "swap-prepared": unknown;
  "swap-saved": { state: SavedState | undefined; holdings: Holdings; heldSince: number };
  "swap-luggage": { luggage: Luggage };
  /** What has arrived from another partition goes back there. */
  "swap-returning": { cause: FaultCause | "order"; text: string };
  "swap-refused": { code: "E_STATE" | "E_TIMEOUT" | "E_PROBATION"; text: string };
  "swap-flipped": { pauseMs: number; held: number };
  /** `isAlive` is false where there was no old instance to go on: it had failed or was held before the swap. */
  "swap-reverted": { cause: FaultCause | "order"; text: string; replayed: number; isAlive: boolean };
  /** Its probation is over for the partition: from now on it goes back by order only. */
  "swap-settled": unknown;
}

export type Report =
  | Tagged<ReportsOfPartition>
  | Tagged<ReportsOfModule, { module: number }>
  | Tagged<ReportsOfSwap, { module: number; generation: number }>;
