/** The core's end of a host process: starts it with the permissions it needs, asks it, watches it, and replaces it. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { performance } from "node:perf_hooks";
import type { Duplex } from "node:stream";
import { LIMITS, Refusal, RESULT } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { FRAME_BYTES, FrameReader, HOST_FRAME_CBOR, isEventPayload, writeFrame } from "./frames.ts";
import { Inflow } from "./inflow.ts";
import { parseHostToCore } from "./parse.ts";
import type { HostPermissions } from "./permissions.ts";
import { permissionFlags } from "./permissions.ts";
import type { OperatorRequest } from "./operator.ts";
import type { HostBinding, HostToCore } from "./protocol.ts";
import type { Listener } from "./telling.ts";
import { Telling } from "./telling.ts";
import { toRefusal } from "./trust-protocol.ts";

/** No frame for so long, and the process is taken for dead. */
const SILENCE_MILLISECONDS = 5000;
const WATCH_MILLISECONDS = 500;
/** Loading takes some hundred milliseconds on a laptop and a few seconds on a Pi. */
const START_MILLISECONDS = 30_000;
const STOP_MILLISECONDS = 2000;
const SIMULATE_MILLISECONDS = 5000;
const KILL_MILLISECONDS = 1000;
const FIRST_BACKOFF_MILLISECONDS = 50;
const MAXIMUM_BACKOFF_MILLISECONDS = 30_000;
/** A life this long forgives one doubling of the backoff. */
const GOOD_LIFE_MILLISECONDS = 30_000;
/** Requests that wait in the socket because the process does not read; more are refused with `busy`. */
const BACKLOG_BYTES = 4 * FRAME_BYTES;
/** Questions of an operator that are being answered. */
const ASKS_AT_ONCE = 8;
/** Of these a second, several times what all who may look at once ask for: each costs the core's thread some time. */
const ASKS_PER_SECOND = 200;

/** A young generation of Node's own size (16 MiB) would keep 5 to 10 MiB of garbage; a small one costs nothing measurable. */
const YOUNG_MIB = 1;

export interface HostProcessOptions extends Listener {
  /** Times as long before the process is taken for dead, or made to stop: 1 where absent, more on an emulated machine. */
  readonly patience?: number;
  /** Absolute path of the entry script. */
  readonly entry: string;
  /** Absolute path of the folder that holds the code and node_modules. */
  readonly root: string;
  readonly settings: CborInput;
  readonly permissions: HostPermissions;
  /** JavaScript heap in MiB. */
  readonly heapMiB: number;
  /** The process's whole environment; empty by default, so that nothing of the core's (NODE_OPTIONS, tokens) reaches it. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly onEvent: (binding: number, payload: Uint8Array) => void;
  /** Answers what an operator asks through the process; without it, asking breaks the protocol. @throws Refusal as the answer */
  readonly onAsk?: (request: OperatorRequest) => Promise<unknown>;
  /** True when the process has become ready, false when it died: its callers learn of the outage and its end. */
  readonly onAvailable?: (isAvailable: boolean) => void;
}

export interface RequestOptions {
  readonly binding: number;
  readonly operation: string;
  readonly numbers: readonly number[];
  readonly bytes: readonly Uint8Array[];
  readonly capacity: number;
  readonly timeoutMs: number;
}

/** As in the ABI: 0 and above success, below a kernel code. `bytes` are at most the request's capacity. */
export interface HostResult {
  readonly result: number;
  readonly bytes: Uint8Array;
}

interface Pending {
  readonly capacity: number;
  readonly timer: NodeJS.Timeout;
  readonly resolve: (result: HostResult) => void;
}

type State = "stopped" | "starting" | "ready" | "waiting" | "stopping";

export class HostProcess {
  #options: HostProcessOptions;
  readonly #telling: Telling;
  readonly #bindings = new Map<number, HostBinding>();
  readonly #pending = new Map<number, Pending>();
  #state: State = "stopped";
  #child: ChildProcess | undefined;
  #stream: Duplex | undefined;
  #nextRequest = 1;
  #backoff = 0;
  #startedAt = 0;
  #heardAt = 0;
  #watchedAt = 0;
  #restarts = 0;
  #asks = 0;
  #asksOfSecond = 0;
  #watch: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #second: NodeJS.Timeout | undefined;
  #started: { resolve: () => void; reject: (error: Refusal) => void } | undefined;

