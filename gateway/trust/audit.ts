/** The audit log: append-only, hash-chained, in SQLite, with a signed head in each transaction. Only the trust worker writes it. */
import { randomBytes } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { Refusal } from "../../kernel/index.ts";
import {
  type AuditEntry,
  type AuditHead,
  type AuditRecord,
  encodeHead,
  genesisHash,
  hashEntry,
  openHead,
  sameEnd,
} from "./audit-chain.ts";
import { AuditThrottle, THROTTLE_LIMITS, type ThrottleLimits } from "./audit-throttle.ts";

export interface AuditLimits {
  /** Entries kept; the oldest eighth goes when there are more. Half a million take about 150 MB. */
  readonly entries: number;
  /** Records that wait while the disk refuses; beyond, the newest are counted and lost. */
  readonly waiting: number;
  /** A quiet log writes at once; within this time after a write, records are gathered into one transaction. */
  readonly gatherMs: number;
  /** After the disk refused. */
  readonly retryMs: number;
  readonly throttle: ThrottleLimits;
}

export const AUDIT_LIMITS: AuditLimits = Object.freeze({
  entries: 500_000,
  waiting: 1024,
  gatherMs: 100,
  retryMs: 5000,
  throttle: THROTTLE_LIMITS,
});

/** Its name in the gateway's data folder. */
export const AUDIT_FILE = "audit.sqlite";

/** Characters of each text field. */
const TEXT_LENGTH = 256;
/** Characters of the detail as JSON. */
const DETAIL_LENGTH = 2048;
/** The log's own source. */
const SELF = "audit";

export interface AuditOptions {
  /** A COSE_Sign1 of content type `AUDIT_HEAD_TYPE` that carries the payload: the gateway's key makes it. */
  readonly signHead: (payload: Uint8Array) => Uint8Array;
  /** Of the key that signs heads, 32 bytes: a head that it did not sign is not believed at the next start. */
  readonly publicKey: Uint8Array;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** The disk refused. Recording goes on, and what waits is tried again with the next record. */
  readonly onFault?: (refusal: Refusal) => void;
  readonly limits?: Partial<AuditLimits>;
}

interface Waiting {
  readonly time: number;
  readonly record: AuditRecord;
}

