/** Who may look at the page: a token opens a session, a cookie carries it, and guessing is slow. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { WEB_LIMITS } from "./limits.ts";

const SESSION_BYTES = 24;
/** A token is no longer; hashing stays cheap. */
const TOKEN_CHARACTERS = 256;

interface Bucket {
  /** Attempts left. */
  left: number;
  at: number;
}

export type Login = { readonly session: string } | { readonly retryAfterSeconds: number } | undefined;

export class Sessions {
  readonly #tokenDigest: Uint8Array;
  readonly #now: () => number;
  /** By the digest of the cookie's value, with when it was last used. */
  readonly #sessions = new Map<string, { begun: number; used: number }>();
  readonly #buckets = new Map<string, Bucket>();
  /** Attempts with a wrong token. */
  failures = 0;

  constructor(tokenDigest: Uint8Array, now: () => number = () => performance.now()) {
    this.#tokenDigest = tokenDigest;
    this.#now = now;
  }

  /** Undefined for a wrong token; too many of those from an address, and the right one has to wait as well. */
  login(token: string, address: string): Login {
    const bucket = this.#bucket(address);
    if (bucket.left < 1) return { retryAfterSeconds: Math.ceil((WEB_LIMITS.guessMs * (1 - bucket.left)) / 1000) };
    if (!this.#isToken(token)) {
      bucket.left--;
      this.failures++;
      return undefined;
    }
    const session = randomBytes(SESSION_BYTES).toString("base64url");
    this.#add(digest(session).toString("hex"));
    return { session };
  }

  /** True for the token itself, as a program sends it; wrong ones count as guesses. */
  admits(token: string, address: string): boolean {
    const bucket = this.#bucket(address);
    if (bucket.left < 1) return false;
    if (this.#isToken(token)) return true;
    bucket.left--;
    this.failures++;
    return false;
  }

  isOpen(session: string): boolean {
    const key = digest(session).toString("hex");
    const found = this.#sessions.get(key);
    const now = this.#now();
    if (found === undefined || now - found.begun > WEB_LIMITS.sessionMs) {
      this.#sessions.delete(key);
      return false;
    }
    found.used = now;
    return true;
  }

  close(session: string): void {
    this.#sessions.delete(digest(session).toString("hex"));
  }

  #add(key: string): void {
    const now = this.#now();
    this.#sessions.set(key, { begun: now, used: now });
    if (this.#sessions.size <= WEB_LIMITS.sessions) return;
    const [oldest] = [...this.#sessions].sort(([, a], [, b]) => a.used - b.used);
    if (oldest !== undefined) this.#sessions.delete(oldest[0]);
  }

  /** Digests of equal length are compared, in a time that does not tell where they differ. */
  #isToken(token: string): boolean {
    return token.length <= TOKEN_CHARACTERS && timingSafeEqual(digest(token), this.#tokenDigest);
  }

  #bucket(address: string): Bucket {
    const now = this.#now();
    const bucket = this.#buckets.get(address) ?? { left: WEB_LIMITS.guesses, at: now };
    bucket.left = Math.min(WEB_LIMITS.guesses, bucket.left + (now - bucket.at) / WEB_LIMITS.guessMs);
    bucket.at = now;
    this.#buckets.delete(address);
    this.#buckets.set(address, bucket);
    if (this.#buckets.size > WEB_LIMITS.guessers) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    return bucket;
  }
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
