/** The messages between the core's main thread and the trust worker. Both are the trusted core: what crosses is not parsed. */

import { Refusal } from "../../kernel/index.ts";
import type { ModuleSpec, RecordedFailure, RefusalCode, RefusalDetail, SavedState } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import type { ModuleDocument } from "../envelopes/index.ts";
import type { CapsuleForm } from "./capsule.ts";
import type { ResultCode, UpdateState } from "./update-report.ts";

/** A Refusal as it crosses between threads: errors of a class of ours do not survive structured cloning. */
export interface RefusalData {
  readonly code: RefusalCode;
  readonly message: string;
  readonly detail: RefusalDetail;
}

export function refusalData({ code, message, detail }: Refusal): RefusalData {
  return { code, message, detail };
}

export function refusalFrom({ code, message, detail }: RefusalData): Refusal {
  return new Refusal(code, message, detail);
}

/** A Refusal as it is; any other error is a fault of ours, told as E_ABORTED. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal("E_ABORTED", "the gateway failed", {
    found: error instanceof Error ? error.message : String(error),
  });
}

export type Answer =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly refusal: RefusalData };

/** What the worker needs to know before it can verify anything. */
export interface TrustSettings {
  /** Of the gateway's own file: its identity, its root, the modules that run until a plan says otherwise. */
  readonly configuration: GatewayConfiguration;
  /** Overrides of the update agent's times, in milliseconds; tests and the demo shorten the probation. */
  readonly times?: Readonly<Record<string, number>>;
}

/** A module whose envelope and bytes have been verified. */
export interface BootedModule {
  readonly name: string;
  readonly document: ModuleDocument;
  /** Digest of its envelope, in hexadecimal. */
  readonly envelope: string;
  readonly binary: Uint8Array;
}

/** What the gateway is to run after a start. */
export interface BootReply {
  readonly modules: readonly BootedModule[];
  /** Modules of which no version could be verified. */
  readonly refused: readonly { readonly name: string; readonly refusal: RefusalData }[];
  readonly source: "candidate" | "installed" | "previous" | "delivered" | "mixed";
  /** The operator's signed configuration in force; undefined where the local file rules alone. */
  readonly configuration: GatewayConfiguration | undefined;
  readonly findings: readonly string[];
  /** The modules' last good states of earlier processes. */
  readonly states: ReadonlyMap<string, SavedState>;
  /** Public key of the gateway's own reports, 32 bytes. */
  readonly gatewayKey: Uint8Array;
  readonly rootVersion: number;
}

/** A module of a proposed set, without and with its bytes. */
export interface OfferedModule {
  readonly document: ModuleDocument;
  readonly envelope: string;
}
export interface OfferedBinary extends OfferedModule {
  readonly binary: Uint8Array;
}

/** The set that a plan proposes: all of its modules, and the configuration that comes with it, if one does. */
export interface OfferedSet {
  readonly modules: readonly OfferedModule[];
  readonly configuration: GatewayConfiguration | undefined;
}

/** What the update agent asks of the core. The core answers each with `answer`, by id. */
export type TrustQuestion =
  /** Answer: `RefusalData[]`, empty if the set may run. */
  | { readonly question: "policy"; readonly set: OfferedSet }
  /** Admit and compile; with a configuration, of the whole set what it changes. Answer: nothing. */
  | { readonly question: "stage"; readonly changed: readonly OfferedBinary[]; readonly set: OfferedSet }
  /** Answer: `{ pauseMs: number }`. */
  | { readonly question: "swap" }
  /**
   * Answer when the modules named have proven themselves: nothing; a refusal if one failed. Given up by a `rollback`.
   * After a boot that started a candidate it comes without a swap before it.
   */
  | {
      readonly question: "probation";
      readonly milliseconds: number;
      readonly messages: number;
      readonly modules: readonly string[];
    }
  | { readonly question: "commit" }
  | { readonly question: "rollback" };

export type StoreOperation = "get" | "set" | "delete";

/** `result` is the ABI's: 0 or the value's length, or a kernel result code. */
export interface StoreReply {
  readonly result: number;
  readonly bytes: Uint8Array;
}

