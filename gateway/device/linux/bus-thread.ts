/** The main thread's end of a bus thread: a promise for each blocking transfer, and the Linux buses made of it. */
import { Worker } from "node:worker_threads";
import type { ResultName } from "../../../kernel/index.ts";
import { DeviceFailure } from "../failure.ts";
import type { I2cBus, I2cMessage } from "../i2c.ts";
import type { SpiBus, SpiDevice } from "../spi.ts";

export interface BusThreadData {
  readonly path: string;
  /** A library in libc's place, for tests. */
  readonly library: string | null;
}

export type BusRequest =
  | { readonly id: number; readonly kind: "i2c"; readonly address: number; readonly messages: readonly I2cMessage[] }
  | { readonly id: number; readonly kind: "spi"; readonly device: SpiDevice; readonly bytes: Uint8Array };

export type BusReply =
  | { readonly id: number; readonly bytes: Uint8Array }
  | { readonly id: number; readonly result: ResultName; readonly message: string };

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

interface Pending {
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (failure: DeviceFailure) => void;
}

/** A worker beside this file, in TypeScript or compiled. */
export function workerUrl(name: string): URL {
  return new URL(`./${name}.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);
}

/** Starts the thread with the first transfer, and another one where it dies. */
export class BusThread {
  readonly #data: BusThreadData;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #next = 1;

  constructor(data: BusThreadData) {
    this.#data = data;
  }

  /** @throws DeviceFailure */
  call(request: WithoutId<BusRequest>): Promise<Uint8Array> {
    const worker = (this.#worker ??= this.#start());
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.postMessage({ ...request, id });
    });
  }

  close(): void {
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  #start(): Worker {
    const worker = new Worker(workerUrl("bus-worker"), { workerData: this.#data });
    worker.unref();
    worker.on("message", (reply: BusReply) => {
      const pending = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if ("bytes" in reply) pending?.resolve(reply.bytes);
      else pending?.reject(new DeviceFailure(reply.result, reply.message));
    });
    worker.on("error", (error) => {
      this.#fail(worker, error instanceof Error ? error.message : String(error));
    });
    worker.on("exit", () => {
      this.#fail(worker, "the thread of the bus ended");
    });
    return worker;
  }

  #fail(worker: Worker, reason: string): void {
    if (this.#worker === worker) this.#worker = undefined;
    for (const { reject } of this.#pending.values()) reject(new DeviceFailure("io", reason));
    this.#pending.clear();
  }
}

export class LinuxI2cBus implements I2cBus {
  readonly description: string;
  readonly #thread: BusThread;

  constructor(path: string, library: string | null = null) {
    this.description = `linux ${path}`;
    this.#thread = new BusThread({ path, library });
  }

  transfer(address: number, messages: readonly I2cMessage[]): Promise<Uint8Array> {
    return this.#thread.call({ kind: "i2c", address, messages });
  }

  close(): void {
    this.#thread.close();
  }
}

export class LinuxSpiBus implements SpiBus {
  readonly description: string;
  readonly #thread: BusThread;

  /** `prefix` is `/dev/spidev0.`, to which the chip select is added. */
  constructor(prefix: string, library: string | null = null) {
    this.description = `linux ${prefix}*`;
    this.#thread = new BusThread({ path: prefix, library });
  }

  transfer(device: SpiDevice, bytes: Uint8Array): Promise<Uint8Array> {
    return this.#thread.call({ kind: "spi", device, bytes });
  }

  close(): void {
    this.#thread.close();
  }
}
