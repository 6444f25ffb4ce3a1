/** What both host processes share: they read frames from the core, hand requests to interface hosts, and end with the core. */
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { encodeCbor, findOperation, FloodGate, LIMITS, Refusal, REFUSAL_CODES, RESULT } from "../../kernel/index.ts";
import type { CborInput, InterfaceName, Operation, RefusalCode, ResultName } from "../../kernel/index.ts";
import { FRAME_BYTES, FrameReader, writeFrame } from "./frames.ts";
import { parseCoreToHost, printable } from "./parse.ts";
import type { OperatorRequest } from "./operator.ts";
import type { CoreToHost, HostBinding, HostToCore, Simulators } from "./protocol.ts";

/** The descriptor of the socket pair whose other end the core holds. */
const CORE_DESCRIPTOR = 3;
const HEARTBEAT_MILLISECONDS = 1000;
/** Fewer than the core answers at once: those that have timed out here may still be with it. */
const ASKS_AT_ONCE = 6;
const ASK_MILLISECONDS = 3000;
/** Events wait in this process up to here when the core does not read; then the interface host is told to hold or drop. */
const EVENT_BACKLOG_BYTES = 2 * FRAME_BYTES;
/** What the interface hosts get to close files and queues in, before the process ends all the same. */
const STOP_MILLISECONDS = 1500;

export interface HostRequest {
  readonly binding: HostBinding;
  readonly operation: string;
  readonly numbers: readonly number[];
  readonly bytes: readonly Uint8Array[];
  readonly capacity: number;
  /** Aborted when the core no longer waits; the reply is then thrown away. */
  readonly signal: AbortSignal;
}

/** `result` as in the ABI; `bytes` fill the operation's buffer. */
export interface HostAnswer {
  readonly result: number;
  readonly bytes?: Uint8Array;
}

/** Carries out the operations of one interface. A request is always one of its operations, with the right for it. */
export interface InterfaceHost {
  /** Checks the parameters and takes the resource in charge. @throws Refusal where it can never work. */
  bind(binding: HostBinding): void;
  unbind(binding: HostBinding): void;
  request(request: HostRequest): Promise<HostAnswer>;
  stop?(): Promise<void>;
}

export type HostTable = Partial<Record<InterfaceName, InterfaceHost>>;

/** What an interface host can tell the core. */
export interface HostPort {
  /** False where the core does not keep up: nothing was sent. */
  event(binding: number, payload: CborInput): boolean;
  status(state: string, text: string): void;
  /** Level 0 error, 1 warning, 2 information, 3 debug. */
  log(level: number, text: string): void;
  /** Asks the core on behalf of an operator. @throws Refusal as the core gives it; E_TIMEOUT, E_BUSY */
  ask(request: OperatorRequest): Promise<unknown>;
  /** Says why, and ends this process, so that the core replaces it: for what only a new process can mend. */
  fail(reason: unknown): void;
}

/** What a process offers once it is configured. */
export interface HostSetup {
  readonly interfaces: HostTable;
  /** Turns a simulated quantity live; false where there is no such device or quantity. @throws Refusal on a bad script. */
  readonly simulate?: (device: string, quantity: string, script: unknown) => boolean;
  readonly simulators?: () => Simulators;
}

/** Makes the interface hosts from the settings. @throws Refusal on settings that are not valid. */
export type Configure = (settings: unknown, port: HostPort) => Promise<HostSetup>;

/** An answer that only says how it failed. */
export function failed(name: ResultName): HostAnswer {
  return { result: RESULT[name] };
}

/**
 * Ends this process though a thread of it is blocked in a native call: an ordinary exit would wait for that thread.
 * Everything that had to be closed has been closed by then.
 */
export function exitAtOnce(): void {
  process.kill(process.pid, "SIGKILL");
}

/**
 * Runs this process as a host of the core at descriptor 3. Returns at once; the process ends when the core says so or
 * goes.
 */
export function runHostProcess(
  configure: Configure,
  exit: (code: number) => void = (code) => process.exit(code),
): void {
  // What this process writes is nobody else's to read.
  process.umask(0o077);
  const stream = new Socket({ fd: CORE_DESCRIPTOR, readable: true, writable: true });
  const server = new HostServer(stream, configure, exit);
  process.on("uncaughtException", (error) => {
    server.fail(error);
  });
  // The core decides when this process ends: an interactive Ctrl-C reaches the whole process group.
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => void server.stop(0));
}

