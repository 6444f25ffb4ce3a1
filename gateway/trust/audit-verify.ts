/** Reads the audit log without writing to it: lists entries, and finds the first broken link of the chain. */
import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Refusal } from "../../kernel/index.ts";
import { equalBytes, toHex } from "../envelopes/index.ts";
import type { AuditPage, ChainStatus } from "../wire/operator.ts";
import type { AuditPageQuery } from "../wire/trust-protocol.ts";
import { type AuditEntry, type AuditHead, hashEntry, openHead } from "./audit-chain.ts";

/** The first entry that is not what it was, or is not there. */
export interface BrokenLink {
  readonly sequence: number;
  readonly reason: string;
}

export interface AuditVerdict {
  readonly ok: boolean;
  /** Entries that were read. */
  readonly entries: number;
  /** Sequence numbers of the first and the last entry that are there; 0 where there is none. */
  readonly first: number;
  readonly last: number;
  readonly broken: BrokenLink | null;
  /** Hash of the last entry, hexadecimal. */
  readonly hash: string;
}

export interface AuditQuery {
  readonly kind?: string;
  readonly source?: string;
  /** Milliseconds since 1970. */
  readonly since?: number;
  /** The newest so many; all where absent. */
  readonly limit?: number;
}

interface StoredEntry extends AuditEntry {
  readonly hash: Uint8Array;
}

function open(path: string): DatabaseSync {
  if (!existsSync(path)) {
    const hint = "the gateway makes it at its first start; name its data folder's file";
    throw new Refusal("E_STORE", `there is no audit log at ${path}`, { hint });
  }
  return new DatabaseSync(path, { readOnly: true, timeout: 5000 });
}

/** @throws Refusal E_STORE for whatever the database says */
function reading<T>(path: string, work: (database: DatabaseSync) => T): T {
  let database: DatabaseSync | undefined;
  try {
    database = open(path);
    return work(database);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const found = error instanceof Error ? error.message : String(error);
    throw new Refusal("E_STORE", `the audit log ${path} cannot be read`, {
      found,
      hint: "it is damaged, or not an audit log",
    });
  } finally {
    database?.close();
  }
}

function storedEntry(row: Readonly<Record<string, unknown>>): StoredEntry {
  const { sequence, time, kind, source, subject, detail, hash } = row;
  return {
    sequence: Number(sequence),
    time: Number(time),
    kind: String(kind),
    source: String(source),
    subject: String(subject),
    detail: String(detail),
    hash: hash instanceof Uint8Array ? new Uint8Array(hash) : new Uint8Array(),
  };
}

/** The newest entries that the query matches, the oldest of them first. */
export function readAudit(path: string, { kind, source, since, limit }: AuditQuery = {}): readonly AuditEntry[] {
  return reading(path, (database) => {
    const statement = database.prepare(
      "SELECT * FROM entry WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR source = ?2) AND time >= ?3" +
        " ORDER BY sequence DESC LIMIT ?4",
    );
    const rows = statement.all(kind ?? null, source ?? null, since ?? 0, limit ?? -1);
    return rows
      .map(storedEntry)
      .map(({ hash: _, ...entry }) => entry)
      .toReversed();
  });
}

class Walk {
  #head: AuditHead;
  readonly #kept: readonly AuditHead[];
  #previous: Uint8Array;
  #next: number;

  constructor(head: AuditHead, kept: readonly AuditHead[]) {
    this.#head = head;
    this.#kept = kept;
    this.#previous = head.baseHash;
    this.#next = head.baseSequence + 1;
  }

  get verified(): number {
    return this.#next - 1;
  }

