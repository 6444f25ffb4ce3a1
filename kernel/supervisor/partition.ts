/** The supervisor's side of one partition: its worker, its control words, its orders and reports. */
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { PartitionControl, type SharedBuffer } from "../ipc/shared.ts";
import type { Order, PartitionData, PartitionSeat, Report } from "../partition/protocol.ts";
import type { PartitionSpec } from "../system.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Partitions } from "./partitions.ts";
import { RestartHistory } from "./restart.ts";

/** What distinguishes one worker from another. */
export interface PartitionBirth extends PartitionData {
  readonly spec: PartitionSpec;
  /** Times as long, in processor time too, before its thread counts as stuck. */
  readonly patience: number;
  /** The failures of its predecessors. */
  readonly history?: RestartHistory | undefined;
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

/** A worker thread with the kernel's code loaded, which waits for the partition that it is to be. */
export class PartitionThread {
  readonly heapMiB: number;
  readonly control = new PartitionControl();
  readonly worker: Worker;
  readonly port: MessagePort;

  constructor(heapMiB: number) {
    this.heapMiB = heapMiB;
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    const seat: PartitionSeat = { control: this.control.buffer, port: port2 };
    this.worker = new Worker(WORKER, {
      name: "partition",
      workerData: seat,
      transferList: [port2],
      resourceLimits: { maxOldGenerationSizeMb: heapMiB, stackSizeMb: STACK_MIB },
    });
    // Without a listener an error would be the process's; one that dies as a spare is found dead when it is taken.
    this.worker.on("error", () => undefined);
  }
}

export class PartitionHandle {
  readonly index: number;
  readonly life: number;
  readonly spec: PartitionSpec;
  readonly control: PartitionControl;
  readonly history: RestartHistory;
  readonly #thread: PartitionThread;
  readonly #owner: Partitions;
  readonly #up: Promise<void>;
  readonly #born = performance.now();
  readonly #patience: number;
  readonly #heartbeat = new Heartbeat();
  #isUp = false;
  #isAsked = false;
  #ended = false;

  constructor(birth: PartitionBirth, thread: PartitionThread, owner: Partitions) {
    const { index, life, spec, sliceFuel, revocations } = birth;
    this.history = birth.history ?? new RestartHistory(PARTITION_RULE);
    this.index = index;
    this.life = life;
    this.spec = spec;
    this.#patience = birth.patience;
    this.#owner = owner;
    this.#thread = thread;
    this.control = thread.control;
    const { worker, port } = thread;
    this.#up = new Promise((resolve, reject) => {
      port.on("message", (report: Report) => {
        if (this.#ended) return;
        if (report.type !== "up") return owner.onReport(index, report);
        this.#isUp = true;
        resolve();
      });
      worker.on("error", (error: unknown) => {
        const failure = error instanceof Error ? error : new Error(String(error));
        reject(failure);
        this.#lost(failure.message);
      });
      worker.on("exit", (code) => this.#lost(`its thread ended with code ${code}`));
    });
    // A failure to start reaches the caller through `started`; without one it is a loss like any other.
    this.#up.catch(() => undefined);
    const data: PartitionData = { index, life, revocations, sliceFuel };
    port.postMessage(data);
    this.control.announceOrder();
  }

  get isAlive(): boolean {
    return !this.#ended;
  }

  /** Resolves when the worker has entered its loop. */
  started(): Promise<void> {
    return this.#up;
  }

  order(order: Order): void {
    if (this.#ended) return;
    this.#thread.port.postMessage(order);
    this.control.announceOrder();
  }

  /** Gives it the rings to and from another. */
  connect({ index: partition, life, control }: PartitionHandle, incoming: SharedBuffer, outgoing: SharedBuffer): void {
    this.order({ type: "channel", partition, life, control: control.buffer, incoming, outgoing });
  }

  /** Looks for a sign of life, `lateMs` later than it should have; its start has a limit of its own. */
  watch(now: number, lateMs: number, stuckMs: number): void {
    if (this.#ended) return;
    if (!this.#isUp) {
      const limit = START_MS * this.#patience;
      if (now - this.#born > limit) this.#owner.kill(this.index, `it has not started within ${limit} ms`);
      return;
    }
    const pulse = this.control.pulse();
    const silence = this.#heartbeat.look(now, lateMs, pulse);
    if (silence >= stuckMs * this.#patience)
      this.#owner.kill(this.index, `no sign of life for ${stuckMs * this.#patience} ms`);
    else if (silence > 0 && !this.#isAsked && !this.control.hasPatience) void this.#ask(pulse);
  }

  /** Asks the thread how much processor time it has used. One that is blocked outside JavaScript does not answer. */
  async #ask(pulse: number | undefined): Promise<void> {
    this.#isAsked = true;
    try {
      const { user, system } = await this.#thread.worker.cpuUsage();
      const isStuck = this.control.pulse() === pulse && !this.control.hasPatience;
      if (isStuck && !this.#ended && this.#heartbeat.used(pulse, (user + system) / 1000 / this.#patience)) {
        this.#owner.kill(this.index, "it runs without a sign of life");
      }
    } catch {
      // It has just ended: its exit says so.
    }
    this.#isAsked = false;
  }

  /** Ends the worker whatever it is doing. @returns false where that could not be confirmed within a second. */
  async kill(): Promise<boolean> {
    this.#ended = true;
    this.#thread.port.close();
    let timer: NodeJS.Timeout | undefined;
    const overdue = new Promise<false>((resolve) => {
      timer = setTimeout(resolve, TERMINATION_MS * this.#patience, false as const);
    });
    const confirmed = await Promise.race([this.#thread.worker.terminate().then(() => true), overdue]);
    clearTimeout(timer);
    return confirmed;
  }

  #lost(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#thread.port.close();
    this.#owner.replace(this.index, reason);
  }
}
