/** Which topics the agent listens to right now, and what happens to their messages; all others are ignored. */

import { Refusal } from "../../kernel/index.ts";
import type { Clock, Transport } from "./effects.ts";

export type MessageHandler = (payload: Uint8Array) => void;

export class Inbox {
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #handlers = new Map<string, MessageHandler>();

  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport;
    this.#clock = clock;
  }

  /** Subscribes; the returned function ends it. One handler a topic: the newest. */
  listen(topic: string, handler: MessageHandler): () => void {
    this.#handlers.set(topic, handler);
    this.#transport.subscribe(topic);
    return () => {
      if (this.#handlers.get(topic) !== handler) return;
      this.#handlers.delete(topic);
      this.#transport.unsubscribe(topic);
    };
  }

  deliver(topic: string, payload: Uint8Array): void {
    this.#handlers.get(topic)?.(payload);
  }

  /** After a reconnection the broker may have forgotten everything; retained messages come again. */
  resubscribe(): void {
    for (const topic of this.#handlers.keys()) this.#transport.subscribe(topic);
  }

  /** Asks for a retained message once more, where an earlier delivery had to be dropped. */
  ask(topic: string): void {
    this.#transport.unsubscribe(topic);
    this.#transport.subscribe(topic);
  }

  /**
   * The first payload that `accept` takes. One that it refuses is passed over, because the right one may still come;
   * the time-out then tells the last refusal.
   * @throws Refusal E_TIMEOUT, the last refusal of `accept`, or the signal's reason
   */
  first<Value>(
    topic: string,
    timeoutMs: number,
    signal: AbortSignal,
    accept: (payload: Uint8Array) => Value,
  ): Promise<Value> {
    const { promise, resolve, reject } = Promise.withResolvers<Value>();
    let refusal = new Refusal("E_TIMEOUT", `nothing arrived at ${topic}`, {
      expected: `a retained message within ${timeoutMs} ms`,
      hint: "publish it again; the gateway asks again by itself",
    });
    const end = this.listen(topic, (payload) => {
      try {
        resolve(accept(payload));
      } catch (error) {
        if (!(error instanceof Refusal)) reject(error instanceof Error ? error : new Error(String(error)));
        else refusal = error;
      }
    });
    const cancel = this.#clock.after(timeoutMs, () => {
      reject(refusal);
    });
    const onAbort = () => {
      reject(abortReason(signal));
    };
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    return promise.finally(() => {
      end();
      cancel();
      signal.removeEventListener("abort", onAbort);
    });
  }
}

/** The refusal with which an attempt was aborted. */
export function abortReason(signal: AbortSignal): Refusal {
  return signal.reason instanceof Refusal ? signal.reason : new Refusal("E_ABORTED", "the attempt was stopped");
}

/** Waits for work that cannot be interrupted, but not for ever, and not beyond an abort. */
export function bounded<Value>(
  work: Promise<Value>,
  clock: Clock,
  timeoutMs: number,
  signal: AbortSignal,
  what: string,
): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>();
  const cancel = clock.after(timeoutMs, () => {
    reject(new Refusal("E_TIMEOUT", `${what} took too long`, { expected: `at most ${timeoutMs} ms` }));
  });
  const onAbort = () => {
    reject(abortReason(signal));
  };
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  return Promise.race([work, promise]).finally(() => {
    cancel();
    signal.removeEventListener("abort", onAbort);
  });
}