interface End {
  readonly sequence: number;
  readonly hash: Uint8Array;
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA wal_autocheckpoint = 128;
  CREATE TABLE IF NOT EXISTS entry (
    sequence INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS head (only INTEGER PRIMARY KEY CHECK (only = 1), signed BLOB NOT NULL) STRICT;
`;

export class AuditLog {
  readonly #path: string;
  readonly #options: AuditOptions;
  readonly #limits: AuditLimits;
  readonly #throttle: AuditThrottle;
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #putHead: StatementSync;
  #log: Uint8Array;
  #base: End;
  #end: End;
  #head: Uint8Array | undefined;
  #waiting: Waiting[] = [];
  #lost = 0;
  /** True since the disk refused, until it takes something again: it is then left in peace between tries. */
  #isRefused = false;
  #gathering: NodeJS.Timeout | undefined;
  readonly #summarizing: NodeJS.Timeout;

  /** Opens the log, or makes it. @throws Refusal E_STORE where the file cannot be opened, or is not a database */
  constructor(path: string, options: AuditOptions) {
    this.#path = path;
    this.#options = options;
    this.#limits = { ...AUDIT_LIMITS, ...options.limits };
    this.#throttle = new AuditThrottle(this.#limits.throttle);
    this.#log = new Uint8Array(randomBytes(16));
    this.#base = { sequence: 0, hash: genesisHash(this.#log) };
    this.#end = this.#base;
    try {
      this.#database = new DatabaseSync(path);
      this.#database.exec(SCHEMA);
      this.#insert = this.#database.prepare("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)");
      this.#putHead = this.#database.prepare(
        "INSERT INTO head VALUES (1, ?) ON CONFLICT DO UPDATE SET signed = excluded.signed",
      );
      this.#resume();
    } catch (error) {
      throw this.#refusal("cannot be opened", error);
    }
    this.#summarizing = setInterval(() => {
      this.#summarize(false);
    }, this.#limits.throttle.summaryMs).unref();
  }

  /** The newest signed head, for reports: whoever keeps one can tell later whether the log still leads there. */
  get head(): Uint8Array | undefined {
    return this.#head;
  }

  /** Records what happened, on disk at return where the log was quiet, within `gatherMs` else. Never throws. */
  record(record: AuditRecord): void {
    const time = this.#now();
    const clipped = clip(record);
    const { kind, source, subject, detail } = clipped;
    const what = `${subject} ${String(detail["result"] ?? "")}`;
    if (this.#throttle.admits(kind, source, time, what)) this.#put(clipped, time);
  }

  /** Writes what waits. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const batch = this.#waiting;
    try {
      this.#write(batch);
      this.#waiting = [];
      this.#isRefused = false;
    } catch (error) {
      this.#isRefused = true;
      this.#options.onFault?.(this.#refusal("cannot be written", error));
    }
  }

  /** Writes what waits and what was counted, and closes. */
  close(): void {
    clearInterval(this.#summarizing);
    clearTimeout(this.#gathering);
    this.#summarize(true);
    this.flush();
    this.#database.close();
  }

  #now(): number {
    return Math.max(0, Math.floor(this.#options.now?.() ?? Date.now()));
  }

  #put(record: AuditRecord, time: number): void {
    if (this.#waiting.length >= this.#limits.waiting && !this.#isRefused) this.flush();
    if (this.#waiting.length >= this.#limits.waiting) {
      this.#lost += 1;
      return;
    }
    this.#waiting.push({ time, record });
    if (this.#gathering !== undefined) return;
    this.flush();
    this.#gather();
  }

  /** Until the time is over, records only wait; then they are written together. A disk that refuses is left in peace. */
  #gather(): void {
    const isRefused = this.#waiting.length > 0;
    this.#gathering = setTimeout(
      () => {
        this.#gathering = undefined;
        if (this.#waiting.length === 0) return;
        this.flush();
        this.#gather();
      },
      isRefused ? this.#limits.retryMs : this.#limits.gatherMs,
    ).unref();
  }

  #summarize(all: boolean): void {
    const now = this.#now();
    for (const { kind, source, count, since } of this.#throttle.due(now, all)) {
      this.#put({ kind: "suppressed", source, subject: kind, detail: { count, since } }, now);
    }
  }

  #write(batch: readonly Waiting[]): void {
    let end = this.#end;
    let base = this.#base;
    const add = (time: number, { kind, source, subject, detail }: AuditRecord): void => {
      const entry: AuditEntry = {
        sequence: end.sequence + 1,
        time,
        kind,
        source,
        subject,
        detail: JSON.stringify(detail),
      };
      const hash = hashEntry(end.hash, entry);
      this.#insert.run(entry.sequence, time, kind, source, subject, entry.detail, hash);
      end = { sequence: entry.sequence, hash };
    };
    const lost = this.#lost;
    const signed = this.#transaction(() => {
      for (const { time, record } of batch) add(time, record);
      if (lost > 0)
        add(this.#now(), { kind: "lost", source: SELF, subject: "the disk refused", detail: { count: lost } });
      const pruned = this.#prune(base, end);
      if (pruned !== undefined) {
        add(this.#now(), {
          kind: "pruned",
          source: SELF,
          subject: "oldest entries",
          detail: { through: pruned.sequence },
        });
        base = pruned;
      }
      const head: AuditHead = {
        log: this.#log,
        baseSequence: base.sequence,
        baseHash: base.hash,
        sequence: end.sequence,
        hash: end.hash,
        time: this.#now(),
      };
      const bytes = this.#options.signHead(encodeHead(head));
      this.#putHead.run(bytes);
      return bytes;
    });
    this.#lost -= lost;
    this.#base = base;
    this.#end = end;
    this.#head = signed;
  }

  #transaction<T>(work: () => T): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      // A disk that is full ends some transactions by itself.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** Removes the oldest eighth where there are too many, and gives what the first kept one follows. */
  #prune(base: End, end: End): End | undefined {
    if (end.sequence - base.sequence <= this.#limits.entries) return undefined;
    const through = base.sequence + Math.max(1, Math.floor(this.#limits.entries / 8));
    const hash = this.#database.prepare("SELECT hash FROM entry WHERE sequence = ?").get(through)?.["hash"];
    if (!(hash instanceof Uint8Array)) return undefined;
    this.#database.prepare("DELETE FROM entry WHERE sequence <= ?").run(through);
    return { sequence: through, hash };
  }

  /** Goes on where the signed head says that the log ends; a log that does not end there keeps a gap for `verify` to find. */
  #resume(): void {
    const row = this.#database.prepare("SELECT sequence, hash FROM entry ORDER BY sequence DESC LIMIT 1").get();
    const signed = this.#database.prepare("SELECT signed FROM head").get()?.["signed"];
    if (row === undefined && signed === undefined) {
      this.#put({ kind: "opened", source: SELF, subject: "a new log", detail: {} }, this.#now());
      return;
    }
    const last =
      row === undefined
        ? undefined
        : { sequence: Number(row["sequence"]), hash: new Uint8Array(row["hash"] as Uint8Array) };
    const head = believed(signed, this.#options.publicKey);
    if (head !== undefined) {
      this.#log = head.log;
      this.#base = { sequence: head.baseSequence, hash: head.baseHash };
    }
    if (head !== undefined && last !== undefined && sameEnd(head, last.sequence, last.hash)) {
      this.#end = last;
      this.#head = signed as Uint8Array;
      return;
    }
    const found = last?.sequence ?? 0;
    const expected = head?.sequence ?? 0;
    // One number is left out for good, so that what is written from here on does not hide the break.
    this.#end = { sequence: Math.max(found, expected) + 1, hash: head?.hash ?? this.#base.hash };
    const detail = { found, expected, head: head === undefined ? "missing or not signed by this gateway" : "signed" };
    this.#put(
      { kind: "broken", source: SELF, subject: "the log does not end where its head says", detail },
      this.#now(),
    );
  }

  #refusal(what: string, error: unknown): Refusal {
    return new Refusal("E_STORE", `the audit log ${this.#path} ${what}`, {
      found: error instanceof Error ? error.message : String(error),
      hint: "free space, or let the gateway's user write to its data folder; if the file is damaged, move it away",
    });
  }
}

function believed(signed: unknown, publicKey: Uint8Array): AuditHead | undefined {
  if (!(signed instanceof Uint8Array)) return undefined;
  try {
    return openHead(new Uint8Array(signed), publicKey);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

function clipText(text: string): string {
  const whole = text.toWellFormed();
  return whole.length <= TEXT_LENGTH ? whole : `${whole.slice(0, TEXT_LENGTH - 1).toWellFormed()}…`;
}

/** Texts come from modules and the network: each is bounded before it reaches the disk. */
function clip({ kind, source, subject, detail }: AuditRecord): AuditRecord {
  const clipped: [string, AuditRecord["detail"][string]][] = [];
  let length = 2;
  for (const [key, value] of Object.entries(detail)) {
    const pair = [clipText(key), typeof value === "string" ? clipText(value) : value] as const;
    length += JSON.stringify(pair).length;
    if (length > DETAIL_LENGTH) break;
    clipped.push([pair[0], pair[1]]);
  }
  return {
    kind: clipText(kind),
    source: clipText(source),
    subject: clipText(subject),
    detail: Object.fromEntries(clipped),
  };
}
