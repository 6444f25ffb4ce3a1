/** Bounds what one source can write into the audit log: a burst, then a trickle, and counts of what was left out. */

export interface ThrottleLimits {
  /** Records of one kind and source that are written at once. */
  readonly burst: number;
  /** After the burst, one in each such time. */
  readonly refillMs: number;
  /** Pairs of kind and source that are told apart; what comes beyond shares one. */
  readonly keys: number;
  /** Subjects of one kind and source of which the first is written whatever came before. */
  readonly subjects: number;
  /** A summary of what was left out comes after this, then after twice as long, up to `longestSummaryMs`. */
  readonly summaryMs: number;
  readonly longestSummaryMs: number;
}

/**
 * A hostile module in one kind of event: 20 records and one for each other subject, then 144 a day and 24 summaries, about
 * 60 KiB; so its other kinds, and other modules, keep their room.
 */
export const THROTTLE_LIMITS: ThrottleLimits = Object.freeze({
  burst: 20,
  refillMs: 600_000,
  keys: 1024,
  subjects: 32,
  summaryMs: 10_000,
  longestSummaryMs: 3_600_000,
});

/** What was left out since the last summary. */
export interface Suppressed {
  readonly kind: string;
  readonly source: string;
  readonly count: number;
  /** Milliseconds since 1970 of the first. */
  readonly since: number;
}

interface Bucket {
  readonly kind: string;
  readonly source: string;
  tokens: number;
  filledAt: number;
  suppressed: number;
  since: number;
  summaryDue: number;
  summaryMs: number;
  /** What this source has done of this kind: the first of each is written, so that a flood of one does not hide another. */
  readonly subjects: Set<string>;
}

/** What only an operator's order or a signed document does: no module can make a flood of it, and none may be missing. */
const UNBOUNDED: ReadonlySet<string> = new Set(["granted", "revoked", "admitted"]);

/** The shared bucket's names: sources that are many are summed up. */
const OTHERS = "others";

export class AuditThrottle {
  readonly #limits: ThrottleLimits;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: ThrottleLimits = THROTTLE_LIMITS) {
    this.#limits = limits;
  }

  /** True where the record may be written; false where it was only counted. */
  admits(kind: string, source: string, now: number, subject = ""): boolean {
    if (UNBOUNDED.has(kind)) return true;
    const bucket = this.#bucket(kind, source, now);
    // A clock that is set back neither gives nor takes.
    const filled = Math.floor(Math.max(0, now - bucket.filledAt) / this.#limits.refillMs);
    bucket.tokens = Math.min(this.#limits.burst, bucket.tokens + filled);
    bucket.filledAt = now < bucket.filledAt ? now : bucket.filledAt + filled * this.#limits.refillMs;
    const isNew = !bucket.subjects.has(subject) && bucket.subjects.size < this.#limits.subjects;
    if (isNew) bucket.subjects.add(subject);
    if (bucket.tokens > 0 || isNew) {
      bucket.tokens = Math.max(0, bucket.tokens - 1);
      return true;
    }
    if (bucket.suppressed === 0) {
      bucket.since = now;
      bucket.summaryDue = now + bucket.summaryMs;
    }
    bucket.suppressed += 1;
    return false;
  }

  /** Summaries that are due at `now`; each is given once. `all` gives those that are not due yet too. */
  due(now: number, all = false): readonly Suppressed[] {
    const found: Suppressed[] = [];
    for (const [key, bucket] of this.#buckets) {
      const { kind, source, suppressed, since } = bucket;
      const isQuiet =
        suppressed === 0 && bucket.tokens + (now - bucket.filledAt) / this.#limits.refillMs >= this.#limits.burst;
      if (isQuiet) this.#buckets.delete(key);
      if (suppressed === 0 || (!all && now < bucket.summaryDue)) continue;
      found.push({ kind, source, count: suppressed, since });
      bucket.suppressed = 0;
      bucket.summaryMs = Math.min(bucket.summaryMs * 2, this.#limits.longestSummaryMs);
    }
    return found;
  }

  #bucket(kind: string, source: string, now: number): Bucket {
    const key = JSON.stringify([kind, source]);
    const known = this.#buckets.get(key);
    if (known !== undefined) return known;
    if (this.#buckets.size >= this.#limits.keys && source !== OTHERS) return this.#bucket(OTHERS, OTHERS, now);
    const { burst, summaryMs } = this.#limits;
    const bucket = {
      kind,
      source,
      tokens: burst,
      filledAt: now,
      suppressed: 0,
      since: now,
      summaryDue: now,
      summaryMs,
      subjects: new Set<string>(),
    };
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
