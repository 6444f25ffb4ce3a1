/** The modules' last good states on disk: what a new process hands to their first instances. */

import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import { LIMITS } from "../../kernel/index.ts";
import type { SavedState } from "../../kernel/index.ts";
import { storeRefusal } from "./key-value.ts";

/** Of a module that has no state any more, this much is never exceeded: names are bounded, and so is their number. */
const MAXIMUM_MODULES = 4096;

export interface FoundStates {
  readonly states: ReadonlyMap<string, SavedState>;
  /** What was found damaged, and dropped. */
  readonly findings: readonly string[];
}

export class ModuleStateStore {
  readonly #database: DatabaseSync;
  readonly #set: StatementSync;
  readonly #delete: StatementSync;

  /** @throws Refusal E_STORE where the file cannot be opened, or is not a database */
  constructor(path: string) {
    try {
      this.#database = new DatabaseSync(path);
      // A transaction for each state: after a power cut a module finds this one or the one before, whole.
      this.#database.exec(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 128;" +
          "CREATE TABLE IF NOT EXISTS states" +
          " (module TEXT PRIMARY KEY, schema INTEGER NOT NULL, bytes BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
      );
      this.#set = this.#database.prepare("INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)");
      this.#delete = this.#database.prepare("DELETE FROM states WHERE module = ?");
    } catch (error) {
      throw storeRefusal(path, error);
    }
  }

  /** On disk at return; undefined forgets it. @throws where the disk refuses. */
  keep(module: string, state: SavedState | undefined): void {
    if (state === undefined) this.#delete.run(module);
    else this.#set.run(module, state.schema, state.bytes, digestOf(module, state));
  }

  /** Everything that was kept, of at most 4,096 modules. */
  load(): FoundStates {
    const states = new Map<string, SavedState>();
    const findings: string[] = [];
    for (const row of this.#database.prepare("SELECT * FROM states LIMIT ?").all(MAXIMUM_MODULES)) {
      const { module, schema, bytes, digest } = row;
      const isWhole =
        typeof module === "string" &&
        typeof schema === "number" &&
        bytes instanceof Uint8Array &&
        digest instanceof Uint8Array;
      const state = isWhole ? { schema, bytes } : undefined;
      const isSound =
        isWhole &&
        state !== undefined &&
        bytes.length <= LIMITS.stateBytes &&
        Buffer.compare(digestOf(module, state), digest) === 0;
      if (isSound) states.set(module, state);
      else findings.push(`the saved state of ${String(module)} is damaged: it starts without one`);
      if (!isSound && typeof module === "string") this.#delete.run(module);
    }
    return { states, findings };
  }

  close(): void {
    this.#database.close();
  }
}

/** Covers the owner too: a row that changed hands is damaged. */
function digestOf(module: string, { schema, bytes }: SavedState): Uint8Array {
  return createHash("sha256").update(`${module}\n${schema}\n`).update(bytes).digest();
}
