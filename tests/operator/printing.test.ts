/** What verbs print of files, modules and brokers: shown on a terminal, never obeyed, and never taken for a line of our own. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { encodeSign1 } from "../../gateway/envelopes/cose.ts";
import { CborTag, encodeCbor } from "../../kernel/index.ts";
import { defineCommand } from "../../tools/keys/command-line.ts";
import { printer } from "../../tools/printing.ts";
import { bulkhead, openDesk } from "./support.ts";

const desk = openDesk();

/** A colour, a cleared screen in C1, a deleted character, a turned line, and a line that looks like ours. */
const HOSTILE = "\u001b[32m\u009b2J\u007f\u202e\r\nverified module";
const SHOWN = String.raw`\u001b[32m\u009b2J\u007f\u202e\u000d\u000averified module`;
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e]/;

/** Two exports with one name, which the refusal quotes. */
function moduleWithExport(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  const one = [bytes.length, ...bytes, 2, 0];
  const exports = [2, ...one, ...one];
  return Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 3, 1, 0, 1, 7, exports.length, ...exports);
}

function place(bytes: Uint8Array): string {
  const file = path.join(desk.place(), "hostile");
  writeFileSync(file, bytes);
  return file;
}

test("inspect quotes a module's name in its refusal, on one line", () => {
  const { status, stdout, stderr } = bulkhead("inspect", place(moduleWithExport(HOSTILE)));
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toContain(SHOWN);
  expect(stderr).not.toMatch(OBEYED);
  expect(stderr.trimEnd().split("\n")).toHaveLength(1);
});

test("verify quotes the content type that a signature claims, on one line", () => {
  const parts = { contentType: HOSTILE, keyId: new Uint8Array(16), payload: undefined, signature: new Uint8Array(64) };
  const authentication = encodeCbor([new Uint8Array(1), encodeSign1(parts)]);
  const file = place(encodeCbor(new CborTag(107, new Map([[2, authentication]]))));
  const { status, stdout, stderr } = bulkhead("verify", file, "--root", desk.root);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toBe(`bulkhead verify: E_CBOR: this is none of the signed documents; found ${SHOWN}\n`);
});

const verb = (act: () => Promise<{ lines: string[]; json: Record<string, unknown> }>) =>
  defineCommand({ name: "told", summary: "", help: "", options: {}, act });

async function run(command: ReturnType<typeof verb>, ...words: string[]): Promise<[stdout: string, stderr: string]> {
  let [stdout, stderr] = ["", ""];
  const write = printer(
    (text) => (stdout += text),
    (text) => (stderr += text),
  );
  await command.run(words, { ...write, isTerminal: true, signal: new AbortController().signal });
  return [stdout, stderr];
}

test("a value in a report ends no line of it, and --json means the same in characters that steer nothing", async () => {
  const told = verb(() => Promise.resolve({ lines: ["verified", `  name ${HOSTILE}`], json: { name: HOSTILE } }));
  expect((await run(told))[0]).toBe(`verified\n  name ${SHOWN}\n`);
  const [json] = await run(told, "--json");
  expect(json).not.toMatch(OBEYED);
  expect(json).toContain(String.raw`\u009b2J\u007f`);
  expect(JSON.parse(json)).toEqual({ name: HOSTILE });
});

test("a mistake that quotes what was typed is one line and the way to the help", async () => {
  const [, stderr] = await run(
    verb(() => Promise.reject(new Error("not reached"))),
    `--${HOSTILE}`,
  );
  expect(stderr).not.toMatch(OBEYED);
  expect(stderr.trimEnd().split("\n")).toHaveLength(2);
});

test("whatever a verb writes, only control steers the terminal", () => {
  let told = "";
  const write = (text: string): void => void (told += text);
  const { stdout, stderr, control } = printer(write, write);
  stdout("a\u001b[31m\n");
  stderr("b\u009b31m\n");
  control("\u001b[31mc\u001b[0m\n");
  expect(told).toBe("a\\u001b[31m\nb\\u009b31m\n\u001b[31mc\u001b[0m\n");
});
