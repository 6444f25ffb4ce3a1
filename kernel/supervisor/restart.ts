/** When a failed module runs again: at once the first time, then with exponential backoff that decays, then held. */
import type { RestartRule } from "../system.ts";

export type RestartVerdict = { readonly action: "restart"; readonly delayMs: number } | { readonly action: "hold" };

/** The failures of one module. Times are milliseconds of any clock that does not go backward. */
export class RestartHistory {
  readonly #rule: RestartRule;
  #failures: number[] = [];
  #backoffMs = 0;
  #last = Number.NEGATIVE_INFINITY;

  constructor(rule: RestartRule) {
    this.#rule = rule;
  }

  /** Records a failure and decides. A long good time halves the backoff once for each window that has passed. */
  failed(now: number): RestartVerdict {
    const { intensity, windowMs, backoffMs, maximumBackoffMs } = this.#rule;
    this.#failures = this.#failures.filter((time) => now - time < windowMs);
    this.#failures.push(now);
    const goodWindows = Math.floor((now - this.#last) / windowMs);
    this.#last = now;
    this.#backoffMs = goodWindows > 0 ? Math.floor(this.#backoffMs / 2 ** Math.min(goodWindows, 31)) : this.#backoffMs;
    if (this.#backoffMs < backoffMs / 2) this.#backoffMs = 0;
    const { policy } = this.#rule;
    if (policy === "hold" || policy === "safe-state" || this.#failures.length > intensity) return { action: "hold" };
    const delayMs = this.#backoffMs;
    this.#backoffMs = Math.min(Math.max(backoffMs, delayMs * 2), maximumBackoffMs);
    return { action: "restart", delayMs };
  }

  /** Forgets everything: the operator said to try again. */
  reset(): void {
    this.#failures = [];
    this.#backoffMs = 0;
    this.#last = Number.NEGATIVE_INFINITY;
  }
}
