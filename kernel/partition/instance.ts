/** One instance of a module: its exports behind checked, metered entries. It knows nothing of messages waiting or of time. */
import { ABI_VERSION, ABORT_RECORD, HEADER } from "../abi.ts";
import { Refusal } from "../errors.ts";
import { findOperation } from "../interfaces.ts";
import { LIMITS } from "../limits.ts";
import { guestLength, GuestMemory, guestPointer, type MessageHeader } from "../memory.ts";
import type { WasmCounter, WasmFunction, WasmGlobal, WasmImports, WasmInstance } from "../wasm/engine.ts";
import { compileOwn, instantiateModule, isMemory, promising, suspending } from "../wasm/engine.ts";
import { makeTurn } from "../wasm/turn.ts";
import type { GuestFunction } from "./link.ts";
import type { ModuleOrder, SavedState } from "./protocol.ts";
import { ENTRY, Recording } from "./recording.ts";

/** Result of `bulkhead:enter`: address * 2^20 + length. See kernel/wasm/meter.ts. */
const LENGTH_RADIX = 2 ** 20;

const TURN = compileOwn(makeTurn());

export type Entry = (fuel: number, depth: number, port: number, length: number) => number;
/** A promise where it enters under JSPI, and stays there from message to message: it is rejected when the instance ends. */
export type Turns = (fuel: number, depth: number, port: number, length: number) => Promise<unknown> | undefined;

/** What a handler returned, decoded: a reply's place, or an error of the module's own. */
export interface HandlerResult {
  readonly error: number;
  readonly address: number;
  readonly length: number;
}

export function decodeResult(result: number): HandlerResult {
  if (result < 0) return { error: result, address: 0, length: 0 };
  return { error: 0, address: Math.floor(result / LENGTH_RADIX), length: result % LENGTH_RADIX };
}

export class ModuleInstance {
  readonly order: ModuleOrder;
  readonly memory: GuestMemory;
  /** Where it is recorded: all that goes into it. */
  readonly recording: Recording | undefined;
  /** The mutable globals, where they and the memory are all that can change. */
  readonly globals: readonly CopiedGlobal[] | undefined;
  readonly enter: Entry;
  readonly activate: Entry;
  /** Memory and counters, as gates import them. */
  readonly forGates: WasmImports[string];
  readonly remaining: () => number;
  /** @returns what is left; below 0 it is a debt. */
  readonly charge: (fuel: number) => number;
  /** Address of the inbox: inside the memory, as `initialize` has seen to. */
  inbox = 0;
  readonly #arm: (fuel: number, depth: number) => void;
  readonly #exports: WebAssemblyExports;
  /** Fuel granted to the entry in progress outside a handler, and what such entries have used. */
  #armed = 0;
  #spent = 0;

  /** @throws whatever instantiation throws; no guest code has run yet. */
  constructor(order: ModuleOrder, imports: WasmImports) {
    const instance = instantiateModule(order.compiled, imports);
    this.order = order;
    this.recording = order.record ? new Recording(instance.exports) : undefined;
    // SAFETY: admission has checked the name and type of every export used here; the rewriter made the others.
    this.#exports = instance.exports as unknown as WebAssemblyExports;
    const { memory } = instance.exports;
    if (!isMemory(memory)) throw new Refusal("E_ABI", "the export memory is not a memory");
    this.memory = new GuestMemory(memory);
    this.forGates = {
      memory,
      fuel: this.#exports["bulkhead:fuel"],
      depth: this.#exports["bulkhead:depth"],
      result: this.#exports["bulkhead:result"],
    };
    this.enter = this.#exports["bulkhead:enter"];
    this.activate = this.#exports["bulkhead:activate"];
    this.remaining = this.#exports["bulkhead:remaining"];
    this.charge = this.#exports["bulkhead:charge"];
    this.#arm = this.#exports["bulkhead:arm"];
    const count = this.#exports["bulkhead:globals"]?.();
    this.globals = count === undefined ? undefined : Array.from({ length: count }, (_, at) => globalAt(instance, at));
  }