  /** The log has grown meanwhile. @returns false where it is another, or has lost what comes next: walk it from its base. */
  follow(head: AuditHead): boolean {
    if (!equalBytes(head.log, this.#head.log) || head.baseSequence >= this.#next) return false;
    this.#head = head;
    return true;
  }

  /** What is wrong with the next entry, if anything. */
  step(entry: StoredEntry): BrokenLink | undefined {
    const { sequence, hash } = entry;
    const [next, head] = [this.#next, this.#head];
    if (sequence > head.sequence)
      return { sequence, reason: `the signed head ends at ${head.sequence}: this was added later` };
    if (sequence < next) return { sequence, reason: "it was pruned, and is there again" };
    if (sequence > next) return { sequence: next, reason: missing(next, sequence - 1) };
    const expected = hashEntry(this.#previous, entry);
    if (!equalBytes(expected, hash))
      return { sequence, reason: "it was changed, or moved: its hash is not that of its content" };
    const kept = this.#kept.find((candidate) => candidate.sequence === sequence);
    if (kept !== undefined && !equalBytes(kept.hash, hash))
      return { sequence, reason: "the chain up to here was written anew" };
    this.#previous = hash;
    this.#next = sequence + 1;
    return undefined;
  }

  /** What is wrong with the end of the chain, if anything. */
  end(): BrokenLink | undefined {
    const { sequence, hash } = this.#head;
    if (this.#next <= sequence)
      return { sequence: this.#next, reason: `${missing(this.#next, sequence)} from the end` };
    const beyond = this.#kept.find((kept) => kept.sequence > sequence);
    if (beyond !== undefined)
      return { sequence: this.#next, reason: `${missing(this.#next, beyond.sequence)} from the end` };
    if (equalBytes(this.#previous, hash)) return undefined;
    return { sequence, reason: "the chain was written anew: it does not lead to the signed head" };
  }
}

function missing(first: number, last: number): string {
  return first === last ? `entry ${first} is missing` : `entries ${first} to ${last} are missing`;
}

function brokenHead(sequence: number, reason: string): BrokenLink {
  return { sequence, reason };
}

function signedHead(database: DatabaseSync, publicKey: Uint8Array): AuditHead | BrokenLink {
  const signed = database.prepare("SELECT signed FROM head").get()?.["signed"];
  const first = Number(database.prepare("SELECT MIN(sequence) AS first FROM entry").get()?.["first"] ?? 0);
  if (!(signed instanceof Uint8Array))
    return brokenHead(first, "the signed head is missing: nothing says where the log ends");
  try {
    return openHead(new Uint8Array(signed), publicKey);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return brokenHead(first, `the signed head is not valid: ${error.message}`);
  }
}

/** Heads that were kept elsewhere must be of this log and lie on this chain; ones from before the pruned part say nothing. */
function foreignHead(head: AuditHead, kept: readonly AuditHead[]): BrokenLink | undefined {
  const foreign = kept.find(({ log }) => !equalBytes(log, head.log));
  return foreign === undefined
    ? undefined
    : { sequence: 1, reason: `this is another log than the kept head's, ${toHex(foreign.log)}` };
}

/**
 * Walks the whole chain. `kept` are signed heads that were kept outside the gateway (exported, or reported): with one of
 * them a log that was set back to an older copy of itself is found too; without, that alone cannot be told.
 * @throws Refusal E_STORE where there is no log, E_SIG or E_CBOR for a kept head that is none
 */
export function verifyAudit(path: string, publicKey: Uint8Array, kept: readonly Uint8Array[] = []): AuditVerdict {
  const keptHeads = kept.map((signed) => openHead(signed, publicKey));
  return reading(path, (database) => {
    // One transaction: a gateway that writes meanwhile is not mistaken for a forger.
    database.exec("BEGIN");
    const head = signedHead(database, publicKey);
    const isHead = "log" in head;
    const walk = isHead ? new Walk(head, keptHeads) : undefined;
    let broken = isHead ? foreignHead(head, keptHeads) : head;
    let [entries, first, last, hash] = [0, 0, 0, ""];
    for (const row of database.prepare("SELECT * FROM entry ORDER BY sequence").iterate()) {
      const entry = storedEntry(row);
      if (entries === 0) first = entry.sequence;
      entries += 1;
      last = entry.sequence;
      hash = toHex(entry.hash);
      broken ??= walk?.step(entry);
    }
    broken ??= walk?.end();
    return { ok: broken === undefined, entries, first, last, broken: broken ?? null, hash };
  });
}

/** Entries that one look of `AuditWatch` hashes: some 30 ms. */
const WATCH_ENTRIES = 2000;
/** A log that is whole is walked again from its base after this: whoever changed old entries is found. */
const WATCH_AGAIN_MS = 600_000;
/** The newest so many are searched for a text. */
const SEARCHED_ENTRIES = 20_000;

/** Shows the newest entries, and walks the chain a piece at each look, so that no look takes long. */
export class AuditWatch {
  readonly #path: string;
  readonly #publicKey: Uint8Array;
  readonly #now: () => number;
  #walk: Walk | undefined;
  #begunAt = 0;
  #broken: BrokenLink | undefined;

  constructor(path: string, publicKey: Uint8Array, now: () => number) {
    this.#path = path;
    this.#publicKey = publicKey;
    this.#now = now;
  }

  /** @throws Refusal E_STORE where there is no log to read */
  page({ limit, about }: AuditPageQuery): AuditPage {
    return reading(this.#path, (database) => {
      database.exec("BEGIN");
      const rows = database
        .prepare(
          "SELECT sequence, time, kind, source, subject, detail FROM entry WHERE ?1 = '' OR (sequence > " +
            "(SELECT MAX(sequence) - ?3 FROM entry) AND instr(lower(concat_ws(' ', kind, source, subject, detail)), " +
            "lower(?1)) > 0) ORDER BY sequence DESC LIMIT ?2",
        )
        .all(about, limit, SEARCHED_ENTRIES);
      const entries = rows.map((row) => {
        const { hash: _, ...entry } = storedEntry(row);
        return entry;
      });
      return { entries: entries.toReversed(), chain: this.#look(database) };
    });
  }

  #look(database: DatabaseSync): ChainStatus {
    const head = signedHead(database, this.#publicKey);
    const last = "log" in head ? head.sequence : 0;
    if ("reason" in head) this.#broken ??= head;
    else this.#broken ??= this.#walkOn(database, head);
    const verified = this.#walk?.verified ?? 0;
    if (this.#broken !== undefined) {
      const { sequence, reason } = this.#broken;
      return { state: "broken", verified, last, reason: `entry ${sequence}: ${reason}` };
    }
    return { state: verified === last ? "whole" : "walking", verified, last, reason: "" };
  }

  #walkOn(database: DatabaseSync, head: AuditHead): BrokenLink | undefined {
    const isOld = this.#walk?.verified === head.sequence && this.#now() - this.#begunAt > WATCH_AGAIN_MS;
    if (this.#walk?.follow(head) !== true || isOld) {
      this.#walk = new Walk(head, []);
      this.#begunAt = this.#now();
    }
    const walk = this.#walk;
    const rows = database
      .prepare("SELECT * FROM entry WHERE sequence > ? ORDER BY sequence LIMIT ?")
      .all(walk.verified, WATCH_ENTRIES);
    for (const row of rows) {
      const broken = walk.step(storedEntry(row));
      if (broken !== undefined) return broken;
    }
    return rows.length < WATCH_ENTRIES ? walk.end() : undefined;
  }
}

/** The newest signed head, as it is kept; undefined in a log without one. */
export function readHead(path: string): Uint8Array | undefined {
  return reading(path, (database) => {
    const signed = database.prepare("SELECT signed FROM head").get()?.["signed"];
    return signed instanceof Uint8Array ? new Uint8Array(signed) : undefined;
  });
}
