/** Runs the AssemblyScript compiler on one module, with the generated files and the SDK mounted where it looks for them. */
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, join, relative, resolve } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { findDroppedResults, watchResults } from "./dropped-results.ts";
import type { CompiledProgram, DroppedResult } from "./dropped-results.ts";
import { generateEntry, generateSlots } from "./generate.ts";
import type { ManifestDocument } from "./module-file.ts";
import { SETTINGS_FILE } from "./settings-source.ts";
import { QuotingRefusal } from "../printing.ts";

/** The package's own `modules/` folder: modules import it as `bulkhead/sdk` and `bulkhead/interfaces/...`. */
export const MODULES_FOLDER = join(PACKAGE_ROOT, "modules");

export interface CompileRequest {
  readonly folder: string;
  readonly entry: string;
  readonly manifest: ManifestDocument;
  /** Source of `generated/settings.ts`, where the module takes settings. */
  readonly settings: string | undefined;
  /** Only check the types; no binary. */
  readonly checkOnly?: boolean;
}

export interface Compiled {
  readonly binary: Uint8Array;
  readonly sourceMap: string;
  /** Absolute paths of every file that the compiler read. */
  readonly inputs: readonly string[];
}

/** What is used of the compiler's API. Its own declarations would put AssemblyScript's globals into the whole program. */
interface Compiler {
  readonly main: (
    options: readonly string[],
    api: {
      readonly stdout: { write(chunk: string | Uint8Array): unknown };
      readonly stderr: { write(chunk: string | Uint8Array): unknown };
      readFile(name: string, base: string): Promise<string | null>;
      listFiles(name: string, base: string): Promise<string[] | null>;
      writeFile(name: string, content: Uint8Array | string): Promise<void>;
      readonly transforms: readonly { afterInitialize(program: CompiledProgram): void }[];
    },
  ) => Promise<{ readonly error: Error | null }>;
}

const COMPILER: string = "assemblyscript/asc";
/** What `asc` drives; it shares this instance of the module. */
const CORE: string = "assemblyscript";
const ENTRY_FILE = "generated/entry.ts";
const SLOTS_FILE = "generated/slots.ts";
const OUTPUT_FILE = "module.wasm";
/** A module's own options, or the package's where it has none. */
const CONFIG_FILE = "asconfig.json";
const SHARED_CONFIG = join(PACKAGE_ROOT, CONFIG_FILE);

/** False on a gateway: the Debian package runs modules, and does not make them. */
export function hasCompiler(): boolean {
  try {
    import.meta.resolve(COMPILER);
    return true;
  } catch {
    return false;
  }
}

/** @throws Refusal E_UNKNOWN with where modules are made instead */
export function requireCompiler(): void {
  if (hasCompiler()) return;
  throw new Refusal("E_UNKNOWN", "the AssemblyScript compiler is not part of this installation", {
    hint: "modules are made where Bulkhead was installed by npm: docs/write-a-driver.md",
  });
}

/**
 * Compiles one module.
 * @throws Refusal E_WASM with the compiler's own message: file, line, column.
 */
export async function compileModule(request: CompileRequest): Promise<Compiled> {
  // SAFETY: the shape of the package's export, pinned in the lock file; the module tests compile through it.
  const { main } = (await import(COMPILER)) as Compiler;
  const { Compiler } = (await import(CORE)) as { readonly Compiler: Parameters<typeof watchResults>[1] };
  const files = new VirtualFiles(request);
  const messages: string[] = [];
  const collect = { write: (chunk: string | Uint8Array) => messages.push(String(chunk)) };
  const programs: CompiledProgram[] = [];
  const { error } = await main(compilerArguments(request), {
    stdout: collect,
    stderr: collect,
    readFile: (name, base) => files.read(name, base),
    listFiles: (name, base) => files.list(name, base),
    writeFile: (name, content) => {
      files.outputs.set(name, content);
      return Promise.resolve();
    },
    transforms: [
      {
        afterInitialize(program) {
          programs.push(program);
          watchResults(program, Compiler);
        },
      },
    ],
  });
  if (error !== null) {
    throw new Refusal(
      "E_WASM",
      `${relative(process.cwd(), request.folder)} does not compile\n${withPlaces(messages.join("").trim(), request.folder)}`,
    );
  }
  const dropped = programs.flatMap(findDroppedResults);
  if (dropped.length > 0) throw droppedResults(request.folder, dropped);
  return {
    binary: files.outputs.get(OUTPUT_FILE) as Uint8Array,
    sourceMap: String(files.outputs.get(`${OUTPUT_FILE}.map`) ?? ""),
    inputs: [...files.inputs].sort(),
  };
}

