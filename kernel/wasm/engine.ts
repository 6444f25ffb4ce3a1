/** The only file that creates WebAssembly objects: compile, instantiate, and the two ends of JavaScript Promise Integration. */
import { Refusal } from "../errors.ts";

export type CompiledModule = WebAssembly.Module;
export type LinearMemory = WebAssembly.Memory;
export type WasmInstance = WebAssembly.Instance;
export type WasmImports = WebAssembly.Imports;

// JSPI is in Node 26 and not yet in TypeScript's library.
interface PromiseIntegration {
  Suspending: new (target: (...parameters: never[]) => unknown) => WebAssembly.ImportValue;
  promising(target: unknown): (...parameters: number[]) => Promise<number>;
}
// SAFETY: the launcher refuses to start on a Node without JSPI.
const integration = WebAssembly as unknown as PromiseIntegration;

/**
 * Compiles metered bytes. Compilation is where V8 validates, so this is the last gate for a malformed binary.
 * @throws Refusal E_WASM with V8's reason.
 */
export async function compileModule(metered: Uint8Array): Promise<CompiledModule> {
  try {
    // A copy: compilation is asynchronous, and the caller's bytes could change meanwhile.
    return await WebAssembly.compile(new Uint8Array(metered));
  } catch (error) {
    throw new Refusal("E_WASM", "the binary does not validate", { found: error instanceof Error ? error.message : "" });
  }
}

/** Instantiates without running any guest code: metered modules have no start section. */
export function instantiateModule(module: CompiledModule, imports: WasmImports): WasmInstance {
  return new WebAssembly.Instance(module, imports);
}

/** Wraps a host function so that the guest is suspended where it returns a promise; a number returns at once. */
export function suspending(target: (...parameters: never[]) => unknown): WebAssembly.ImportValue {
  return new integration.Suspending(target);
}

/** Wraps an export so that it may be suspended; the promise settles when it returns or traps. */
export function promising(target: unknown): (...parameters: number[]) => Promise<number> {
  return integration.promising(target);
}

/** True for a trap raised by Wasm itself, as against an error thrown by the host into it. */
export function isTrap(error: unknown): error is Error {
  return error instanceof WebAssembly.RuntimeError;
}

export type WasmFunction = WebAssembly.ExportValue;
export type WasmTable = WebAssembly.Table;
export type WasmCounter = WebAssembly.Global<"i32">;
export type WasmGlobal = WebAssembly.Global;

/** Compiles a module that the kernel itself has made: small, so it may be done at once. */
export function compileOwn(bytes: Uint8Array<ArrayBuffer>): CompiledModule {
  return new WebAssembly.Module(bytes);
}

/** A table of one function. */
export function makeTable(): WasmTable {
  return new WebAssembly.Table({ element: "anyfunc", initial: 1, maximum: 1 });
}

export function makeCounter(): WasmCounter {
  return new WebAssembly.Global({ value: "i32", mutable: true }, 0);
}

export function isMemory(value: unknown): value is LinearMemory {
  return value instanceof WebAssembly.Memory;
}