  constructor(options: HostProcessOptions) {
    this.#options = options;
    this.#telling = new Telling(options);
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** How often the process has been replaced since `start`. */
  get restarts(): number {
    return this.#restarts;
  }

  /**
   * Starts the process and resolves when it is ready.
   * @throws Refusal E_TIMEOUT or E_ABORTED where the first start fails; the process is then not retried.
   */
  start(bindings: readonly HostBinding[]): Promise<void> {
    if (this.#state !== "stopped") throw new Refusal("E_BUSY", `the ${this.#options.name} process is already started`);
    for (const binding of bindings) this.#bindings.set(binding.id, binding);
    const ready = new Promise<void>((resolve, reject) => {
      this.#started = { resolve, reject };
    });
    this.#watch = setInterval(() => {
      this.#look();
    }, WATCH_MILLISECONDS);
    this.#second = setInterval(() => {
      this.#asksOfSecond = 0;
      this.#telling.nextSecond();
    }, 1000);
    this.#spawn();
    return ready;
  }

  /** True before `start`, and where a start has failed. */
  get isStopped(): boolean {
    return this.#state === "stopped";
  }

  get permissions(): HostPermissions {
    return this.#options.permissions;
  }

  /**
   * Replaces the process by one with other permissions and settings; what was bound stays bound, requests under way are
   * cancelled. @throws Refusal as `start`
   */
  async replace(changes: Pick<HostProcessOptions, "permissions" | "settings">): Promise<void> {
    await this.stop();
    this.#options = { ...this.#options, ...changes };
    await this.start([]);
  }

  /** Binds more slots; they are kept over restarts. */
  bind(bindings: readonly HostBinding[]): void {
    for (const binding of bindings) this.#bindings.set(binding.id, binding);
    if (this.#isListening()) this.#send({ kind: "bind", bindings: bindings.map((binding) => ({ ...binding })) });
  }

  unbind(ids: readonly number[]): void {
    for (const id of ids) this.#bindings.delete(id);
    if (this.#isListening()) this.#send({ kind: "unbind", ids });
  }

  /** Carries out one operation. Always resolves: at once with `dead-peer` where the process is down, or dies meanwhile. */
  request(options: RequestOptions, signal?: AbortSignal): Promise<HostResult> {
    const { timeoutMs, ...fields } = options;
    if (!this.#isListening()) return Promise.resolve(failure("dead-peer"));
    if (signal?.aborted === true) return Promise.resolve(failure("cancelled"));
    if ((this.#stream?.writableLength ?? 0) > BACKLOG_BYTES) return Promise.resolve(failure("busy"));
    const id = this.#takeId();
    return new Promise((resolve) => {
      const giveUp = (result: HostResult) => {
        if (!this.#pending.has(id)) return;
        this.#settle(id, result);
        this.#send({ kind: "cancel", id });
      };
      const timer = setTimeout(giveUp, timeoutMs, failure("timeout"));
      const onAbort = () => {
        giveUp(failure("cancelled"));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#pending.set(id, {
        capacity: options.capacity,
        timer,
        resolve: (result) => {
          signal?.removeEventListener("abort", onAbort);
          resolve(result);
        },
      });
      this.#sendRequest(id, fields);
    });
  }

  /** Turns a quantity of a simulated device live: 0, not-found, invalid, or dead-peer. */
  async simulate(device: string, quantity: string, script: CborInput): Promise<number> {
    return (await this.#ask({ kind: "simulate", device, quantity, script }, 0)).result;
  }

  /** The simulated devices: CBOR in `bytes`, which is believed no further than any other reply. */
  simulators(): Promise<HostResult> {
    return this.#ask({ kind: "simulators" }, FRAME_BYTES);
  }

  #ask(message: { readonly [field: string]: CborInput }, capacity: number): Promise<HostResult> {
    if (!this.#isListening()) return Promise.resolve(failure("dead-peer"));
    return new Promise((resolve) => {
      const id = this.#takeId();
      const timer = setTimeout(() => {
        this.#settle(id, failure("timeout"));
      }, SIMULATE_MILLISECONDS);
      this.#pending.set(id, { capacity, timer, resolve });
      this.#send({ ...message, id });
    });
  }

  /** Asks the process to stop, then makes it. Resolves when it is gone. */
  async stop(): Promise<void> {
    const wasStarted = this.#state !== "stopped";
    this.#state = "stopping";
    clearInterval(this.#watch);
    clearInterval(this.#second);
    clearTimeout(this.#retry);
    this.#failPending("cancelled");
    this.#started?.reject(new Refusal("E_ABORTED", `the ${this.#options.name} process was stopped while it started`));
    this.#started = undefined;
    const child = this.#child;
    if (wasStarted && child !== undefined) await this.#end(child);
    this.#state = "stopped";
  }

  async #end(child: ChildProcess): Promise<void> {
    const gone = new Promise<boolean>((resolve) => child.once("close", () => resolve(true)));
    const within = (ms: number) => {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<boolean>((resolve) => {
        timer = setTimeout(resolve, ms, false);
      });
      return Promise.race([gone, late]).finally(() => {
        clearTimeout(timer);
      });
    };
    this.#send({ kind: "stop" });
    const { patience = 1 } = this.#options;
    if (await within(patience * STOP_MILLISECONDS)) return;
    child.kill("SIGTERM");
    if (await within(patience * KILL_MILLISECONDS)) return;
    child.kill("SIGKILL");
    await gone;
  }

  #spawn(): void {
    const { entry, root, permissions, heapMiB, settings } = this.#options;
    const heap = [`--max-old-space-size=${heapMiB}`, `--max-semi-space-size=${YOUNG_MIB}`];
    const flags = [...permissionFlags(root, permissions), ...heap];
    const child = spawn(process.execPath, [...flags, entry], {
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      env: { ...this.#options.environment },
    });
    // SAFETY: the fourth entry of stdio is "pipe", for which Node makes a socket pair.
    const stream = child.stdio[3] as Duplex;
    this.#state = "starting";
    this.#child = child;
    this.#stream = stream;
    this.#startedAt = this.#heardAt = this.#watchedAt = performance.now();
    this.#listen(child, stream);
    const bindings = Array.from(this.#bindings.values(), (binding) => ({ ...binding }));
    this.#send({ kind: "configure", settings, bindings });
  }

  #listen(child: ChildProcess, stream: Duplex): void {
    const reader = new FrameReader(HOST_FRAME_CBOR);
    const inflow = new Inflow();
    stream.on("data", (chunk: Uint8Array) => {
      if (this.#child !== child) return;
      this.#heardAt = performance.now();
      inflow.take(stream, chunk, () => this.#read(child, reader, chunk));
    });
    stream.on("error", () => undefined);
    const { stderr } = child;
    const errors = new Inflow();
    stderr?.on("data", (chunk: Uint8Array) => {
      errors.take(stderr, chunk, () => {
        this.#telling.stderr(chunk);
        return 1;
      });
    });
    child.on("error", (error) => {
      this.#gone(child, `could not be started: ${error.message}`);
    });
    child.on("close", (code, signal) => {
      this.#gone(child, signal === null ? `ended with code ${code ?? "unknown"}` : `was ended by ${signal}`);
    });
  }

  /** @returns how many frames the chunk completed */
  #read(child: ChildProcess, reader: FrameReader, chunk: Uint8Array): number {
    let frames = 0;
    try {
      reader.push(chunk, (value) => {
        frames++;
        this.#receive(parseHostToCore(value));
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#breach(child, error.describe());
    }
    return frames;
  }

  #receive(message: HostToCore): void {
    switch (message.kind) {
      case "ready":
        this.#becomeReady();
        return;
      case "reply":
        this.#reply(message);
        return;
      case "event":
        this.#event(message.binding, message.payload);
        return;
      case "status":
        this.#telling.status(message.state, message.text);
        return;
      case "log":
        this.#telling.log(message.level, message.text);
        return;
      case "ask":
        if (this.#options.onAsk === undefined) throw new Refusal("E_CBOR", "this process has nothing to ask");
        void this.#answer(message.id, message.request);
        return;
      case "heartbeat":
    }
  }

  /** What nobody could be given is not looked at. Who holds a reserved binding reads the payload's few items himself. */
  #event(id: number, payload: Uint8Array): void {
    const binding = this.#bindings.get(id);
    if (binding === undefined) return;
    if (binding.parameters["reserved"] !== true) {
      if (payload.length > LIMITS.payloadBytes) return;
      if (!isEventPayload(payload)) throw new Refusal("E_CBOR", "an event's payload is not strict CBOR");
    }
    this.#options.onEvent(id, payload);
  }

  #becomeReady(): void {
    if (this.#state !== "starting") throw new Refusal("E_CBOR", "a process says twice that it is ready");
    this.#state = "ready";
    this.#started?.resolve();
    this.#started = undefined;
    this.#options.onAvailable?.(true);
  }

  #reply({ id, result, bytes }: Extract<HostToCore, { kind: "reply" }>): void {
    const pending = this.#pending.get(id);
    // A reply that crossed with a cancel or a timeout.
    if (pending === undefined) return;
    if (bytes.length > pending.capacity || (result > bytes.length && pending.capacity > 0)) {
      throw new Refusal("E_SIZE", "a reply is longer than the room given, or than it says");
    }
    this.#settle(id, { result, bytes });
  }

  /** What it asks at once and does not read is what the core must hold for it: little. */
  async #answer(id: number, request: OperatorRequest): Promise<void> {
    const child = this.#child;
    // Who does not read his answers is owed no more of them, not even that he is refused one.
    if ((this.#stream?.writableLength ?? 0) > BACKLOG_BYTES) return;
    // An answer to a process that is gone must not reach its successor, which counts its questions anew.
    const send = (message: CborInput): void => {
      if (this.#child === child) this.#send(message);
    };
    try {
      if (++this.#asks > ASKS_AT_ONCE || ++this.#asksOfSecond > ASKS_PER_SECOND)
        throw new Refusal("E_BUSY", "too many questions at once");
      // SAFETY: what the operator sees is plain data.
      send({ kind: "answer", id, value: (await this.#options.onAsk?.(request)) as CborInput });
    } catch (error) {
      const { code, message, detail } = toRefusal(error);
      const short = (text: string): string => text.slice(0, LIMITS.logBytes).toWellFormed();
      send({ kind: "refused", id, code, message: short(message), hint: short(detail.hint ?? "") });
    } finally {
      this.#asks--;
    }
  }

  #settle(id: number, result: HostResult): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    pending.resolve(result);
  }

  #failPending(name: "dead-peer" | "cancelled"): void {
    for (const id of [...this.#pending.keys()]) this.#settle(id, failure(name));
  }

  /** A process that breaks the protocol is not reasoned with. */
  #breach(child: ChildProcess, reason: string): void {
    this.#telling.log(0, `the ${this.#options.name} process broke the protocol: ${reason}`);
    child.kill("SIGKILL");
    this.#gone(child, "broke the protocol");
  }

  #gone(child: ChildProcess, reason: string): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#stream?.destroy();
    this.#stream = undefined;
    if (this.#state === "stopping") return;
    const wasReady = this.#state === "ready";
    this.#state = "waiting";
    this.#failPending("dead-peer");
    if (wasReady) this.#options.onAvailable?.(false);
    if (this.#started !== undefined) return this.#giveUp(reason);
    this.#telling.log(0, `the ${this.#options.name} process ${reason}; it is started again`);
    this.#scheduleRestart();
  }

  #giveUp(reason: string): void {
    this.#started?.reject(new Refusal("E_ABORTED", `the ${this.#options.name} process ${reason} while it started`));
    this.#started = undefined;
    clearInterval(this.#watch);
    clearInterval(this.#second);
    this.#state = "stopped";
  }

  /** At once the first time, then doubling; each good life takes back one doubling. */
  #scheduleRestart(): void {
    const goodLives = Math.floor((performance.now() - this.#startedAt) / GOOD_LIFE_MILLISECONDS);
    const decayed = this.#backoff / 2 ** Math.min(goodLives, 20);
    const delay = decayed < FIRST_BACKOFF_MILLISECONDS ? 0 : decayed;
    this.#backoff = Math.min(Math.max(decayed * 2, FIRST_BACKOFF_MILLISECONDS), MAXIMUM_BACKOFF_MILLISECONDS);
    this.#restarts++;
    this.#retry = setTimeout(() => {
      this.#spawn();
    }, delay);
  }

  #look(): void {
    const now = performance.now();
    // Where this process itself was held up, what the other sent may still be unread: give it one more turn.
    const wasHeldUp = now - this.#watchedAt > 4 * WATCH_MILLISECONDS;
    this.#watchedAt = now;
    const child = this.#child;
    if (child === undefined || wasHeldUp) return;
    const patience = this.#options.patience ?? 1;
    const limit = patience * (this.#state === "starting" ? START_MILLISECONDS : SILENCE_MILLISECONDS);
    if (now - this.#heardAt <= limit) return;
    child.kill("SIGKILL");
    this.#gone(child, `was silent for ${Math.round(limit / 1000)} s`);
  }

  #takeId(): number {
    const id = this.#nextRequest;
    this.#nextRequest = id === 0xffff_ffff ? 1 : id + 1;
    return id;
  }

  #isListening(): boolean {
    return this.#state === "ready" || this.#state === "starting";
  }

  #sendRequest(id: number, fields: Omit<RequestOptions, "timeoutMs">): void {
    try {
      this.#send({ kind: "request", id, ...fields });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#settle(id, failure(error.code === "E_SIZE" ? "too-large" : "invalid"));
    }
  }

  #send(message: CborInput): void {
    const stream = this.#stream;
    if (stream?.writable === true) writeFrame(stream, message);
  }
}

function failure(name: "dead-peer" | "cancelled" | "timeout" | "busy" | "too-large" | "invalid"): HostResult {
  return { result: RESULT[name], bytes: new Uint8Array() };
}
