/** What the update agent needs from the world: a broker, a runtime for modules, a clock. */

import type { Refusal } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import type { ModuleDocument } from "../envelopes/index.ts";

export interface PublishOptions {
  readonly retain: boolean;
  readonly qos: 0 | 1;
}

/** The link to the broker. Messages come back through `UpdateAgent.message`. */
export interface Transport {
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  publish(topic: string, payload: Uint8Array, options: PublishOptions): void;
}

/** A module of the set that a plan proposes; its document is verified. */
export interface ProposedModule {
  readonly document: ModuleDocument;
  /** Digest of its envelope, in hexadecimal. */
  readonly envelope: string;
}

/** The whole set that a plan proposes, with the configuration that comes with it. */
export interface Proposal {
  readonly modules: readonly ProposedModule[];
  /** What the operator has signed, read and held to the gateway's own file; undefined leaves what is in force. */
  readonly configuration: GatewayConfiguration | undefined;
}

/** A module to be started: the bytes are those that were hashed. */
export interface NewModule extends ProposedModule {
  readonly binary: Uint8Array;
}

/** Runs modules. Every method refuses with a Refusal; at most one set is staged or on probation at a time. */
export interface Runtime {
  /** Every reason for which the operator's configuration forbids this set; none if it may run. */
  policy(proposal: Proposal): Promise<readonly Refusal[]>;
  /**
   * Admits and compiles what is to be started. With a configuration all modules of the set are offered, and what of them
   * changes is the runtime's to find; modules that are not of the set are to go.
   */
  stage(changed: readonly NewModule[], proposal: Proposal): Promise<void>;
  /** Puts the new set in place of the old as one; the old modules stay warm. */
  swap(): Promise<{ readonly pauseMs: number }>;
  /** Resolves when these modules have run so long, have handled so many messages and are well; rejects when one failed. */
  probation(milliseconds: number, messages: number, modules: readonly string[]): Promise<void>;
  /** Lets go of the old modules. */
  commit(): Promise<void>;
  /** Drops what is staged, or puts the old modules back; not an error where there is nothing. */
  rollback(): Promise<void>;
}

export interface Clock {
  /** Milliseconds since 1970, as the system has it. */
  now(): number;
  /** Milliseconds, never backward. */
  monotonic(): number;
  /** Calls back once; the returned function cancels. */
  after(milliseconds: number, callback: () => void): () => void;
  /** 0 to 1: for jitter. */
  random(): number;
}

export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (milliseconds: number, callback: () => void) => {
    const timer = setTimeout(callback, milliseconds);
    return () => {
      clearTimeout(timer);
    };
  },
  random: () => Math.random(),
});