  /** The loop of turns, with `next` and `idle` as kernel/wasm/turn.ts wants them; `idle` of a blocking module may suspend. */
  turns(isDirect: boolean, next: (result: number, fuel: number) => number, idle: GuestFunction): Turns {
    const { fuel } = this.forGates as { fuel: WasmCounter };
    const imports = { turn: { enter: this.enter, fuel, next, idle: isDirect ? idle : suspending(idle) } };
    const { run } = instantiateModule(TURN, imports).exports;
    // SAFETY: `makeTurn` says what it is.
    return isDirect ? (run as unknown as Turns) : promising(run);
  }

  has(exportName: string): boolean {
    return this.order.exports.includes(exportName);
  }

  /**
   * Runs the start function and `_initialize`, then asks where the inbox is.
   * @throws Refusal E_ABI for an inbox that is not wholly inside the memory or not aligned; a trap as it is.
   */
  initialize(): void {
    this.recording?.entered(ENTRY.initialize);
    this.#armOnce();
    this.#exports["bulkhead:initialize"]();
    this.#armOnce();
    const inbox = this.#exports.bulkhead_inbox() >>> 0;
    const covered = this.memory.covers(guestPointer(inbox), guestLength(this.order.inbox));
    if (inbox % 8 !== 0 || !covered) {
      throw new Refusal("E_ABI", `${this.order.name} names an inbox that cannot be used`, {
        expected: `${this.order.inbox} bytes inside the memory, 8-byte aligned`,
        found: `address ${inbox}`,
      });
    }
    this.inbox = inbox;
    this.recording?.initialized(inbox);
  }

  /** Most bytes of payload that the inbox holds. */
  get payloadRoom(): number {
    return this.order.inbox - HEADER.size;
  }

  /** Puts a message into the inbox; `payload` has at most `payloadRoom` bytes. The inbox stays inside: memories never shrink. */
  deliver(header: MessageHeader, payload: Uint8Array, handles: readonly number[], words?: DataView, lost = 0): void {
    this.memory.writeHeader(this.inbox, ABI_VERSION, header, handles, lost);
    this.memory.write(guestPointer(this.inbox + HEADER.size), payload, header.length, words);
  }

