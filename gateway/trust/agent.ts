/** The update agent: takes plans from the broker, and carries each through the table of states to its end. */

import type { SignatureLimiter, TrustState, VerifiedPlan } from "../envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { TokenBucket, commitTrust, encodeTrustState, verifyPlan, verifyRoot } from "../envelopes/index.ts";
import { sha256Hex } from "../wire/digest.ts";
import type { UpdateNotice } from "../wire/trust-protocol.ts";
import { UPDATE_STATES } from "../wire/update-report.ts";
import type { ResultCode, UpdateState } from "../wire/update-report.ts";
import { topics } from "../wire/update-topics.ts";
import { Attempt } from "./attempt.ts";
import { remember } from "./boot.ts";
import type { BootResult } from "./boot.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import type { Configurations } from "./configurations.ts";
import type { Clock, Runtime, Transport } from "./effects.ts";
import type { GatewayKey } from "./gateway-key.ts";
import { Inbox } from "./inbox.ts";
import type { Identity, LoadedModule } from "./library.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import type { UpdateTimes } from "./limits.ts";
import { PlanLedger } from "./ledger.ts";
import { Reporter } from "./reporter.ts";
import { aftermath, STATE_TABLE } from "./states.ts";
import type { Step } from "./states.ts";
import { Steps } from "./steps.ts";
import type { LastResult, ModuleSet } from "./store-state.ts";
import type { Store } from "./store.ts";

export interface AgentOptions {
  readonly identity: Identity;
  readonly store: Store;
  readonly boot: BootResult;
  readonly configurations: Configurations;
  readonly key: GatewayKey;
  readonly transport: Transport;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly times: UpdateTimes;
  readonly onNotice?: (notice: UpdateNotice) => void;
}

/** What runs at this moment. */
export interface Running {
  readonly set: ModuleSet;
  readonly modules: ReadonlyMap<string, LoadedModule>;
  readonly configuration: GatewayConfiguration;
}

export class UpdateAgent {
  readonly #options: AgentOptions;
  readonly #inbox: Inbox;
  readonly #reporter: Reporter;
  readonly #steps: Steps;
  readonly #ledger: PlanLedger;
  readonly #plans: Allowance;
  /** Of their own: a flood of plans must not keep out the root that ends it. */
  readonly #roots: Allowance;
  #trust: TrustState;
  #running: Running;
  /** The version of the plan whose set runs. */
  #planVersion: number | undefined;
  #current: Attempt | undefined;
  #next: Attempt | undefined;
  #working: Promise<void> = Promise.resolve();
  #cancelRetry: () => void = () => undefined;
  #cancelDeferred: () => void = () => undefined;
  #stopListeningForRoot: () => void = () => undefined;
  /** The newest of the plans that came too fast. */
  #deferred: Uint8Array | undefined;
  #cancelRoot: (() => void) | undefined;
  #stopped = false;

  constructor(options: AgentOptions) {
    const { boot, clock, configurations, store } = options;
    this.#options = options;
    this.#trust = boot.trust;
    const configuration = boot.configuration ?? configurations.own;
    this.#running = { set: boot.set, modules: boot.modules, configuration };
    this.#inbox = new Inbox(options.transport, clock);
    this.#reporter = new Reporter({ ...options, gatewayId: options.identity.gatewayId });
    const now = () => clock.monotonic();
    this.#plans = allowance(now);
    this.#roots = allowance(now);
    this.#ledger = new PlanLedger(store, now);
    this.#steps = new Steps({ ...options, inbox: this.#inbox });
  }

