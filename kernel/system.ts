/** What the kernel is told to run: partitions, modules, grants. Configuration files are turned into these and nothing else. */
import type { EndpointRight } from "./abi.ts";
import type { InterfaceName } from "./interfaces.ts";
import type { Requirement } from "./message-check.ts";

/** What happens to a message that finds its route's depth used up. */
export type OverflowPolicy = "refuse" | "drop-oldest" | "drop-newest" | "latest";

/**
 * What the supervisor does with a module that failed: runs it again; holds it; replaces its partition with all modules in
 * it; or holds it and sends the rule's final message in its place.
 */
export type RestartPolicy = "restart" | "hold" | "restart-partition" | "safe-state";

export interface PartitionSpec {
  readonly name: string;
  /** JavaScript heap of the worker, MiB. */
  readonly heapMiB: number;
}

/** A port of a module, by names. */
export interface PortAddress {
  readonly module: string;
  readonly port: string;
}

/** Binds an endpoint slot. More than one target only where `call` is not among the rights. */
export interface EndpointGrant {
  readonly slot: string;
  readonly interface: "endpoint";
  readonly to: readonly PortAddress[];
  readonly rights: readonly EndpointRight[];
  /** The number that the receiver sees in the header's badge field. */
  readonly badge: number;
  /** Messages of this route that may wait at the receiver. */
  readonly depth: number;
  readonly overflow: OverflowPolicy;
  /** The holder is told on the kernel's port when a target is gone, and when it is there again. */
  readonly notify?: boolean;
  /** Each message of the route, and its reply, is checked against the contract of its port. */
  readonly check?: boolean;
  /** Fields that a message must have to pass. */
  readonly require?: readonly Requirement[];
}

/** Binds any other slot to one resource; `parameters` are those of the interface table's `binding`. */
export interface ResourceGrant {
  readonly slot: string;
  readonly interface: Exclude<InterfaceName, "endpoint">;
  readonly rights: readonly string[];
  readonly parameters: Readonly<Record<string, GrantParameter>>;
}

export type GrantParameter = string | number | boolean | readonly string[];
export type Grant = EndpointGrant | ResourceGrant;

export interface RestartRule {
  readonly policy: RestartPolicy;
  /** More failures than this within `windowMs` and the module is held. */
  readonly intensity: number;
  readonly windowMs: number;
  /** First delay after the immediate restart; doubles up to `maximumBackoffMs`, halves after each good `windowMs`. */
  readonly backoffMs: number;
  readonly maximumBackoffMs: number;
  /** Only of the policy `safe-state`: a message of the kernel's to a port, CBOR. */
  readonly final?: { readonly to: PortAddress; readonly payload: Uint8Array };
}

export interface ModuleSpec {
  readonly name: string;
  readonly partition: string;
  /** 0 is the highest of 8. */
  readonly priority: number;
  readonly memoryPages: number;
  /** Fuel that the module may use in each `periodMs`. */
  readonly fuelPerPeriod: number;
  readonly periodMs: number;
  /** Wall-clock limit of one activation. */
  readonly activationMs: number;
  /** State is saved after so many messages; 0 never. */
  readonly checkpointMessages: number;
  /** State is saved so often at least, in milliseconds, where messages have come; 0 or absent never. */
  readonly checkpointMs?: number;
  readonly restart: RestartRule;
  /** What goes into it is recorded, and becomes a capsule where it fails. Default: not. */
  readonly record?: boolean;
  /** The operator's settings, CBOR: part of the start notice of each instance. */
  readonly settings?: Uint8Array;
  readonly grants: readonly Grant[];
}
