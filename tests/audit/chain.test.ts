/** Every deletion, edit, insertion, reordering and truncation of the audit log is found, at its place. */
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { sha256 } from "../../gateway/envelopes/index.ts";
import { AUDIT_HEAD_TYPE, encodeHead, hashEntry, openHead } from "../../gateway/trust/audit-chain.ts";
import { readAudit, readHead } from "../../gateway/trust/audit-verify.ts";
import { GatewayKey } from "../../gateway/trust/gateway-key.ts";
import { bench, type Bench, record } from "./support.ts";

const ENTRIES = 12;

function filled(): Bench {
  const made = bench();
  made.fill(ENTRIES);
  return made;
}

describe("an audit log that nobody touched", () => {
  it("is whole, and holds what was recorded, in order", () => {
    const made = filled();
    expect(made.verify()).toMatchObject({ ok: true, entries: ENTRIES, first: 1, last: ENTRIES, broken: null });
    const entries = readAudit(made.file);
    expect(entries.map(({ sequence }) => sequence)).toEqual(Array.from({ length: ENTRIES }, (_, index) => index + 1));
    expect(entries[0]).toMatchObject({ kind: "opened", source: "audit" });
    expect(entries[3]).toEqual({
      sequence: 4,
      time: made.clock,
      kind: "denied",
      source: "module-3",
      subject: "slot-3",
      detail: '{"result":"denied"}',
    });
  });

  it("stays whole over restarts, and while the gateway writes", () => {
    const made = filled();
    const log = made.open();
    log.record(record("after"));
    expect(made.verify()).toMatchObject({ ok: true, last: ENTRIES + 1 });
    log.close();
    expect(made.verify()).toMatchObject({ ok: true, last: ENTRIES + 1 });
  });

  it("hashes each entry as documented: SHA-256 of the CBOR of the previous hash and the fields", () => {
    const entry = { sequence: 1, time: 2, kind: "k", source: "s", subject: "u", detail: "{}" };
    const bytes = Uint8Array.of(0x87, 0x41, 9, 1, 2, 0x61, 0x6b, 0x61, 0x73, 0x61, 0x75, 0x62, 0x7b, 0x7d);
    expect(hashEntry(Uint8Array.of(9), entry)).toEqual(sha256(bytes));
  });
});

