/** Records all that goes into one instance, so that its failure can be run again: messages, imports' results, fuel. */
import type { ImportedOperation } from "../admission.ts";
import { findOperation } from "../interfaces.ts";
import { LIMITS } from "../limits.ts";
import { GuestMemory, guestLength, guestPointer } from "../memory.ts";
import type { CompiledModule, WasmCounter, WasmFunction, WasmImports, WasmTable } from "../wasm/engine.ts";
import { compileOwn, instantiateModule, makeMemory } from "../wasm/engine.ts";
import { METER_MODULE } from "../wasm/meter.ts";
import type { RecordedImport } from "../wasm/recorder.ts";
import { LOG_PAGES, makeRecorder, makeStubs, RECORDED } from "../wasm/recorder.ts";
import type { Entry, ModuleInstance } from "./instance.ts";

/** What runs outside a handler. */
export const ENTRY = Object.freeze({ initialize: 0, save: 1, restore: 2, health: 3 } as const);

/** The instance as it was between two activations. */
export interface RecordedBase {
  readonly inbox: number;
  readonly memory: Uint8Array;
  /** Two words for each mutable global, in order: its bits. */
  readonly globals: Int32Array;
}

export interface RecordedEvents {
  /** As `RECORDED` describes them. */
  readonly words: Int32Array;
  /** Messages that the instance had been given when the events begin, and in all. */
  readonly before: number;
  readonly messages: number;
  /** Where the events begin; undefined is the instance's start. */
  readonly base: RecordedBase | undefined;
  /** False where something between the base and the end has been lost. */
  readonly isWhole: boolean;
}

interface Recorder {
  readonly at: WasmCounter;
  readonly limit: WasmCounter;
  readonly torn: WasmCounter;
  readonly inbox: WasmCounter;
  readonly messages: WasmCounter;
  readonly enter: Entry;
  readonly activate: (fuel: number, depth: number, port: number, length: number) => number;
  readonly exhausted: WasmFunction;
  readonly entered: (first: number, second: number) => void;
  readonly wrote: (address: number, length: number) => void;
}

/** Binaries by the shape of the imports: modules alike share them, and a restart compiles none. */
const COMPILED = new Map<string, { readonly recorder: CompiledModule; readonly stubs: CompiledModule }>();

function compiledFor(imports: readonly RecordedImport[]): { recorder: CompiledModule; stubs: CompiledModule } {
  const key = JSON.stringify(imports.map(({ parameters, isLong, buffer }) => [parameters, isLong, buffer]));
  const known = COMPILED.get(key);
  if (known !== undefined) return known;
  const made = { recorder: compileOwn(makeRecorder(imports)), stubs: compileOwn(makeStubs(imports)) };
  COMPILED.set(key, made);
  return made;
}

function shapeOf({ interface: name, operation }: ImportedOperation): RecordedImport {
  const { parameters, result } = findOperation(name, operation) ?? { parameters: [], result: "i32" };
  let count = 0;
  let buffer = -1;
  for (const { kind } of parameters) {
    if (kind === "buffer") buffer = count;
    count += kind === "i32" || kind === "i64" ? 1 : 2;
  }
  return { parameters: count, isLong: result === "i64", buffer };
}

export class Recording {
  readonly #imports: readonly ImportedOperation[];
  readonly #compiled: ReturnType<typeof compiledFor>;
  readonly #host: WasmImports[string] = {};
  #recorder: Recorder | undefined = undefined;
  readonly #logMemory = makeMemory(LOG_PAGES);
  readonly #log = new GuestMemory(this.#logMemory);
  #table: WasmTable | undefined = undefined;
  #before = 0;
  #base: RecordedBase | undefined = undefined;
  #isWhole = true;

  readonly #onCopy: (bytes: number) => void;

  /** @param onCopy told what each beginning anew has copied: whoever fills recordings fast pays for it */
  constructor(imports: readonly ImportedOperation[], onCopy: (bytes: number) => void) {
    this.#imports = imports;
    this.#onCopy = onCopy;
    this.#compiled = compiledFor(imports.map(shapeOf));
  }