  /** Begins: a candidate that the boot started is put on probation, then plans are listened to. */
  start(): void {
    const { boot, store, identity } = this.#options;
    const trust = encodeTrustState(this.#trust);
    if (trust.toHex() !== store.state.trust?.toHex()) this.#saveQuietly({ trust });
    this.#planVersion = this.#versionOf(this.#running.set.plan);
    if (boot.source === "candidate") this.#resumeProbation();
    this.#inbox.listen(topics.gateway(identity.gatewayId, "desired"), (payload) => {
      this.#desired(payload);
    });
    this.#listenForRoot();
    this.connected();
  }

  /** The link is up, for the first time or again. */
  connected(): void {
    this.#inbox.resubscribe();
    this.#reporter.online();
    this.#report();
  }

  /** A message from the broker: untrusted bytes on any topic. */
  message(topic: string, payload: Uint8Array): void {
    if (!this.#stopped) this.#inbox.deliver(topic, payload);
  }

  /** Stops without touching what runs or what is stored; the next boot goes on. Resolves when nothing is in flight. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRetry();
    this.#cancelDeferred();
    this.#cancelRoot?.();
    this.#next = undefined;
    this.#current?.abort("the gateway stops");
    await this.#working;
  }

  /** Resolves when no attempt goes on. */
  async idle(): Promise<void> {
    await this.#working;
  }

  get running(): Running {
    return this.#running;
  }

  get trust(): TrustState {
    return this.#trust;
  }

  /** The cheap checks first: a flood must not even make us hash. */
  #desired(payload: Uint8Array): void {
    if (!this.#plans.arrivals.take(1)) {
      this.#defer(payload);
      return;
    }
    const digest = sha256Hex(payload);
    if (digest === this.#current?.digest || digest === this.#next?.digest) return;
    const known = this.#ledger.result(digest, this.#running.set.plan === digest);
    if (known !== undefined) {
      if (this.#ledger.mayAnswer()) this.#event(digest, { ...known, percent: 0, final: true }, "broker");
      return;
    }
    try {
      this.#accept(payload, this.#verify(payload));
    } catch (error) {
      this.#refusePlan(payload, digest, asRefusal(error));
    }
  }

  #verify(payload: Uint8Array): VerifiedPlan {
    if (payload.length > UPDATE_LIMITS.documentBytes) {
      throw new Refusal("E_SIZE", "the plan is too large", { found: `${payload.length} bytes` });
    }
    const { clock, identity } = this.#options;
    const now = Math.floor(clock.now() / 1000);
    return verifyPlan(payload, this.#trust, { gatewayId: identity.gatewayId, now, limiter: this.#plans.signatures });
  }

  /** A newer plan supersedes whatever goes on, in any state. @throws Refusal E_ROLLBACK for one older than seen before */
  #accept(payload: Uint8Array, plan: VerifiedPlan): void {
    this.#ledger.see(plan);
    this.#cancelRetry();
    this.#begin(new Attempt(payload, plan));
  }

  #begin(attempt: Attempt): void {
    this.#next = attempt;
    this.#current?.abort(`superseded by plan version ${attempt.plan.document.version}`);
    this.#working = this.#working.then(() => this.#work());
  }

  async #work(): Promise<void> {
    const attempt = this.#next;
    if (attempt === undefined || this.#stopped) return;
    this.#next = undefined;
    this.#current = attempt;
    await this.#carryThrough(attempt);
    this.#current = undefined;
  }

  /** Step by step along the table, until an end. */
  async #carryThrough(attempt: Attempt): Promise<void> {
    try {
      for (let row = STATE_TABLE[attempt.state]; row.step !== "none"; row = STATE_TABLE[attempt.state]) {
        attempt.signal.throwIfAborted();
        await this.#step(attempt, row.step);
        attempt.state = row.next;
        if (row.next !== "committed") this.#progress(attempt);
      }
      this.#finish(attempt, "OK", "", true);
    } catch (error) {
      await this.#fail(attempt, asRefusal(error));
    }
  }

  async #step(attempt: Attempt, step: Exclude<Step, "none">): Promise<void> {
    if (step === "prove") return this.#prove(attempt);
    await this.#steps[step](attempt, { trust: this.#trust, running: this.#running }, () => {
      this.#progress(attempt);
    });
  }

  async #prove(attempt: Attempt): Promise<void> {
    await this.#steps.probation(attempt);
    attempt.signal.throwIfAborted();
    this.#commit(attempt);
    try {
      await this.#options.runtime.commit();
    } catch (error) {
      // The new set is the installed one now; a runtime that cannot let go of the old one changes nothing about that.
      const refusal = asRefusal(error);
      this.#notice({ ...NO_NOTICE, code: refusal.code, reason: refusal.describe() });
    }
  }

  /** The one write that makes the new set the installed one: floors, set and result together. */
  #commit(attempt: Attempt): void {
    const { store } = this.#options;
    const set = attempt.setAfter(this.#running.set.configuration);
    const trust = commitTrust(this.#trust, attempt.plan, [...attempt.modules.values()], attempt.configuration);
    const isSame = store.state.installed?.plan === set.plan;
    store.save({
      trust: encodeTrustState(trust),
      installed: set,
      previous: isSame ? store.state.previous : store.state.installed,
      candidate: undefined,
      last: { code: "OK", reason: "", plan: attempt.digest },
    });
    this.#trust = trust;
    const { configuration } = this.#running;
    const modules = this.#steps.modulesAfter(attempt, this.#running);
    this.#running = { set, modules, configuration: attempt.system ?? configuration };
    this.#planVersion = attempt.plan.document.version;
  }

  async #fail(attempt: Attempt, refusal: Refusal): Promise<void> {
    const { failure } = STATE_TABLE[attempt.state];
    const then = aftermath(refusal.code);
    // What is found out before the download is found out again after a restart, when grants or software may be others.
    const hasCostMuch = UPDATE_STATES.indexOf(attempt.state) >= UPDATE_STATES.indexOf("fetching");
    if (this.#stopped) return;
    await this.#steps.undo(attempt, this.#running);
    attempt.state = failure;
    const last: LastResult = { code: refusal.code, reason: refusal.describe(), plan: attempt.digest };
    const { rejected, last: before } = this.#options.store.state;
    const remembered = then === "remember" && hasCostMuch ? remember(rejected, last) : rejected;
    this.#saveQuietly({ candidate: undefined, last: attempt.isTriedAgain ? before : last, rejected: remembered });
    if (then === "remember") this.#ledger.refuse(last);
    this.#finish(attempt, refusal.code, refusal.describe(), then !== "retry" && !attempt.isTriedAgain);
    if (then === "retry") this.#retryLater(attempt);
  }

  #finish(attempt: Attempt, code: ResultCode, reason: string, final: boolean): void {
    const { digest, state, percent, pauseMs } = attempt;
    this.#report();
    this.#event(digest, { state, percent: code === "OK" ? 100 : percent, code, reason, final, pauseMs });
    if (code === "OK") this.#collect();
  }

  #retryLater(attempt: Attempt): void {
    const { clock } = this.#options;
    this.#cancelRetry();
    this.#cancelRetry = clock.after(this.#ledger.retryDelay(attempt.digest, this.#options), () => {
      if (this.#next !== undefined || this.#stopped) return;
      this.#verifyAgain(attempt.payload, attempt.digest);
    });
  }

  /** A retried plan is verified again: it may have expired, or its key may have been revoked. */
  #verifyAgain(payload: Uint8Array, digest: string): void {
    try {
      this.#begin(new Attempt(payload, this.#verify(payload)));
    } catch (error) {
      this.#refusePlan(payload, digest, asRefusal(error));
    }
  }

  /** A plan that was not even verified: nothing of it is stored, so that forgers cannot wear the disk. */
  #refusePlan(payload: Uint8Array, digest: string, refusal: Refusal): void {
    if (refusal.code === "E_BUSY") {
      this.#defer(payload);
      return;
    }
    const isFinal = refusal.code !== "E_ROOT_GAP";
    const result: LastResult = { code: refusal.code, reason: refusal.describe(), plan: digest };
    if (aftermath(refusal.code) === "remember") this.#ledger.refuse(result);
    if (!this.#ledger.mayAnswer()) return;
    const { code, reason } = result;
    this.#event(digest, { state: "rejected", percent: 0, code, reason, final: isFinal }, "broker");
  }

  /** Too many signatures at once: the newest plan waits, and the broker is asked for the retained one when it is calm. */
  #defer(payload: Uint8Array): void {
    const { clock, times, identity } = this.#options;
    const isWaiting = this.#deferred !== undefined;
    this.#deferred = payload;
    // The timer is never put off: a flood that lasts must not keep the retained plan from being asked for.
    if (isWaiting) return;
    this.#cancelDeferred = clock.after(times.deferMs * (1 + clock.random()), () => {
      const newest = this.#deferred;
      this.#deferred = undefined;
      if (this.#stopped || newest === undefined) return;
      this.#desired(newest);
      this.#inbox.ask(topics.gateway(identity.gatewayId, "desired"));
    });
  }

  #listenForRoot(): void {
    this.#stopListeningForRoot();
    this.#stopListeningForRoot = this.#inbox.listen(topics.root(this.#trust.root.version + 1), (payload) => {
      this.#root(payload);
    });
  }

  /** Check first, persist then, and only then use it. */
  #root(payload: Uint8Array): void {
    if (payload.length > UPDATE_LIMITS.documentBytes) return;
    if (!this.#roots.arrivals.take(1)) {
      this.#askForRootLater();
      return;
    }
    const digest = sha256Hex(payload);
    if (this.#ledger.result(digest, false) !== undefined) return;
    try {
      const { trust } = verifyRoot(payload, this.#trust, this.#roots.signatures);
      this.#options.store.save({ trust: encodeTrustState(trust) });
      this.#trust = trust;
    } catch (error) {
      const refusal = asRefusal(error);
      if (aftermath(refusal.code) === "retry") this.#askForRootLater();
      if (aftermath(refusal.code) === "remember") {
        this.#ledger.refuse({ code: refusal.code, reason: refusal.describe(), plan: digest });
      }
      const notice = { source: "broker", plan: digest, state: "rejected", percent: 0 } as const;
      this.#notice({ ...notice, code: refusal.code, reason: refusal.describe() });
      return;
    }
    this.#ledger.underNewRoot(this.#trust.root);
    this.#listenForRoot();
    this.#report();
    this.#underNewRoot();
  }

  /** One that came in a flood, or could not be stored, is retained at the broker; it is asked for when it is calm. */
  #askForRootLater(): void {
    const { clock, times } = this.#options;
    // As with plans, the timer is never put off.
    this.#cancelRoot ??= clock.after(times.retryMs * (1 + clock.random()), () => {
      this.#cancelRoot = undefined;
      if (!this.#stopped) this.#inbox.ask(topics.root(this.#trust.root.version + 1));
    });
  }

  /** A new root may make the retained plan good, which came before it, and one that goes on bad. */
  #underNewRoot(): void {
    this.#inbox.ask(topics.gateway(this.#options.identity.gatewayId, "desired"));
    const attempt = this.#current;
    if (attempt === undefined) return;
    attempt.isTriedAgain = true;
    attempt.abort("a new root arrived: the plan is verified again");
    this.#working = this.#working.then(() => {
      if (this.#next === undefined && !this.#stopped) this.#verifyAgain(attempt.payload, attempt.digest);
    });
  }

  #resumeProbation(): void {
    const { boot, store, identity } = this.#options;
    const payload = boot.set.plan === null ? undefined : store.read("envelopes", boot.set.plan);
    if (payload === undefined) return;
    // The boot has just verified this plan, or it would not have started its set.
    const plan = verifyPlan(payload, this.#trust, { gatewayId: identity.gatewayId, now: 0, purpose: "boot" });
    const attempt = new Attempt(payload, plan);
    this.#running = this.#steps.resume(attempt, boot, this.#trust);
    this.#begin(attempt);
  }

  #versionOf(plan: string | null): number | undefined {
    if (plan === null) return undefined;
    const payload = this.#options.store.read("envelopes", plan);
    if (payload === undefined) return undefined;
    try {
      const { gatewayId } = this.#options.identity;
      return verifyPlan(payload, this.#trust, { gatewayId, now: 0, purpose: "boot" }).document.version;
    } catch {
      // A plan whose key has been revoked since has no version that anybody should build upon.
      return undefined;
    }
  }

  #collect(): void {
    try {
      this.#options.store.collect(this.#next?.digests ?? new Set());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  #progress(attempt: Attempt): void {
    const { digest, state, percent, pauseMs } = attempt;
    this.#event(digest, { state, percent, code: undefined, reason: "", final: false, pauseMs });
  }

  #event(
    plan: string,
    event: {
      state: UpdateState;
      percent: number;
      code: ResultCode | undefined;
      reason: string;
      final: boolean;
      pauseMs?: number | undefined;
    },
    source: UpdateNotice["source"] = "trust",
  ): void {
    this.#reporter.event({ pauseMs: undefined, ...event, plan });
    const { state, percent, code, reason } = event;
    this.#notice({ source, plan, state, percent, code, reason });
  }

  #notice(notice: UpdateNotice): void {
    this.#options.onNotice?.(notice);
  }

  #report(): void {
    const { set, modules } = this.#running;
    const reported = Array.from(modules, ([name, { document, envelope }]) => {
      return [name, { sequence: document.sequence, envelope, version: document.claims.version }] as const;
    });
    this.#reporter.reported({
      rootVersion: this.#trust.root.version,
      plan: set.plan === null ? undefined : { digest: set.plan, version: this.#planVersion ?? 0 },
      configuration: set.configuration ?? undefined,
      modules: new Map(reported),
      last: this.#options.store.state.last,
    });
  }

  /** What a full disk keeps from being remembered is decided anew after the next start. */
  #saveQuietly(changes: Parameters<Store["save"]>[0]): void {
    try {
      this.#options.store.save(changes);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#notice({ ...NO_NOTICE, code: error.code, reason: error.describe() });
    }
  }
}

/** What a stranger's documents may cost. */
interface Allowance {
  readonly arrivals: SignatureLimiter;
  readonly signatures: SignatureLimiter;
}

function allowance(now: () => number): Allowance {
  const { arrivalBurst, arrivalsPerSecond, signatureBurst, signaturesPerSecond } = UPDATE_LIMITS;
  return {
    arrivals: new TokenBucket({ capacity: arrivalBurst, perSecond: arrivalsPerSecond, now }),
    signatures: new TokenBucket({ capacity: signatureBurst, perSecond: signaturesPerSecond, now }),
  };
}

const NO_NOTICE: UpdateNotice = Object.freeze({
  source: "trust",
  plan: "",
  state: "idle",
  percent: 0,
  code: undefined,
  reason: "",
});

/** Wrong input refuses; anything else is a fault of ours, which ends the attempt and is told as such. */
function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const found = error instanceof Error ? error.message : String(error);
  return new Refusal("E_ABORTED", "the update agent failed", { found });
}
