/** What the command says of itself, and of how it was called. */
import { describe, expect, test } from "vitest";
import { manualPage } from "../../tools/package/manual.ts";
import { bulkhead } from "./support.ts";

test.each([
  [["sim", "fault", "bme280", "nack", "--for", "10x"], '--for takes a time such as 90s, 10m or 2h, not "10x"'],
  [["sim", "fault", "bme280", "nack", "--for", "600h"], "--for takes at most 24h, not 600h"],
  [["sim", "--nonsense"], "--nonsense"],
  [["test", "--nonsense"], "--nonsense"],
])("%j is a mistake of who calls: one line, the way to the help, exit code 2", (words, message) => {
  const { status, stdout, stderr } = bulkhead(...words);
  expect(stderr).toContain(message);
  expect(stderr).toContain(`\`bulkhead ${words[0] ?? ""} --help\` shows the usage`);
  expect(stderr).not.toMatch(/fault of bulkhead itself|\bat .*\.ts:\d+/);
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
});

describe("every exit code is told", () => {
  test("in the overview", () => {
    expect(bulkhead("--help").stdout).toMatch(/Exit codes: 0 .*1 .*2 .*\n?.*doctor also 3/);
  });

  test("in the manual page", () => {
    expect(manualPage([], "1.0.0", "2026-01-01")).toMatch(/EXIT STATUS\n0 success, 1 .* 2 .*; 3 where\n\.B doctor\n/);
  });
});

test.each([
  ["run", ["--patience <n>", "--before", "--probation-ms", "--probation-messages", "--check", "--json"]],
  ["replay", ["[--last <n>]", "[--passphrase-file <file>]"]],
  ["test", ["--json"]],
] as const)("%s names its options", (verb, options) => {
  const { stdout } = bulkhead(verb, "--help");
  for (const option of options) expect(stdout).toContain(option);
});
