/** `bulkhead new` and `bulkhead test`: what an author gets builds, and its test passes, in a folder of its own. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Refusal } from "../../kernel/index.ts";
import { readModuleFile } from "../../tools/build/module-file.ts";
import type { Command } from "../../tools/command.ts";
import { BUSES } from "../../tools/new/templates.ts";
import { newCommand } from "../../tools/new/verb.ts";
import { testCommand } from "../../tools/testkit/verb.ts";
import { runVerb } from "../support/verb.ts";

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
  return runVerb(command, args);
}

describe("bulkhead new", () => {
  it("makes a driver for each bus and a service, which build and whose tests pass", async () => {
    for (const bus of BUSES) {
      expect((await run(newCommand, "driver", `my-${bus}`, "--bus", bus)).code).toBe(0);
    }
    expect((await run(newCommand, "service", "my-service")).text).toContain("next: npx bulkhead test my-service");
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

  it("gives the editor what it needs: nothing of what it made is wrong, and a type error is found", () => {
    const project = {
      extends: "./my-i2c/tsconfig.json",
      include: ["my-*/**/*.ts"],
      exclude: ["**/*.test.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(project));
    const source = readFileSync(join(folder, "my-spi/index.ts"), "utf8");
    mkdirSync(join(folder, "my-broken"));
    cpSync(join(folder, "my-spi/generated"), join(folder, "my-broken/generated"), { recursive: true });
    writeFileSync(join(folder, "my-broken/index.ts"), source.replace("log.failure(", "log.failed("));
    const compiler = join(home, "node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [compiler, "--noEmit", "-p", "."], { encoding: "utf8" });
    const errors = stdout.split("\n").filter((line) => line.startsWith("my-") || line.includes("Cannot find module"));
    expect(errors).toEqual([
      expect.stringMatching(/^my-broken\/index\.ts\(\d+,\d+\): .*Property 'failed' does not exist/),
    ]);
  }, 60_000);

  it.each(["driver", "message", "bytes", "source", "string", "class", "constructor"])(
    "makes a driver called %s, whatever else has that name",
    async (name) => {
      expect((await run(newCommand, "driver", name)).code).toBe(0);
      expect((await readModuleFile(join(folder, name))).builds[0]?.manifest.name).toBe(name);
    },
    60_000,
  );

  it("names the module as it is called", async () => {
    expect((await readModuleFile(join(folder, "my-i2c"))).builds[0]?.manifest.name).toBe("my-i2c");
  });

  it.each([
    ["a name with capitals", ["driver", "Bad"]],
    ["a path for a name", ["driver", "../bad"]],
    ["a bus that does not exist", ["driver", "good", "--bus", "can"]],
    ["a folder that is there", ["driver", "my-i2c"]],
    ["a link that leads nowhere", ["driver", "nowhere"]],
    ["the folder of the binaries", ["driver", "build"]],
    ["the module that its readings go to", ["driver", "uplink"]],
    ["the module that dev listens with", ["service", "tap"]],
    ["an empty name", ["driver", ""]],
    ["a line feed", ["driver", "a\nb"]],
    ["a quotation mark", ["driver", 'a"b']],
    ["a name of JavaScript's own", ["driver", "__proto__"]],
    ["a name too long for a module", ["driver", "a".repeat(300)]],
  ])("refuses %s, and leaves nothing behind", async (_, args) => {
    if (args[1] === "nowhere") symlinkSync("/nowhere/at-all", join(folder, "nowhere"));
    const before = readdirSync(folder);
    await expect(run(newCommand, ...args)).rejects.toThrow(Refusal);
    expect(readdirSync(folder)).toEqual(before);
  });

  it("keeps development keys and binaries out of a repository", () => {
    const ignored = readFileSync(join(folder, "my-i2c/.gitignore"), "utf8");
    expect(ignored.split("\n")).toEqual(expect.arrayContaining(["/.bulkhead/", "/build/"]));
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
