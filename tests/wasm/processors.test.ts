/** Random programs with canonical NaNs come to the same bits on x64 and arm64, by V8's plain and its optimizing compiler. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEFAULT_METER_OPTIONS, meter } from "../../kernel/wasm/meter.ts";
import { canEmulate, emulatedNode } from "../../tools/package/emulation.ts";
import { runtimeFolder } from "../../tools/package/runtime.ts";
import { makeFloatProgram } from "./float-programs.ts";
import { chooser, compileWat } from "./support.ts";

const SCRIPT = path.join(import.meta.dirname, "fixtures/bits.ts");
const PROGRAMS = 40;
const PATIENCE_MS = 300_000;
const run = promisify(execFile);

let folder: string;
const at = (name: string): string => path.join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "bulkhead-processors-"));
  const programs = Array.from({ length: PROGRAMS }, (_, seed) => makeFloatProgram(chooser(seed * 7919 + 5), false));
  for (const [name, canonicalNans] of [
    ["asking", true],
    ["careless", false],
  ] as const) {
    const lines: string[] = [];
    for (const program of programs) {
      const metered = meter(await compileWat(program), { ...DEFAULT_METER_OPTIONS, canonicalNans });
      lines.push(Buffer.from(metered).toString("base64"));
    }
    await writeFile(at(name), lines.join("\n"));
  }
}, PATIENCE_MS);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Without the trap handler: an emulator backs the guard regions of each memory with memory of the machine. */
async function bits(node: string, name: string, ...flags: string[]): Promise<string> {
  const { stdout } = await run(node, ["--disable-wasm-trap-handler", ...flags, SCRIPT, at(name)]);
  expect(stdout.trim().split("\n")).toHaveLength(PROGRAMS);
  return stdout;
}

it(
  "both compilers of V8 give the same bits for the same fuel",
  async () => {
    const [plain, optimized] = [["--liftoff-only"], ["--no-liftoff"]];
    expect(await bits(process.execPath, "asking", ...optimized)).toBe(await bits(process.execPath, "asking", ...plain));
  },
  PATIENCE_MS,
);

describe.skipIf(!canEmulate() || process.arch === "arm64")("arm64, emulated", () => {
  it(
    "gives the same bits as x64 for the same fuel with canonical NaNs, and other bits without",
    async () => {
      await symlink(path.join(runtimeFolder("arm64"), "bin"), at("bin"));
      const node = emulatedNode(folder);
      expect(await bits(node, "asking")).toBe(await bits(process.execPath, "asking"));
      expect(await bits(node, "careless")).not.toBe(await bits(process.execPath, "careless"));
    },
    PATIENCE_MS,
  );
});
