/** Compiles WAT and runs metered modules for the tests of the Wasm engine. */

import wabt from "wabt";

const loaded = wabt();

export async function compileWat(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const parsed = (await loaded).parseWat("test.wat", text, { tail_call: true, simd: true, bulk_memory: true });
  try {
    return Uint8Array.from(parsed.toBinary({ write_debug_names: true }).buffer);
  } finally {
    parsed.destroy();
  }
}

/** What the rewriter adds to every module's exports. */
export interface MeteredExports extends WebAssembly.Exports {
  "bulkhead:fuel": WebAssembly.Global<"i32">;
  "bulkhead:depth": WebAssembly.Global<"i32">;
  "bulkhead:arm": (fuel: number, depth: number) => void;
  "bulkhead:remaining": () => number;
  "bulkhead:charge": (fuel: number) => number;
  "bulkhead:initialize": () => void;
  "bulkhead:enter": (fuel: number, depth: number, port: number, length: number) => number;
  "bulkhead:activate": (fuel: number, depth: number, port: number, length: number) => number;
  "bulkhead:result": WebAssembly.Global<"i64">;
}

export interface Guest {
  readonly exports: MeteredExports;
  readonly initialDepth: number;
  call(name: string, ...values: unknown[]): unknown;
  remaining(): number;
  depth(): number;
}

export interface StartOptions {
  fuel?: number;
  depth?: number;
  imports?: WebAssembly.Imports;
  exhausted?: () => void;
}

export function startMetered(metered: Uint8Array<ArrayBuffer>, options: StartOptions = {}): Guest {
  const initialDepth = options.depth ?? 262_144;
  const stop = (what: string) => () => {
    throw new Error(what);
  };
  const exhausted = options.exhausted ?? stop("fuel exhausted");
  const instance = new WebAssembly.Instance(new WebAssembly.Module(metered), {
    ...options.imports,
    "bulkhead:meter": { exhausted, overflow: stop("stack overflow") },
  });
  const exports = instance.exports as MeteredExports;
  exports["bulkhead:arm"](options.fuel ?? 2_000_000_000, initialDepth);
  exports["bulkhead:initialize"]();
  return {
    exports,
    initialDepth,
    call: (name, ...values) => (exports[name] as (...values: unknown[]) => unknown)(...values),
    remaining: () => exports["bulkhead:remaining"](),
    depth: () => exports["bulkhead:depth"].value,
  };
}

interface PromiseIntegration {
  Suspending: new (target: (...values: never[]) => unknown) => WebAssembly.ImportValue;
  promising(target: unknown): (...values: unknown[]) => Promise<unknown>;
}
// JSPI is in Node 26 and not yet in TypeScript's library.
const integration = WebAssembly as unknown as PromiseIntegration;

export function suspending(target: (...values: never[]) => unknown): WebAssembly.ImportValue {
  return new integration.Suspending(target);
}

export function promising(target: unknown): (...values: unknown[]) => Promise<unknown> {
  return integration.promising(target);
}

/** Seeded choices for programs made at random. */
export function chooser(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 4_294_967_296) * bound);
  };
}

/** What is used of the AssemblyScript compiler's API. */
interface Compiler {
  readonly main: (
    options: readonly string[],
    api: {
      readonly stderr: { write(chunk: string | Uint8Array): unknown };
      readFile(name: string, base: string): string | null;
      writeFile(name: string, content: Uint8Array | string): void;
      listFiles(name: string, base: string): string[];
    },
  ) => Promise<{ readonly error: Error | null }>;
}

const COMPILER: string = "assemblyscript/asc";

/** Compiles AssemblyScript, as `module.ts`, and gives its source map where the options ask for one. */
export async function compileScript(
  source: string,
  options: readonly string[],
): Promise<{ readonly binary: Uint8Array<ArrayBuffer>; readonly sourceMap: string | undefined }> {
  // SAFETY: the shape of the package's export, pinned in the lock file.
  const { main } = (await import(COMPILER)) as Compiler;
  const files = new Map<string, Uint8Array | string>();
  let messages = "";
  const { error } = await main(["module.ts", ...options, "--use", "abort=", "--outFile", "module.wasm"], {
    stderr: { write: (chunk) => (messages += String(chunk)) },
    readFile: (file) => (file === "module.ts" ? source : null),
    writeFile: (name, content) => void files.set(name, content),
    listFiles: () => [],
  });
  const binary = files.get("module.wasm");
  if (error !== null || typeof binary !== "object") throw new Error(`it does not compile: ${messages}`);
  return { binary: Uint8Array.from(binary), sourceMap: files.get("module.wasm.map")?.toString() };
}
