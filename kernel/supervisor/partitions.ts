/** The partitions of a kernel: started, wired to each other, watched, and replaced when they are lost. */
import { Ring, SharedCounters } from "../ipc/shared.ts";
import { LIMITS } from "../limits.ts";
import type { Freeze, Order, Report } from "../partition/protocol.ts";
import type { PartitionSpec } from "../system.ts";
import type { Delays } from "./delays.ts";
import type { KernelOptions } from "./events.ts";
import { PartitionHandle, PartitionThread } from "./partition.ts";
import type { RestartHistory } from "./restart.ts";

/** What the partitions tell, and ask, of those who know the modules. */
export interface PartitionsEnvironment {
  readonly onReport: (index: number, report: Report) => void;
  /** Tells a new partition, which knows of nothing yet, what it must know before a message can come. */
  readonly introduce: (index: number) => void;
  /** It is gone with everything in it. */
  readonly onLost: (index: number) => void;
  /** A new one stands in the place of one that was lost at `since`. */
  readonly onReplaced: (index: number, since: number) => void;
}

export type Statistics = Extract<Report, { type: "statistics" }>;

const WATCH_MS = 10;
/** For a thread that is blocked outside JavaScript: one that runs is found by its processor time. A laden machine is no fault. */
const DEFAULT_STUCK_MS = 5000;
/** A spare is made when what has just started, or been replaced, has had its time. */
const SPARE_DELAY_MS = 300;
const INSPECT_MS = 1000;

export class Partitions {
  /** One word for each edge: set where it is revoked. */
  readonly revocations = new SharedCounters(LIMITS.edges);
  readonly #environment: PartitionsEnvironment;
  readonly #options: KernelOptions;
  readonly #delays: Delays;
  readonly #all: PartitionHandle[] = [];
  /** Numbers of workers and of inspections, given once. */
  #lives = 0;
  #requests = 0;
  readonly #inspections = new Map<number, (answer: Statistics) => void>();
  #sliceFuel = 0;
  #watch: NodeJS.Timeout | undefined = undefined;
  #watchedAt = 0;
  #spare: PartitionThread | undefined = undefined;
  #isStopping = false;

  constructor(environment: PartitionsEnvironment, options: KernelOptions, delays: Delays) {
    this.#environment = environment;
    this.#options = options;
    this.#delays = delays;
  }

  get specs(): readonly PartitionSpec[] {
    return this.#all.map(({ spec }) => spec);
  }

  /** True while a thread waits to take the place of a partition that is lost. */
  get hasSpare(): boolean {
    return this.#spare !== undefined;
  }

  /** Starts the workers and the watch over them. */
  async start(specs: readonly PartitionSpec[], sliceFuel: number): Promise<void> {
    this.#sliceFuel = sliceFuel;
    await Promise.all(specs.map((spec) => this.add(spec)));
    this.#watchedAt = performance.now();
    this.#watch = setInterval(() => this.#watchAll(), WATCH_MS);
    this.#prepareSpare();
  }

  async add(spec: PartitionSpec): Promise<void> {
    await this.#launch(this.#all.length, spec).started();
  }

