/** The README's main job, run as a newcomer runs it. */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { openPseudoTerminal } from "../device/fixtures/native.ts";
import { SequenceAudit } from "../../tools/demo/readings.ts";

const LAUNCHER = fileURLToPath(new URL("../../tools/launch/bulkhead.js", import.meta.url));

async function run(args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

test("the demo observes everything that it promises", { timeout: 180_000 }, async () => {
  const { code, stdout, stderr } = await run(["demo", "--json"]);
  expect(stderr).toBe("");
  const lines = stdout.trim().split("\n");
  expect(lines).toHaveLength(1);
  const result = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  expect(result).toMatchObject({
    readings: { lost: 0, duplicated: 0, reordered: 0 },
    swap: { committed: true, lost: 0 },
    refused: [
      { attempt: "a flipped bit in the wasm", code: "E_DIGEST" },
      { attempt: "a signature by an unknown key", code: "E_KEY" },
      { attempt: "an older sequence number", code: "E_ROLLBACK" },
      { attempt: "a capability that was not granted", code: "E_CAP" },
      { attempt: "imports beyond the manifest", code: "E_CAP" },
    ],
    recovered: [
      { module: "trapper", cause: "trap" },
      { module: "spinner", cause: "budget" },
    ],
  });
  const { received } = result["readings"] as { received: number };
  expect(received).toBeGreaterThan(50);
  expect(code).toBe(0);
});

test("on a terminal the readings of the new drivers stand below the steps, live, the meter's from its own terminal", {
  timeout: 180_000,
}, async () => {
  let shown = "";
  const terminal = openPseudoTerminal((bytes) => (shown += Buffer.from(bytes).toString()));
  const end = openSync(terminal.path, "r+");
  try {
    const child = spawn(process.execPath, [LAUNCHER, "demo"], { stdio: [end, end, end] });
    const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
    expect(code, shown).toBe(0);
  } finally {
    closeSync(end);
    terminal.close();
  }
  expect(shown).toMatch(/a Modbus meter at the other end of a pseudo-terminal, \/dev\/pts\/\d+/);
  for (const row of [
    /modbus-rtu +supply +6\d(\.\d+)? Cel +#\d+/,
    /ds18b20 +temperature +[\d.]+ Cel +#\d+/,
    /ads1115 +input-0/,
  ]) {
    // Drawn again and again, in place: the cursor goes up over the rows that stand there.
    expect(shown.match(new RegExp(`\\u001b\\[2K[^\\n]*${row.source}`, "g"))?.length).toBeGreaterThan(2);
  }
  expect(shown).toMatch(/\u001b\[\d+A\u001b\[0J/);
});

describe("the count of sequence numbers", () => {
  function count(...sequences: number[]): object {
    const audit = new SequenceAudit();
    for (const sequence of sequences) audit.take(sequence);
    return audit.counts;
  }

  test("sees nothing wrong in a whole row", () => {
    expect(count(0, 1, 2, 3)).toEqual({ received: 4, lost: 0, duplicated: 0, reordered: 0 });
  });

  test("sees a gap, and a first reading that is not 0", () => {
    expect(count(0, 2)).toEqual({ received: 2, lost: 1, duplicated: 0, reordered: 0 });
    expect(count(3)).toEqual({ received: 1, lost: 3, duplicated: 0, reordered: 0 });
  });

  test("sees a repetition", () => {
    expect(count(0, 1, 1, 0)).toEqual({ received: 4, lost: 0, duplicated: 2, reordered: 0 });
  });

  test("sees one that was overtaken, and does not call it lost", () => {
    expect(count(0, 2, 1)).toEqual({ received: 3, lost: 0, duplicated: 0, reordered: 1 });
  });
});