  /** @returns a copy of the state, or undefined where the module has none to save. @throws Refusal E_STATE; a trap as it is. */
  save(): SavedState | undefined {
    if (!this.has("bulkhead_save")) return undefined;
    this.recording?.entered(ENTRY.save);
    this.#armOnce();
    const packed = BigInt.asUintN(64, this.#exports.bulkhead_save());
    if (packed >> 63n === 1n) throw new Refusal("E_STATE", `${this.order.name} failed to save its state`);
    const length = Number(packed & 0xffff_ffffn);
    if (length > this.order.state) {
      throw new Refusal("E_STATE", "the state is larger than the manifest says", {
        expected: `at most ${this.order.state} bytes`,
        found: `${length}`,
      });
    }
    const bytes = this.memory.read(guestPointer(Number(packed >> 32n)), guestLength(length));
    if (bytes === undefined) throw new Refusal("E_STATE", "the saved state lies outside the module's memory");
    return length === 0 ? undefined : { schema: this.order.schema, bytes };
  }

  /** Hands a state to the module. @throws Refusal E_STATE where it has no place for it or refuses it; a trap as it is. */
  restore(state: SavedState): void {
    if (!this.has("bulkhead_restore")) throw new Refusal("E_STATE", `${this.order.name} takes no state`);
    this.recording?.entered(ENTRY.restore, state.schema, state.bytes.length);
    this.#armOnce();
    const address = guestPointer(this.#exports.bulkhead_state(state.bytes.length));
    if (!this.memory.write(address, state.bytes)) {
      throw new Refusal("E_STATE", `${this.order.name} names no usable place for its state`);
    }
    this.recording?.wrote(address, state.bytes.length);
    this.#armOnce();
    const result = this.#exports.bulkhead_restore(state.bytes.length, state.schema);
    if (result < 0) throw new Refusal("E_STATE", `${this.order.name} refuses the state`, { found: `${result}` });
  }

  /** What the module left before its inbox when it gave up: its own words, on one line; empty where it left none. */
  lastWords(): string {
    const bytes = this.memory.read(guestPointer(this.inbox - ABORT_RECORD.size), guestLength(ABORT_RECORD.size));
    if (this.inbox < ABORT_RECORD.size || bytes === undefined) return "";
    const view = new DataView(bytes.buffer);
    if (view.getUint32(0, true) !== ABORT_RECORD.magic) return "";
    const length = view.getUint32(ABORT_RECORD.length, true);
    const text = new TextDecoder().decode(bytes.subarray(ABORT_RECORD.text).subarray(0, length));
    const line = view.getInt32(ABORT_RECORD.line, true);
    const column = view.getUint32(ABORT_RECORD.column, true);
    const [file = "", ...words] = text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?").split(": ");
    return column === 0 ? `${[file, ...words].join(": ")} (${line})` : `${file}:${line}:${column}: ${words.join(": ")}`;
  }

  /** The beginning of the message that is in the inbox, or what the module has made of it: for a look after its death. */
  lastInput(most: number): Uint8Array {
    const length = this.memory.readWords(guestPointer(this.inbox + HEADER.length), 1)?.[0] ?? 0;
    const end = guestLength(Math.min(length, most, this.payloadRoom));
    return this.memory.read(guestPointer(this.inbox + HEADER.size), end) ?? new Uint8Array(0);
  }

  /** 0 is well. A trap as it is. */
  health(): number {
    if (!this.has("bulkhead_health")) return 0;
    this.recording?.entered(ENTRY.health);
    this.#armOnce();
    return this.#exports.bulkhead_health();
  }

  /** Fuel that entries outside a handler have used since this was last asked. */
  takeSpent(): number {
    this.#settle();
    const spent = this.#spent;
    this.#spent = 0;
    return spent;
  }

  /** Outside a handler a module runs on one activation's fuel, or less, in one piece. */
  #armOnce(): void {
    this.#settle();
    this.#armed = Math.min(this.order.fuel, LIMITS.entryFuel);
    this.#arm(this.#armed, LIMITS.stackBytes);
  }

  #settle(): void {
    if (this.#armed === 0) return;
    this.#spent += this.#armed - this.remaining();
    this.#armed = 0;
  }
}

/** The counter is an i32; more is granted by the slice. */
const MAXIMUM_COUNTER = 1_000_000_000;

/** Direct: nothing that it imports can block, and an activation fits into one slice. */
export function isDirect(order: ModuleOrder, sliceFuel: number): boolean {
  if (order.fuel > Math.min(sliceFuel, MAXIMUM_COUNTER)) return false;
  return order.imports.every((item) => findOperation(item.interface, item.operation)?.blocking === false);
}

type CopiedGlobal = Readonly<{ global: WasmGlobal; bits: (write: 0 | 1, bits: bigint) => bigint }>;

function globalAt({ exports }: WasmInstance, at: number): CopiedGlobal {
  // SAFETY: the rewriter exports as many of them as it says.
  return { global: exports[`bulkhead:global${at}`], bits: exports[`bulkhead:bits${at}`] } as CopiedGlobal;
}

interface WebAssemblyExports {
  "bulkhead:globals"?: () => number;
  "bulkhead:enter": Entry;
  "bulkhead:activate": (fuel: number, depth: number, port: number, length: number) => number;
  "bulkhead:fuel": WasmCounter;
  "bulkhead:depth": WasmCounter;
  "bulkhead:result": WasmFunction;
  "bulkhead:remaining": () => number;
  "bulkhead:charge": (fuel: number) => number;
  "bulkhead:arm": (fuel: number, depth: number) => void;
  "bulkhead:initialize": () => void;
  bulkhead_inbox: () => number;
  bulkhead_save: () => bigint;
  bulkhead_state: (length: number) => number;
  bulkhead_restore: (length: number, schema: number) => number;
  bulkhead_health: () => number;
}
