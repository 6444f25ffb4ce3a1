/** docs/updates.md names every topic, state and result code, and no others; its rollout file, and that of `--help`, are read as they stand. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { aftermath, STATE_TABLE } from "../../gateway/trust/states.ts";
import { UPDATE_STATES } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import { REFUSAL_CODES } from "../../kernel/index.ts";
import type { RefusalCode } from "../../kernel/index.ts";
import { rollout } from "../../tools/push/rollout-command.ts";
import { readRolloutPlan } from "../../tools/push/rollout-plan.ts";
import { pauseTopic } from "../../tools/push/rollout.ts";

const page = readFileSync(new URL("../../docs/updates.md", import.meta.url), "utf8");
const sectionOf = (title: string): string => page.split(/^## /m).find((text) => text.startsWith(title)) ?? "";

/** First cells of the rows of a section's tables. */
function rowsOf(title: string) {
  return [...sectionOf(title).matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)].map(([, name = "", rest = ""]) => ({
    name,
    rest,
  }));
}
const rows = rowsOf("What a gateway does");

describe("the page about updates", () => {
  it("lists the states in their order, with the end to which a refusal in each leads", () => {
    const states = rows.filter(({ name }) => !name.startsWith("E_") && name !== "OK");
    expect(states.map(({ name }) => name)).toEqual([...UPDATE_STATES]);
    for (const state of UPDATE_STATES) {
      const { step, failure } = STATE_TABLE[state];
      const rest = states.find(({ name }) => name === state)?.rest ?? "";
      if (step !== "none") expect(rest.trimEnd().endsWith(`\`${failure}\``), state).toBe(true);
    }
  });

  it("lists every result code once", () => {
    const codes = rows.map(({ name }) => name).filter((name) => name.startsWith("E_") || name === "OK");
    expect(codes.sort()).toEqual(["OK", ...Object.keys(REFUSAL_CODES)].sort());
  });

  it("says which codes are tried again, and which may change", () => {
    const codesOf = (start: string) => {
      const from = page.indexOf(start);
      const paragraph = page.slice(from, page.indexOf("\n-", from + 1));
      return [...paragraph.matchAll(/`(E_[A-Z_]+)`/g)].map(([, code]) => code).sort();
    };
    const all = Object.keys(REFUSAL_CODES) as RefusalCode[];
    expect(codesOf("- `E_STORE`")).toEqual(all.filter((code) => aftermath(code) === "retry").sort());
    expect(codesOf("- `E_ROOT_GAP`")).toEqual(all.filter((code) => aftermath(code) === "drop").sort());
  });
});

describe("the topics of the page", () => {
  it("are those of the program", () => {
    const gateway = (["desired", "reported", "event", "online"] as const).map((name) => topics.gateway("<id>", name));
    const digests = [topics.configuration("<digest>"), topics.module("<envelope digest>")];
    const numbered = [topics.root(7).replace("7", "<version>"), topics.block("<sha256>", 7).replace(/7$/, "<n>")];
    const all = [...gateway, ...digests, ...numbered, pauseTopic("<name>")];
    expect(
      rowsOf("Topics")
        .map(({ name }) => `bulkhead/v1/${name}`)
        .sort(),
    ).toEqual(all.sort());
  });
});

describe("rollout files", () => {
  it("is read as the page has it, with what it says of absent keys", () => {
    const [, text = ""] = /^```yaml rollout\n([^]*?)^```/m.exec(page) ?? [];
    const plan = readRolloutPlan(text, "/home/rollouts/autumn.yaml");
    expect(plan.version).toBe(plan.issued);
    expect(plan.waves).toEqual([0.01, 0.1, 0.5, 1]);
    expect([plan.soakMs, plan.timeoutMs, plan.abortShare]).toEqual([600_000, 600_000, 0.05]);
    expect((plan.expires - plan.issued) / 3600).toBe(168);
  });

  it("is read as --help has it, which names every key", () => {
    const text = /^ {2}rollout:[^]*?\n\n/m.exec(rollout.help)?.[0] ?? "";
    expect(readRolloutPlan(text, "/home/rollouts/autumn.yaml").without).toEqual(["old-driver"]);
    const named = [...text.matchAll(/^ {2}([a-z]+):/gm)].map(([, key = ""]) => key);
    expect(named.sort()).toEqual(rolloutRows().sort());
  });
});

/** The keys that the page's table of rollout files names. */
function rolloutRows(): string[] {
  const rows = sectionOf("What a release engineer does").matchAll(/^\| (`[a-z]+`(?:, `[a-z]+`)?) \| .* \| .* \|$/gm);
  return [...rows].flatMap(([, cell = ""]) => [...cell.matchAll(/`([a-z]+)`/g)].map(([, key = ""]) => key));
}

describe("the table of states", () => {
  it("leads from idle to committed through every state that is no end", () => {
    const path = ["idle"];
    for (let row = STATE_TABLE.idle; row.step !== "none"; row = STATE_TABLE[row.next]) path.push(row.next);
    expect(path).toEqual(UPDATE_STATES.slice(0, UPDATE_STATES.indexOf("committed") + 1));
  });

  it("never leads to committed by a failure", () => {
    for (const [state, { failure }] of Object.entries(STATE_TABLE)) {
      if (state !== "committed") expect(failure).not.toBe("committed");
    }
  });
});
