/** Modules' states on disk: whole or not at all, each its owner's. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ModuleStates } from "../../gateway/core/module-states.ts";
import { ModuleStateStore } from "../../gateway/trust/module-states.ts";
import { LIMITS } from "../../kernel/index.ts";
import type { SavedState } from "../../kernel/index.ts";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-states-"));
  path = join(folder, "states.sqlite");
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const state = (...bytes: number[]): SavedState => ({ schema: 3, bytes: Uint8Array.from(bytes) });

function keep(entries: Readonly<Record<string, SavedState | undefined>>): void {
  const store = new ModuleStateStore(path);
  for (const [module, kept] of Object.entries(entries)) store.keep(module, kept);
  store.close();
}

function load(): ReturnType<ModuleStateStore["load"]> {
  const store = new ModuleStateStore(path);
  try {
    return store.load();
  } finally {
    store.close();
  }
}

function tamper(sql: string): void {
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

test("the last state of each module is there after a restart", () => {
  keep({ counter: state(1), threshold: state(2) });
  keep({ counter: state(3) });
  expect(load().states).toEqual(
    new Map([
      ["counter", state(3)],
      ["threshold", state(2)],
    ]),
  );
});

test("a state that was forgotten stays so", () => {
  keep({ counter: state(1) });
  keep({ counter: undefined });
  expect(load()).toEqual({ states: new Map(), findings: [] });
});

describe("a row that was damaged is dropped, once, and said", () => {
  test.each([
    ["a flipped bit", "UPDATE states SET bytes = x'02' WHERE module = 'counter'"],
    ["another schema", "UPDATE states SET schema = 4 WHERE module = 'counter'"],
    ["another owner", "UPDATE states SET module = 'uplink' WHERE module = 'counter'"],
    ["no digest", "UPDATE states SET digest = x'' WHERE module = 'counter'"],
    [
      "more than a state may be",
      `UPDATE states SET bytes = zeroblob(${LIMITS.stateBytes + 1}) WHERE module = 'counter'`,
    ],
  ])("%s", (_, sql) => {
    keep({ counter: state(1), threshold: state(2) });
    tamper(sql);
    const { states, findings } = load();
    expect([...states.keys()]).toEqual(["threshold"]);
    expect(findings).toEqual([expect.stringContaining("is damaged: it starts without one")]);
    expect(load().findings).toEqual([]);
  });
});

test("a file that is no database is refused with what to do", () => {
  writeFileSync(path, "not a database, and long enough to be read as a header of one".repeat(20));
  expect(() => new ModuleStateStore(path)).toThrow(expect.objectContaining({ code: "E_STORE" }) as Error);
});

test("names of JavaScript's own are names like any other", () => {
  keep({ ["__proto__x"]: state(1), constructor: state(2) });
  expect([...load().states.keys()].sort()).toEqual(["__proto__x", "constructor"]);
});

describe("the disk is spared", () => {
  test("of many states of a module in an interval the last is written", async () => {
    const written: [string, SavedState | undefined][] = [];
    const states = new ModuleStates((module, kept) => written.push([module, kept]), 20);
    for (let count = 0; count < 1000; count++) states.keep("counter", state(count % 256));
    expect(written).toEqual([]);
    await expect.poll(() => written).toEqual([["counter", state(999 % 256)]]);
  });

  test("a stop writes what waits, and what is to be forgotten does not wait", () => {
    const written: [string, SavedState | undefined][] = [];
    const states = new ModuleStates((module, kept) => written.push([module, kept]), 60_000);
    states.keep("counter", state(1));
    states.flush();
    states.keep("counter", undefined);
    expect(written).toEqual([
      ["counter", state(1)],
      ["counter", undefined],
    ]);
  });
});
