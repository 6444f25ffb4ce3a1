/** Reads the events of a recording, which may come from anywhere: each is checked before it is believed. */
import type { ImportedOperation } from "../../kernel/index.ts";
import {
  ABI_VERSION,
  argumentCount,
  ENTRY,
  findOperation,
  HEADER,
  LIMITS,
  MESSAGE_EVENT,
  RECORDED,
  Refusal,
} from "../../kernel/index.ts";

export type EntryName = keyof typeof ENTRY;

/** A message as it stood in the inbox; through a gate it came from a caller of the same partition. */
export interface Arrival {
  readonly kind: "message" | "gated";
  readonly port: number;
  /** As the header has it. */
  readonly messageKind: number;
  /** Header and payload, and the payload alone. */
  readonly inbox: Uint8Array;
  readonly payload: Uint8Array;
  /** Undefined where the handler did not come to an end. */
  readonly ended: { readonly result: number; readonly fuel: number } | undefined;
}

/** As `RECORDED` describes them; byte strings are views of the recording's words. */
export type CapsuleEvent =
  | Arrival
  | {
      readonly kind: "called";
      readonly import: number;
      readonly operation: ImportedOperation;
      readonly parameters: readonly number[];
      /** Undefined where the call did not come back. */
      readonly returned: { readonly result: bigint; readonly cost: number } | undefined;
    }
  | { readonly kind: "wrote"; readonly address: number; readonly bytes: Uint8Array }
  | { readonly kind: "refuelled"; readonly fuel: number }
  | { readonly kind: "refused" }
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
    const hasEnded = (first & RECORDED.ended) !== 0;
    switch (first & 7) {
      case RECORDED.message:
        return this.#arrival("message", first, hasEnded);
      case RECORDED.gated:
        return this.#arrival("gated", first, hasEnded);
      case RECORDED.called:
        return this.#called(first >>> 4, hasEnded);
      case RECORDED.wrote: {
        const address = this.#unsigned();
        return { kind: "wrote", address, bytes: this.#bytes(this.#length(LIMITS.stateBytes)) };
      }
      case RECORDED.refuelled:
        return { kind: "refuelled", fuel: this.#word() };
      case RECORDED.refused:
        return { kind: "refused" };
      case RECORDED.entered:
        return this.#entered(first >>> 4);
      default:
        return this.#refuse("an unknown event", `${first & 7}`);
    }
  }

  #arrival(kind: Arrival["kind"], first: number, hasEnded: boolean): CapsuleEvent {
    const result = this.#view.getFloat64(this.#skip(2) * 4, true);
    const fuel = this.#word();
    const length = this.#length(LIMITS.payloadBytes);
    const inbox = new Uint8Array(HEADER.size + length);
    const words = new DataView(inbox.buffer);
    words.setUint32(HEADER.version, ABI_VERSION | ((first >>> 4) & 0xffff_0000), true);
    words.setUint32(HEADER.length, length, true);
    inbox.set(this.#bytes(MESSAGE_EVENT.payload - MESSAGE_EVENT.header), HEADER.senderModule);
    inbox.set(this.#bytes(length), HEADER.size);
    if (first >>> 28 > 0) inbox.set(this.#bytes(MESSAGE_EVENT.handleBytes), HEADER.handleList);
    const payload = inbox.subarray(HEADER.size);
    return {
      kind,
      port: (first >>> 4) & 0xffff,
      messageKind: inbox[HEADER.kind] ?? 0,
      inbox,
      payload,
      ended: hasEnded ? { result, fuel } : undefined,
    };
  }

  #called(index: number, hasEnded: boolean): CapsuleEvent {
    const operation = this.#imports[index];
    if (operation === undefined) return this.#refuse("a call of an import that there is not", `${index}`);
    const definition = findOperation(operation.interface, operation.operation);
    const count = definition === undefined ? 0 : argumentCount(definition);
    const cost = this.#word();
    const parameters = Array.from({ length: count }, () => this.#word());
    const isLong = definition?.result === "i64";
    const result = isLong ? this.#view.getBigInt64(this.#skip(2) * 4, true) : BigInt(this.#word());
    const returned = hasEnded ? { result, cost } : undefined;
    return { kind: "called", import: index, operation, parameters, returned };
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