/** `in index.ts(24,15)` becomes `in air/index.ts:24:15`, which a terminal and an editor follow. */
function withPlaces(text: string, folder: string): string {
  const place = / in (?!~lib)(\S+)\((\d+),(\d+)\)/g;
  return text.replace(place, (_, file: string, line: string, column: string) => {
    return ` in ${relative(process.cwd(), join(folder, file))}:${line}:${column}`;
  });
}

function droppedResults(folder: string, dropped: readonly DroppedResult[]): Refusal {
  const places = dropped.map(({ file, line, column, expression }) => {
    const path = relative(process.cwd(), join(folder, file));
    return `${path}:${line}:${column}: the result of ${expression} is dropped`;
  });
  const hint = "look at `ok`, take `value`, end with `must(text)`, or say `ignore()`";
  return new QuotingRefusal("E_WASM", places, hint);
}

/** What else decides the binary: the compiler's version and what it is told. */
export function compilerIdentity(request: CompileRequest): string {
  const { version } = createRequire(import.meta.url)("assemblyscript/package.json") as { readonly version: string };
  return [version, ...compilerArguments({ ...request, folder: "" })].join(" ");
}

/** What is the same for every module stands in `asconfig.json`: the SDK collects garbage itself, between activations. */
function compilerArguments({ folder, manifest, checkOnly }: CompileRequest): string[] {
  return [
    ...[ENTRY_FILE, "--baseDir", folder, "--noColors", "--maximumMemory", String(manifest.memory)],
    ...["--use", "abort=~lib/bulkhead/sdk/abort/abort"],
    ...(checkOnly === true ? ["--noEmit"] : ["--outFile", OUTPUT_FILE, "--sourceMap"]),
  ];
}

/** The files as the compiler sees them: the module's own, the generated ones, and the SDK as a package. */
class VirtualFiles {
  readonly inputs = new Set<string>();
  readonly outputs = new Map<string, Uint8Array | string>();
  readonly #folder: string;
  readonly #generated: ReadonlyMap<string, string>;

  constructor({ folder, entry, manifest, settings }: CompileRequest) {
    this.#folder = resolve(folder);
    this.#generated = new Map([
      [join(this.#folder, ENTRY_FILE), generateEntry(manifest, entry)],
      [join(this.#folder, SLOTS_FILE), generateSlots(manifest)],
      ...(settings === undefined ? [] : [[join(this.#folder, SETTINGS_FILE), settings] as const]),
    ]);
  }

  async read(name: string, base: string): Promise<string | null> {
    const path = this.#locate(name, base);
    if (path === null) return null;
    const generated = this.#generated.get(path);
    if (generated !== undefined) return generated;
    return (await this.#readInput(path)) ?? (basename(path) === CONFIG_FILE ? this.#readInput(SHARED_CONFIG) : null);
  }

  async #readInput(path: string): Promise<string | null> {
    try {
      const text = await readFile(path, "utf8");
      this.inputs.add(path);
      return text;
    } catch {
      return null;
    }
  }

  async list(name: string, base: string): Promise<string[] | null> {
    try {
      return (await readdir(resolve(base, name))).filter((file) => /^(?!.+\.d\.ts$).*\.ts$/.test(file));
    } catch {
      return null;
    }
  }

  /** `node_modules/bulkhead/sdk/x.ts` is the package's SDK; contracts' code lies in `modules/interfaces/generated`. */
  #locate(name: string, base: string): string | null {
    const path = resolve(base, name);
    // Below the module's own folder only: an installed Bulkhead lies in a folder node_modules/bulkhead itself.
    const own = relative(this.#folder, path);
    const at = own.lastIndexOf("node_modules/bulkhead/");
    if (at < 0) return path;
    const inside = own.slice(at + "node_modules/bulkhead/".length);
    if (inside.startsWith("sdk/")) return join(MODULES_FOLDER, inside);
    if (inside === CONFIG_FILE) return SHARED_CONFIG;
    const contract = /^interfaces\/([a-z0-9-]+\.ts)$/.exec(inside)?.[1];
    return contract === undefined ? null : join(MODULES_FOLDER, "interfaces/generated", contract);
  }
}
