/** `bulkhead audit`, as the operator calls it. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { auditCommand } from "../../tools/audit/index.ts";
import { bench, record } from "./support.ts";
import { runVerb } from "../support/verb.ts";

async function audit(...args: readonly string[]): Promise<{ code: number; out: string; errors: string }> {
  return runVerb(auditCommand, args);
}

describe("bulkhead audit", () => {
  it("lists entries for people, with control characters shown and not obeyed", async () => {
    const made = bench();
    const log = made.open();
    log.record(record("evil\u001b[2J\n\u2028\u202e", "uplink"));
    log.close();
    const { code, out } = await audit("list", "--data", made.folder);
    expect(code).toBe(0);
    expect(out.trimEnd().split("\n")).toEqual([
      "1 2027-01-15T08:00:00.000Z opened audit: a new log",
      '2 2027-01-15T08:00:00.000Z denied uplink: evil\\u001b[2J\\u000a\\u2028\\u202e {"result":"denied"}',
    ]);
  });

  it("lists by kind, source and number, as JSON", async () => {
    const made = bench();
    made.fill(10);
    const { out } = await audit("list", "--data", made.folder, "--kind", "denied", "--limit", "2", "--json");
    expect(JSON.parse(out)).toMatchObject([
      { source: "module-8" },
      { source: "module-9", detail: { result: "denied" } },
    ]);
  });

  it("finds the data folder by the configuration", async () => {
    const made = bench();
    made.fill(3);
    const file = join(made.folder, "gateway.yaml");
    writeFileSync(file, "gateway: { id: a, vendor: b, class: c }\ndata: .\ntrust: { root: r }\n");
    expect((await audit("verify", "--config", file)).code).toBe(0);
  });

  it("verifies a whole log with 0 and a broken one with 1, naming the place", async () => {
    const made = bench();
    made.fill(10);
    const whole = await audit("verify", "--data", made.folder);
    expect([whole.code, whole.out]).toEqual([0, expect.stringContaining("is whole: 10 entries, 1 to 10") as unknown]);
    made.forge("DELETE FROM entry WHERE sequence = 4");
    const broken = await audit("verify", "--data", made.folder);
    expect([broken.code, broken.out]).toEqual([1, "the audit log is BROKEN at entry 4: entry 4 is missing\n"]);
    const json = await audit("verify", "--data", made.folder, "--json");
    expect(JSON.parse(json.out)).toMatchObject({ ok: false, broken: { sequence: 4 } });
  });

  it("exports every entry and the head, which later finds a log that was set back", async () => {
    const made = bench();
    made.fill(5);
    copyFileSync(made.file, `${made.file}.old`);
    const log = made.open();
    log.record(record("later"));
    log.close();
    const head = join(made.folder, "kept.head");
    const exported = await audit("export", "--data", made.folder, "--head", head);
    const lines = exported.out.trimEnd().split("\n");
    expect(lines).toHaveLength(6);
    expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ sequence: 6, subject: "later" });
    expect(exported.errors).toContain("wrote the signed head of entry 6");
    copyFileSync(`${made.file}.old`, made.file);
    for (const suffix of ["-wal", "-shm"]) rmSync(made.file + suffix, { force: true });
    expect((await audit("verify", "--data", made.folder)).code).toBe(0);
    expect((await audit("verify", "--data", made.folder, "--head", head)).code).toBe(1);
  });

  it("refuses in one line what it cannot use", async () => {
    const made = bench();
    await expect(audit("list", "--data", made.folder)).rejects.toThrow(/there is no audit log at/);
    made.fill(2);
    await expect(audit("verify", "--data", made.folder, "--key", join(made.folder, "none"))).rejects.toThrow(
      /cannot read/,
    );
    await expect(audit("verify", "--data", made.folder, "--key", made.file)).rejects.toThrow(/not a public key/);
    writeFileSync(join(made.folder, "bad.head"), readFileSync(made.file).subarray(0, 100));
    await expect(audit("verify", "--data", made.folder, "--head", join(made.folder, "bad.head"))).rejects.toThrow(
      Refusal,
    );
  });

  it("has help, and ends with 2 on wrong usage", async () => {
    expect(await audit("--help")).toMatchObject({ code: 0, out: auditCommand.help });
    expect((await audit()).code).toBe(2);
    expect((await audit("lst", "--data", "x")).code).toBe(2);
    expect((await audit("list", "--data", "x", "--limit", "0")).code).toBe(2);
    expect((await audit("list", "--data", "x", "--since", "soon")).code).toBe(2);
  });
});
