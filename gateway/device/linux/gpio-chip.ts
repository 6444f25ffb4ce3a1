/** One GPIO chip of the host, through the GPIO v2 character device: lines by descriptor, edges by poll in a thread. */
import { MessageChannel, Worker } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import type { ResultName } from "../../../kernel/index.ts";
import { DeviceFailure } from "../failure.ts";
import type { Edges, GpioChip, GpioLine, Level, LineRequest } from "../gpio.ts";
import { workerUrl } from "./bus-thread.ts";
import { loadNative } from "./native.ts";
import type { Native } from "./native.ts";

export interface GpioThreadData {
  readonly path: string;
  readonly library: string | null;
  /** The eventfd that announces commands. */
  readonly wake: number;
  readonly port: MessagePort;
}

/** `line` is a number of this side's choosing, for one request; `offset` is the line's place on its chip. */
export type GpioCommand =
  | {
      readonly kind: "request";
      readonly id: number;
      readonly line: number;
      readonly offset: number;
      readonly direction: "in" | "out";
      readonly edges: Edges;
      readonly consumer: string;
    }
  | { readonly kind: "get"; readonly id: number; readonly line: number }
  | { readonly kind: "set"; readonly id: number; readonly line: number; readonly level: Level }
  | { readonly kind: "release"; readonly id: number; readonly line: number }
  | { readonly kind: "stop" };

export type GpioNews =
  | { readonly kind: "done"; readonly id: number; readonly value: number }
  | { readonly kind: "failed"; readonly id: number; readonly result: ResultName; readonly message: string }
  | {
      readonly kind: "edge";
      readonly line: number;
      readonly level: Level;
      readonly nanoseconds: bigint;
      /** The kernel's count of the line's edges: a gap means that some were lost. */
      readonly sequence: number;
    }
  /** The chip was unplugged: the line's descriptor is closed. */
  | { readonly kind: "lost"; readonly line: number };

const RECOVER_MS = 1000;

type WithoutId<T> = T extends { readonly id: number } ? Omit<T, "id"> : never;

interface Pending {
  readonly resolve: (value: number) => void;
  readonly reject: (failure: DeviceFailure) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly native: Native;
  readonly wake: number;
}

export class LinuxGpioChip implements GpioChip {
  readonly description: string;
  readonly #path: string;
  readonly #library: string | null;
  readonly #pending = new Map<number, Pending>();
  readonly #requests = new Map<number, { readonly request: LineRequest; readonly ask: () => Promise<number> }>();
  #thread: Thread | undefined;
  #next = 1;

  constructor(path: string, library: string | null = null) {
    this.description = `linux ${path}`;
    this.#path = path;
    this.#library = library;
  }

  async request(request: LineRequest): Promise<GpioLine> {
    const line = this.#next++;
    const ask = () => this.#ask({ ...commandOf(request), line });
    await ask();
    this.#requests.set(line, { request, ask });
    return {
      get: () => this.#again(line, ask, { kind: "get", line }).then((value) => (value === 1 ? 1 : 0)),
      set: async (level) => {
        await this.#again(line, ask, { kind: "set", line, level });
      },
      release: () => {
        this.#requests.delete(line);
        this.#ask({ kind: "release", line }).catch(() => undefined);
      },
    };
  }

  close(): void {
    const thread = this.#thread;
    this.#thread = undefined;
    if (thread === undefined) return;
    thread.port.postMessage({ kind: "stop" } satisfies GpioCommand);
    ring(thread);
    thread.worker.once("exit", () => thread.native.close(thread.wake));
  }

  /** A line whose chip was unplugged is requested once more before it is used. */
  async #again(line: number, request: () => Promise<number>, command: WithoutId<GpioCommand>): Promise<number> {
    try {
      return await this.#ask(command);
    } catch (error) {
      const isLost = error instanceof DeviceFailure && error.result === "not-found" && this.#requests.has(line);
      if (!isLost) throw error;
      await request();
      return this.#ask(command);
    }
  }

  #ask(command: WithoutId<GpioCommand>): Promise<number> {
    const thread = (this.#thread ??= this.#start());
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      thread.port.postMessage({ ...command, id });
      ring(thread);
    });
  }

  #start(): Thread {
    const native = loadNative(this.#library);
    const wake = native.eventfd();
    const { port1, port2 } = new MessageChannel();
    const workerData: GpioThreadData = { path: this.#path, library: this.#library, wake, port: port2 };
    const worker = new Worker(workerUrl("gpio-worker"), { workerData, transferList: [port2] });
    worker.unref();
    port1.on("message", (news: GpioNews) => {
      this.#receive(news);
    });
    port1.unref();
    worker.on("error", (error) => {
      this.#fail(error instanceof Error ? error.message : String(error));
    });
    return { worker, port: port1, native, wake };
  }

  #receive(news: GpioNews): void {
    if (news.kind === "edge") this.#requests.get(news.line)?.request.onEdge(news.level, news.nanoseconds);
    if (news.kind === "lost") this.#recover(news.line);
    if (news.kind === "edge" || news.kind === "lost") return;
    const pending = this.#pending.get(news.id);
    this.#pending.delete(news.id);
    if (news.kind === "done") pending?.resolve(news.value);
    else pending?.reject(new DeviceFailure(news.result, news.message));
  }

  /** A chip that was unplugged is looked for: whoever waits for edges does not ask. */
  #recover(line: number): void {
    setTimeout(() => {
      this.#requests
        .get(line)
        ?.ask()
        .catch(() => {
          this.#recover(line);
        });
    }, RECOVER_MS).unref();
  }

  #fail(reason: string): void {
    this.#thread = undefined;
    for (const { reject } of this.#pending.values()) reject(new DeviceFailure("io", reason));
    this.#pending.clear();
  }
}

function commandOf({ line, direction, edges, consumer }: LineRequest) {
  return { kind: "request", offset: line, direction, edges, consumer } as const;
}

/** Adds one to the eventfd: the thread's poll returns. */
function ring({ native, wake }: Thread): void {
  native.write(wake, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
}
