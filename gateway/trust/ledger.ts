/** Which plans have been seen and how they ended: what keeps a retained message from being tried, or answered, for ever. */

import type { RootDocument, VerifiedPlan } from "../envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { TokenBucket } from "../envelopes/index.ts";
import type { ResultCode, UpdateState } from "../wire/update-report.ts";
import type { Clock } from "./effects.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import type { UpdateTimes } from "./limits.ts";
import type { LastResult } from "./store-state.ts";
import type { Store } from "./store.ts";

export interface KnownResult {
  readonly state: UpdateState;
  readonly code: ResultCode;
  readonly reason: string;
}

export class PlanLedger {
  readonly #store: Store;
  readonly #answers: TokenBucket;
  /** Of this run: refused payloads by digest, the newest version seen of each signer, tries of each plan. */
  readonly #refused = new Map<string, LastResult>();
  readonly #newest = new Map<string, { readonly version: number; readonly digest: string }>();
  #retried: { readonly plan: string; readonly tries: number } = { plan: "", tries: 0 };

  constructor(store: Store, now: () => number) {
    this.#store = store;
    const { forgedEventBurst, forgedEventsPerSecond } = UPDATE_LIMITS;
    this.#answers = new TokenBucket({ capacity: forgedEventBurst, perSecond: forgedEventsPerSecond, now });
  }

  /** How this payload ended, if that is decided. */
  result(digest: string, isInForce: boolean): KnownResult | undefined {
    if (isInForce) return { state: "committed", code: "OK", reason: "" };
    const last = this.#refused.get(digest) ?? this.#store.state.rejected.get(digest);
    if (last === undefined) return undefined;
    return { state: last.code === "E_PROBATION" ? "rolled-back" : "rejected", code: last.code, reason: last.reason };
  }

  refuse(result: LastResult): void {
    this.#refused.set(result.plan, result);
    const [oldest] = this.#refused.keys();
    if (this.#refused.size > UPDATE_LIMITS.refusedKept && oldest !== undefined) this.#refused.delete(oldest);
  }

  /** Bounds the events that strangers can make the gateway sign. */
  mayAnswer(): boolean {
    return this.#answers.take(1);
  }

  /** @throws Refusal E_ROLLBACK where its signer has already sent a newer one: brokers may replay what was never committed */
  see(plan: VerifiedPlan): void {
    const { version } = plan.document;
    const digest = plan.digest.toHex();
    for (const signer of plan.signers) {
      const newest = this.#newest.get(signer);
      if (newest === undefined || version > newest.version || digest === newest.digest) continue;
      throw new Refusal("E_ROLLBACK", "the plan is not newer than one that came before it", {
        expected: `version ${newest.version + 1} or more`,
        found: `version ${version}`,
      });
    }
    for (const signer of plan.signers) this.#newest.set(signer, { version, digest });
  }

  /** A new root may list a key that was unknown, and keys that it revokes cannot hold back anybody. */
  underNewRoot(root: RootDocument): void {
    this.#refused.clear();
    const revoked = new Set(root.revokedKeys.map((id) => id.toHex()));
    for (const signer of this.#newest.keys()) if (revoked.has(signer)) this.#newest.delete(signer);
  }

  /** Milliseconds before the next try of this plan: doubling, with jitter of half of it either way. */
  retryDelay(plan: string, options: { readonly clock: Clock; readonly times: UpdateTimes }): number {
    const tries = this.#retried.plan === plan ? this.#retried.tries : 0;
    this.#retried = { plan, tries: tries + 1 };
    const { retryMs, retryMaximumMs } = options.times;
    const delay = Math.min(retryMaximumMs, retryMs * 2 ** Math.min(tries, 30));
    return delay * (0.5 + options.clock.random());
  }
}
