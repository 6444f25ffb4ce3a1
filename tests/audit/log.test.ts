/** The audit log under load: floods are counted, other events keep their room, the disk's refusals lose nothing silently. */
import { chmodSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { AuditThrottle, THROTTLE_LIMITS } from "../../gateway/trust/audit-throttle.ts";
import { type AuditEntry } from "../../gateway/trust/audit-chain.ts";
import { readAudit } from "../../gateway/trust/audit-verify.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import { auditNote } from "../../gateway/core/audited.ts";
import { Bench as UpdateBench, deliveredAs, GATEWAY, makeModule } from "../updates/bench.ts";
import { bench, record } from "./support.ts";

function detailOf(entry: AuditEntry | undefined): Record<string, unknown> {
  return JSON.parse(entry?.detail ?? "{}") as Record<string, unknown>;
}

describe("a flood of documents from the broker", () => {
  it("hides no outcome of a real update", async () => {
    const uplink = makeModule("uplink", 1);
    const threshold = makeModule("threshold", 1);
    const gateway = new UpdateBench({ delivered: [deliveredAs(uplink), deliveredAs(threshold)] });
    onTestFinished(() => gateway.close());
    const newThreshold = makeModule("threshold", 2);
    for (let index = 0; index < 100; index += 1) {
      // So rarely that each is looked at, and answered.
      gateway.clock.offsetMs += 10_000;
      const junk = Uint8Array.of(0x18, 0x80 + index);
      gateway.agent.message(index % 2 === 0 ? topics.root(2) : topics.gateway(GATEWAY, "desired"), junk);
    }
    const plan = gateway.push(1, [newThreshold], [uplink]);
    await gateway.result(plan);

    const made = bench();
    const log = made.open();
    for (const notice of gateway.notices) {
      const note = auditNote({ type: "update", ...notice, code: notice.code ?? "" });
      if (note !== undefined) log.record(note);
    }
    log.close();
    const outcomes = readAudit(made.file, { kind: "update", source: "trust" });
    expect(outcomes.map((entry) => detailOf(entry))).toEqual([{ state: "committed", code: "OK", reason: "" }]);
    const junk = readAudit(made.file, { kind: "update", source: "broker" });
    expect(junk).toHaveLength(THROTTLE_LIMITS.subjects);
    const sent = gateway.notices.filter(({ source }) => source === "broker").length;
    expect(detailOf(readAudit(made.file, { kind: "suppressed" })[0])["count"]).toBe(sent - THROTTLE_LIMITS.subjects);
  });
});

describe("a flood of denials", () => {
  it("writes a burst, counts the rest, and hides no other event", () => {
    const made = bench();
    const log = made.open();
    for (let index = 0; index < 100_000; index += 1) log.record(record("bus", "hostile"));
    log.record(record("relay", "honest"));
    log.record(record("memory", "hostile", "fault"));
    log.close();
    const entries = readAudit(made.file);
    expect(entries).toHaveLength(1 + THROTTLE_LIMITS.burst + 2 + 1);
    expect(entries.filter(({ source }) => source === "honest")).toHaveLength(1);
    expect(entries.filter(({ kind }) => kind === "fault")).toHaveLength(1);
    const [summary] = readAudit(made.file, { kind: "suppressed" });
    expect([summary?.source, summary?.subject]).toEqual(["hostile", "denied"]);
    expect(detailOf(summary)["count"]).toBe(100_000 - THROTTLE_LIMITS.burst);
    expect(made.verify().ok).toBe(true);
  });

  it("does not hide another denial of the same module, nor any grant, revocation or admission", () => {
    const made = bench();
    const log = made.open();
    for (let index = 0; index < 1000; index += 1) log.record(record("out.send", "hostile"));
    log.record(record("handles.send", "hostile"));
    log.record({ ...record("out.send", "hostile"), detail: { result: "level" } });
    for (let index = 0; index < 1000; index += 1) log.record(record(`slot-${index}`, "hostile"));
    for (const kind of ["granted", "revoked", "admitted"]) {
      for (let index = 0; index < 50; index += 1) log.record(record("slot", "hostile", kind));
    }
    log.close();
    const written = readAudit(made.file, { source: "hostile" });
    const subjects = written.filter(({ kind }) => kind === "denied").map(({ subject }) => subject);
    expect(subjects.slice(0, THROTTLE_LIMITS.burst)).toEqual(Array(THROTTLE_LIMITS.burst).fill("out.send"));
    expect(subjects.slice(THROTTLE_LIMITS.burst, THROTTLE_LIMITS.burst + 2)).toEqual(["handles.send", "out.send"]);
    expect(subjects.length).toBeLessThan(THROTTLE_LIMITS.burst + THROTTLE_LIMITS.subjects);
    for (const kind of ["granted", "revoked", "admitted"]) {
      expect(written.filter((entry) => entry.kind === kind)).toHaveLength(50);
    }
  });

  it("writes one entry a refill time, and summaries ever more rarely", () => {
    const throttle = new AuditThrottle();
    let written = 0;
    let summaries = 0;
    let counted = 0;
    for (let second = 0; second < 86_400; second += 1) {
      for (let index = 0; index < 3; index += 1) if (throttle.admits("denied", "hostile", second * 1000)) written += 1;
      for (const { count } of throttle.due(second * 1000)) {
        summaries += 1;
        counted += count;
      }
    }
    for (const { count } of throttle.due(86_400_000, true)) counted += count;
    expect(written).toBe(THROTTLE_LIMITS.burst + 143);
    expect(summaries).toBeLessThan(40);
    expect(written + counted).toBe(3 * 86_400);
  });

  it("from a million sources takes bounded memory, and every one is written or counted", () => {
    const throttle = new AuditThrottle({ ...THROTTLE_LIMITS, keys: 16 });
    let written = 0;
    for (let index = 0; index < 1_000_000; index += 1)
      if (throttle.admits("denied", `source-${index}`, 0)) written += 1;
    const due = throttle.due(0, true);
    expect(written).toBe(16 + THROTTLE_LIMITS.burst);
    expect(due.map(({ source, count }) => [source, count])).toEqual([["others", 1_000_000 - written]]);
  });

  it("is forgotten once it is over, so that a later burst is written whole", () => {
    const throttle = new AuditThrottle();
    for (let index = 0; index < 100; index += 1) throttle.admits("denied", "a", 0);
    throttle.due(0, true);
    const later = THROTTLE_LIMITS.burst * THROTTLE_LIMITS.refillMs;
    throttle.due(later);
    const admitted = Array.from({ length: 25 }, () => throttle.admits("denied", "a", later)).filter(Boolean);
    expect(admitted).toHaveLength(THROTTLE_LIMITS.burst);
  });

  it("is neither helped nor hidden by a clock that is set back", () => {
    const throttle = new AuditThrottle();
    for (let index = 0; index < THROTTLE_LIMITS.burst; index += 1) throttle.admits("denied", "a", 1_000_000);
    expect(throttle.admits("denied", "a", 0)).toBe(false);
    expect(throttle.admits("denied", "a", THROTTLE_LIMITS.refillMs - 1)).toBe(false);
    expect(throttle.admits("denied", "a", THROTTLE_LIMITS.refillMs)).toBe(true);
  });
});

describe("the audit log", () => {
  it("has a quiet record on disk at return", () => {
    const made = bench();
    const log = made.open({ gatherMs: 0 });
    log.flush();
    made.clock += 1;
    log.record(record("first"));
    log.flush();
    expect(readAudit(made.file).map(({ subject }) => subject)).toContain("first");
    log.close();
  });

  it("gathers what comes at once, and writes it soon", async () => {
    const made = bench();
    const log = made.open({ gatherMs: 20 });
    for (let index = 0; index < 10; index += 1) log.record(record(`slot-${index}`));
    expect(readAudit(made.file)).toHaveLength(1);
    await sleep(200);
    expect(readAudit(made.file)).toHaveLength(11);
    log.close();
  });

  it("loses nothing of what comes faster than it gathers, while the disk takes it", () => {
    const made = bench();
    const log = made.open({ waiting: 8 });
    for (let index = 0; index < 500; index += 1) log.record(record(`slot-${index}`, "module", "granted"));
    log.close();
    expect(readAudit(made.file, { kind: "granted" }).map(({ subject }) => subject)).toEqual(
      Array.from({ length: 500 }, (_, index) => `slot-${index}`),
    );
    expect(made.verify().ok).toBe(true);
  });

  it("drops the oldest entries when there are too many, says so, and stays whole", () => {
    const made = bench();
    const log = made.open({ entries: 40 });
    for (let index = 0; index < 200; index += 1) {
      log.record(record(`slot-${index}`, `source-${index}`));
      log.flush();
    }
    log.close();
    const verdict = made.verify();
    expect(verdict.ok).toBe(true);
    expect(verdict.entries).toBeLessThanOrEqual(41);
    expect(verdict.last).toBeGreaterThan(200);
    expect(readAudit(made.file, { kind: "pruned" }).length).toBeGreaterThan(0);
    made.forge("DELETE FROM entry WHERE sequence = ?", verdict.first);
    expect(made.verify().broken?.sequence).toBe(verdict.first);
  });

  it("keeps what the disk refused, counts what it could not keep, and writes both when it can", () => {
    const made = bench();
    const log = made.open({ waiting: 5 });
    const blocker = new DatabaseSync(made.file);
    blocker.exec("BEGIN IMMEDIATE");
    for (let index = 0; index < 9; index += 1) {
      log.record(record(`slot-${index}`, `source-${index}`));
      log.flush();
    }
    expect(made.faults.length).toBeGreaterThan(0);
    expect(made.faults[0]).toBeInstanceOf(Refusal);
    expect(made.faults[0]?.code).toBe("E_STORE");
    blocker.exec("ROLLBACK");
    blocker.close();
    log.close();
    expect(readAudit(made.file).map(({ kind }) => kind)).toEqual([
      "opened",
      ...Array<string>(5).fill("denied"),
      "lost",
    ]);
    expect(detailOf(readAudit(made.file, { kind: "lost" })[0])["count"]).toBe(4);
    expect(made.verify().ok).toBe(true);
  });

  it("bounds every text, whatever a module puts into it", () => {
    const made = bench();
    const log = made.open();
    const long = `\ud800${"x".repeat(100_000)}`;
    log.record({
      kind: long,
      source: long,
      subject: long,
      detail: { [long]: long, __proto__: long, n: 1, b: true, z: null },
    });
    log.record({ kind: "k", source: "s", subject: "u\u0000\n\u001b[31m", detail: {} });
    log.record({
      kind: "k",
      source: "t",
      subject: "",
      detail: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, i])),
    });
    log.close();
    const entries = readAudit(made.file);
    expect(entries).toHaveLength(4);
    for (const { kind, source, subject, detail } of entries) {
      for (const text of [kind, source, subject]) expect(text.length).toBeLessThanOrEqual(256);
      expect(detail.length).toBeLessThanOrEqual(2048);
      expect(JSON.parse(detail)).toBeTypeOf("object");
    }
    expect(made.verify().ok).toBe(true);
  });

  it("is read by kind, source, time and number", () => {
    const made = bench();
    const log = made.open();
    log.record(record("a", "one"));
    made.clock += 1000;
    log.record(record("b", "two"));
    log.record(record("c", "two", "fault"));
    log.close();
    const subjects = (query: Parameters<typeof readAudit>[1]): string[] =>
      readAudit(made.file, query).map(({ subject }) => subject);
    expect(subjects({ kind: "denied" })).toEqual(["a", "b"]);
    expect(subjects({ source: "two" })).toEqual(["b", "c"]);
    expect(subjects({ since: made.clock })).toEqual(["b", "c"]);
    expect(subjects({ limit: 1 })).toEqual(["c"]);
    expect(subjects({ kind: "' OR 1=1 --" })).toEqual([]);
  });

  it("refuses a file that is no database, and a folder that may not be written, in one line", () => {
    const made = bench();
    writeFileSync(made.file, "not a database, but long enough to be taken for one".repeat(100));
    expect(() => made.open()).toThrow(Refusal);
    expect(() => made.open()).toThrow(/the audit log .* cannot be opened/);
    const locked = bench();
    chmodSync(locked.folder, 0o500);
    // Root may write everywhere: then there is nothing to refuse.
    if (process.getuid?.() !== 0) expect(() => locked.open()).toThrow(Refusal);
    chmodSync(locked.folder, 0o700);
  });
});
