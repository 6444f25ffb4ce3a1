/** Signs what the gateway reports, under a counter that never repeats. */

import { Refusal } from "../../kernel/index.ts";
import { encodeEvent, encodeReport, REPORT_CONTENT_TYPES } from "../wire/update-report.ts";
import type { GatewayReport, UpdateEvent } from "../wire/update-report.ts";
import { topics } from "../wire/update-topics.ts";
import type { Transport } from "./effects.ts";
import type { GatewayKey } from "./gateway-key.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import type { Store } from "./store.ts";

export interface ReporterOptions {
  readonly gatewayId: string;
  readonly key: GatewayKey;
  readonly store: Store;
  readonly transport: Transport;
}

export class Reporter {
  readonly #options: ReporterOptions;
  #counter: number;
  #leased: number;

  constructor(options: ReporterOptions) {
    this.#options = options;
    this.#counter = options.store.state.counter;
    this.#leased = this.#counter;
  }

  event(event: Omit<UpdateEvent, "gateway" | "counter">): void {
    const { gatewayId, key, transport } = this.#options;
    const payload = encodeEvent({ ...event, gateway: gatewayId, counter: this.#nextCounter() });
    const topic = topics.gateway(gatewayId, "event");
    transport.publish(topic, key.sign(REPORT_CONTENT_TYPES.event, payload), { retain: false, qos: 1 });
  }

  reported(report: Omit<GatewayReport, "gateway" | "counter">): void {
    const { gatewayId, key, transport } = this.#options;
    const payload = encodeReport({ ...report, gateway: gatewayId, counter: this.#nextCounter() });
    const topic = topics.gateway(gatewayId, "reported");
    transport.publish(topic, key.sign(REPORT_CONTENT_TYPES.reported, payload), { retain: true, qos: 1 });
  }

  online(): void {
    const { gatewayId, transport } = this.#options;
    transport.publish(topics.gateway(gatewayId, "online"), new TextEncoder().encode("online"), {
      retain: true,
      qos: 1,
    });
  }

  /** Counters are reserved on disk ahead of use: after a power cut the next ones are above all that were signed. */
  #nextCounter(): number {
    if (++this.#counter <= this.#leased) return this.#counter;
    this.#leased = this.#counter + UPDATE_LIMITS.counterLease;
    try {
      this.#options.store.save({ counter: this.#leased });
    } catch (error) {
      // A disk that takes nothing must not silence the report that says so.
      if (!(error instanceof Refusal)) throw error;
    }
    return this.#counter;
  }
}
