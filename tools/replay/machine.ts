/** Runs a recording again: an instance of the module whose imports answer as they did, event by event. */
import type { Arrival, CapsuleEvent } from "../../gateway/wire/capsule-events.ts";
import { readEvents } from "../../gateway/wire/capsule-events.ts";
import type { Capsule } from "../../gateway/wire/capsule.ts";
import type { FaultCause, ImportedOperation, ModuleInspection, ModuleOrder, RecordedBase } from "../../kernel/index.ts";
import {
  describeFault,
  findOperation,
  GuestStopped,
  guestLength,
  guestPointer,
  LIMITS,
  METER_MODULE,
  ModuleInstance,
  Refusal,
} from "../../kernel/index.ts";

/** How one run ended. */
export interface Ending {
  readonly cause: FaultCause;
  readonly text: string;
  readonly trace: string;
  readonly fuel: number;
  readonly memoryBytes: number;
}

/** The first place at which a run was not as it had been. */
export interface Divergence {
  /** Of the recording, from 1. */
  readonly event: number;
  /** The message that was being handled; 0 before the first. */
  readonly message: number;
  readonly expected: string;
  readonly found: string;
}

export interface ReplayState {
  /** The message that comes next. */
  readonly message: number;
  readonly fuel: number;
  readonly memoryBytes: number;
  readonly globals: readonly string[];
  /** What `bulkhead_save` gave, CBOR; undefined where the module has none, or needs an answer of the host for it. */
  readonly state: Uint8Array | undefined;
}

export type RunResult =
  | { readonly kind: "ended"; readonly ending: Ending }
  | { readonly kind: "diverged"; readonly divergence: Divergence }
  | { readonly kind: "stopped"; readonly state: ReplayState };

export interface Program {
  readonly capsule: Capsule;
  readonly inspection: ModuleInspection;
  readonly compiled: ModuleOrder["compiled"];
  /** False where the binary is another than the one that failed: fuel and addresses may then differ. */
  readonly isSame: boolean;
  /** Stop before this message. */
  readonly until?: number | undefined;
  /** What one run may use in all. */
  readonly mostFuel: number;
}

class Diverged extends Error {
  readonly expected: string;
  readonly found: string;

  constructor(expected: string, found: string) {
    super(`expected ${expected}, found ${found}`);
    this.expected = expected;
    this.found = found;
  }
}

class StoppedBefore extends Error {}

const NOTHING = new Uint8Array(0);
const PAGE_BYTES = 65_536;
/** Of the fuel that a manifest declares for an activation so much counts: a run must come to an end while somebody waits. */
const MOST_FUEL = 50_000_000;
/** Of the packed result of a handler: see `decodeResult` of the kernel. */
const LENGTH_RADIX = 2 ** 20;
/** Causes that strike while the module's own code runs, or waits. */
const INSIDE: readonly FaultCause[] = ["trap", "budget", "stack", "timeout"];

/** @throws Refusal E_STATE, E_CBOR for a recording that cannot have been made of this module */
export function run(program: Program): RunResult {
  return new Machine(program).run();
}

class Machine {
  readonly #program: Program;
  readonly #events: CapsuleEvent[];
  readonly #instance: ModuleInstance;
  readonly #order: ModuleOrder;
  #at = 0;
  #message: number;
  /** What the module may still use, where it is another than the one that was recorded. */
  #allowance: number;
  /** What the run has used, and what the activation that goes on was given. */
  #used = 0;
  #granted = 0;

  constructor(program: Program) {
    const { capsule, inspection } = program;
    this.#program = program;
    this.#events = readEvents(capsule.events.words, capsule.imports);
    this.#message = capsule.events.before;
    this.#order = orderOf(program);
    this.#allowance = Math.min(inspection.manifest.fuel, MOST_FUEL) * 10;
    this.#instance = new ModuleInstance(this.#order, this.#imports());
  }

