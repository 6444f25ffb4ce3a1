/** `bulkhead test`: builds modules and runs their tests in vitest, without hardware and without a gateway. */
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Refusal } from "../../kernel/index.ts";
import { buildModule } from "../build/build.ts";
import type { Command, Io } from "../command.ts";
import { PACKAGE_ROOT } from "../root.ts";

const HELP = `bulkhead test [folder ...] [--json]

Builds the modules in the folders (the working folder where none is named) and runs their *.test.ts in vitest.

  --json    vitest's report as one JSON object: success, numTotalTests, numFailedTests, testResults
  --help    this text
`;

export const testCommand: Command = {
  name: "test",
  summary: "build modules and run their tests without hardware",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { values, positionals } = parseArgs({ args, options: { json: { type: "boolean" } }, allowPositionals: true });
    const folders = (positionals.length === 0 ? ["."] : positionals).map((folder) => resolve(folder));
    for (const folder of folders) await buildModule(folder);
    return runTests(folders, values.json === true ? ["--reporter=json"] : [], io);
  },
};

/** The author's own vitest, or the one beside this package. @throws Refusal E_UNKNOWN where there is neither */
function findVitest(): string {
  for (const base of [join(process.cwd(), "package.json"), join(PACKAGE_ROOT, "package.json")]) {
    try {
      return join(dirname(createRequire(base).resolve("vitest/package.json")), "vitest.mjs");
    } catch {
      // Not installed there.
    }
  }
  throw new Refusal("E_UNKNOWN", "vitest is not installed", { hint: "npm install --save-dev vitest" });
}

function runTests(folders: readonly string[], reporter: readonly string[], io: Io): Promise<number> {
  const config = join(import.meta.dirname, `vitest-config.${import.meta.filename.endsWith(".ts") ? "ts" : "js"}`);
  const parameters = [findVitest(), "run", "--config", config, "--root", process.cwd(), ...reporter, ...folders];
  const child = spawn(process.execPath, parameters, { signal: io.signal });
  child.stdout.on("data", (chunk: Buffer) => io.control(chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => io.control(chunk.toString(), "stderr"));
  return new Promise((done, fail) => {
    child.on("error", fail);
    child.on("close", (code) => {
      done(code ?? 1);
    });
  });
}