  /** The module's imports as it is to get them: each leads to the recorder, and from there to what is given. */
  before(given: WasmImports): WasmImports {
    const stubs = instantiateModule(this.#compiled.stubs, {}).exports as Record<string, WasmFunction>;
    const wrapped: Record<string, Record<string, WasmFunction>> = Object.create(null) as never;
    const stand = (module: string, name: string, key: string, index: number): void => {
      const target = given[module]?.[name];
      if (target !== undefined) this.#host[key] = target;
      wrapped[module] = { ...given[module], ...wrapped[module], [name]: stubs[`${index}`] } as never;
    };
    for (const [index, { slot, operation }] of this.#imports.entries()) stand(slot, operation, `${index}`, index);
    stand(METER_MODULE, "exhausted", "exhausted", this.#imports.length);
    this.#table = stubs["recorder"] as WasmTable;
    return wrapped;
  }

  /** Stands before the entries of the instance, which has just been made. */
  attach(instance: ModuleInstance, entries: { readonly enter: Entry; readonly activate: Entry }): Recorder {
    const { memory, fuel } = instance.forGates as { memory: WasmFunction; fuel: WasmFunction };
    const full = (): undefined => {
      this.#restart(instance);
    };
    const guest = { memory, fuel, enter: entries.enter, activate: entries.activate };
    const { exports } = instantiateModule(this.#compiled.recorder, {
      guest,
      host: { ...this.#host, full, log: this.#logMemory },
    });
    // SAFETY: `makeRecorder` says what there is.
    const recorder = exports as unknown as Recorder;
    for (const index of this.#imports.keys()) this.#table?.set(index, exports[`${index}`]);
    this.#table?.set(this.#imports.length, exports["exhausted"]);
    this.#recorder = recorder;
    return recorder;
  }

  initialized(inbox: number): void {
    if (this.#recorder !== undefined) this.#recorder.inbox.value = inbox;
  }

  entered(entry: number, schema = 0, length = 0): void {
    this.#recorder?.entered(RECORDED.entered | (entry << 4) | (schema << 8), length);
  }

  /** What the kernel has put into the memory outside a call. */
  wrote(address: number, length: number): void {
    this.#recorder?.wrote(address, length);
  }

  /** A copy of what has been recorded. */
  events(): RecordedEvents {
    const { at, torn, messages } = this.#recorder ?? {};
    const words = this.#log.read(guestPointer(0), guestLength(at?.value ?? 0)) ?? new Uint8Array(0);
    return {
      words: new Int32Array(words.buffer),
      before: this.#before,
      messages: messages?.value ?? 0,
      base: this.#base && { ...this.#base, memory: this.#base.memory.slice() },
      isWhole: this.#isWhole && torn?.value === 0,
    };
  }

  /** Begins anew from the instance as it is. Where it cannot be copied, what follows can be looked at only. */
  #restart({ memory, globals, inbox }: ModuleInstance): void {
    const { at, limit, torn, messages } = this.#recorder ?? {};
    if (at === undefined || limit === undefined || torn === undefined) return;
    at.value = 0;
    torn.value = 0;
    limit.value = this.#log.size;
    this.#before = messages?.value ?? 0;
    const { size } = memory;
    this.#isWhole = globals !== undefined && size <= LIMITS.snapshotBytes;
    if (globals === undefined || !this.#isWhole) {
      this.#base = undefined;
      return;
    }
    const kept = this.#base?.memory.length === size ? this.#base.memory : new Uint8Array(size);
    memory.readInto(guestPointer(0), guestLength(size), kept);
    this.#onCopy(size);
    const values = new DataView(new ArrayBuffer(globals.length * 8));
    for (const [index, { bits }] of globals.entries()) values.setBigInt64(index * 8, bits(0, 0n), true);
    this.#base = { inbox, memory: kept, globals: new Int32Array(values.buffer) };
  }
}
