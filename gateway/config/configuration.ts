/** What a valid configuration is, once it is read: the kernel's part, and what the processes around the kernel need. */
import type { ModuleSpec, PartitionSpec } from "../../kernel/index.ts";
import type { ConfigurationNode } from "./document.ts";
import type { Position, Problem } from "./problem.ts";
import type { PlainData } from "./shape.ts";

export interface GatewayIdentity {
  readonly id: string;
  readonly vendor: string;
  readonly class: string;
}

/** Paths are absolute. */
export interface BrokerSettings {
  readonly url: string;
  readonly clientId: string;
  readonly username: string | null;
  readonly passwordFile: string | null;
  readonly caFile: string | null;
  readonly certificateFile: string | null;
  readonly keyFile: string | null;
  readonly keepAliveMs: number;
  readonly bufferBytes: number;
}

export interface ConsoleSettings {
  readonly address: string;
  readonly port: number;
  readonly tokenFile: string | null;
  readonly certificateFile: string | null;
  readonly keyFile: string | null;
}

export type Decision = "allow" | "deny";

/** A rule or an assertion of the policy. */
export interface PolicyStatement {
  readonly decision: Decision;
  readonly from: string;
  readonly to: string;
  /** Empty: all rights. */
  readonly rights: readonly string[];
  readonly reason: string | null;
  readonly localOnly: boolean;
  readonly at: Position;
}

/** What a rule took away from a grant. */
export interface Withdrawal {
  readonly module: string;
  readonly slot: string;
  /** `module.port`, or the resource. */
  readonly target: string;
  readonly rights: readonly string[];
  readonly rule: PolicyStatement;
}

export interface ConfigurationPositions {
  readonly modules: ReadonlyMap<string, Position>;
  readonly partitions: ReadonlyMap<string, Position>;
  /** By `module.slot`. */
  readonly grants: ReadonlyMap<string, Position>;
  /** Of each target of an endpoint grant, by `module.slot module.port`. */
  readonly targets: ReadonlyMap<string, Position>;
  /** The text's tree of each module's `settings`. */
  readonly settings: ReadonlyMap<string, ConfigurationNode>;
}

/** A file of a configuration. `name` is what messages call it. */
export interface ConfigurationFile {
  readonly name: string;
  readonly text: string;
}

export interface GatewayConfiguration {
  /** The files that were read, the first to decide first. */
  readonly files: readonly string[];
  /** Their texts, and the folder at which relative paths in them start. */
  readonly sources: readonly ConfigurationFile[];
  readonly folder: string;
  readonly gateway: GatewayIdentity;
  /** Absolute. */
  readonly dataFolder: string;
  readonly trust: { readonly root: string };
  readonly broker: BrokerSettings | null;
  readonly console: ConsoleSettings | null;
  /** Plain data, handed to the device process. */
  readonly devices: Readonly<Record<string, PlainData>>;
  readonly limits: { readonly memoryBytes: number; readonly cores: number; readonly spare: boolean };
  /** The X25519 public key, hexadecimal, that capsules are sealed to. */
  readonly capsules: { readonly recipient: string | null };
  readonly system: { readonly partitions: readonly PartitionSpec[]; readonly modules: readonly ModuleSpec[] };
  /** Absolute path of the envelope that a module starts from; a module that comes with an update has none. */
  readonly envelopes: ReadonlyMap<string, string>;
  readonly rules: readonly PolicyStatement[];
  readonly tests: readonly PolicyStatement[];
  readonly withdrawn: readonly Withdrawal[];
  /** Modules (`module`) and grants (`module.slot`) that no document from outside may change. */
  readonly localOnly: ReadonlySet<string>;
  readonly positions: ConfigurationPositions;
  /** What is allowed and probably not meant. */
  readonly warnings: readonly Problem[];
}