  /** Nobody is replaced any more, but orders still go out. */
  beginStop(): void {
    this.#isStopping = true;
    clearInterval(this.#watch);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#spare?.worker.terminate(), ...this.#all.map((partition) => partition.kill())]);
  }

  /** False also where there is none. One that is dead answers no order, and tells its end no second time. */
  isAlive(index: number): boolean {
    return this.#all[index]?.isAlive === true;
  }

  /** The partition that is in this place now; one that replaces it is another. */
  at(index: number): PartitionHandle | undefined {
    return this.#all[index];
  }

  order(index: number, order: Order): void {
    this.#all[index]?.order(order);
  }

  broadcast(order: Order): void {
    for (const partition of this.#all) partition.order(order);
  }

  /** Which life of a partition a module leaves, and whose messages to it may still be under way. */
  departure(index: number): { partition: number; life: number; others: readonly number[] } | undefined {
    const from = this.#all[index];
    const alive = this.#all.filter((other) => other !== from && other.isAlive);
    return from && { partition: index, life: from.life, others: alive.map((other) => other.index) };
  }

  /** Makes a partition stop answering, as a fault of the kernel would: for tests of the watch. */
  freeze(name: string, where: Freeze): void {
    this.#all.find(({ spec }) => spec.name === name)?.order({ type: "freeze", where });
  }

  /** What each partition counts, in their order; undefined for one that does not answer in time. */
  async inspect(
    trace?: boolean,
    withinMs = INSPECT_MS * (this.#options.patience ?? 1),
  ): Promise<(Statistics | undefined)[]> {
    return await Promise.all(this.#all.map((partition) => this.#inspect(partition, trace, withinMs)));
  }

  /** One that is stuck is ended, and another takes its place. */
  kill(index: number, reason: string): void {
    const partition = this.#all[index];
    if (partition === undefined) return;
    void partition.kill().then((confirmed) => {
      if (!confirmed) this.#options.onEvent({ type: "partition-unkillable", partition: partition.spec.name });
    });
    this.replace(index, reason);
  }

  onReport(index: number, report: Report): void {
    if (report.type === "statistics") this.#inspections.get(report.request)?.(report);
    else this.#environment.onReport(index, report);
  }

  /** A partition has ended without being told to: a new one takes its place. */
  replace(index: number, reason: string): void {
    const lost = this.#all[index];
    if (this.#isStopping || lost === undefined) return;
    const since = performance.now();
    this.#options.onEvent({ type: "partition-lost", partition: lost.spec.name, reason });
    this.#environment.onLost(index);
    const verdict = lost.history.failed(since);
    this.#delays.after(verdict.action === "restart" ? verdict.delayMs : 0, () => {
      if (!this.#isStopping) this.#revive(lost, since);
    });
  }

  #revive({ index, spec, history }: PartitionHandle, since: number): void {
    const replacement = this.#launch(index, spec, history);
    this.#environment.onReplaced(index, since);
    const tell = (): void => {
      const milliseconds = performance.now() - since;
      this.#options.onEvent({ type: "partition-replaced", partition: spec.name, milliseconds });
    };
    replacement.started().then(tell, () => undefined);
  }

  /** Starts a partition in that place, with new rings between it and every other. */
  #launch(index: number, spec: PartitionSpec, history?: RestartHistory): PartitionHandle {
    const { buffer: revocations } = this.revocations;
    const spare = this.#spare?.heapMiB === spec.heapMiB ? this.#spare : undefined;
    if (spare !== undefined) this.#prepareSpare();
    const { patience = 1 } = this.#options;
    const life = ++this.#lives;
    const birth = { index, life, spec, sliceFuel: this.#sliceFuel, patience, revocations, history };
    const partition = new PartitionHandle(birth, spare ?? new PartitionThread(spec.heapMiB), this);
    this.#all[index] = partition;
    this.#environment.introduce(index);
    for (const other of this.#all) {
      if (other === partition) continue;
      const there = Ring.allocate(LIMITS.channelBytes);
      const back = Ring.allocate(LIMITS.channelBytes);
      partition.connect(other, back, there);
      other.connect(partition, there, back);
    }
    return partition;
  }

  /** Makes a thread that waits, with the heap of the first partition: one of another heap starts from nothing. */
  #prepareSpare(): void {
    this.#spare = undefined;
    const [first] = this.#all;
    if (this.#options.spare !== true || first === undefined) return;
    this.#delays.after(SPARE_DELAY_MS, () => {
      const spare = new PartitionThread(first.spec.heapMiB);
      this.#spare = spare;
      spare.worker.once("exit", () => {
        if (this.#spare === spare) this.#spare = undefined;
      });
    });
  }

  #watchAll(): void {
    const now = performance.now();
    const lateMs = Math.max(0, now - this.#watchedAt - 2 * WATCH_MS);
    this.#watchedAt = now;
    const stuckMs = this.#options.stuckMs ?? DEFAULT_STUCK_MS;
    for (const partition of this.#all) partition.watch(now, lateMs, stuckMs);
  }

  #inspect(partition: PartitionHandle, trace: boolean | undefined, ms: number): Promise<Statistics | undefined> {
    return new Promise((resolve) => {
      const request = ++this.#requests;
      const finish = (answer?: Statistics): void => {
        clearTimeout(timer);
        this.#inspections.delete(request);
        resolve(answer);
      };
      const timer = setTimeout(finish, ms);
      this.#inspections.set(request, finish);
      partition.order({ type: "inspect", request, trace });
    });
  }
}
