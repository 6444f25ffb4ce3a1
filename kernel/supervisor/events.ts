/** What the kernel tells the gateway: events for logs, audit and the console, and requests to the outside. */
import type { Denial, EdgeStatistics, FaultReport, HostReply, ModuleStatistics } from "../partition/protocol.ts";
import type { RecordedFailure, SavedState, Tagged, TraceRecords } from "../partition/protocol.ts";
import type { Grant, PartitionSpec, ResourceGrant } from "../system.ts";

/** A slot bound to one resource outside the partitions. Numbers are never used twice. */
export interface ResourceBinding extends ResourceGrant {
  readonly id: number;
  readonly module: string;
}

/** What stands outside the partitions: devices, network, stores. */
export interface KernelHost {
  bind(bindings: readonly ResourceBinding[]): void;
  unbind(ids: readonly number[]): void;
  request(
    binding: ResourceBinding,
    operation: string,
    numbers: readonly number[],
    bytes: readonly Uint8Array[],
    capacity: number,
  ): Promise<HostReply>;
}

interface ModuleEvents {
  admitted: { version: string; sha256: string };
  loaded: { generation: number; restored: boolean };
  fault: FaultReport & { generation: number };
  restarted: { generation: number; cause: string; milliseconds: number };
  held: { reason: string };
  /** The message of the policy `safe-state`; not sent where nobody runs at the port that it is for. */
  "final-message": { to: string; isSent: boolean };
  granted: { slot: string; grant: Grant };
  revoked: { slot: string; grant: Grant };
  denied: Denial & { result: string };
  log: { level: number; text: string };
  "swap-reverted": { cause: string; text: string; replayed: number };
}

interface PartitionEvents {
  "partition-lost": { reason: string };
  "partition-replaced": { milliseconds: number };
  "partition-unkillable": unknown;
}

interface SetEvents {
  swapped: { pauseMs: number; held: number };
  committed: unknown;
}

export type KernelEvent =
  | Tagged<ModuleEvents, { module: string }>
  | Tagged<PartitionEvents, { partition: string }>
  | Tagged<SetEvents, { modules: readonly string[] }>;

export interface KernelOptions {
  readonly host: KernelHost;
  readonly onEvent: (event: KernelEvent) => void;
  /** Each new last good state of a module, to be kept for the next process; undefined where it is to be forgotten. */
  readonly onState?: (module: string, state: SavedState | undefined) => void;
  /** What led to each failure of a module that is recorded. */
  readonly onFailure?: (failure: RecordedFailure) => void;
  /** Fuel of one slice. Default: what takes 200 µs on this machine, as measured at the start. */
  readonly sliceFuel?: number;
  /** A partition that is awake and silent for so long is stuck, also where it can't be asked for its processor time. */
  readonly stuckMs?: number;
  /** Times as long before a thread counts as stuck or an answer as late: 1 by default, more where code is emulated. */
  readonly patience?: number;
  /** Keeps a thread ready for a partition that is lost: 7.5 MiB for some 50 ms. Default: none. */
  readonly spare?: boolean;
}

/** One row of `bulkhead top`. */
export interface ModuleRow extends ModuleStatistics {
  readonly name: string;
  readonly version: string;
  readonly partition: string;
  readonly restarts: number;
}

/** A route: from a module's slot to a port. Its counts begin anew with the partition of its receiver. */
export interface RouteRow extends Omit<EdgeStatistics, "edge"> {
  readonly from: string;
  readonly slot: string;
  /** `module.port` */
  readonly to: string;
}

export interface Inspection {
  /** One that does not answer is stuck, or so busy that it soon will be taken for it; its modules are left out. */
  readonly partitions: readonly (PartitionSpec & { readonly answers: boolean })[];
  readonly modules: ModuleRow[];
  readonly routes: RouteRow[];
  /** What was traced since the last look that asked for it, by partition. */
  readonly traces: readonly (TraceRecords & { readonly name: string })[];
}
