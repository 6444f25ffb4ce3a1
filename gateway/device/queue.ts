/** One bus, one transfer at a time: first come first served for each device, turn by turn among the devices. */
import { performance } from "node:perf_hooks";
import { DeviceFailure } from "./failure.ts";

/** Transfers of one device that may wait: a module has one blocking call at a time, so more is a mistake somewhere. */
const WAITING_PER_DEVICE = 16;

/** A transfer that is overdue by so many time limits will not come back. */
const HUNG_LIMITS = 10;

interface Job {
  readonly run: () => Promise<void>;
  readonly giveUp: (failure: DeviceFailure) => void;
}

/**
 * Shares a bus among its devices. A transfer that does not end within the time limit fails its caller; the bus is then
 * taken for hung and answers nobody until that transfer comes back, for on the wire it may still be going on.
 */
export class BusQueue {
  readonly #name: string;
  readonly #limitMs: number;
  readonly #onHung: ((text: string) => void) | undefined;
  readonly #waiting = new Map<number, Job[]>();
  /** Devices with waiting jobs, the next one to be served first. */
  readonly #turns: number[] = [];
  #isBusy = false;
  #hungSince: number | undefined;

  /** `onHung` is told when a bus has hung for so long that only a new process can help: no native call can be taken back. */
  constructor(name: string, limitMs: number, onHung?: (text: string) => void) {
    this.#name = name;
    this.#limitMs = limitMs;
    this.#onHung = onHung;
  }

  /** Milliseconds for which a transfer has been overdue; 0 where the bus is well. */
  get hungMs(): number {
    return this.#hungSince === undefined ? 0 : performance.now() - this.#hungSince;
  }

  /** Runs the transfer when its turn comes. @throws DeviceFailure busy, timeout, io or cancelled, or what the transfer throws. */
  run<T>(device: number, signal: AbortSignal, transfer: () => Promise<T>): Promise<T> {
    if (signal.aborted) return Promise.reject(new DeviceFailure("cancelled", "given up before it began"));
    if (this.#hungSince !== undefined) return Promise.reject(this.#hungFailure());
    const jobs = this.#waiting.get(device) ?? [];
    if (jobs.length >= WAITING_PER_DEVICE) {
      return Promise.reject(new DeviceFailure("busy", `${this.#name}: too many transfers of one device wait`));
    }
    return new Promise<T>((resolve, reject) => {
      const job: Job = { run: () => this.#limited(transfer, resolve, reject), giveUp: reject };
      const onAbort = () => {
        if (this.#remove(device, job)) reject(new DeviceFailure("cancelled", "given up while it waited"));
      };
      signal.addEventListener("abort", onAbort, { once: true });
      if (jobs.length === 0) this.#turns.push(device);
      this.#waiting.set(device, [...jobs, job]);
      this.#next();
    });
  }

  #limited<T>(
    transfer: () => Promise<T>,
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
  ): Promise<void> {
    let giveUp: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      this.#hungSince = performance.now();
      giveUp = setTimeout(() => {
        this.#onHung?.(`${this.#name}: a transfer has not come back for ${HUNG_LIMITS * this.#limitMs} ms`);
      }, HUNG_LIMITS * this.#limitMs);
      reject(new DeviceFailure("timeout", `${this.#name}: a transfer took longer than ${this.#limitMs} ms`));
      this.#failWaiting();
    }, this.#limitMs);
    return transfer()
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer);
        clearTimeout(giveUp);
        this.#hungSince = undefined;
      });
  }

  #next(): void {
    if (this.#isBusy) return;
    const device = this.#turns.shift();
    if (device === undefined) return;
    const [job, ...rest] = this.#waiting.get(device) ?? [];
    if (rest.length === 0) this.#waiting.delete(device);
    else {
      this.#waiting.set(device, rest);
      this.#turns.push(device);
    }
    if (job === undefined) {
      this.#next();
      return;
    }
    this.#isBusy = true;
    void job.run().finally(() => {
      this.#isBusy = false;
      this.#next();
    });
  }

  #remove(device: number, job: Job): boolean {
    const jobs = this.#waiting.get(device);
    if (jobs?.includes(job) !== true) return false;
    const rest = jobs.filter((other) => other !== job);
    if (rest.length > 0) this.#waiting.set(device, rest);
    else {
      this.#waiting.delete(device);
      this.#turns.splice(this.#turns.indexOf(device), 1);
    }
    return true;
  }

  #failWaiting(): void {
    const jobs = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    this.#turns.length = 0;
    for (const job of jobs) job.giveUp(this.#hungFailure());
  }

  #hungFailure(): DeviceFailure {
    return new DeviceFailure("io", `${this.#name}: the bus hangs`);
  }
}
