/** Reads the events of a recording, which may come from anywhere: each is checked before it is believed. */
import type { ImportedOperation } from "../../kernel/index.ts";
import { argumentCount, ENTRY, findOperation, HEADER, LIMITS, RECORDED, Refusal } from "../../kernel/index.ts";

export type EntryName = keyof typeof ENTRY;

interface Arrival {
  readonly port: number;
  /** Views of the recording. */
  readonly payload: Uint8Array;
}

/** As `RECORDED` describes them; byte strings are views of the recording's words. */
export type CapsuleEvent =
  | (Arrival & {
      readonly kind: "message";
      readonly messageKind: number;
      readonly senderModule: number;
      readonly senderGeneration: number;
      readonly badge: number;
      readonly correlation: number;
      readonly lost: number;
      readonly handles: readonly number[];
    })
  | (Arrival & { readonly kind: "gated"; readonly inbox: Uint8Array })
  | { readonly kind: "settled"; readonly result: number; readonly fuel: number }
  | {
      readonly kind: "called";
      readonly import: number;
      readonly operation: ImportedOperation;
      readonly parameters: readonly number[];
    }
  | { readonly kind: "wrote"; readonly address: number; readonly bytes: Uint8Array }
  | { readonly kind: "returned"; readonly result: bigint; readonly charged: number; readonly fuel: number }
  | { readonly kind: "refuelled"; readonly fuel: number }
  | { readonly kind: "entered"; readonly entry: EntryName; readonly schema: number; readonly length: number };

const MAXIMUM_HANDLES = 8;

class EventReader {
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #imports: readonly ImportedOperation[];
  #at = 0;

  constructor(words: Int32Array, imports: readonly ImportedOperation[]) {
    this.#words = words;
    this.#view = new DataView(words.buffer, words.byteOffset, words.byteLength);
    this.#imports = imports;
  }

  read(): CapsuleEvent[] {
    const events: CapsuleEvent[] = [];
    while (this.#at < this.#words.length) events.push(this.#event());
    return events;
  }

  #event(): CapsuleEvent {
    const first = this.#word();
    switch (first & 15) {
      case RECORDED.message:
        return this.#message(first);
      case RECORDED.gated:
        return this.#gated((first >>> 4) & 0xffff);
      case RECORDED.settled: {
        const at = this.#skip(2);
        return { kind: "settled", result: this.#view.getFloat64(at * 4, true), fuel: this.#word() };
      }
      case RECORDED.called:
        return this.#called(first >>> 4);
      case RECORDED.wrote: {
        const address = this.#unsigned();
        return { kind: "wrote", address, bytes: this.#bytes(this.#length(LIMITS.stateBytes)) };
      }
      case RECORDED.returned: {
        const at = this.#skip(2);
        const result = this.#view.getBigInt64(at * 4, true);
        return { kind: "returned", result, charged: this.#word(), fuel: this.#word() };
      }
      case RECORDED.refuelled:
        return { kind: "refuelled", fuel: this.#word() };
      case RECORDED.entered:
        return this.#entered(first >>> 4);
      default:
        return this.#refuse("an unknown event", `${first & 15}`);
    }
  }

  #message(first: number): CapsuleEvent {
    const count = (first >>> 4) & 15;
    if (count > MAXIMUM_HANDLES) return this.#refuse("too many handles", `${count}`);
    const length = this.#length(LIMITS.payloadBytes);
    const [senderModule, senderGeneration, badge, correlation, lost] = this.#many(5) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const handles = this.#many(count);
    const messageKind = (first >>> 8) & 0xff;
    const header = { messageKind, port: first >>> 16, senderModule, senderGeneration, badge, correlation, lost };
    return { kind: "message", ...header, handles, payload: this.#bytes(length) };
  }

  #gated(port: number): CapsuleEvent {
    const length = this.#length(LIMITS.payloadBytes);
    const inbox = this.#bytes(HEADER.size + length);
    return { kind: "gated", port, inbox, payload: inbox.subarray(HEADER.size) };
  }

  #called(index: number): CapsuleEvent {
    const operation = this.#imports[index];
    if (operation === undefined) return this.#refuse("a call of an import that there is not", `${index}`);
    const definition = findOperation(operation.interface, operation.operation);
    const count = definition === undefined ? 0 : argumentCount(definition);
    const parameters = Array.from({ length: count }, () => this.#word());
    return { kind: "called", import: index, operation, parameters };
  }

  #entered(rest: number): CapsuleEvent {
    const entry = (Object.keys(ENTRY) as EntryName[])[rest & 15];
    if (entry === undefined) return this.#refuse("an unknown entry", `${rest & 15}`);
    const length = entry === "restore" ? this.#length(LIMITS.stateBytes) : 0;
    return { kind: "entered", entry, schema: rest >>> 4, length };
  }

  #word(): number {
    return this.#words[this.#skip(1)] ?? 0;
  }

  #unsigned(): number {
    return this.#word() >>> 0;
  }

  #many(count: number): number[] {
    return Array.from({ length: count }, () => this.#unsigned());
  }

  #length(most: number): number {
    const length = this.#unsigned();
    return length <= most ? length : this.#refuse("something longer than it can be", `${length} bytes`);
  }

  #bytes(length: number): Uint8Array {
    const at = this.#skip((length + 3) >> 2);
    return new Uint8Array(this.#words.buffer, this.#words.byteOffset + at * 4, length);
  }

  #skip(count: number): number {
    const at = this.#at;
    if (at + count > this.#words.length) this.#refuse("the end in the middle of an event", `${count} words wanted`);
    this.#at = at + count;
    return at;
  }

  #refuse(what: string, found: string): never {
    throw new Refusal("E_CBOR", `the recording has ${what}`, { found, at: this.#at * 4 });
  }
}

/** @throws Refusal E_CBOR with the byte offset in the recording */
export function readEvents(words: Int32Array, imports: readonly ImportedOperation[]): CapsuleEvent[] {
  return new EventReader(words, imports).read();
}