  run(): RunResult {
    const { base } = this.#program.capsule.events;
    try {
      if (base !== undefined) become(this.#instance, base);
      else this.#checkStart();
      while (this.#at < this.#events.length) {
        this.#step();
      }
    } catch (error) {
      if (error instanceof StoppedBefore) return { kind: "stopped", state: this.#state() };
      if (error instanceof Diverged) return this.#diverged(error.expected, error.found);
      if (error instanceof Refusal && error.code !== "E_STATE" && error.code !== "E_ABI") throw error;
      if (base !== undefined && this.#at === 0 && error instanceof Refusal) throw error;
      return this.#ended(error);
    }
    return this.#ended(null);
  }

  #checkStart(): void {
    const [first] = this.#events;
    if (first?.kind === "entered" && first.entry === "initialize") return;
    throw new Refusal("E_CBOR", "the recording does not begin with the module's start");
  }

  #diverged(expected: string, found: string): RunResult {
    return { kind: "diverged", divergence: { event: this.#at + 1, message: this.#message, expected, found } };
  }

  /** @param error what ended it; null where nothing did */
  #ended(error: unknown): RunResult {
    const { capsule } = this.#program;
    const instance = this.#instance;
    const { cause, text, trace } =
      error === null
        ? { cause: capsule.cause, text: capsule.text, trace: capsule.trace }
        : describeFault(error, instance);
    const fuel = instance.remaining();
    const found = `${cause}: ${text}`;
    if (this.#at < this.#events.length) return this.#diverged(this.#describeNext(), found);
    if (error === null && INSIDE.includes(capsule.cause))
      return this.#diverged(`${capsule.cause}: ${capsule.text}`, "it came to its end, and nothing failed");
    const ending = { cause, text, trace: trace ?? "", fuel, memoryBytes: instance.memory.size };
    return { kind: "ended", ending };
  }

  #step(): void {
    const event = this.#events[this.#at];
    switch (event?.kind) {
      case "entered":
        this.#at++;
        this.#enter(event);
        return;
      case "message":
      case "gated":
        this.#message++;
        if (this.#program.until !== undefined && this.#message >= this.#program.until) throw new StoppedBefore();
        this.#at++;
        this.#settled(event, this.#handle(event));
        return;
      default:
        throw new Diverged(this.#describeNext(), "nothing of the kind: the recording is out of order");
    }
  }

  #enter({ entry, schema, length }: Extract<CapsuleEvent, { kind: "entered" }>): void {
    const instance = this.#instance;
    this.#granted = 0;
    if (entry === "initialize") instance.initialize();
    else if (entry === "save") instance.save();
    else if (entry === "health") instance.health();
    else instance.restore({ schema, bytes: this.#stateBytes(length) });
  }

  /** Takes the state that is restored out of the events: it is as long as it says, and no call wrote it. */
  #stateBytes(length: number): Uint8Array {
    for (let at = this.#at; at < this.#events.length; at++) {
      const event = this.#events[at];
      if (event?.kind === "wrote" && event.bytes.length === length) {
        this.#events.splice(at, 1);
        return event.bytes;
      }
      if (event?.kind === "entered" || event?.kind === "message") break;
    }
    return new Uint8Array(length);
  }

  #handle(event: Arrival): number {
    const { kind, port, payload, inbox } = event;
    const { inbox: inboxBytes, fuel, ports } = this.#order;
    const instance = this.#instance;
    if (inbox.length > inboxBytes) throw new Diverged(this.#describe(event), "its inbox is too small for it");
    instance.memory.write(guestPointer(instance.inbox), inbox);
    if (kind === "message") {
      this.#granted = Math.min(fuel, this.#program.capsule.sliceFuel);
      return instance.enter(this.#granted, LIMITS.stackBytes, port, payload.length);
    }
    const declared = ports[port];
    if (declared === undefined) throw new Diverged(this.#describe(event), "it has no such port");
    this.#granted = declared.fuel;
    return instance.activate(declared.fuel, declared.stack, port, payload.length);
  }

  /** A recording that cannot have come of a real failure must not keep whoever looks at it for ever. */
  #use(fuel: number): void {
    this.#used += Math.max(0, fuel);
    const { mostFuel } = this.#program;
    if (this.#used <= mostFuel) return;
    throw new Refusal("E_SIZE", "the replay takes too long", {
      expected: `at most ${mostFuel} fuel`,
      found: `${this.#used} at message ${this.#message}, event ${this.#at} of ${this.#events.length}`,
      hint: "--inspect shows what the capsule holds, and --until <n> stops before a message",
    });
  }

  #settled({ ended }: Arrival, result: number): void {
    const fuel = this.#instance.remaining();
    this.#use(this.#granted - fuel);
    const next = this.#events[this.#at];
    const found = `the handler ended with ${result}, ${fuel} fuel left`;
    if (ended === undefined || next?.kind === "called" || next?.kind === "refuelled" || next?.kind === "refused")
      throw new Diverged(this.#describeNext(), found);
    const isEqual = this.#program.isSame
      ? Object.is(ended.result, result) && ended.fuel === fuel
      : Math.min(ended.result, 0) === Math.min(result, 0) &&
        Math.max(ended.result, 0) % LENGTH_RADIX === Math.max(result, 0) % LENGTH_RADIX;
    if (!isEqual) throw new Diverged(`the handler ended with ${ended.result}, ${ended.fuel} fuel left`, found);
  }

  #imports(): ConstructorParameters<typeof ModuleInstance>[1] {
    const imports: Record<string, Record<string, (...parameters: number[]) => unknown>> = Object.create(null) as never;
    for (const item of this.#program.inspection.imports) {
      imports[item.slot] ??= Object.create(null) as never;
      // SAFETY: just made.
      (imports[item.slot] as Record<string, unknown>)[item.operation] = (...parameters: number[]) =>
        this.#called(item, parameters);
    }
    imports[METER_MODULE] = {
      exhausted: () => {
        this.#exhausted();
      },
      overflow: () => {
        throw new GuestStopped("stack", "the stack allowance is used up");
      },
      full: () => void this.#instance.recording?.restart(this.#instance),
      grow: (pages = 0) => this.#grow(pages),
    };
    return imports;
  }

  #called(item: ImportedOperation, parameters: readonly number[]): number | bigint {
    const event = this.#events[this.#at];
    const found = `${item.slot}.${item.operation}(${parameters.join(", ")})`;
    if (event === undefined) throw new Diverged(this.#describeEnd(), found);
    const isEqual = event.kind === "called" && sameOperation(event.operation, item);
    if (event.kind !== "called" || !isEqual || !this.#sameParameters(event, parameters))
      throw new Diverged(this.#describe(event), found);
    this.#at++;
    this.#takeWritten(event, parameters);
    return this.#return(event);
  }

  /** Of another binary addresses may differ; what they point to is not recorded. */
  #sameParameters(
    { operation, parameters }: Extract<CapsuleEvent, { kind: "called" }>,
    given: readonly number[],
  ): boolean {
    const addresses = this.#program.isSame ? [] : addressesOf(operation);
    return parameters.every((value, at) => addresses.includes(at) || value === (given[at] ?? 0));
  }

  #takeWritten(call: Extract<CapsuleEvent, { kind: "called" }>, given: readonly number[]): void {
    for (let event = this.#events[this.#at]; event?.kind === "wrote"; event = this.#events[this.#at]) {
      const { address, bytes } = event;
      // Where the buffer is elsewhere now, what the host wrote goes there.
      const moved = call.parameters.findIndex((value) => value >>> 0 === address);
      const target = this.#program.isSame || moved < 0 ? address : (given[moved] ?? address);
      if (!this.#instance.memory.covers(guestPointer(target), guestLength(bytes.length)))
        throw new Refusal("E_CBOR", "the recording writes outside the module's memory", {
          found: `${bytes.length} bytes at ${target}`,
        });
      this.#instance.memory.write(guestPointer(target), bytes);
      this.#at++;
    }
  }

  #return({ operation, returned }: Extract<CapsuleEvent, { kind: "called" }>): number | bigint {
    const { capsule } = this.#program;
    // It never came back: the failure struck in it, or while it waited; what it had cost by then is what is missing.
    if (returned === undefined) {
      this.#instance.charge(Math.max(0, this.#instance.remaining() - capsule.fuel));
      throw new GuestStopped(capsule.cause, capsule.text);
    }
    const { result, cost } = returned;
    this.#instance.charge(cost);
    // A cost below nothing would be fuel out of nowhere.
    if (cost < 0) this.#granted -= cost;
    const isLong = findOperation(operation.interface, operation.operation)?.result === "i64";
    return isLong ? result : Number(BigInt.asIntN(32, result));
  }

  #exhausted(): void {
    const event = this.#events[this.#at];
    const { capsule, isSame } = this.#program;
    if (!isSame) {
      if (event?.kind === "refuelled") this.#at++;
      this.#allowance -= capsule.sliceFuel;
      if (this.#allowance < 0) throw new GuestStopped("budget", "it uses more fuel than ten activations may");
      this.#instance.charge(-capsule.sliceFuel);
      return;
    }
    if (event?.kind === "refuelled") {
      this.#at++;
      const fuel = Math.min(event.fuel, capsule.sliceFuel);
      // Nothing is left of what it was given.
      this.#use(this.#granted);
      this.#granted = fuel;
      this.#instance.charge(-fuel);
      return;
    }
    if (event === undefined && INSIDE.includes(capsule.cause)) throw new GuestStopped(capsule.cause, capsule.text);
    throw new Diverged(event === undefined ? this.#describeEnd() : this.#describe(event), "the slice was used up");
  }

  /** It grows as it did, and is refused where it was. */
  #grow(pages: number): number {
    if (this.#events[this.#at]?.kind === "refused") {
      this.#at++;
      return -1;
    }
    const before = this.#instance.memory.grow(pages);
    if (before >= 0 || !this.#program.isSame) return before;
    throw new Diverged(this.#describeNext(), `this machine has no memory for ${pages} more pages`);
  }

  #state(): ReplayState {
    const { memory, globals } = this.#instance;
    return {
      message: this.#message,
      fuel: this.#instance.remaining(),
      memoryBytes: memory.size,
      globals: (globals ?? []).map(({ global }) => String(global.value)),
      state: this.#saved(),
    };
  }

  #saved(): Uint8Array | undefined {
    try {
      return this.#instance.save()?.bytes;
    } catch {
      return undefined;
    }
  }

  #describeNext(): string {
    const event = this.#events[this.#at];
    return event === undefined ? this.#describeEnd() : this.#describe(event);
  }

  #describeEnd(): string {
    const { cause, text } = this.#program.capsule;
    return `${cause}: ${text}`;
  }

  #describe(event: CapsuleEvent): string {
    switch (event.kind) {
      case "message":
      case "gated":
        return `a message of ${event.payload.length} bytes on port ${event.port}`;
      case "called":
        return `${event.operation.slot}.${event.operation.operation}(${event.parameters.join(", ")})`;
      case "wrote":
        return `${event.bytes.length} bytes written at ${event.address}`;
      case "refuelled":
        return "a new slice";
      case "refused":
        return "no more memory";
      case "entered":
        return event.entry;
    }
  }
}

function sameOperation(a: ImportedOperation, b: ImportedOperation): boolean {
  return a.slot === b.slot && a.operation === b.operation && a.interface === b.interface;
}

/** Places of parameters that are addresses. */
function addressesOf({ interface: name, operation }: ImportedOperation): number[] {
  const addresses: number[] = [];
  let at = 0;
  for (const { kind } of findOperation(name, operation)?.parameters ?? []) {
    const isPlain = kind === "i32" || kind === "i64";
    if (!isPlain) addresses.push(at);
    at += isPlain ? 1 : 2;
  }
  return addresses;
}

/** Goes on, in place of `initialize`, where another instance of the same binary was. @throws Refusal E_STATE where it cannot. */
function become(instance: ModuleInstance, { memory, globals, inbox }: RecordedBase): void {
  const own = instance.globals ?? [];
  const fits = globals.length === own.length * 2 && memory.length >= inbox + instance.order.inbox;
  if (!fits) throw new Refusal("E_STATE", "the image does not fit this binary");
  const pages = Math.ceil(Math.max(0, memory.length - instance.memory.size) / PAGE_BYTES);
  if (instance.memory.grow(pages) < 0)
    throw new Refusal("E_STATE", "the image is larger than the module's memory may be");
  instance.memory.write(guestPointer(0), memory);
  const values = new DataView(globals.buffer, globals.byteOffset);
  for (const [at, { bits }] of own.entries()) bits(1, values.getBigInt64(at * 8, true));
  instance.inbox = inbox;
  instance.recording?.initialized(inbox);
}

function orderOf({ capsule, inspection, compiled }: Program): ModuleOrder {
  const { manifest, imports, exports, sha256 } = inspection;
  const { name, ports, inbox, state, schema, fuel, canonicalNans } = manifest;
  return {
    ...{ name, ports, inbox, state, schema, fuel, canonicalNans },
    id: 0,
    generation: capsule.generation,
    compiled,
    imports,
    exports,
    slots: [],
    priority: 0,
    fuelPerPeriod: 0,
    periodMs: 0,
    activationMs: 0,
    checkpointMessages: 0,
    checkpointMs: 0,
    record: true,
    sha256,
    metered: capsule.metered,
    settings: NOTHING,
  };
}