describe("an audit log that somebody touched", () => {
  it.each(Array.from({ length: ENTRIES }, (_, index) => index + 1))(
    "misses entry %i where it was deleted",
    (sequence) => {
      const made = filled();
      made.forge("DELETE FROM entry WHERE sequence = ?", sequence);
      expect(made.verify().broken?.sequence).toBe(sequence);
    },
  );

  it.each([
    ["time", 1],
    ["kind", "granted"],
    ["source", "uplink"],
    ["subject", "other"],
    ["detail", "{}"],
    ["hash", new Uint8Array(32)],
  ])("shows an edit of the field %s", (field, value) => {
    const made = filled();
    made.forge(`UPDATE entry SET ${field} = ? WHERE sequence = 5`, value);
    expect(made.verify().broken).toMatchObject({ sequence: 5, reason: expect.stringContaining("changed") as unknown });
  });

  it("shows two entries that changed places", () => {
    const made = filled();
    made.forge("UPDATE entry SET sequence = 100 WHERE sequence = 4");
    made.forge("UPDATE entry SET sequence = 4 WHERE sequence = 9");
    made.forge("UPDATE entry SET sequence = 9 WHERE sequence = 100");
    expect(made.verify().broken?.sequence).toBe(4);
  });

  it.each([1, 2, ENTRIES - 1])("shows that %i entries are missing from its end", (count) => {
    const made = filled();
    made.forge("DELETE FROM entry WHERE sequence > ?", ENTRIES - count);
    const first = ENTRIES - count + 1;
    expect(made.verify().broken).toMatchObject({
      sequence: first,
      reason: expect.stringContaining("from the end") as unknown,
    });
  });

  it("shows that all entries are missing", () => {
    const made = filled();
    made.forge("DELETE FROM entry");
    expect(made.verify()).toMatchObject({ ok: false, entries: 0, broken: { sequence: 1 } });
  });

  it("shows an entry that was added at the end with a right hash", () => {
    const made = filled();
    const [last] = readAudit(made.file, { limit: 1 });
    const database = new DatabaseSync(made.file);
    const previous = database.prepare("SELECT hash FROM entry WHERE sequence = ?").get(ENTRIES)?.["hash"] as Uint8Array;
    database.close();
    const entry = { ...(last ?? { time: 0, kind: "", source: "", subject: "", detail: "" }), sequence: ENTRIES + 1 };
    made.forge(
      "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)",
      entry.sequence,
      entry.time,
      entry.kind,
      entry.source,
      entry.subject,
      entry.detail,
      hashEntry(previous, entry),
    );
    expect(made.verify().broken).toMatchObject({
      sequence: ENTRIES + 1,
      reason: expect.stringContaining("added later") as unknown,
    });
  });

  it("shows a chain that was hashed anew from an edit on: it does not lead to the signed head", () => {
    const made = filled();
    made.forge("UPDATE entry SET subject = 'harmless' WHERE sequence = 6");
    rehash(made);
    expect(made.verify().broken).toMatchObject({
      sequence: ENTRIES,
      reason: expect.stringContaining("written anew") as unknown,
    });
  });

  it("shows a head that was removed, damaged, or signed by another key", () => {
    const removed = filled();
    removed.forge("DELETE FROM head");
    expect(removed.verify().broken?.reason).toContain("the signed head is missing");
    const damaged = filled();
    const signed = readHead(damaged.file) ?? new Uint8Array();
    damaged.forge("UPDATE head SET signed = ?", signed.with(signed.length - 1, 0x55));
    expect(damaged.verify().broken?.reason).toContain("the signed head is not valid");
    const other = filled();
    const stranger = new GatewayKey(generateKeyPairSync("ed25519").privateKey);
    const head = openHead(readHead(other.file) ?? new Uint8Array(), other.key.publicKey);
    other.forge("DELETE FROM entry WHERE sequence > 3");
    other.forge("UPDATE head SET signed = ?", stranger.sign(AUDIT_HEAD_TYPE, encodeHead({ ...head, sequence: 3 })));
    expect(other.verify().broken?.reason).toContain("not signed by this gateway's key");
  });

  it("does not take another signature of the gateway for a head", () => {
    const made = filled();
    const head = openHead(readHead(made.file) ?? new Uint8Array(), made.key.publicKey);
    made.forge("UPDATE head SET signed = ?", made.key.sign("application/vnd.bulkhead.report+cbor", encodeHead(head)));
    expect(made.verify().broken?.reason).toContain("not a signed audit head");
  });

  it("keeps showing a truncation after the gateway went on writing", () => {
    const made = filled();
    made.forge("DELETE FROM entry WHERE sequence > 7");
    const log = made.open();
    log.record(record("after"));
    log.close();
    expect(made.verify().broken?.sequence).toBe(8);
    expect(readAudit(made.file, { kind: "broken" })).toHaveLength(1);
  });

  it.each([
    ["its head was removed", "DELETE FROM head"],
    ["its entries were removed", "DELETE FROM entry"],
    [
      "an entry was added",
      "INSERT INTO entry SELECT 13, time, kind, source, subject, detail, hash FROM entry WHERE sequence = 12",
    ],
  ])("keeps showing that %s after the gateway went on writing", (_, sql) => {
    const made = filled();
    made.forge(sql);
    const log = made.open();
    log.record(record("after"));
    log.close();
    expect(made.verify().ok).toBe(false);
  });

  it("shows a log that was set back to an older copy of itself, by a head that was kept elsewhere", () => {
    const made = filled();
    copyFileSync(made.file, `${made.file}.old`);
    const log = made.open();
    log.record(record("incriminating"));
    const kept = log.head ?? new Uint8Array();
    log.close();
    copyFileSync(`${made.file}.old`, made.file);
    for (const suffix of ["-wal", "-shm"]) rmSync(made.file + suffix, { force: true });
    expect(made.verify().ok).toBe(true);
    expect(made.verify(kept).broken).toMatchObject({ sequence: ENTRIES + 1 });
  });

  it("shows a new log in the place of the old one, by a head that was kept elsewhere", () => {
    const made = filled();
    const kept = readHead(made.file) ?? new Uint8Array();
    rmSync(made.file);
    made.fill(ENTRIES + 5);
    expect(made.verify().ok).toBe(true);
    expect(made.verify(kept).broken?.reason).toContain("another log");
  });

  it("is found out whatever is done to any entry", () => {
    const made = bench();
    made.fill(8);
    const database = new DatabaseSync(made.file);
    const fields = ["time", "kind", "source", "subject", "detail"] as const;
    const entry = fc.integer({ min: 1, max: 8 });
    const forgery = fc.oneof(
      fc.tuple(fc.constant("DELETE FROM entry WHERE sequence = ?"), entry),
      fc.tuple(fc.constant("DELETE FROM entry WHERE sequence >= ?"), entry),
      fc.tuple(fc.constant("DELETE FROM entry WHERE sequence <= ?"), entry),
      fc.tuple(fc.constant("UPDATE entry SET sequence = sequence + 10 WHERE sequence = ?"), entry),
      fc.tuple(fc.constant("UPDATE entry SET time = time + 1 WHERE sequence = ?"), entry),
      fc.tuple(
        fc.constantFrom(
          ...fields.slice(1).map((name) => `UPDATE entry SET ${name} = ${name} || ' ' WHERE sequence = ?`),
        ),
        entry,
      ),
      fc.tuple(
        fc.constant(
          "INSERT INTO entry SELECT sequence + 20, time, kind, source, subject, detail, hash FROM entry WHERE sequence = ?",
        ),
        entry,
      ),
    );
    fc.assert(
      fc.property(forgery, ([sql, sequence]) => {
        database.exec("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT * FROM entry");
        database.prepare(sql).run(sequence);
        const { ok, broken } = made.verify();
        database.exec("DELETE FROM entry; INSERT INTO entry SELECT * FROM kept");
        expect(ok).toBe(false);
        expect(broken?.sequence).toBeLessThanOrEqual(28);
      }),
      { numRuns: 150 },
    );
    database.close();
    expect(made.verify().ok).toBe(true);
  });
});

/** What a forger without the key can do: make every hash right again. */
function rehash(made: Bench): void {
  const head = openHead(readHead(made.file) ?? new Uint8Array(), made.key.publicKey);
  let previous = head.baseHash;
  for (const entry of readAudit(made.file)) {
    previous = hashEntry(previous, entry);
    made.forge("UPDATE entry SET hash = ? WHERE sequence = ?", previous, entry.sequence);
  }
}

describe("a file that is no audit log", () => {
  it.each([
    ["absent", undefined],
    ["empty", ""],
    ["not a database", "x".repeat(5000)],
  ])("is refused, and nothing else is thrown: %s", (_, content) => {
    const made = bench();
    if (content !== undefined) writeFileSync(made.file, content);
    for (const use of [() => made.verify(), () => readAudit(made.file), () => readHead(made.file)]) {
      expect(use).toThrow(Refusal);
      expect(use).toThrow(/audit log/);
    }
  });
});
