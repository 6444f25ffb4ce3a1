/** Retained messages and subscriptions, as a broker keeps them, for one update agent in the same process. */

import type { Transport, UpdateAgent } from "../../gateway/trust/index.ts";

export class MemoryBroker implements Transport {
  readonly retained = new Map<string, Uint8Array>();
  readonly published: { topic: string; payload: Uint8Array }[] = [];
  readonly #subscriptions = new Set<string>();
  /** May change, drop or repeat what is delivered: the broker is never trusted. */
  intercept: (topic: string, payload: Uint8Array) => readonly Uint8Array[] = (_topic, payload) => [payload];
  agent: UpdateAgent | undefined;

  subscribe(topic: string): void {
    this.#subscriptions.add(topic);
    const payload = this.retained.get(topic);
    if (payload !== undefined) this.#deliver(topic, payload);
  }

  unsubscribe(topic: string): void {
    this.#subscriptions.delete(topic);
  }

  publish(topic: string, payload: Uint8Array): void {
    this.published.push({ topic, payload });
  }

  /** What a client publishes with retain. */
  retain(topic: string, payload: Uint8Array): void {
    this.retained.set(topic, payload);
    if (this.#subscriptions.has(topic)) this.#deliver(topic, payload);
  }

  /** Topics that the agent listens to at this moment. */
  get subscriptions(): ReadonlySet<string> {
    return this.#subscriptions;
  }

  /** Deliveries are asynchronous, and end with the agent that they were meant for. */
  #deliver(topic: string, payload: Uint8Array): void {
    const { agent } = this;
    if (agent === undefined) return;
    setImmediate(() => {
      if (agent !== this.agent || !this.#subscriptions.has(topic)) return;
      for (const bytes of this.intercept(topic, payload)) agent.message(topic, bytes);
    });
  }
}