export type CoreToTrust =
  | { readonly kind: "boot"; readonly id: number; readonly settings: TrustSettings }
  /** Begin taking plans; comes once, when the booted modules run. */
  | { readonly kind: "start" }
  /** The link to the broker is up, for the first time or again. */
  | { readonly kind: "connected" }
  | { readonly kind: "message"; readonly topic: string; readonly payload: Uint8Array }
  | { readonly kind: "answer"; readonly id: number; readonly answer: Answer }
  /** Answer: AdmittedModule. Metering and compilation happen in the worker, because they cannot be interrupted. */
  | { readonly kind: "admit"; readonly id: number; readonly binary: Uint8Array; readonly spec: ModuleSpec }
  | {
      readonly kind: "store";
      readonly id: number;
      readonly operation: StoreOperation;
      readonly prefix: string;
      readonly quota: number;
      readonly key: Uint8Array;
      readonly value: Uint8Array;
    }
  /** The last good state of a module, for the next process; undefined forgets it. */
  | { readonly kind: "state"; readonly module: string; readonly state: SavedState | undefined }
  /** A module's failure, to be kept as a capsule. */
  | { readonly kind: "failure"; readonly failure: RecordedFailure }
  /** Something that the audit log keeps. */
  | { readonly kind: "audit"; readonly note: AuditNote }
  /** Answer: `AuditPage`. */
  | { readonly kind: "audit-page"; readonly id: number; readonly query: AuditPageQuery }
  | { readonly kind: "stop"; readonly id: number };

/** The newest so many that hold this text in some field; an empty one is in all. */
export interface AuditPageQuery {
  readonly limit: number;
  readonly about: string;
}

/** A record of the audit log: what kind of event, who caused it, what it was about. */
export interface AuditNote {
  readonly kind: string;
  readonly source: string;
  readonly subject: string;
  readonly detail: Readonly<Record<string, string | number | boolean | null>>;
}

export type TrustToCore =
  /** Answers `boot`, `admit`, `store` and `stop`, by id. */
  | { readonly kind: "answer"; readonly id: number; readonly answer: Answer }
  | { readonly kind: "ask"; readonly id: number; readonly ask: TrustQuestion }
  | { readonly kind: "subscribe"; readonly topic: string }
  | { readonly kind: "unsubscribe"; readonly topic: string }
  /** So many bytes of `message` have been looked at. */
  | { readonly kind: "taken"; readonly bytes: number }
  | {
      readonly kind: "publish";
      readonly topic: string;
      readonly payload: Uint8Array;
      readonly retain: boolean;
      readonly qos: 0 | 1;
    }
  | { readonly kind: "notice"; readonly notice: UpdateNotice }
  | { readonly kind: "capsule"; readonly capsule: CapsuleNotice }
  /** Something that the operator should know: a disk that refuses the audit log. */
  | { readonly kind: "finding"; readonly text: string };

/** A capsule that was written. */
export interface CapsuleNotice {
  readonly module: string;
  readonly path: string;
  readonly bytes: number;
  readonly form: CapsuleForm;
}

/** What happened to an update, for the log, the audit and the console; the same that is reported, in words. */
export interface UpdateNotice {
  /** `broker`: of a document that anybody at the broker may have sent, before or without its verification. */
  readonly source: "trust" | "broker";
  /** Digest of the plan; empty where it concerns none. */
  readonly plan: string;
  readonly state: UpdateState;
  readonly percent: number;
  readonly code: ResultCode | undefined;
  readonly reason: string;
}

/** The part of MessagePort and Worker that both ends use. */
export interface MessageChannelEnd {
  postMessage(message: unknown): void;
  on(event: "message", listener: (message: unknown) => void): unknown;
}

/** Numbers questions and gives each its answer. */
export class Questions {
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #last = 0;

  /** Sends what `message` makes of a fresh id; resolves with the answer's value, rejects with its refusal. */
  ask(message: (id: number) => void): Promise<unknown> {
    const id = ++this.#last;
    const settling = Promise.withResolvers<unknown>();
    this.#waiting.set(id, settling);
    message(id);
    return settling.promise;
  }

  answered(id: number, answer: Answer): void {
    const settling = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (answer.ok) settling?.resolve(answer.value);
    else settling?.reject(refusalFrom(answer.refusal));
  }

  /** No answers will come any more. */
  abandon(refusal: Refusal): void {
    for (const settling of this.#waiting.values()) settling.reject(refusal);
    this.#waiting.clear();
  }
}

/** The answer that a promise becomes. */
export async function answerOf(work: Promise<unknown>): Promise<Answer> {
  try {
    return { ok: true, value: await work };
  } catch (error) {
    return { ok: false, refusal: refusalData(toRefusal(error)) };
  }
}
