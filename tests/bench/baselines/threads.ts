/** What a user would take instead between two threads: MessageChannel, Atomics.wait and notify, a bare worker. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";

const PING = 0;
const PONG = 1;

export class Peer {
  readonly #words = new Int32Array(new SharedArrayBuffer(8));
  readonly #worker = new Worker(new URL("peer.ts", import.meta.url), { workerData: { words: this.#words } });

  /** Round trips of one 64-byte message over the worker's MessagePort. */
  async roundTrips(count: number): Promise<void> {
    const message = new Uint8Array(64);
    message[0] = 1;
    await new Promise<void>((resolve) => {
      let left = count;
      const onMessage = (reply: Uint8Array): void => {
        if (--left > 0) this.#worker.postMessage(reply);
        else {
          this.#worker.off("message", onMessage);
          resolve();
        }
      };
      this.#worker.on("message", onMessage);
      this.#worker.postMessage(message);
    });
  }

  /** Messages one way, the last of which is answered. */
  async flood(count: number): Promise<void> {
    const message = new Uint8Array(64);
    for (let index = 1; index < count; index++) this.#worker.postMessage(message);
    message[0] = 1;
    const answered = once(this.#worker, "message");
    this.#worker.postMessage(message);
    await answered;
  }

  /** Makes the other thread ready for that many round trips of `pingPong`. */
  async ready(count: number): Promise<void> {
    const ready = once(this.#worker, "message");
    this.#worker.postMessage({ pong: count });
    await ready;
  }

  /** Raw `Atomics.wait` and `notify`, there and back. */
  pingPong(count: number): void {
    const words = this.#words;
    const start = Atomics.load(words, PONG);
    for (let round = 0; round < count; round++) {
      Atomics.add(words, PING, 1);
      Atomics.notify(words, PING);
      while (Atomics.load(words, PONG) === start + round) Atomics.wait(words, PONG, start + round);
    }
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Milliseconds from nothing to a worker that runs its first line. */
export async function bareWorkerMilliseconds(): Promise<number> {
  const started = performance.now();
  const worker = new Worker("require('node:worker_threads').parentPort.postMessage(1)", { eval: true });
  await once(worker, "message");
  const milliseconds = performance.now() - started;
  await worker.terminate();
  return milliseconds;
}
