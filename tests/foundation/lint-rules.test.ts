/** The lint rules that keep globals and packages in their one file, each broken once in a tree of its own. */
import { expect, test } from "vitest";
import { plantTree, runTool } from "./support.ts";

interface FileReport {
  readonly filePath: string;
  readonly messages: readonly { readonly ruleId: string | null; readonly message: string }[];
}

/** What the lint says about a tree: file, then the rules that it broke. */
function lint(files: Readonly<Record<string, string>>): Record<string, string[]> {
  const tree = plantTree(files, "eslint.config.js");
  const outcome = runTool(tree, "eslint/bin/eslint.js", "--format", "json", ".");
  const reports = JSON.parse(outcome.stdout) as FileReport[];
  return Object.fromEntries(
    reports
      .filter(({ messages }) => messages.length > 0)
      .map(({ filePath, messages }) => [filePath.slice(tree.length + 1), messages.map(({ ruleId }) => String(ruleId))]),
  );
}

const WASM = "export const isWell = (bytes: Uint8Array<ArrayBuffer>): boolean => WebAssembly.validate(bytes);\n";
const SHARED = "export const shared = new SharedArrayBuffer(8);\n";
const ATOMIC = "export const old = (words: Int32Array): number => Atomics.add(words, 0, 1);\n";
const CBOR = 'export { decode } from "cbor-x/index-no-eval";\n';

/** TypeScript knows WebAssembly from a declaration; the planted tree needs one too. */
const DECLARATION = {
  "tools/types/webassembly.d.ts":
    "declare namespace WebAssembly {\n  function validate(bytes: Uint8Array): boolean;\n}\n",
};

test("each restricted global and package is accepted in its own file, and in tests", () => {
  const files = {
    ...DECLARATION,
    "kernel/wasm/engine.ts": WASM,
    "kernel/ipc/shared.ts": SHARED + ATOMIC,
    "kernel/cbor/codec.ts": CBOR,
    "tests/kernel.test.ts": WASM + SHARED + ATOMIC + CBOR,
  };
  expect(lint(files)).toEqual({});
});

test("each restricted global and package is refused in every other file", () => {
  const files = {
    ...DECLARATION,
    "kernel/wasm/meter.ts": WASM,
    "kernel/wasm/engine.ts": SHARED,
    "kernel/ipc/shared.ts": WASM,
    "kernel/ipc/channel.ts": SHARED,
    "gateway/link/main.ts": ATOMIC,
    "tools/run.ts": WASM,
    "tools/hidden.ts": "export const hidden: unknown = globalThis.Atomics;\n",
    "kernel/cbor/check.ts": CBOR,
    "gateway/wire/frames.ts": 'import { decode } from "cbor-x";\nexport const read = decode;\n',
  };
  expect(lint(files)).toEqual({
    "kernel/wasm/meter.ts": ["no-restricted-globals"],
    "kernel/wasm/engine.ts": ["no-restricted-globals"],
    "kernel/ipc/shared.ts": ["no-restricted-globals"],
    "kernel/ipc/channel.ts": ["no-restricted-globals"],
    "gateway/link/main.ts": ["no-restricted-globals"],
    "tools/run.ts": ["no-restricted-globals"],
    "tools/hidden.ts": ["no-restricted-properties"],
    "kernel/cbor/check.ts": ["no-restricted-imports"],
    "gateway/wire/frames.ts": ["no-restricted-imports"],
  });
});

test("the strict rules with types are on, in tests too", () => {
  const files = {
    "kernel/loose.ts": "export const loose = (value: any): number => value.length;\n",
    "kernel/forgotten.ts":
      "export const later = async (): Promise<void> => {};\nexport const start = (): void => {\n  later();\n};\n",
    "tests/forgotten.test.ts": "export const later = async (): Promise<void> => {};\nlater();\n",
    "gateway/config/evaluated.ts": 'export const two: unknown = eval("1 + 1");\n',
  };
  const found = lint(files);
  expect(found["kernel/loose.ts"]).toContain("@typescript-eslint/no-explicit-any");
  expect(found["kernel/loose.ts"]).toContain("@typescript-eslint/no-unsafe-member-access");
  expect(found["kernel/forgotten.ts"]).toContain("@typescript-eslint/no-floating-promises");
  expect(found["tests/forgotten.test.ts"]).toContain("@typescript-eslint/no-floating-promises");
  expect(found["gateway/config/evaluated.ts"]).toContain("no-eval");
});
