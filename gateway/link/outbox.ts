/** The queue of messages that wait for the broker: on disk, bounded in bytes and age, oldest dropped first and counted. */
import { existsSync, renameSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import type { StoreSettings } from "./settings.ts";

/** One message on its way up. `flags` as in the interface table: 1 is QoS 1, 2 is retain. */
export interface OutgoingMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly flags: number;
}

export interface StoredMessage extends OutgoingMessage {
  readonly id: number;
}

/** What a row costs beyond topic and payload: its own fields, and its share of pages. */
const ROW_BYTES = 64;

/**
 * A commit is on the disk when it returns (synchronous FULL): what was appended survives a power cut. Removals need not
 * be: after a cut the same messages are sent once more, which QoS 1 allows.
 */
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA wal_autocheckpoint = 128;
  PRAGMA journal_size_limit = 1048576;
  CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL
  ) STRICT;
`;

export class Outbox {
  readonly #database: DatabaseSync;
  readonly #limits: StoreSettings;
  readonly #insert: StatementSync;
  readonly #select: StatementSync;
  readonly #delete: StatementSync;
  readonly #oldest: StatementSync;
  #bytes: number;
  #count: number;
  #dropped = 0;

  /** Opens the store, or a new one where the old cannot be read; `onBroken` is then told where the old one was put. */
  constructor(limits: StoreSettings, onBroken: (keptAs: string) => void) {
    this.#limits = limits;
    this.#database = openDatabase(limits.path, onBroken);
    this.#insert = this.#database.prepare("INSERT INTO message (at, flags, topic, payload) VALUES (?, ?, ?, ?)");
    this.#select = this.#database.prepare(
      "SELECT id, flags, topic, payload FROM message WHERE id > ? ORDER BY id LIMIT ?",
    );
    this.#delete = this.#database.prepare(
      "DELETE FROM message WHERE id = ? RETURNING length(payload) + octet_length(topic) AS size",
    );
    this.#oldest = this.#database.prepare("SELECT id, at FROM message ORDER BY id LIMIT 1");
    const totals = this.#database
      .prepare("SELECT count(*) AS count, coalesce(sum(length(payload) + octet_length(topic)), 0) AS size FROM message")
      .get();
    this.#count = Number(totals?.["count"] ?? 0);
    this.#bytes = Number(totals?.["size"] ?? 0) + this.#count * ROW_BYTES;
  }

  /** Messages that wait. */
  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Messages dropped for want of room or for their age since this process started. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Appends the messages, in order and as one; returns their ids. They are on the disk when it returns. */
  append(messages: readonly OutgoingMessage[], nowMs: number): number[] {
    const ids = this.#transaction(() =>
      messages.map(({ topic, payload, flags }) =>
        Number(this.#insert.run(nowMs, flags, topic, payload).lastInsertRowid),
      ),
    );
    for (const { topic, payload } of messages) this.#bytes += sizeOf(topic, payload);
    this.#count += messages.length;
    this.trim(nowMs);
    return ids;
  }

  /** The next messages after that id, oldest first. */
  after(id: number, limit: number): StoredMessage[] {
    return this.#select.all(id, limit).map((row) => ({
      // SAFETY: the columns of the STRICT table above.
      id: row["id"] as number,
      flags: row["flags"] as number,
      topic: row["topic"] as string,
      payload: row["payload"] as Uint8Array,
    }));
  }

  /** Removes messages that the broker has acknowledged; one that has been dropped meanwhile is no longer there. */
  remove(ids: readonly number[]): void {
    if (ids.length === 0) return;
    this.#transaction(() => {
      for (const id of ids) this.#forget(id);
    });
  }

  /** Drops what is too much or too old, from the oldest on. A clock that went back makes nothing too old. */
  trim(nowMs: number): void {
    const before = this.#dropped;
    this.#transaction(
      () => {
        for (;;) {
          const row = this.#oldest.get();
          if (row === undefined) return;
          const isTooOld = nowMs - Number(row["at"]) > this.#limits.ageMs;
          if (!isTooOld && this.#bytes <= this.#limits.bytes) return;
          if (this.#forget(Number(row["id"]))) this.#dropped++;
        }
      },
      () => {
        this.#dropped = before;
      },
    );
  }

  close(): void {
    this.#database.close();
  }

  #forget(id: number): boolean {
    const row = this.#delete.get(id);
    if (row === undefined) return false;
    this.#bytes -= Number(row["size"]) + ROW_BYTES;
    this.#count--;
    return true;
  }

  #transaction<T>(work: () => T, undo?: () => void): T {
    const [bytes, count] = [this.#bytes, this.#count];
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      [this.#bytes, this.#count] = [bytes, count];
      undo?.();
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }
}

function sizeOf(topic: string, payload: Uint8Array): number {
  return Buffer.byteLength(topic) + payload.length + ROW_BYTES;
}

function openDatabase(path: string | null, onBroken: (keptAs: string) => void): DatabaseSync {
  try {
    return prepared(path ?? ":memory:");
  } catch (error) {
    if (path === null || !isBroken(error)) throw error;
    const keptAs = `${path}.broken-${Date.now()}`;
    // Its write-ahead log goes with it: a new database must not take it for its own.
    for (const suffix of ["", "-wal", "-shm"]) {
      if (existsSync(path + suffix)) renameSync(path + suffix, keptAs + suffix);
    }
    onBroken(keptAs);
    return prepared(path);
  }
}

function prepared(path: string): DatabaseSync {
  const database = new DatabaseSync(path);
  try {
    database.exec(SCHEMA);
    const verdict = Object.values(database.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
    if (verdict !== "ok") throw Object.assign(new Error("the store is damaged"), { errcode: SQLITE_CORRUPT });
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

function isBroken(error: unknown): boolean {
  const code = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}
