/** A message on its way allocates nothing once mailboxes and code are warm: there is nothing to collect behind it. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { patiently } from "../support/patience.ts";

const SCRIPT = fileURLToPath(new URL("../support/circle.ts", import.meta.url));
const MESSAGES = 1_000_000;
/** A scavenge comes at a mebibyte at the earliest; one object of the smallest size for each message would be 16 to 24 of them. */
const MOST_SCAVENGES = 12;

test("a million messages to a direct module", { timeout: patiently(120_000) }, async () => {
  const flags = ["--disable-warning=ExperimentalWarning", "--trace-gc"];
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, SCRIPT, "direct", `${MESSAGES}`]);
  const [, measured = ""] = stdout.split("BEGIN");
  expect(measured).toContain("END");
  const collections = measured.split("END")[0]?.match(/Scavenge|Mark-Compact/g) ?? [];
  expect(collections.length).toBeLessThanOrEqual(MOST_SCAVENGES);
});
