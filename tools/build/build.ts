/** Builds modules: AssemblyScript and `module.yaml` in, a binary with its manifest out; skips what has not changed. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { encodeCbor, MANIFEST_SECTION, Refusal } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { compileModule, compilerIdentity, MODULES_FOLDER, requireCompiler } from "./compile.ts";
import type { CompileRequest } from "./compile.ts";
import { generateEntry, generateSlots } from "./generate.ts";
import { compileOther, isOtherLanguage } from "./other-languages.ts";
import { isModuleName, readModuleFile } from "./module-file.ts";
import type { ManifestDocument, ModuleBuild, ModuleFile } from "./module-file.ts";
import { withCustomSection } from "./section.ts";
import { SETTINGS_FILE } from "./settings-source.ts";

export interface BuildOptions {
  /** Where the binaries go; `build/modules` of the working folder where absent. */
  readonly output?: string;
  /** Folder of development keys, made where it is not there; then an envelope is written beside each binary. */
  readonly developmentKeys?: string;
  /** Compile even what has not changed. */
  readonly force?: boolean;
  /** For `buildModule`: the module's name in place of its own, for the second one of a kind on a gateway. */
  readonly as?: string;
  /** For `buildAll`: only folders that make one of these, by the base names of the binaries. */
  readonly only?: readonly string[];
}

export interface BuiltModule {
  readonly name: string;
  readonly version: string;
  readonly manifest: ManifestDocument;
  /** The module's own folder. */
  readonly folder: string;
  /** Path of the binary; the source map lies beside it, with `.map` after its name. */
  readonly wasm: string;
  readonly bytes: number;
  /** Path of the envelope, where there are development keys. */
  readonly envelope: string | undefined;
  /** False where the binary on disk was still good. */
  readonly compiled: boolean;
  readonly milliseconds: number;
}

/** What a build was made of, kept beside the binary: the digest of each input by path. */
interface BuildRecord {
  readonly manifest: string;
  readonly inputs: Readonly<Record<string, string>>;
}

/** Folders of modules that ship with the package. */
const GROUPS = ["drivers", "services", "examples"] as const;

/**
 * Builds every name of one module's folder.
 * @throws Refusal E_MANIFEST or E_WASM, with file, line and column; E_UNKNOWN where the compiler is not installed.
 */
export async function buildModule(folder: string, options: BuildOptions = {}): Promise<BuiltModule[]> {
  requireCompiler();
  const output = resolve(options.output ?? "build/modules");
  const read = await readModuleFile(resolve(folder));
  const file = options.as === undefined ? read : renamed(read, options.as);
  await mkdir(output, { recursive: true });
  if (options.as === undefined) await writeGenerated(file);
  const built: BuiltModule[] = [];
  for (const build of file.builds) built.push(await buildOne(file, build, output, options.force === true));
  return options.developmentKeys === undefined ? built : signAll(built, options.developmentKeys);
}

/** @throws Refusal E_MANIFEST where it is no name, or the source carries several already */
function renamed(file: ModuleFile, name: string): ModuleFile {
  const [build, ...others] = file.builds;
  const isName: boolean = isModuleName(name);
  if (!isName) {
    throw new Refusal("E_MANIFEST", `${name} cannot be a module's name`, {
      expected: "lower-case words joined by `-`",
    });
  }
  if (build === undefined || others.length > 0 || isOtherLanguage(file.entry)) {
    throw new Refusal("E_MANIFEST", `${file.folder} cannot be built under another name`, {
      hint: "that is for a module in AssemblyScript with one name; others change their module.yaml",
    });
  }
  return { ...file, builds: [{ output: name, manifest: { ...build.manifest, name } }] };
}

/** The folders under `modules/` that hold a module in AssemblyScript, in the order of their names. */
export async function moduleFolders(root: string = MODULES_FOLDER): Promise<string[]> {
  const folders: string[] = [];
  for (const group of GROUPS) {
    const files = existsSync(join(root, group)) ? await readdir(join(root, group), { recursive: true }) : [];
    folders.push(
      ...files.filter((file) => basename(file) === "module.yaml").map((file) => join(root, group, dirname(file))),
    );
  }
  const files = await Promise.all(folders.sort().map(readModuleFile));
  return files.filter(({ entry }) => !isOtherLanguage(entry)).map(({ folder }) => folder);
}

