/** What the kernel tells the gateway: events for logs, audit and the console, and requests to the outside. */
import type { EdgeStatistics, FaultCause, FaultInput, ModuleStatistics, TraceRecords } from "../partition/protocol.ts";
import type { Grant, GrantParameter, PartitionSpec } from "../system.ts";
import type { InterfaceName } from "../interfaces.ts";

/** A slot bound to one resource outside the partitions. Numbers are never used twice. */
export interface ResourceBinding {
  readonly id: number;
  readonly module: string;
  readonly slot: string;
  readonly interface: InterfaceName;
  readonly rights: readonly string[];
  readonly parameters: Readonly<Record<string, GrantParameter>>;
}

export interface HostReply {
  /** 0 and above success, else a kernel result code. */
  readonly result: number;
  readonly bytes: Uint8Array;
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

export type KernelEvent =
  | { readonly type: "admitted"; readonly module: string; readonly version: string; readonly sha256: string }
  | { readonly type: "loaded"; readonly module: string; readonly generation: number; readonly restored: boolean }
  | {
      readonly type: "fault";
      readonly module: string;
      readonly generation: number;
      readonly cause: FaultCause;
      readonly text: string;
      /** V8's frames of a trap, as `tools/source-map` reads them. */
      readonly trace?: string | undefined;
      /** What was being handled. It may hold what a log must not: for the author's eyes only. */
      readonly input?: FaultInput | undefined;
    }
  | {
      readonly type: "restarted";
      readonly module: string;
      readonly generation: number;
      readonly cause: string;
      readonly milliseconds: number;
    }
  | { readonly type: "held"; readonly module: string; readonly reason: string }
  /** The message of the policy `safe-state`; not sent where nobody runs at the port that it is for. */
  | { readonly type: "final-message"; readonly module: string; readonly to: string; readonly isSent: boolean }
  | {
      readonly type: "granted" | "revoked";
      readonly module: string;
      readonly slot: string;
      readonly grant: Grant;
    }
  | {
      readonly type: "denied";
      readonly module: string;
      readonly slot: string;
      readonly operation: string;
      readonly result: string;
      /** What was wrong with the message, where the result alone does not say. */
      readonly text: string;
      /** Denials of this module that were not told since the last that was: a flood is counted. */
      readonly untold: number;
    }
  | { readonly type: "log"; readonly module: string; readonly level: number; readonly text: string }
  | { readonly type: "partition-lost"; readonly partition: string; readonly reason: string }
  | { readonly type: "partition-replaced"; readonly partition: string; readonly milliseconds: number }
  | { readonly type: "partition-unkillable"; readonly partition: string }
  | { readonly type: "swapped"; readonly modules: readonly string[]; readonly pauseMs: number; readonly held: number }
  | {
      readonly type: "swap-reverted";
      readonly module: string;
      readonly cause: string;
      readonly text: string;
      readonly replayed: number;
    }
  | { readonly type: "committed"; readonly modules: readonly string[] };

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
