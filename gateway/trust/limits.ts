/** Every time-out and bound of the update agent, each with its reason. */

export interface UpdateTimes {
  /** Waiting for a document that is retained at the broker: a slow link needs a few round trips. */
  readonly documentMs: number;
  /** Without a new block for so long a download is given up until the next try. */
  readonly stallMs: number;
  /** A whole download, whatever trickles in: this and `perBlockMs` for each block. */
  readonly downloadMs: number;
  readonly perBlockMs: number;
  /** Compiling and instantiating the new modules, then the swap. */
  readonly stageMs: number;
  readonly swapMs: number;
  /** Least time on probation, and the messages that must have been handled in it. */
  readonly probationMs: number;
  readonly probationMessages: number;
  /** Longest probation: a set that handles too few messages is not proven. */
  readonly probationLimitMs: number;
  /** First delay before a retry; doubles up to the maximum, with jitter of half of it either way. */
  readonly retryMs: number;
  readonly retryMaximumMs: number;
  /** How long a plan waits for verification when too many came. */
  readonly deferMs: number;
}

export const UPDATE_TIMES: UpdateTimes = Object.freeze({
  documentMs: 30_000,
  stallMs: 60_000,
  downloadMs: 300_000,
  perBlockMs: 4_000,
  stageMs: 60_000,
  swapMs: 30_000,
  probationMs: 10_000,
  probationMessages: 1,
  probationLimitMs: 120_000,
  retryMs: 5_000,
  retryMaximumMs: 900_000,
  deferMs: 1_000,
});

export const UPDATE_LIMITS = Object.freeze({
  /** A plan of a thousand modules has 60 KiB; a configuration is the largest document. */
  documentBytes: 300 * 1024,
  /** Blocks asked for at a time: enough to hide the round trip, little enough for a Pi's memory. */
  blocksAtOnce: 4,
  /** Plans that are looked at, at once and each second, and roots beside them: an honest sender sends one. */
  arrivalBurst: 64,
  arrivalsPerSecond: 16,
  /** Signatures that a flood of forged plans can make us compute, at once and each second, and one of forged roots. */
  signatureBurst: 32,
  signaturesPerSecond: 8,
  /** Events about plans that nobody could vouch for: at once, and each second. */
  forgedEventBurst: 16,
  forgedEventsPerSecond: 2,
  /** Starts of a candidate without a commit, after which it is given up. */
  tries: 3,
  /** Report counters reserved at a time, so that not each report wears the disk. */
  counterLease: 1_000,
  /** Refused payloads whose digest is kept in memory, so that a retained one costs no signature again. */
  refusedKept: 256,
} as const);
