/** Every bound of the page's server, each with its reason. */

export const WEB_LIMITS = Object.freeze({
  /** A browser opens six, Prometheus one; a stranger who holds them all back loses them by the time-outs below. */
  connections: 64,
  /** People who look at the page at once. */
  streams: 8,
  /** Of whoever is logged in; the one that was silent the longest goes. */
  sessions: 16,
  sessionMs: 12 * 60 * 60 * 1000,
  headerBytes: 8 * 1024,
  headers: 64,
  /** The longest body holds a token. */
  bodyBytes: 1024,
  /** Whoever sends slower than this is not waited for. */
  headersMs: 5000,
  requestMs: 8000,
  keepAliveMs: 5000,
  handshakeMs: 5000,
  /** An answer or a stream whose reader takes nothing for so long is cut off. */
  stalledMs: 15_000,
  /** A stream waits with what is new while so much is unread. */
  streamBytes: 512 * 1024,
  /** Attempts to log in with a wrong token: so many at once, then one each so often. */
  guesses: 5,
  guessMs: 5000,
  /** Addresses whose guesses are counted apart. */
  guessers: 256,
  /** Between two looks while somebody looks on. */
  lookMs: 1000,
  /** Health is asked of the core at most so often. */
  healthMs: 500,
} as const);
