/** What one process may make the core take in at a time: whatever it sends, the core's thread stays its own. */
import { performance } from "node:perf_hooks";
import type { Readable } from "node:stream";

/** In one window; a process that sends more waits. */
const WINDOW_MILLISECONDS = 100;
const WINDOW_FRAMES = 2000;
/** An event's payload is checked item by item: this many bytes of the smallest take 30 to 60 ms on a laptop. */
export const WINDOW_BYTES = 512 * 1024;

export class Inflow {
  readonly #clock: () => number;
  #frames = 0;
  #bytes = 0;
  #spent = 0;
  #ends = 0;

  constructor(clock = () => performance.now()) {
    this.#clock = clock;
  }

  /** Handles a chunk; what follows waits where the window is full, and at least as long as the core was kept busy. */
  take(stream: Readable, chunk: Uint8Array, handle: () => number): void {
    const begun = this.#clock();
    if (begun >= this.#ends) {
      this.#frames = this.#bytes = this.#spent = 0;
      this.#ends = begun + WINDOW_MILLISECONDS;
    }
    this.#bytes += chunk.length;
    this.#frames += handle();
    const now = this.#clock();
    this.#spent += now - begun;
    if (this.#frames > WINDOW_FRAMES || this.#bytes > WINDOW_BYTES) {
      this.#ends = Math.max(this.#ends, now + this.#spent);
      holdBack(stream, this.#ends - now);
    }
  }
}

/** Lets the stream wait; its buffers fill, and the writer at the other end with them. */
function holdBack(stream: Readable, milliseconds: number): void {
  stream.pause();
  setTimeout(() => stream.resume(), Math.max(milliseconds, 1));
}