/** The child's end of the wire, over any stream. */
export class HostServer implements HostPort {
  readonly #stream: Duplex;
  readonly #configure: Configure;
  readonly #exit: (code: number) => void;
  readonly #reader = new FrameReader();
  readonly #bindings = new Map<number, HostBinding>();
  readonly #running = new Map<number, AbortController>();
  readonly #heartbeat: NodeJS.Timeout;
  readonly #complaints = new FloodGate(LIMITS.denialsPerSecond);
  #setup: HostSetup = { interfaces: {} };
  /** Messages are handled in the order of arrival; only configuring takes time. */
  #order: Promise<void> = Promise.resolve();
  #isStopping = false;
  readonly #asking = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;

  constructor(stream: Duplex, configure: Configure, exit: (code: number) => void) {
    this.#stream = stream;
    this.#configure = configure;
    this.#exit = exit;
    this.#heartbeat = setInterval(() => {
      this.#send({ kind: "heartbeat" });
    }, HEARTBEAT_MILLISECONDS);
    stream.on("data", (chunk: Uint8Array) => {
      this.#receive(chunk);
    });
    stream.on("error", () => void this.stop(0));
    stream.on("close", () => void this.stop(0));
    stream.on("end", () => void this.stop(0));
  }

  event(binding: number, payload: CborInput): boolean {
    if (this.#stream.writableLength > EVENT_BACKLOG_BYTES) return false;
    this.#send({ kind: "event", binding, payload: encodeCbor(payload) });
    return true;
  }

  status(state: string, text: string): void {
    this.#send({ kind: "status", state, text: printable(text) });
  }

  log(level: number, text: string): void {
    this.#send({ kind: "log", level, text: printable(text) });
  }

  async ask(request: OperatorRequest): Promise<unknown> {
    if (this.#asking.size >= ASKS_AT_ONCE) throw new Refusal("E_BUSY", "too many questions wait for the core");
    const id = ++this.#asked;
    const waiting = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => {
      waiting.reject(
        new Refusal("E_TIMEOUT", "the core does not answer", { expected: `within ${ASK_MILLISECONDS} ms` }),
      );
    }, ASK_MILLISECONDS);
    this.#asking.set(id, waiting);
    this.#send({ kind: "ask", id, request });
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
      this.#asking.delete(id);
    }
  }

  /** Gives up: says why, once, and ends the process with a code that the core reports. */
  fail(error: unknown): void {
    this.log(0, error instanceof Refusal ? error.describe() : String(error));
    void this.stop(70);
  }

  /** Lets every interface host close what it has open, within a bound, then ends the process. */
  async stop(code: number): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    clearInterval(this.#heartbeat);
    for (const controller of this.#running.values()) controller.abort();
    const hosts = Object.values(this.#setup.interfaces).flatMap((host) =>
      host.stop === undefined ? [] : [host.stop()],
    );
    const limit = new Promise((resolve) => setTimeout(resolve, STOP_MILLISECONDS).unref());
    await Promise.race([Promise.allSettled(hosts), limit]);
    this.#stream.end(() => {
      this.#exit(code);
    });
    setTimeout(() => {
      this.#exit(code);
    }, 100).unref();
  }

  #receive(chunk: Uint8Array): void {
    try {
      this.#reader.push(chunk, (value) => {
        const message = parseCoreToHost(value);
        this.#order = this.#order
          .then(() => this.#handle(message))
          .catch((error: unknown) => {
            this.fail(error);
          });
      });
    } catch (error) {
      this.fail(error);
    }
  }

  async #handle(message: CoreToHost): Promise<void> {
    switch (message.kind) {
      case "configure":
        this.#setup = await this.#configure(message.settings, this);
        this.#bind(message.bindings);
        this.#send({ kind: "ready" });
        return;
      case "bind":
        this.#bind(message.bindings);
        return;
      case "unbind":
        for (const id of message.ids) this.#unbind(id);
        return;
      case "request":
        void this.#serve(message);
        return;
      case "cancel":
        this.#running.get(message.id)?.abort();
        return;
      case "simulate":
        this.#simulate(message);
        return;
      case "simulators":
        this.#listSimulators(message.id);
        return;
      case "answer":
        this.#asking.get(message.id)?.resolve(message.value);
        return;
      case "refused":
        this.#asking.get(message.id)?.reject(refusalOf(message));
        return;
      case "stop":
        void this.stop(0);
    }
  }

  #listSimulators(id: number): void {
    const { seconds, parts } = this.#setup.simulators?.() ?? { seconds: 0, parts: [] };
    const bytes = encodeCbor({ seconds, parts: parts.map((part) => ({ ...part })) });
    this.#send({ kind: "reply", id, result: bytes.length, bytes });
  }

  #simulate({ id, device, quantity, script }: Extract<CoreToHost, { kind: "simulate" }>): void {
    let result: ResultName | undefined;
    try {
      result = this.#setup.simulate?.(device, quantity, script) === true ? undefined : "not-found";
    } catch (error) {
      this.log(1, error instanceof Refusal ? error.describe() : String(error));
      result = "invalid";
    }
    this.#send({ kind: "reply", id, result: result === undefined ? 0 : RESULT[result], bytes: new Uint8Array() });
  }

  #bind(bindings: readonly HostBinding[]): void {
    for (const binding of bindings) {
      try {
        const host = this.#setup.interfaces[binding.interface];
        if (host === undefined) throw new Refusal("E_UNKNOWN", `this process has no interface ${binding.interface}`);
        host.bind(binding);
        this.#bindings.set(binding.id, binding);
      } catch (error) {
        const reason = error instanceof Refusal ? error.describe() : String(error);
        this.log(0, `${binding.owner}: ${reason}`);
      }
    }
  }

  #unbind(id: number): void {
    const binding = this.#bindings.get(id);
    if (binding === undefined) return;
    this.#bindings.delete(id);
    this.#setup.interfaces[binding.interface]?.unbind(binding);
  }

  async #serve(message: Extract<CoreToHost, { kind: "request" }>): Promise<void> {
    const controller = new AbortController();
    this.#running.set(message.id, controller);
    const answer = await this.#answer(message, controller.signal);
    this.#running.delete(message.id);
    const bytes = answer.bytes ?? new Uint8Array();
    const fits = bytes.length <= message.capacity;
    this.#send({
      kind: "reply",
      id: message.id,
      result: fits ? answer.result : RESULT["too-large"],
      bytes: fits ? bytes : new Uint8Array(),
    });
  }

  async #answer(message: Extract<CoreToHost, { kind: "request" }>, signal: AbortSignal): Promise<HostAnswer> {
    const binding = this.#bindings.get(message.binding);
    const host = binding === undefined ? undefined : this.#setup.interfaces[binding.interface];
    if (binding === undefined || host === undefined) return failed("not-found");
    const operation = findOperation(binding.interface, message.operation);
    if (operation === undefined) return failed("unsupported");
    if (!binding.rights.includes(operation.right)) return failed("denied");
    if (!hasShape(operation, message)) return failed("invalid");
    const { operation: name, numbers, bytes, capacity } = message;
    try {
      return await host.request({ binding, operation: name, numbers, bytes, capacity, signal });
    } catch (error) {
      if (signal.aborted) return failed("cancelled");
      this.#complain(binding.owner, `${name}: ${error instanceof Refusal ? error.describe() : String(error)}`);
      return failed(error instanceof Refusal ? (error.code === "E_CAP" ? "denied" : "invalid") : "io");
    }
  }

  /** A module can ask for nonsense as often as it likes; the log has some of it, the rest is counted. */
  #complain(owner: string, text: string): void {
    const untold = this.#complaints.admit(performance.now(), owner);
    if (untold === undefined) return;
    this.log(1, `${owner}: ${text}${untold === 0 ? "" : `; ${untold} such lines were left out before`}`);
  }

  #send(message: HostToCore): void {
    if (this.#stream.writable) writeFrame(this.#stream, message);
  }
}

function refusalOf({ code, message, hint }: Extract<CoreToHost, { kind: "refused" }>): Refusal {
  const known = Object.hasOwn(REFUSAL_CODES, code) ? (code as RefusalCode) : "E_ABORTED";
  return new Refusal(known, message, hint === "" ? {} : { hint });
}

/** The parameters are those of the operation: as many numbers and byte strings, and a capacity only where it has a buffer. */
function hasShape(operation: Operation, message: Extract<CoreToHost, { kind: "request" }>): boolean {
  const count = (...kinds: string[]) => operation.parameters.filter(({ kind }) => kinds.includes(kind)).length;
  return (
    count("i32", "i64") === message.numbers.length &&
    count("bytes") === message.bytes.length &&
    (count("buffer") > 0 || message.capacity === 0)
  );
}
