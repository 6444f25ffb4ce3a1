/** The update agent's own share of the link: bindings of the kernel's choosing that no module can have. */
import { decodeCbor } from "../../kernel/index.ts";
import type { HostProcess } from "../wire/child.ts";
import { FRAME_BYTES } from "../wire/frames.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { TOPIC_PREFIX, topics } from "../wire/update-topics.ts";

/** The kernel numbers its bindings from 1 upward; these count from the other end. */
const FIRST_BINDING = 0xffff_ffff;
const OWNER = "bulkhead.updates";
const REQUEST_MS = 30_000;
const EVENT_LIMITS = { maxBytes: FRAME_BYTES, maxDepth: 2, maxItems: 4, tags: [], deterministic: false };
const text = new TextEncoder();

export class UpdateLink {
  readonly #process: () => HostProcess | undefined;
  readonly #subscriptions = new Map<string, HostBinding>();
  #next = FIRST_BINDING;
  readonly #publisher: HostBinding;

  constructor(process: () => HostProcess | undefined) {
    this.#process = process;
    this.#publisher = this.#binding({ publish: [`${TOPIC_PREFIX}/#`], subscribe: [], reserved: true });
  }

  /** What the broker says of a gateway that is gone without a word. */
  will(gatewayId: string): { topic: string; payload: Uint8Array; retain: boolean } {
    return { topic: topics.gateway(gatewayId, "online"), payload: text.encode("offline"), retain: true };
  }

  bindings(): HostBinding[] {
    return [this.#publisher, ...this.#subscriptions.values()];
  }

  subscribe(topic: string): void {
    if (this.#subscriptions.has(topic)) return;
    const binding = this.#binding({ publish: [], subscribe: [topic], reserved: true });
    this.#subscriptions.set(topic, binding);
    this.#process()?.bind([binding]);
  }

  unsubscribe(topic: string): void {
    const binding = this.#subscriptions.get(topic);
    if (binding === undefined) return;
    this.#subscriptions.delete(topic);
    this.#process()?.unbind([binding.id]);
  }

  /** The broker sends again what it retains at the topics that are subscribed to. */
  renew(): void {
    for (const topic of [...this.#subscriptions.keys()]) {
      this.unsubscribe(topic);
      this.subscribe(topic);
    }
  }

  /** Lost while the link is down: the agent says it all again when it is told that the link is up. */
  publish(topic: string, payload: Uint8Array, retain: boolean, qos: 0 | 1): void {
    const flags = qos | (retain ? 2 : 0);
    const bytes = [text.encode(topic), payload];
    const request = { binding: this.#publisher.id, operation: "publish", numbers: [flags], bytes, capacity: 0 };
    void this.#process()?.request({ ...request, timeoutMs: REQUEST_MS });
  }

  /** @returns true where the event was the update agent's. What the link says is believed in nothing but its form. */
  event(binding: number, payload: Uint8Array, deliver: (topic: string, payload: Uint8Array) => void): boolean {
    const bound = [...this.#subscriptions].find(([, { id }]) => id === binding);
    if (bound === undefined) return binding > this.#next;
    try {
      const event = decodeCbor(payload, EVENT_LIMITS);
      if (!Array.isArray(event) || event.length !== 2) return true;
      const [topic, content] = event as unknown[];
      // A binding is one topic: a link that was taken over must not choose another for its bytes.
      if (topic === bound[0] && content instanceof Uint8Array) deliver(topic, content);
    } catch {
      // Bytes from the link that are no event are dropped: it parses the network, and may have been taken over.
    }
    return true;
  }

  #binding(parameters: HostBinding["parameters"]): HostBinding {
    return { id: this.#next--, interface: "mqtt", owner: OWNER, rights: ["publish", "subscribe"], parameters };
  }
}
