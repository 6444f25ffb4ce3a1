/** Runs one module's binary without a kernel: messages in by the ABI, every import answered by a fake the test can see. */
import { readFileSync } from "node:fs";
import { instantiateSync } from "@assemblyscript/loader";
import {
  ABORT_RECORD,
  decodeCbor,
  encodeCbor,
  findOperation,
  HEADER,
  inspectModule,
  meter,
  interfaceDefinition,
  KERNEL_PORT,
  KIND,
  LIMITS,
  meterOptions,
  NOTICE,
  Refusal,
  RESULT,
} from "../../kernel/index.ts";
import type { CborInput, CborValue, InterfaceName, Manifest, MessageKind, Operation } from "../../kernel/index.ts";

/** What one operation was called with: its byte parameters, its numbers, and the room of its buffer. */
export interface OperationCall {
  readonly bytes: readonly Uint8Array[];
  readonly numbers: readonly (number | bigint)[];
  readonly capacity: number;
}

/** The result of a fake: a number as the ABI gives it, or the bytes of the buffer, whose length is then the result. */
export type FakeResult = number | bigint | Uint8Array;

/** Answers the operations of one slot by name. An operation that is absent gives `unsupported`. */
export type FakeSlot = Readonly<Record<string, (call: OperationCall) => FakeResult>>;

export interface DeliveryOptions {
  readonly kind?: MessageKind;
  readonly sender?: { readonly module: number; readonly generation: number };
  readonly badge?: number;
  readonly correlation?: number;
  readonly lost?: number;
}

/** What a handler gave back: the reply's bytes, null for none, or the module's own error. */
export type Outcome = { readonly reply: Uint8Array | null } | { readonly error: number };

/** What metering adds to a binary's exports, next to the ABI's own. */
interface ModuleExports {
  readonly "bulkhead:arm": (fuel: number, depth: number) => void;
  readonly "bulkhead:remaining": () => number;
  readonly "bulkhead:initialize": () => void;
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly bulkhead_inbox: () => number;
  readonly bulkhead_handle: (port: number, length: number) => bigint;
  readonly bulkhead_save?: () => bigint;
  readonly bulkhead_state?: (length: number) => number;
  readonly bulkhead_restore?: (length: number, schema: number) => number;
  readonly bulkhead_health?: () => number;
}

const CBOR_LIMITS = { maxBytes: LIMITS.payloadBytes, maxDepth: 16, maxItems: 4096, tags: [], deterministic: false };
/** What the meter's counter can hold. */
const MOST_FUEL = 2_000_000_000;

/** A module that trapped, with what its abort record says: file, line, column and message of the AssemblyScript source. */
export class ModuleTrap extends Error {
  readonly line: number;
  readonly column: number;

  constructor(message: string, line: number, column: number) {
    super(message);
    this.name = "ModuleTrap";
    this.line = line;
    this.column = column;
  }
}

