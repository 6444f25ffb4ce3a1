/** Compiles modules that are not AssemblyScript: C with clang and lld, and WebAssembly text. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { extname, join, relative } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import type { CompileRequest, Compiled } from "./compile.ts";
import { QuotingRefusal } from "../printing.ts";

const PAGE_BYTES = 65_536;
const STACK_BYTES = 8192;

type Compiler = (request: CompileRequest, output: string) => Promise<void>;

/** By the extension of the entry file. */
const COMPILERS: Readonly<Record<string, Compiler>> = { ".c": compileC, ".wat": compileText };

/** True where the entry file needs tools that do not come with this package. */
export function isOtherLanguage(entry: string): boolean {
  return Object.hasOwn(COMPILERS, extname(entry));
}

/** @throws Refusal E_WASM with the compiler's own message */
export async function compileOther(request: CompileRequest): Promise<Compiled> {
  const compiler = COMPILERS[extname(request.entry)];
  if (compiler === undefined)
    throw new Refusal("E_WASM", `nothing compiles ${request.entry}`, { expected: ".ts, .c or .wat" });
  const folder = mkdtempSync(join(tmpdir(), "bulkhead-compile-"));
  try {
    const output = join(folder, "module.wasm");
    await compiler(request, output);
    const inputs = [join(request.folder, request.entry)];
    return { binary: new Uint8Array(readFileSync(output)), sourceMap: "", inputs };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Exports are those that the source marks; the memory's maximum is the manifest's. */
function compileC({ folder, entry, manifest }: CompileRequest, output: string): Promise<void> {
  const linker = [
    "--no-entry",
    "--stack-first",
    `-z stack-size=${STACK_BYTES}`,
    `--max-memory=${manifest.memory * PAGE_BYTES}`,
  ];
  const parameters = [
    ...["--target=wasm32", "-std=c11", "-Os", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror"],
    ...linker.flatMap((option) => option.split(" ")).map((option) => `-Wl,${option}`),
    ...["-o", output, join(folder, entry)],
  ];
  runCompiler("clang", parameters, folder, "apt install clang lld");
  return Promise.resolve();
}

/** The npm package wabt where it is installed, else the one of the operating system. */
function compileText({ folder, entry }: CompileRequest, output: string): Promise<void> {
  const parameters = [join(folder, entry), "-o", output];
  const packaged = findPackagedWabt();
  if (packaged === undefined) runCompiler("wat2wasm", parameters, folder, "apt install wabt");
  else runCompiler(process.execPath, [packaged, ...parameters], folder, "npm install wabt");
  return Promise.resolve();
}

function findPackagedWabt(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve("wabt/bin/wat2wasm");
  } catch {
    return undefined;
  }
}

function runCompiler(command: string, parameters: readonly string[], folder: string, install: string): void {
  const { status, stderr, error } = spawnSync(command, parameters, { encoding: "utf8" });
  if (error !== undefined)
    throw new Refusal("E_WASM", `${command} cannot be run`, { found: error.message, hint: install });
  if (status === 0) return;
  throw new QuotingRefusal("E_WASM", [`${relative(process.cwd(), folder)} does not compile`, stderr.trim()]);
}