/** Builds every module that ships with the package, telling of each as it is done. */
export async function buildAll(
  options: BuildOptions = {},
  onBuilt: (built: BuiltModule, done: number, all: number) => void = () => undefined,
): Promise<BuiltModule[]> {
  requireCompiler();
  const folders = await selectedFolders(options.only);
  const all: BuiltModule[] = [];
  for (const [index, folder] of folders.entries()) {
    for (const built of await buildModule(folder, options)) {
      all.push(built);
      onBuilt(built, index + 1, folders.length);
    }
  }
  return all;
}

async function selectedFolders(only: readonly string[] | undefined): Promise<string[]> {
  const folders = await moduleFolders();
  if (only === undefined) return folders;
  const files = await Promise.all(folders.map(readModuleFile));
  return files.filter(({ builds }) => builds.some(({ output }) => only.includes(output))).map(({ folder }) => folder);
}

/** Loads what signs only here: a build without keys does without it. */
async function signAll(modules: readonly BuiltModule[], folder: string): Promise<BuiltModule[]> {
  const { developmentKeys, writeEnvelope } = await import("./development.ts");
  const { release } = await developmentKeys(folder);
  const signed: BuiltModule[] = [];
  for (const built of modules) {
    const envelope = built.wasm.replace(/\.wasm$/, ".envelope");
    await writeEnvelope(envelope, new Uint8Array(await readFile(built.wasm)), built.manifest, release);
    signed.push({ ...built, envelope });
  }
  return signed;
}

async function buildOne(
  file: ModuleFile,
  { output: base, manifest }: ModuleBuild,
  output: string,
  force: boolean,
): Promise<BuiltModule> {
  const wasm = join(output, `${base}.wasm`);
  const started = performance.now();
  const { settings } = file;
  const request = { folder: file.folder, entry: file.entry, manifest, settings };
  const generated = `${generateSlots(manifest)}${generateEntry(manifest, file.entry)}${settings ?? ""}`;
  const identity = digest(`${compilerIdentity(request)}${generated}${JSON.stringify(manifest)}`);
  const fresh = !force && (await isFresh(wasm, identity));
  if (!fresh) await compileTo(wasm, request, identity);
  return {
    name: manifest.name,
    version: manifest.version,
    manifest,
    folder: file.folder,
    wasm,
    bytes: (await readFile(wasm)).length,
    envelope: undefined,
    compiled: !fresh,
    milliseconds: Math.round(performance.now() - started),
  };
}

async function compileTo(wasm: string, request: CompileRequest, identity: string): Promise<void> {
  const compile = isOtherLanguage(request.entry) ? compileOther : compileModule;
  const { binary, sourceMap, inputs } = await compile(request);
  // SAFETY: a manifest consists of texts, numbers, arrays and plain objects of such.
  const content = encodeCbor(request.manifest as unknown as CborInput);
  await writeWhole(wasm, withCustomSection(binary, MANIFEST_SECTION, content));
  if (sourceMap !== "") await writeWhole(`${wasm}.map`, sourceMap);
  const digests: Record<string, string> = {};
  for (const input of inputs) digests[relative(process.cwd(), input)] = await fileDigest(input);
  const record: BuildRecord = { manifest: identity, inputs: digests };
  await writeWhole(recordPath(wasm), JSON.stringify(record));
}

/** Another process that reads the file meanwhile sees the old one or the new one. */
async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}

async function isFresh(wasm: string, identity: string): Promise<boolean> {
  try {
    const record = JSON.parse(await readFile(recordPath(wasm), "utf8")) as BuildRecord;
    if (record.manifest !== identity || !existsSync(wasm)) return false;
    for (const [path, known] of Object.entries(record.inputs)) {
      if ((await fileDigest(path)) !== known) return false;
    }
    return true;
  } catch {
    return false;
  }
}

function recordPath(wasm: string): string {
  return wasm.replace(/\.wasm$/, ".inputs.json");
}

async function fileDigest(path: string): Promise<string> {
  return digest(await readFile(path));
}

function digest(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Leaves the generated files on disk too, so that an editor knows slots and ports. */
async function writeGenerated(file: ModuleFile): Promise<void> {
  const manifest = file.builds[0]?.manifest;
  if (manifest === undefined || isOtherLanguage(file.entry)) return;
  const folder = join(file.folder, "generated");
  await mkdir(folder, { recursive: true });
  await writeIfChanged(join(folder, "slots.ts"), generateSlots(manifest));
  await writeIfChanged(join(folder, "entry.ts"), generateEntry(manifest, file.entry));
  if (file.settings !== undefined) await writeIfChanged(join(file.folder, SETTINGS_FILE), file.settings);
}

async function writeIfChanged(path: string, text: string): Promise<void> {
  if (!existsSync(path) || (await readFile(path, "utf8")) !== text) await writeFile(path, text);
}