export class ModuleHost {
  readonly manifest: Manifest;
  readonly binaryBytes: number;
  /** Fuel that the last activation used; one that needs more than the manifest says traps, as it does in the kernel. */
  fuelUsed = 0;
  /** Everything written to a log slot. */
  readonly logs: { readonly level: number; readonly text: string }[] = [];
  readonly #exports: ModuleExports;
  /** 0 until the module was asked. */
  #inbox = 0;
  readonly #fakes: Readonly<Record<string, FakeSlot>>;
  readonly #sent = new Map<string, Uint8Array[]>();
  readonly #timers = new Map<string, { readonly operation: string; readonly milliseconds: number }>();
  readonly #published: {
    readonly slot: string;
    readonly topic: string;
    readonly payload: Uint8Array;
    readonly flags: number;
  }[] = [];
  #wallClock = 1_700_000_000_000n;

  /**
   * @param binary the module, or the path of it
   * @param fakes answers for slots; timers, clocks, logs, endpoints and MQTT have answers of their own
   */
  constructor(binary: Uint8Array | string, fakes: Readonly<Record<string, FakeSlot>> = {}) {
    const bytes = typeof binary === "string" ? new Uint8Array(readFileSync(binary)) : binary;
    this.binaryBytes = bytes.length;
    const inspection = inspectModule(bytes);
    this.manifest = inspection.manifest;
    this.#fakes = fakes;
    const metered = meter(bytes, meterOptions(inspection, false));
    const { exports } = instantiateSync(metered, this.#imports());
    // SAFETY: the ABI's exports; one that is missing fails at its first use, by name.
    this.#exports = exports as unknown as ModuleExports;
    this.#guarded(() => {
      this.#exports["bulkhead:initialize"]();
    });
    this.#inbox = this.#exports.bulkhead_inbox();
  }

  /** The kernel's first notice, with the operator's settings where the test gives any. */
  start(restored = false, settings?: CborInput): void {
    const content = settings === undefined ? [NOTICE.start, restored] : [NOTICE.start, restored, settings];
    this.#handle(KERNEL_PORT, encodeCbor(content), { kind: "notice" });
  }

  /** Any other notice of the kernel. */
  notice(...content: CborInput[]): void {
    this.#handle(KERNEL_PORT, encodeCbor(content), { kind: "notice" });
  }

  /** Delivers a value as CBOR. */
  deliver(port: string, value: CborInput, options: DeliveryOptions = {}): Outcome {
    return this.deliverBytes(port, encodeCbor(value), options);
  }

  /** Delivers bytes as they are. */
  deliverBytes(port: string, payload: Uint8Array, options: DeliveryOptions = {}): Outcome {
    const number = this.manifest.ports.findIndex(({ name }) => name === port);
    if (number < 0) throw new Refusal("E_UNKNOWN", `the module has no port ${port}`);
    return this.#handle(number, payload, options);
  }

  /** Bytes sent to an endpoint slot since the last time this was asked. */
  takeSentBytes(slot: string): Uint8Array[] {
    const sent = this.#sent.get(slot) ?? [];
    this.#sent.delete(slot);
    return sent;
  }

  /** Messages sent to an endpoint slot since the last time this was asked, decoded. */
  takeSent(slot: string): CborValue[] {
    return this.takeSentBytes(slot).map((bytes) => decodeCbor(bytes, CBOR_LIMITS));
  }

  /** The same as plain objects: for contracts, whose messages are maps with text keys. */
  takeMessages<Message extends object = Readonly<Record<string, unknown>>>(slot: string): Message[] {
    return this.takeSent(slot).map((value) => {
      if (!(value instanceof Map)) throw new TypeError(`what was sent to ${slot} is not a map`);
      // SAFETY: the caller's word for what the contract says; it is only used to compare with.
      return Object.fromEntries(value as ReadonlyMap<string, unknown>) as Message;
    });
  }

  /** What was published since the last time this was asked. */
  takePublished(): { readonly topic: string; readonly payload: CborValue; readonly flags: number }[] {
    return this.#published
      .splice(0)
      .map(({ topic, payload, flags }) => ({ topic, flags, payload: decodeCbor(payload, CBOR_LIMITS) }));
  }

  /** How a timer slot is set. */
  timer(slot: string): { readonly operation: string; readonly milliseconds: number } | undefined {
    return this.#timers.get(slot);
  }

  setWallClock(milliseconds: number): void {
    this.#wallClock = BigInt(milliseconds);
  }

  /** The state as the module saves it: a copy. */
  save(): Uint8Array {
    const result = this.#guarded(() => this.#exports.bulkhead_save?.() ?? -1n);
    if (result < 0n) throw new Refusal("E_STATE", "the module does not save", { found: String(result) });
    return this.#slice(Number(result >> 32n), Number(result & 0xffff_ffffn));
  }

  /** True where the module took the state, which a module of `schema` saved; of its own where absent. */
  restore(state: Uint8Array, schema = this.manifest.schema): boolean {
    const address = this.#guarded(() => this.#exports.bulkhead_state?.(state.length) ?? -1);
    if (address < 0) return false;
    this.#memory(address, state.length).set(state);
    return this.#guarded(() => this.#exports.bulkhead_restore?.(state.length, schema) ?? -1) >= 0;
  }

  health(): number {
    return this.#guarded(() => this.#exports.bulkhead_health?.() ?? 0);
  }

  /** Bytes of linear memory, to see that it does not grow. */
  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  #handle(port: number, payload: Uint8Array, options: DeliveryOptions): Outcome {
    if (payload.length > this.manifest.inbox - HEADER.size) throw new Refusal("E_SIZE", "the inbox cannot hold that");
    this.#writeHeader(payload.length, options);
    this.#memory(this.#inbox + HEADER.size, payload.length).set(payload);
    const result = this.#guarded(() => this.#exports.bulkhead_handle(port, payload.length));
    if (result < 0n) return { error: Number(result) };
    return { reply: result === 0n ? null : this.#slice(Number(result >> 32n), Number(result & 0xffff_ffffn)) };
  }

  #writeHeader(length: number, options: DeliveryOptions): void {
    const header = this.#memory(this.#inbox, HEADER.size).fill(0);
    const view = new DataView(header.buffer, header.byteOffset, header.length);
    view.setUint16(HEADER.version, 1, true);
    view.setUint8(HEADER.kind, KIND[options.kind ?? "send"]);
    view.setUint32(HEADER.length, length, true);
    view.setUint32(HEADER.senderModule, options.sender?.module ?? 0, true);
    view.setUint32(HEADER.senderGeneration, options.sender?.generation ?? 0, true);
    view.setUint32(HEADER.badge, options.badge ?? 0, true);
    view.setUint32(HEADER.correlation, options.correlation ?? 0, true);
    view.setUint32(HEADER.lost, options.lost ?? 0, true);
  }

  /** Turns a trap into one that names the source, where the module left an abort record. */
  #guarded<Value>(enter: () => Value): Value {
    const fuel = Math.min(this.manifest.fuel, MOST_FUEL);
    this.#exports["bulkhead:arm"](fuel, LIMITS.stackBytes);
    try {
      const value = enter();
      this.fuelUsed = fuel - this.#exports["bulkhead:remaining"]();
      return value;
    } catch (error) {
      if (error instanceof Refusal || error instanceof ModuleTrap || this.#inbox === 0) throw error;
      throw this.#trap(error);
    }
  }

  #trap(error: unknown): Error {
    const record = this.#memory(this.#inbox - ABORT_RECORD.size, ABORT_RECORD.size);
    const view = new DataView(record.buffer, record.byteOffset, record.length);
    if (view.getUint32(0, true) !== ABORT_RECORD.magic)
      return error instanceof Error ? error : new Error(String(error));
    const text = new TextDecoder().decode(record.subarray(16, 16 + view.getUint32(12, true)));
    return new ModuleTrap(text, view.getUint32(4, true), view.getUint32(8, true));
  }

  #imports(): Record<string, Record<string, unknown>> {
    const stop = (what: string) => () => {
      throw new ModuleTrap(what, 0, 0);
    };
    const imports: Record<string, Record<string, unknown>> = {
      "bulkhead:meter": { exhausted: stop("more fuel than the manifest says"), overflow: stop("stack overflow") },
    };
    for (const [slot, { interface: name }] of this.manifest.slots) {
      const fake = { ...this.#defaults(slot, name), ...this.#fakes[slot] };
      const operations: Record<string, unknown> = {};
      for (const operation of Object.keys(interfaceDefinition(name).operations)) {
        const definition = findOperation(name, operation);
        if (definition !== undefined) operations[operation] = this.#import(definition, fake[operation]);
      }
      imports[slot] = operations;
    }
    return imports;
  }

  #import(definition: Operation, fake: FakeSlot[string] | undefined) {
    return (...parameters: (number | bigint)[]): number | bigint => {
      const call = this.#read(definition, parameters);
      const result = fake === undefined ? RESULT.unsupported : fake(call);
      if (!(result instanceof Uint8Array)) return result;
      if (result.length > call.capacity) return RESULT["too-large"];
      this.#memory(call.buffer, result.length).set(result);
      return result.length;
    };
  }

  #read(definition: Operation, parameters: readonly (number | bigint)[]): OperationCall & { readonly buffer: number } {
    const bytes: Uint8Array[] = [];
    const numbers: (number | bigint)[] = [];
    let buffer = 0;
    let capacity = 0;
    let at = 0;
    for (const { kind } of definition.parameters) {
      if (kind === "i32" || kind === "i64") numbers.push(parameters[at++] ?? 0);
      else {
        const [address, length] = [Number(parameters[at++]), Number(parameters[at++])];
        if (kind === "buffer") [buffer, capacity] = [address, length];
        else if (kind === "bytes") bytes.push(this.#slice(address, length));
      }
    }
    return { bytes, numbers, buffer, capacity };
  }

  #defaults(slot: string, name: InterfaceName): FakeSlot {
    if (name === "timer") return this.#timerFake(slot);
    if (name === "clock") return { monotonic: () => this.#wallClock * 1_000_000n, wall: () => this.#wallClock };
    if (name === "log") return { write: ({ numbers, bytes }) => this.#log(Number(numbers[0]), bytes[0]) };
    if (name === "endpoint") return { send: ({ bytes }) => this.#send(slot, bytes[0] ?? new Uint8Array()) };
    if (name === "mqtt") return { publish: (call) => this.#publish(slot, call) };
    return {};
  }

  #timerFake(slot: string): FakeSlot {
    const set = (operation: string) => (call: OperationCall) => {
      this.#timers.set(slot, { operation, milliseconds: Number(call.numbers[0]) });
      return 0;
    };
    return { every: set("every"), after: set("after"), cancel: () => (this.#timers.delete(slot), 0), sleep: () => 0 };
  }

  #log(level: number, text: Uint8Array | undefined): number {
    this.logs.push({ level, text: new TextDecoder("utf-8", { fatal: true }).decode(text) });
    return 0;
  }

  #send(slot: string, message: Uint8Array): number {
    const sent = this.#sent.get(slot) ?? [];
    this.#sent.set(slot, sent);
    sent.push(message);
    return 0;
  }

  #publish(slot: string, { bytes, numbers }: OperationCall): number {
    const topic = new TextDecoder("utf-8", { fatal: true }).decode(bytes[0]);
    this.#published.push({ slot, topic, payload: bytes[1] ?? new Uint8Array(), flags: Number(numbers[0]) });
    return 0;
  }

  #memory(address: number, length: number): Uint8Array {
    return new Uint8Array(this.#exports.memory.buffer, address, length);
  }

  #slice(address: number, length: number): Uint8Array {
    return this.#memory(address, length).slice();
  }
}
