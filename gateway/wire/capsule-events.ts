/** Reads the events of a recording, which may come from anywhere: each is checked before it is believed. */
import type { ImportedOperation } from "../../kernel/index.ts";
import { argumentCount, ENTRY, findOperation, HEADER, LIMITS, RECORDED, Refusal } from "../../kernel/index.ts";

export type EntryName = keyof typeof ENTRY;

/** A message as it stood in the inbox; through a gate it came from a caller of the same partition. */
export interface Arrival {
  readonly kind: "message" | "gated";
  readonly port: number;
  /** As the header has it. */
  readonly messageKind: number;
  /** Views of the recording: header and payload, and the payload alone. */
  readonly inbox: Uint8Array;
  readonly payload: Uint8Array;
}

/** As `RECORDED` describes them; byte strings are views of the recording's words. */
export type CapsuleEvent =
  | Arrival
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
        return this.#arrival("message", first >>> 4);
      case RECORDED.gated:
        return this.#arrival("gated", first >>> 4);
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

  #arrival(kind: Arrival["kind"], port: number): CapsuleEvent {
    const length = this.#length(LIMITS.payloadBytes);
    const inbox = this.#bytes(HEADER.size + length);
    return { kind, port, messageKind: inbox[HEADER.kind] ?? 0, inbox, payload: inbox.subarray(HEADER.size) };
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
    return { kind: "entered", entry, schema: rest >>> 4, length: this.#length(LIMITS.stateBytes) };
  }

  #word(): number {
    return this.#words[this.#skip(1)] ?? 0;
  }

  #unsigned(): number {
    return this.#word() >>> 0;
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
