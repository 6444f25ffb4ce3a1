/** The demo's outside subscriber: an ordinary MQTT client that decodes the CBOR and counts what the sequence numbers tell. */
import type { MqttClient } from "mqtt";
import { connectAsync } from "mqtt";
import { decodeCbor, expectMap, expectText, expectUnsigned } from "../../kernel/index.ts";

const CBOR_LIMITS = { maxBytes: 4096, maxDepth: 4, maxItems: 64, tags: [], deterministic: false };

export interface Reading {
  readonly sensor: string;
  readonly sequence: number;
  readonly quantity: string;
  readonly value: number;
  readonly unit: string;
}

export interface Alarm {
  readonly sensor: string;
  readonly quantity: string;
  readonly state: string;
  readonly value: number;
  /** Only version 2 of `threshold` says how severe it is. */
  readonly severity: string | undefined;
}

export interface SequenceCounts {
  received: number;
  lost: number;
  duplicated: number;
  reordered: number;
}

/** What the sequence numbers of one source tell: all from 0 up must come, once, in order. */
export class SequenceAudit {
  readonly #missing = new Set<number>();
  #next = 0;
  readonly counts: SequenceCounts = { received: 0, lost: 0, duplicated: 0, reordered: 0 };

  take(sequence: number): void {
    this.counts.received++;
    if (sequence === this.#next) {
      this.#next++;
    } else if (sequence > this.#next) {
      for (let missing = this.#next; missing < sequence; missing++) this.#missing.add(missing);
      this.#next = sequence + 1;
    } else if (this.#missing.delete(sequence)) {
      this.counts.reordered++;
    } else {
      this.counts.duplicated++;
    }
    this.counts.lost = this.#missing.size;
  }
}

export class Subscriber {
  readonly #client: MqttClient;
  readonly #audits = new Map<string, SequenceAudit>();
  readonly #waiting = new Set<() => void>();
  /** The latest reading of each sensor and quantity. */
  readonly latest = new Map<string, Reading>();
  readonly alarms: Alarm[] = [];
  malformed = 0;

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, payload) => {
      this.#take(topic, new Uint8Array(payload));
    });
  }

  /** Subscribes before the gateway starts, so that the first reading counts like the last. */
  static async connect(url: string): Promise<Subscriber> {
    const client = await connectAsync(url, { clientId: "demo-subscriber", protocolVersion: 4 });
    const subscriber = new Subscriber(client);
    await client.subscribeAsync(["site/7/readings/+", "site/7/alarms/+"], { qos: 1 });
    return subscriber;
  }

  async publish(topic: string, payload: Uint8Array | string): Promise<void> {
    await this.#client.publishAsync(topic, typeof payload === "string" ? payload : Buffer.from(payload), { qos: 1 });
  }

  async close(): Promise<void> {
    await this.#client.endAsync();
  }

  counts(sensors: readonly string[] = [...this.#audits.keys()]): SequenceCounts {
    const total: SequenceCounts = { received: 0, lost: 0, duplicated: 0, reordered: 0 };
    for (const sensor of sensors) {
      const counts = this.#audits.get(sensor)?.counts;
      if (counts === undefined) continue;
      total.received += counts.received;
      total.lost += counts.lost;
      total.duplicated += counts.duplicated;
      total.reordered += counts.reordered;
    }
    return total;
  }

  /** Resolves when the predicate holds after some message, or rejects after `timeoutMs`. */
  async until(what: string, predicate: () => boolean, timeoutMs: number): Promise<void> {
    if (predicate()) return;
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (!predicate()) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no ${what} within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      this.#waiting.add(look);
    });
  }

  /** Resolves when each of these sensors has sent `count` readings more than now. */
  async more(sensors: readonly string[], count: number, timeoutMs: number): Promise<void> {
    const before = new Map(sensors.map((sensor) => [sensor, this.counts([sensor]).received]));
    const enough = (): boolean =>
      sensors.every((sensor) => this.counts([sensor]).received >= (before.get(sensor) ?? 0) + count);
    await this.until(`${count} more readings of ${sensors.join(", ")}`, enough, timeoutMs);
  }

  #take(topic: string, payload: Uint8Array): void {
    try {
      const map = expectMap(decodeCbor(payload, CBOR_LIMITS), topic);
      const sensor = expectText(map.get("sensor"), "sensor");
      const quantity = expectText(map.get("quantity"), "quantity");
      const value = Number(map.get("value"));
      if (topic.startsWith("site/7/alarms/")) {
        const severity = map.get("severity");
        const state = expectText(map.get("state"), "state");
        this.alarms.push({
          sensor,
          quantity,
          state,
          value,
          severity: typeof severity === "string" ? severity : undefined,
        });
      } else {
        const sequence = expectUnsigned(map.get("sequence"), "sequence");
        const audit = this.#audits.get(sensor) ?? new SequenceAudit();
        this.#audits.set(sensor, audit);
        audit.take(sequence);
        this.latest.set(`${sensor} ${quantity}`, {
          sensor,
          quantity,
          value,
          sequence,
          unit: expectText(map.get("unit"), "unit"),
        });
      }
    } catch {
      this.malformed++;
    }
    for (const look of [...this.#waiting]) look();
  }
}
