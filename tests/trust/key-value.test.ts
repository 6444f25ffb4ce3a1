/** The modules' key-value store: its quota counts what rows cost, and the count survives what the process does not. */
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KeyValueStore } from "../../gateway/trust/key-value.ts";
import { RESULT } from "../../kernel/index.ts";

let folder: string;
let path: string;
const opened: KeyValueStore[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-values-"));
  path = join(folder, "store.sqlite");
});
afterEach(() => {
  for (const store of opened.splice(0)) store.close();
  rmSync(folder, { recursive: true, force: true });
});

const PREFIX = "counter/";
/** What a row takes beyond its key and value. */
const OVERHEAD = 64 + PREFIX.length;

function open(): KeyValueStore {
  const store = new KeyValueStore(path);
  opened.push(store);
  return store;
}

function keyOf(index: number): Uint8Array {
  return new TextEncoder().encode(index.toString(36));
}

function ask(store: KeyValueStore, operation: "get" | "set" | "delete", key: Uint8Array, bytes = 0, quota = 1000) {
  const request = { operation, prefix: PREFIX, quota, key, value: new Uint8Array(bytes) };
  return store.carryOut(request).result;
}

/** Empty values under ever new keys, until one is refused. */
function fill(store: KeyValueStore, quota: number, from = 0): number {
  let index = from;
  while (ask(store, "set", keyOf(index), 0, quota) === 0) index++;
  expect(ask(store, "set", keyOf(index), 0, quota)).toBe(RESULT.quota);
  return index - from;
}

/** As a gateway of before would have left it: rows far beyond the quota. */
function leave(rows: number): void {
  const database = new DatabaseSync(path);
  database.exec("BEGIN");
  const insert = database.prepare("INSERT INTO entries VALUES (?, ?, ?)");
  for (let index = 0; index < rows; index++) insert.run(PREFIX, keyOf(index), new Uint8Array(10));
  database.exec("COMMIT");
  database.close();
}

test("keys without values take no more of the disk than twice the quota", () => {
  const quota = 65_536;
  const store = new KeyValueStore(path);
  expect(fill(store, quota)).toBeLessThanOrEqual(quota / OVERHEAD);
  store.close();
  expect(statSync(path).size).toBeLessThan(2 * quota);
});

test("a row takes its key, its value, the prefix and 64, to the byte", () => {
  const store = open();
  const key = keyOf(1);
  expect(ask(store, "set", key, 1000 - OVERHEAD - key.length)).toBe(0);
  expect(ask(store, "set", key, 1000 - OVERHEAD - key.length + 1)).toBe(RESULT.quota);
  expect(ask(store, "set", keyOf(2))).toBe(RESULT.quota);
  expect(ask(store, "set", key, 100)).toBe(0);
  const rest = 1000 - 2 * OVERHEAD - 2 - 100;
  expect(ask(store, "set", keyOf(2), rest + 1)).toBe(RESULT.quota);
  expect(ask(store, "set", keyOf(2), rest)).toBe(0);
});

test("what is deleted is free again, once, and other prefixes count for themselves", () => {
  const store = open();
  const many = fill(store, 10_000);
  for (let index = 0; index < many; index++) expect(ask(store, "delete", keyOf(index))).toBe(0);
  for (let index = 0; index < many; index++) expect(ask(store, "delete", keyOf(index))).toBe(RESULT["not-found"]);
  const other = {
    operation: "set" as const,
    prefix: "other/",
    quota: 10_000,
    key: keyOf(1),
    value: new Uint8Array(9000),
  };
  expect(store.carryOut(other).result).toBe(0);
  expect(fill(store, 10_000)).toBe(many);
});

test("the count is right after the process was killed", () => {
  const killed = open();
  const many = fill(killed, 10_000);
  expect(ask(killed, "delete", keyOf(0))).toBe(0);
  // Nothing was closed: what the next process finds is the file and its write-ahead log.
  const store = open();
  expect(ask(store, "set", keyOf(0), 0, 10_000)).toBe(0);
  expect(fill(store, 10_000, many)).toBe(0);
});

test("a write that the disk refuses takes nothing of the quota", () => {
  const store = open();
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  for (let index = 0; index < 5; index++) expect(ask(store, "set", keyOf(index), 500)).toBe(RESULT.io);
  other.exec("ROLLBACK");
  other.close();
  expect(ask(store, "set", keyOf(0), 500)).toBe(0);
});

test("a data folder with more than the quota opens as before: what is there is read, replaced and deleted", () => {
  new KeyValueStore(path).close();
  leave(100);
  const store = open();
  expect(ask(store, "get", keyOf(7))).toBe(10);
  expect(ask(store, "set", keyOf(7), 10)).toBe(0);
  expect(ask(store, "set", keyOf(7), 11)).toBe(RESULT.quota);
  expect(ask(store, "set", keyOf(200))).toBe(RESULT.quota);
  for (let index = 0; index < 100; index++) expect(ask(store, "delete", keyOf(index))).toBe(0);
  expect(ask(store, "set", keyOf(200), 500)).toBe(0);
});
