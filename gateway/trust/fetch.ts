/** Fetches one wasm from the broker, block by block, four at a time, into a part file that a restart continues. */

import { Refusal } from "../../kernel/index.ts";
import { blockCount, topics } from "../wire/update-topics.ts";
import type { Clock } from "./effects.ts";
import { abortReason } from "./inbox.ts";
import type { Inbox } from "./inbox.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import type { UpdateTimes } from "./limits.ts";
import type { Part } from "./part.ts";

export interface FetchOptions {
  readonly inbox: Inbox;
  readonly clock: Clock;
  readonly times: UpdateTimes;
  readonly signal: AbortSignal;
  /** Called after each block that the part has taken. */
  readonly onBlock: () => void;
}

/**
 * Resolves when the part is complete; its digest has not been looked at yet.
 * @throws Refusal E_SIZE, E_TIMEOUT, E_STORE, or the signal's reason
 */
export function fetchBlob(digest: string, size: number, part: Part, options: FetchOptions): Promise<void> {
  return new BlobFetch(digest, size, part, options).run();
}

class BlobFetch {
  readonly #digest: string;
  readonly #blocks: number;
  readonly #part: Part;
  readonly #options: FetchOptions;
  /** Blocks that came before their turn. */
  readonly #early = new Map<number, Uint8Array>();
  readonly #listening = new Map<number, () => void>();
  readonly #outcome = Promise.withResolvers<undefined>();
  #cancelStall: () => void = () => undefined;

  constructor(digest: string, size: number, part: Part, options: FetchOptions) {
    this.#digest = digest;
    this.#blocks = blockCount(size);
    this.#part = part;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { clock, signal, times } = this.#options;
    const wholeMs = times.downloadMs + times.perBlockMs * this.#blocks;
    const cancelWhole = clock.after(wholeMs, () => {
      this.#outcome.reject(tooSlow(`the download did not end within ${wholeMs} ms`));
    });
    const onAbort = () => {
      this.#outcome.reject(abortReason(signal));
    };
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) onAbort();
      this.#advance();
      await this.#outcome.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      cancelWhole();
      this.#cancelStall();
      for (const end of this.#listening.values()) end();
    }
  }

  /** Takes what is in order, asks for what is missing in the window. */
  #advance(): void {
    this.#takeEarly();
    if (this.#part.isComplete) {
      this.#part.sync();
      this.#outcome.resolve(undefined);
      return;
    }
    const end = Math.min(this.#part.next + UPDATE_LIMITS.blocksAtOnce, this.#blocks);
    for (let index = this.#part.next; index < end; index++) this.#ask(index);
    this.#watchForStall();
  }

  #takeEarly(): void {
    for (;;) {
      const index = this.#part.next;
      const block = this.#early.get(index);
      if (block === undefined) return;
      this.#early.delete(index);
      this.#part.append(block);
      this.#stopListening(index);
      if (this.#part.next % UPDATE_LIMITS.blocksAtOnce === 0) this.#part.sync();
      this.#options.onBlock();
    }
  }

  #ask(index: number): void {
    if (this.#listening.has(index) || this.#early.has(index)) return;
    const end = this.#options.inbox.listen(topics.block(this.#digest, index), (payload) => {
      this.#receive(index, payload);
    });
    this.#listening.set(index, end);
  }

  #receive(index: number, payload: Uint8Array): void {
    if (index < this.#part.next || this.#early.has(index)) return;
    this.#early.set(index, payload);
    try {
      this.#advance();
    } catch (error) {
      this.#outcome.reject(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #stopListening(index: number): void {
    this.#listening.get(index)?.();
    this.#listening.delete(index);
  }

  #watchForStall(): void {
    const { clock, times } = this.#options;
    this.#cancelStall();
    this.#cancelStall = clock.after(times.stallMs, () => {
      this.#outcome.reject(
        tooSlow(`block ${this.#part.next} of ${this.#blocks} did not arrive in ${times.stallMs} ms`),
      );
    });
  }
}

function tooSlow(found: string): Refusal {
  return new Refusal("E_TIMEOUT", "the wasm did not arrive in time", {
    found,
    hint: "publish its blocks again; the gateway continues where it stopped",
  });
}
