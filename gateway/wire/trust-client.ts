/** The core's end of the trust worker: boot, admission, module stores, and the update agent's questions. */

import type { AdmittedModule, ModuleSpec, RecordedFailure, SavedState } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { AuditPage } from "./operator.ts";
import { answerOf, Questions, refusalData } from "./trust-protocol.ts";
import type {
  AuditNote,
  AuditPageQuery,
  BootReply,
  CapsuleNotice,
  CoreToTrust,
  MessageChannelEnd,
  OfferedBinary,
  OfferedSet,
  StoreOperation,
  StoreReply,
  TrustQuestion,
  TrustSettings,
  TrustToCore,
  UpdateNotice,
} from "./trust-protocol.ts";

/** What the core does for the update agent. Each refuses with a Refusal. */
export interface TrustHandlers {
  policy(set: OfferedSet): Promise<readonly Refusal[]>;
  stage(changed: readonly OfferedBinary[], set: OfferedSet): Promise<void>;
  swap(): Promise<{ readonly pauseMs: number }>;
  probation(milliseconds: number, messages: number, modules: readonly string[]): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  publish(topic: string, payload: Uint8Array, retain: boolean, qos: 0 | 1): void;
  /** Messages were dropped because too many waited; none waits any more, so what is retained may be asked for again. */
  caughtUp(): void;
  notice(notice: UpdateNotice): void;
  capsule(capsule: CapsuleNotice): void;
  finding(text: string): void;
}

/** Bytes from the broker that may wait for the worker, which a compilation keeps busy for seconds: four blocks are far less. */
const BACKLOG_BYTES = 4 << 20;
/** What a message costs beside its payload. */
const MESSAGE_BYTES = 256;

export class TrustClient {
  readonly #worker: MessageChannelEnd;
  readonly #handlers: TrustHandlers;
  readonly #questions = new Questions();
  #waitingBytes = 0;
  #hasDropped = false;

  /** `worker` is a Worker running gateway/trust/worker.ts, or a port to one. */
  constructor(worker: MessageChannelEnd, handlers: TrustHandlers) {
    this.#worker = worker;
    this.#handlers = handlers;
    worker.on("message", (message) => {
      // SAFETY: the other end is our own worker thread.
      this.#receive(message as TrustToCore);
    });
  }

  /** Verifies everything that is on the disk. @throws Refusal where there is no root to verify with */
  async boot(settings: TrustSettings): Promise<BootReply> {
    return (await this.#questions.ask((id) => this.#send({ kind: "boot", id, settings }))) as BootReply;
  }

  /** The booted modules run: plans may be taken from now on. */
  start(): void {
    this.#send({ kind: "start" });
  }

  connected(): void {
    this.#send({ kind: "connected" });
  }

  /** A message of the broker's. A flood of them must not fill the memory of this process, so what is too much is dropped. */
  message(topic: string, payload: Uint8Array): void {
    const bytes = payload.length + MESSAGE_BYTES;
    if (this.#waitingBytes + bytes > BACKLOG_BYTES) {
      this.#hasDropped = true;
      return;
    }
    this.#waitingBytes += bytes;
    this.#send({ kind: "message", topic, payload });
  }

  /** Inspects, compares with the grants, meters and compiles. @throws Refusal as `admitModule` */
  async admit(binary: Uint8Array, spec: ModuleSpec): Promise<AdmittedModule> {
    return (await this.#questions.ask((id) => this.#send({ kind: "admit", id, binary, spec }))) as AdmittedModule;
  }

  /** One operation of a module's store, bound to its prefix and quota. */
  async store(
    operation: StoreOperation,
    binding: { readonly prefix: string; readonly quota: number },
    key: Uint8Array,
    value: Uint8Array = new Uint8Array(),
  ): Promise<StoreReply> {
    const { prefix, quota } = binding;
    const send = (id: number) => this.#send({ kind: "store", id, operation, prefix, quota, key, value });
    return (await this.#questions.ask(send)) as StoreReply;
  }

  /** Keeps a module's last good state on disk; undefined forgets it. */
  keepState(module: string, state: SavedState | undefined): void {
    this.#send({ kind: "state", module, state });
  }

  /** Keeps a module's failure as a capsule; `capsule` tells of it when it is on disk. */
  keepFailure(failure: RecordedFailure): void {
    this.#send({ kind: "failure", failure });
  }

  /** Hands a record to the audit log; what comes before `boot` is lost. */
  audit(note: AuditNote): void {
    this.#send({ kind: "audit", note });
  }

  /** The newest entries of the audit log, and how its chain stands. */
  async auditPage({ limit, about }: AuditPageQuery): Promise<AuditPage> {
    const query = { limit, about };
    return (await this.#questions.ask((id) => this.#send({ kind: "audit-page", id, query }))) as AuditPage;
  }

  /** Lets the agent end what it does; what is stored stays as it is. */
  async stop(): Promise<void> {
    await this.#questions.ask((id) => this.#send({ kind: "stop", id }));
  }

  /** The worker is gone: whoever waits for it is told. */
  lost(): void {
    this.#questions.abandon(new Refusal("E_ABORTED", "the trust worker ended"));
  }

  #send(message: CoreToTrust): void {
    this.#worker.postMessage(message);
  }

  #receive(message: TrustToCore): void {
    switch (message.kind) {
      case "answer":
        this.#questions.answered(message.id, message.answer);
        return;
      case "ask":
        void this.#answer(message.id, message.ask);
        return;
      case "subscribe":
        this.#handlers.subscribe(message.topic);
        return;
      case "unsubscribe":
        this.#handlers.unsubscribe(message.topic);
        return;
      case "taken":
        this.#taken(message.bytes);
        return;
      case "publish":
        this.#handlers.publish(message.topic, message.payload, message.retain, message.qos);
        return;
      case "notice":
        this.#handlers.notice(message.notice);
        return;
      case "capsule":
        this.#handlers.capsule(message.capsule);
        return;
      case "finding":
        this.#handlers.finding(message.text);
    }
  }

  #taken(bytes: number): void {
    this.#waitingBytes -= bytes + MESSAGE_BYTES;
    if (this.#waitingBytes > 0 || !this.#hasDropped) return;
    this.#hasDropped = false;
    this.#handlers.caughtUp();
  }

  async #answer(id: number, question: TrustQuestion): Promise<void> {
    this.#send({ kind: "answer", id, answer: await answerOf(this.#carryOut(question)) });
  }

  async #carryOut(question: TrustQuestion): Promise<unknown> {
    switch (question.question) {
      case "policy":
        return (await this.#handlers.policy(question.set)).map(refusalData);
      case "stage":
        return this.#handlers.stage(question.changed, question.set);
      case "swap":
        return this.#handlers.swap();
      case "probation":
        return this.#handlers.probation(question.milliseconds, question.messages, question.modules);
      case "commit":
        return this.#handlers.commit();
      case "rollback":
        return this.#handlers.rollback();
    }
  }
}
