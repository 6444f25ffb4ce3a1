/** Records all that goes into one instance, so that its failure can be run again: messages, imports' results, fuel. */
import { HEADER } from "../abi.ts";
import { LIMITS } from "../limits.ts";
import type { MessageHeader } from "../memory.ts";
import { copyBytes, guestLength, guestPointer } from "../memory.ts";
import type { ModuleInstance } from "./instance.ts";

/**
 * A recording is a list of events, each of whole little-endian words. The low four bits of its first word say which it is:
 *
 * | event | in the first word from bit 4 on | words behind it |
 * | --- | --- | --- |
 * | `message` | handles (4 bits), kind (8), port (16) | length, sender module, generation, badge, correlation, lost, handles, payload |
 * | `gated` | port | payload length, the inbox: header and payload |
 * | `settled` | - | the handler's result (f64), fuel left |
 * | `called` | import | its arguments |
 * | `wrote` | - | address, length, bytes that the host put into the guest's memory for the call in progress |
 * | `returned` | - | result (i64), fuel charged for the call, fuel left after it was last charged |
 * | `refuelled` | - | fuel granted with a new slice |
 * | `entered` | `ENTRY`, for `restore` the schema | for `restore` the length of the state |
 */
export const RECORDED = Object.freeze({
  message: 1,
  gated: 2,
  settled: 3,
  called: 4,
  wrote: 5,
  returned: 6,
  refuelled: 7,
  entered: 8,
} as const);

/** What runs outside a handler. */
export const ENTRY = Object.freeze({ initialize: 0, save: 1, restore: 2, health: 3 } as const);

/** The instance as it was between two activations. */
export interface RecordedBase {
  readonly inbox: number;
  readonly memory: Uint8Array;
  /** Two words for each mutable global, in order: an f64, or an i64 where it is one. */
  readonly globals: Int32Array;
}

export interface RecordedEvents {
  readonly words: Int32Array;
  /** Messages that the instance had been given when the events begin, and in all. */
  readonly before: number;
  readonly messages: number;
  /** Where the events begin; undefined is the instance's start. */
  readonly base: RecordedBase | undefined;
  /** False where something between the base and the end has been lost. */
  readonly isWhole: boolean;
}

const FIRST_WORDS = 1024;
const MOST_WORDS = LIMITS.recordingBytes / 4;
/** Behind this a recording begins anew at the next activation boundary. */
const FULL_WORDS = MOST_WORDS / 2;

export class Recording {
  #words = new Int32Array(FIRST_WORDS);
  #view = new DataView(this.#words.buffer);
  #bytes = new Uint8Array(this.#words.buffer);
  #at = 0;
  #messages = 0;
  #before = 0;
  #base: RecordedBase | undefined = undefined;
  #isWhole = true;
  /** True where an event found no room: nothing more is recorded before the next boundary. */
  #isTorn = false;
  /** True from an import's call to its result. */
  #isOpen = false;
  #charged = 0;
  #fuel = 0;

