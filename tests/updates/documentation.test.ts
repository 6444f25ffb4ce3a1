/** docs/updates.md names every state and every result code, and no others. */

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { aftermath, STATE_TABLE } from "../../gateway/trust/states.ts";
import { UPDATE_STATES } from "../../gateway/wire/update-report.ts";
import { REFUSAL_CODES } from "../../kernel/index.ts";
import type { RefusalCode } from "../../kernel/index.ts";

const page = readFileSync(new URL("../../docs/updates.md", import.meta.url), "utf8");
/** First cells of the rows of tables. */
const rows = [...page.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)].map(([, name = "", rest = ""]) => ({ name, rest }));

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
