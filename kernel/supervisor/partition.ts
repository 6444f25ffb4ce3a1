/** The supervisor's side of one partition: its worker, its control words, its orders and reports. */
import { MessageChannel, Worker } from "node:worker_threads";
import type { MessagePort } from "node:worker_threads";
import { PartitionControl } from "../ipc/shared.ts";
import type { SharedBuffer } from "../ipc/shared.ts";
import type { Order, PartitionData, Report } from "../partition/protocol.ts";
import type { PartitionSpec } from "../system.ts";
import { RestartHistory } from "./restart.ts";

/** What distinguishes one worker from another. */
export interface PartitionBirth {
  readonly index: number;
  readonly life: number;
  readonly spec: PartitionSpec;
  readonly sliceFuel: number;
  readonly revocations: SharedBuffer;
  /** The failures of its predecessors. */
  readonly history?: RestartHistory;
}

export interface PartitionCallbacks {
  readonly onReport: (report: Report) => void;
  /** The worker has ended without being told to. */
  readonly onLost: (reason: string) => void;
}

/** Stack of a worker in MiB: the metered allowance of a guest plus headroom for the host's own frames. */
const STACK_MIB = 4;
const TERMINATION_MS = 1000;
/** A partition that dies again and again comes back more and more slowly, and always comes back. */
const PARTITION_RULE = Object.freeze({
  policy: "restart",
  intensity: Number.POSITIVE_INFINITY,
  windowMs: 60_000,
  backoffMs: 50,
  maximumBackoffMs: 10_000,
});

/** A worker that has not entered its loop by then never will; a busy Pi takes seconds to start one. */
const START_MS = 30_000;

// Compiled to JavaScript, the worker's file has this file's own ending.
const WORKER = new URL(
  `../partition/worker${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`,
  import.meta.url,
);

export class PartitionHandle {
  readonly index: number;
  readonly life: number;
  readonly spec: PartitionSpec;
  readonly control = new PartitionControl();
  readonly history: RestartHistory;
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #callbacks: PartitionCallbacks;
  readonly #up: Promise<void>;
  readonly #born = performance.now();
  #isUp = false;
  #pulse: number | undefined = undefined;
  #pulseSince = 0;
  #ended = false;

  constructor(birth: PartitionBirth, callbacks: PartitionCallbacks) {
    const { index, life, spec, sliceFuel, revocations } = birth;
    this.history = birth.history ?? new RestartHistory(PARTITION_RULE);
    this.index = index;
    this.life = life;
    this.spec = spec;
    this.#callbacks = callbacks;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const control = this.control.buffer;
    const data: PartitionData = { index, life, name: spec.name, control, revocations, sliceFuel, port: port2 };
    this.#worker = new Worker(WORKER, {
      name: `partition ${spec.name}`,
      workerData: data,
      transferList: [port2],
      resourceLimits: { maxOldGenerationSizeMb: spec.heapMiB, stackSizeMb: STACK_MIB },
    });
    this.#up = new Promise((resolve, reject) => {
      this.#port.on("message", (report: Report) => {
        if (this.#ended) return;
        if (report.type !== "up") {
          callbacks.onReport(report);
          return;
        }
        this.#isUp = true;
        resolve();
      });
      this.#worker.on("error", (error: unknown) => {
        const failure = error instanceof Error ? error : new Error(String(error));
        reject(failure);
        this.#lost(failure.message);
      });
      this.#worker.on("exit", (code) => {
        this.#lost(`its thread ended with code ${code}`);
      });
    });
    // A failure to start reaches the caller through `started`; without one it is a loss like any other.
    this.#up.catch(() => undefined);
  }

  /** Resolves when the worker has entered its loop. */
  started(): Promise<void> {
    return this.#up;
  }

  order(order: Order): void {
    if (this.#ended) return;
    this.#port.postMessage(order);
    this.control.announceOrder();
  }

  /** Milliseconds for which a partition that is awake has shown no sign of life; its start has a limit of its own. */
  silence(now: number): number {
    if (this.#ended) return 0;
    if (!this.#isUp) {
      this.#pulseSince = now;
      return now - this.#born < START_MS ? 0 : now - this.#born;
    }
    const pulse = this.control.pulse();
    if (pulse === undefined || pulse !== this.#pulse) {
      this.#pulse = pulse;
      this.#pulseSince = now;
      return 0;
    }
    return now - this.#pulseSince;
  }

  /** Ends the worker whatever it is doing. @returns false where that could not be confirmed within a second. */
  async kill(): Promise<boolean> {
    this.#ended = true;
    this.#port.close();
    let timer: NodeJS.Timeout | undefined;
    const overdue = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, TERMINATION_MS, false as const);
    });
    const confirmed = await Promise.race([this.#worker.terminate().then(() => true), overdue]);
    clearTimeout(timer);
    return confirmed;
  }

  #lost(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.close();
    this.#callbacks.onLost(reason);
  }
}
