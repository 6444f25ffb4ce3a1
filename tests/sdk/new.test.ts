/** `bulkhead new` and `bulkhead test`: what an author gets builds, and its test passes, in a folder of its own. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { readModuleFile } from "../../tools/build/module-file.ts";
import type { Command } from "../../tools/command.ts";
import { BUSES } from "../../tools/new/templates.ts";
import { newCommand } from "../../tools/new/verb.ts";
import { testCommand } from "../../tools/testkit/verb.ts";

const home = process.cwd();
const folder = mkdtempSync(join(tmpdir(), "bulkhead-author-"));

beforeAll(() => {
  process.chdir(folder);
});
afterAll(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true });
});

async function run(command: Command, ...args: string[]) {
  const output: string[] = [];
  const keep = (text: string) => void output.push(text);
  const io = { stdout: keep, stderr: keep, isTerminal: false, signal: new AbortController().signal };
  const code = await command.run(args, io);
  return { code, text: output.join("") };
}

describe("bulkhead new", () => {
  it("makes a driver for each bus and a service, which build and whose tests pass", async () => {
    for (const bus of BUSES) {
      expect((await run(newCommand, "driver", `my-${bus}`, "--bus", bus)).code).toBe(0);
    }
    expect((await run(newCommand, "service", "my-service")).text).toContain("next: bulkhead test my-service");
    const { code, text } = await run(testCommand, ...BUSES.map((bus) => `my-${bus}`), "my-service");
    expect(text).toContain("6 passed");
    expect(code).toBe(0);
  }, 180_000);

  it("leaves a test that fails when the driver is broken", async () => {
    const source = join(folder, "my-i2c/index.ts");
    writeFileSync(source, readFileSync(source, "utf8").replace("u16be", "u16le"));
    const { code, text } = await run(testCommand, "my-i2c");
    expect(code).toBe(1);
    expect(text).toContain("1 failed");
  }, 60_000);

  it("gives the editor a configuration whose paths exist", () => {
    const config = JSON.parse(readFileSync(join(folder, "my-i2c/tsconfig.json"), "utf8")) as {
      readonly extends: string;
      readonly compilerOptions: { readonly paths: Readonly<Record<string, readonly string[]>> };
    };
    expect(existsSync(join(folder, "my-i2c", config.extends))).toBe(true);
    expect(existsSync(join(folder, "my-i2c", config.compilerOptions.paths["bulkhead/sdk"]?.[0] ?? ""))).toBe(true);
    const compiler = join(home, "node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [compiler, "--noEmit", "-p", "my-i2c"], { encoding: "utf8" });
    expect(stdout.split("\n").filter((line) => line.includes("Cannot find module"))).toEqual([]);
  }, 60_000);

  it("names the module as it is called", async () => {
    expect((await readModuleFile(join(folder, "my-i2c"))).builds[0]?.manifest.name).toBe("my-i2c");
  });

  it.each([
    ["a name with capitals", ["driver", "Bad"]],
    ["a path for a name", ["driver", "../bad"]],
    ["a bus that does not exist", ["driver", "good", "--bus", "can"]],
    ["a folder that is there", ["driver", "my-i2c"]],
  ])("refuses %s", async (_, args) => {
    await expect(run(newCommand, ...args)).rejects.toThrow(Refusal);
  });

  it.each([[[]], [["driver"]], [["gadget", "x"]], [["driver", "a", "b"]]])(
    "says what it takes, for %j",
    async (args) => {
      const { code, text } = await run(newCommand, ...args);
      expect(code).toBe(2);
      expect(text).toContain("bulkhead new driver <name>");
    },
  );
});