  message(
    port: number,
    { kind, length, senderModule, senderGeneration, badge, correlation }: MessageHeader,
    payload: Uint8Array,
    handles: readonly number[],
    view: DataView | undefined,
    lost: number,
  ): void {
    this.#messages++;
    let at = this.#take(7 + handles.length + ((length + 3) >> 2));
    if (at < 0) return;
    const words = this.#words;
    words[at] = RECORDED.message | (handles.length << 4) | (kind << 8) | (port << 16);
    words[at + 1] = length;
    words[at + 2] = senderModule;
    words[at + 3] = senderGeneration;
    words[at + 4] = badge;
    words[at + 5] = correlation;
    words[at + 6] = lost;
    at += 7;
    for (const handle of handles) words[at++] = handle;
    copyBytes(view, 0, this.#view, at * 4, payload, this.#bytes, length);
  }

  /** What a gate has put into the inbox. */
  gated(port: number, length: number, { memory, inbox }: ModuleInstance): void {
    this.#messages++;
    const size = HEADER.size + length;
    const at = this.#take(2 + ((size + 3) >> 2));
    if (at < 0) return;
    this.#words[at] = RECORDED.gated | (port << 4);
    this.#words[at + 1] = length;
    memory.readInto(guestPointer(inbox), guestLength(size), this.#bytes, this.#view, at * 4 + 8);
  }

  /** A handler has ended: between two activations a recording that is full begins anew. */
  settled(result: number, fuel: number, instance: ModuleInstance): void {
    const at = this.#take(4);
    if (at >= 0) {
      this.#words[at] = RECORDED.settled;
      this.#view.setFloat64(at * 4 + 4, result, true);
      this.#words[at + 3] = fuel;
    }
    if (this.#isTorn || this.#at > FULL_WORDS) this.#restart(instance);
  }

  /** An import is called; again where a gate sent it on to where it waits. */
  called(index: number, count: number, a: number, b: number, c: number, d: number, e: number, f: number): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    this.#charged = 0;
    const at = this.#take(1 + count);
    if (at < 0) return;
    const words = this.#words;
    words[at] = RECORDED.called | (index << 4);
    if (count > 0) words[at + 1] = a;
    if (count > 1) words[at + 2] = b;
    if (count > 2) words[at + 3] = c;
    if (count > 3) words[at + 4] = d;
    if (count > 4) words[at + 5] = e;
    if (count > 5) words[at + 6] = f;
  }

  wrote(address: number, source: Uint8Array): void {
    const at = this.#take(3 + ((source.length + 3) >> 2));
    if (at < 0) return;
    this.#words[at] = RECORDED.wrote;
    this.#words[at + 1] = address;
    this.#words[at + 2] = source.length;
    this.#bytes.set(source, at * 4 + 12);
  }

  returned(result: number | bigint | undefined): void {
    this.#isOpen = false;
    const at = this.#take(5);
    if (at < 0) return;
    const words = this.#words;
    words[at] = RECORDED.returned;
    if (typeof result === "bigint") this.#view.setBigInt64(at * 4 + 4, result, true);
    else {
      words[at + 1] = result ?? 0;
      words[at + 2] = (result ?? 0) >> 31;
    }
    words[at + 3] = this.#charged;
    words[at + 4] = this.#fuel;
  }

  /** The kernel has changed the fuel counter by `-fuel`, to `left`. */
  charged(fuel: number, left: number): void {
    this.#charged += fuel;
    this.#fuel = left;
  }

  /** A new slice: within a call it is part of what the call costs. */
  refuelled(fuel: number, left: number): void {
    this.charged(-fuel, left);
    if (this.#isOpen) return;
    this.#charged = 0;
    const at = this.#take(2);
    if (at < 0) return;
    this.#words[at] = RECORDED.refuelled;
    this.#words[at + 1] = fuel;
  }

  entered(entry: number, schema = 0, length = 0): void {
    const at = this.#take(entry === ENTRY.restore ? 2 : 1);
    if (at < 0) return;
    this.#words[at] = RECORDED.entered | (entry << 4) | (schema << 8);
    if (entry === ENTRY.restore) this.#words[at + 1] = length;
  }

  /** A copy of what has been recorded. */
  events(): RecordedEvents {
    const isWhole = this.#isWhole && !this.#isTorn;
    const base = this.#base && { ...this.#base, memory: this.#base.memory.slice() };
    const words = this.#words.slice(0, this.#at);
    return { words, before: this.#before, messages: this.#messages, base, isWhole };
  }

  /** @returns where `count` words may be written, or -1. */
  #take(count: number): number {
    const at = this.#at;
    const end = at + count;
    if (this.#isTorn || (end > this.#words.length && !this.#grow(end))) return -1;
    this.#at = end;
    return at;
  }

  #grow(needed: number): boolean {
    this.#isTorn = needed > MOST_WORDS;
    if (this.#isTorn) return false;
    let size = this.#words.length;
    while (size < needed) size *= 2;
    const words = new Int32Array(Math.min(size, MOST_WORDS));
    words.set(this.#words);
    this.#words = words;
    this.#view = new DataView(words.buffer);
    this.#bytes = new Uint8Array(words.buffer);
    return true;
  }

  /** Begins anew from the instance as it is. Where it cannot be copied, what follows can be looked at only. */
  #restart({ memory, globals, inbox }: ModuleInstance): void {
    this.#at = 0;
    this.#isTorn = false;
    this.#before = this.#messages;
    const { size } = memory;
    this.#isWhole = globals !== undefined && size <= LIMITS.snapshotBytes;
    if (globals === undefined || !this.#isWhole) {
      this.#base = undefined;
      return;
    }
    const kept = this.#base?.memory.length === size ? this.#base.memory : new Uint8Array(size);
    memory.readInto(guestPointer(0), guestLength(size), kept);
    const values = new DataView(new ArrayBuffer(globals.length * 8));
    for (const [index, { value }] of globals.entries()) {
      if (typeof value === "bigint") values.setBigInt64(index * 8, value, true);
      else values.setFloat64(index * 8, Number(value), true);
    }
    this.#base = { inbox, memory: kept, globals: new Int32Array(values.buffer) };
  }
}
