/** The store interface of modules: keys below a prefix that the operator granted, with a quota of what they take, on disk at return. */

import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import { RESULT, Refusal } from "../../kernel/index.ts";
import type { StoreOperation, StoreReply } from "../wire/trust-protocol.ts";

/** Bytes of one key. Longer ones are data. */
const KEY_BYTES = 256;
/** Bytes of one value: a message's payload. */
const VALUE_BYTES = 64 * 1024;
/** What a row takes of the quota beyond prefix, key and value: about what SQLite's pages need for a small one. */
const ROW_BYTES = 64;
const NOTHING = new Uint8Array();

export interface StoreRequest {
  readonly operation: StoreOperation;
  /** Of the operator's grant; the module never sees it. */
  readonly prefix: string;
  readonly quota: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export class KeyValueStore {
  readonly #database: DatabaseSync;
  readonly #get: StatementSync;
  readonly #set: StatementSync;
  readonly #delete: StatementSync;
  readonly #size: StatementSync;
  /** By prefix, what its rows take of the quota: counted at the start, kept from then on. */
  readonly #used = new Map<string, number>();

  /** @throws Refusal E_STORE where the file cannot be opened, or is not a database */
  constructor(path: string) {
    try {
      this.#database = new DatabaseSync(path);
      this.#database.exec(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 128;" +
          "CREATE TABLE IF NOT EXISTS entries" +
          " (prefix TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (prefix, key)) STRICT, WITHOUT ROWID",
      );
      this.#count();
    } catch (error) {
      throw storeRefusal(path, error);
    }
    this.#get = this.#database.prepare("SELECT value FROM entries WHERE prefix = ? AND key = ?");
    this.#set = this.#database.prepare(
      "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT (prefix, key) DO UPDATE SET value = excluded.value",
    );
    this.#delete = this.#database.prepare("DELETE FROM entries WHERE prefix = ? AND key = ?");
    this.#size = this.#database.prepare("SELECT LENGTH(value) AS size FROM entries WHERE prefix = ? AND key = ?");
  }

  /** Never throws on a module's account: what it does wrong, and what the disk refuses, are result codes. */
  carryOut(request: StoreRequest): StoreReply {
    const { operation, key, prefix, quota } = request;
    if (key.length === 0 || key.length > KEY_BYTES) return reply(RESULT.invalid);
    // No quota is no room: a comparison with NaN would let everything in.
    if (prefix === "" || !Number.isSafeInteger(quota) || quota < 0) return reply(RESULT.denied);
    try {
      if (operation === "get") return this.#read(request);
      return reply(operation === "set" ? this.#write(request) : this.#remove(request));
    } catch {
      return reply(RESULT.io);
    }
  }

  close(): void {
    this.#database.close();
  }

  #read({ prefix, key }: StoreRequest): StoreReply {
    const value = this.#get.get(prefix, key)?.["value"];
    return value instanceof Uint8Array ? { result: value.length, bytes: value } : reply(RESULT["not-found"]);
  }

  #write({ prefix, key, value, quota }: StoreRequest): number {
    if (value.length > VALUE_BYTES) return RESULT["too-large"];
    const used = this.#used.get(prefix) ?? 0;
    const after = used - this.#rowBytes(prefix, key) + rowBytes(prefix, key, value.length);
    // Where the quota was made smaller, what is there may still be replaced by what is no larger.
    if (after > quota && after > used) return RESULT.quota;
    this.#set.run(prefix, key, value);
    this.#used.set(prefix, after);
    return 0;
  }

  #remove({ prefix, key }: StoreRequest): number {
    const freed = this.#rowBytes(prefix, key);
    if (Number(this.#delete.run(prefix, key).changes) === 0) return RESULT["not-found"];
    this.#used.set(prefix, (this.#used.get(prefix) ?? 0) - freed);
    return 0;
  }

  /** What this row takes of the quota; 0 where there is none. */
  #rowBytes(prefix: string, key: Uint8Array): number {
    const size = this.#size.get(prefix, key)?.["size"];
    return typeof size === "number" ? rowBytes(prefix, key, size) : 0;
  }

  #count(): void {
    const rows = this.#database
      .prepare(
        "SELECT prefix, COUNT(*) AS rows, SUM(LENGTH(key) + LENGTH(value)) AS bytes FROM entries GROUP BY prefix",
      )
      .all();
    for (const { prefix, rows: count, bytes } of rows) {
      const name = String(prefix);
      this.#used.set(name, Number(count) * (ROW_BYTES + Buffer.byteLength(name)) + Number(bytes));
    }
  }
}

function rowBytes(prefix: string, key: Uint8Array, valueBytes: number): number {
  return ROW_BYTES + Buffer.byteLength(prefix) + key.length + valueBytes;
}

function reply(result: number): StoreReply {
  return { result, bytes: NOTHING };
}

export function storeRefusal(path: string, error: unknown): Refusal {
  return new Refusal("E_STORE", `the database ${path} cannot be opened`, {
    found: error instanceof Error ? error.message : String(error),
    hint: "let the gateway's user write to its data folder; if the file is damaged, move it away",
  });
}
