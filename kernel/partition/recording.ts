/** Records all that goes into one instance, so that its failure can be run again: messages, imports' results, fuel. */
import { LIMITS } from "../limits.ts";
import { GuestMemory, guestLength, guestPointer } from "../memory.ts";
import type { LinearMemory, WasmCounter, WasmInstance } from "../wasm/engine.ts";
import { RECORDED } from "../wasm/recorder.ts";
import type { ModuleInstance } from "./instance.ts";

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

type Counters = Readonly<Record<`bulkhead:${"at" | "limit" | "torn" | "inbox" | "messages"}`, WasmCounter>>;
interface RecorderExports extends Counters {
  readonly "bulkhead:log": LinearMemory;
  readonly "bulkhead:entered": (first: number, second: number) => void;
  readonly "bulkhead:wrote": (address: number, length: number) => void;
}

export class Recording {
  readonly #exports: RecorderExports;
  readonly #log: GuestMemory;
  #before = 0;
  #base: RecordedBase | undefined = undefined;
  #isWhole = true;

  /** @param exports of an instance whose binary was rewritten to be recorded */
  constructor(exports: WasmInstance["exports"]) {
    // SAFETY: `Recorder` has made them.
    this.#exports = exports as unknown as RecorderExports;
    this.#log = new GuestMemory(this.#exports["bulkhead:log"]);
  }

  initialized(inbox: number): void {
    this.#exports["bulkhead:inbox"].value = inbox;
  }

  entered(entry: number, schema = 0, length = 0): void {
    this.#exports["bulkhead:entered"](RECORDED.entered | (entry << 4) | (schema << 8), length);
  }

  /** What the kernel has put into the memory outside a call. */
  wrote(address: number, length: number): void {
    this.#exports["bulkhead:wrote"](address, length);
  }

  /** A copy of what has been recorded. */
  events(): RecordedEvents {
    const { "bulkhead:at": at, "bulkhead:torn": torn, "bulkhead:messages": messages } = this.#exports;
    const words = this.#log.read(guestPointer(0), guestLength(at.value)) ?? new Uint8Array(0);
    return {
      words: new Int32Array(words.buffer),
      before: this.#before,
      messages: messages.value,
      base: this.#base && { ...this.#base, memory: this.#base.memory.slice() },
      isWhole: this.#isWhole && torn.value === 0,
    };
  }

  /**
   * Begins anew from the instance as it is. Where it cannot be copied, what follows can be looked at only.
   * @returns bytes copied: whoever fills recordings fast pays for them
   */
  restart({ memory, globals, inbox }: ModuleInstance): number {
    this.#exports["bulkhead:at"].value = 0;
    this.#exports["bulkhead:torn"].value = 0;
    this.#exports["bulkhead:limit"].value = this.#log.size;
    this.#before = this.#exports["bulkhead:messages"].value;
    const { size } = memory;
    this.#isWhole = globals !== undefined && size <= LIMITS.snapshotBytes;
    if (globals === undefined || !this.#isWhole) {
      this.#base = undefined;
      return 0;
    }
    const kept = this.#base?.memory.length === size ? this.#base.memory : new Uint8Array(size);
    memory.readInto(guestPointer(0), guestLength(size), kept);
    const values = new DataView(new ArrayBuffer(globals.length * 8));
    for (const [index, { bits }] of globals.entries()) values.setBigInt64(index * 8, bits(0, 0n), true);
    this.#base = { inbox, memory: kept, globals: new Int32Array(values.buffer) };
    return size;
  }
}
