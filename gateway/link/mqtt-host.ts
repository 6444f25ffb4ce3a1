/** The interface host of `mqtt`: publishes within a binding's filters, and hands each message to the bindings it concerns. */
import type { IPublishPacket, MqttClient } from "mqtt";
import { LIMITS, Refusal } from "../../kernel/index.ts";
import { filterMatches, malformedFilter } from "../config/topic.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostPort, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { Connection } from "./connection.ts";
import { Outbox } from "./outbox.ts";
import { OVERSIZED_TOPIC } from "./packet-guard.ts";
import { FLAG_QOS_1, FLAG_RETAIN, Publisher } from "./publisher.ts";
import type { LinkSettings } from "./settings.ts";
import { decodeTopic, isWithin } from "./topic.ts";

/** Event payload of the update agent's own binding: above the 300 KiB of a document, so that the agent says what is too large. */
const RESERVED_EVENT_BYTES = 448 * 1024;
/** CBOR heads of `[topic, payload]`. */
const EVENT_HEADS = 16;
const CORE_BUSY_MS = 5;
const DROP_REPORT_MS = 2000;

/** One binding, with its parameters checked. */
interface Subscriber {
  readonly binding: HostBinding;
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** The update agent's: topics below `bulkhead/`, and larger messages. Never a module's. */
  readonly isReserved: boolean;
}

export class MqttHost implements InterfaceHost {
  readonly #port: HostPort;
  readonly #subscribers = new Map<number, Subscriber>();
  readonly #publisher: Publisher;
  readonly #connection: Connection | undefined;
  readonly #reporter: NodeJS.Timeout;
  /** Subscription identifiers (MQTT 5) by filter: they say which of our filters a message came by. */
  readonly #identifiers = new Map<string, number>();
  #hasIdentifiers = false;
  #dropped = 0;
  #outboxDropped = 0;
  readonly #outbox: Outbox;

  constructor(settings: LinkSettings, port: HostPort) {
    this.#port = port;
    this.#outbox = new Outbox(settings.store, (keptAs) => {
      port.log(0, `the store of waiting messages could not be read; it was put aside as ${keptAs}, a new one begun`);
    });
    this.#publisher = new Publisher(this.#outbox, (text) => {
      port.log(1, text);
    });
    this.#connection = this.#open(settings);
    this.#reporter = setInterval(() => {
      this.#reportDrops();
    }, DROP_REPORT_MS);
    this.#reporter.unref();
  }

  bind(binding: HostBinding): void {
    const isReserved = binding.parameters["reserved"] === true;
    const subscriber: Subscriber = {
      binding,
      publish: filters(binding, "publish", isReserved),
      subscribe: filters(binding, "subscribe", isReserved),
      isReserved,
    };
    this.#subscribers.set(binding.id, subscriber);
    const client = this.#connection?.client;
    if (client !== undefined) this.#subscribe(client, subscriber.subscribe);
  }

  unbind({ id }: HostBinding): void {
    const subscriber = this.#subscribers.get(id);
    this.#subscribers.delete(id);
    const stillWanted = new Set(Array.from(this.#subscribers.values(), ({ subscribe }) => subscribe).flat());
    const unwanted = subscriber?.subscribe.filter((filter) => !stillWanted.has(filter)) ?? [];
    for (const filter of unwanted) this.#identifiers.delete(filter);
    if (unwanted.length > 0) this.#connection?.client?.unsubscribe([...unwanted], () => undefined);
  }

  request({ binding, numbers, bytes }: HostRequest): Promise<HostAnswer> {
    const subscriber = this.#subscribers.get(binding.id);
    const [flags = 0] = numbers;
    const [topicBytes = new Uint8Array(), payload = new Uint8Array()] = bytes;
    const topic = decodeTopic(topicBytes);
    if (subscriber === undefined || this.#connection === undefined) return Promise.resolve(failed("not-found"));
    if (topic === undefined || (flags & ~(FLAG_QOS_1 | FLAG_RETAIN)) !== 0) return Promise.resolve(failed("invalid"));
    if (!isWithin(subscriber.publish, topic, subscriber.isReserved)) return Promise.resolve(failed("denied"));
    if (payload.length > maximumBytes(subscriber)) return Promise.resolve(failed("too-large"));
    return this.#publisher.publish({ topic, payload, flags });
  }

  outboxNumbers(): { readonly outboxMessages: number; readonly outboxBytes: number; readonly outboxDropped: number } {
    const { count, bytes, dropped } = this.#outbox;
    return { outboxMessages: count, outboxBytes: bytes, outboxDropped: dropped };
  }

  async stop(): Promise<void> {
    clearInterval(this.#reporter);
    this.#publisher.stop();
    await this.#connection?.close();
  }

  #open({ broker, clientId, will }: LinkSettings): Connection | undefined {
    if (broker === null) {
      this.#port.status("offline", "no broker is configured");
      return undefined;
    }
    const connection = new Connection(broker, clientId, will, {
      onOnline: (client, limits) => {
        this.#hasIdentifiers = limits.hasSubscriptionIdentifiers;
        const all = Array.from(this.#subscribers.values(), ({ subscribe }) => subscribe).flat();
        this.#subscribe(client, [...new Set(all)]);
        this.#publisher.online(client, limits);
      },
      onOffline: () => {
        this.#publisher.offline();
      },
      onMessage: (packet) => this.#receive(packet),
      onStatus: (state, text) => {
        this.#port.status(state, text);
      },
    });
    connection.open();
    return connection;
  }

  /** Also for filters that are subscribed already: the broker then sends their retained messages again, to the new binding. */
  #subscribe(client: MqttClient, wanted: readonly string[]): void {
    for (const filter of wanted) {
      const options = this.#hasIdentifiers ? { properties: { subscriptionIdentifier: this.#identify(filter) } } : {};
      client.subscribe(filter, { qos: 1, ...options }, (error) => {
        if (error !== null && client.connected)
          this.#port.log(1, `the broker refuses to send ${filter}: ${error.message}`);
      });
    }
  }

  #identify(filter: string): number {
    const identifier = this.#identifiers.get(filter) ?? Math.max(0, ...this.#identifiers.values()) + 1;
    this.#identifiers.set(filter, identifier);
    return identifier;
  }

  async #receive(packet: IPublishPacket): Promise<void> {
    if (packet.topic === OVERSIZED_TOPIC) {
      this.#dropped++;
      return;
    }
    const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
    const came = cameBy(packet, this.#identifiers);
    for (const subscriber of [...this.#subscribers.values()]) {
      const within = subscriber.subscribe.filter((filter) => came?.has(filter) ?? true);
      if (!isWithin(within, packet.topic, subscriber.isReserved)) continue;
      await this.#deliver(subscriber, packet, payload);
    }
  }

  /** A message with QoS 1 waits until the core takes it, and the broker with it; one with QoS 0 is dropped. */
  async #deliver(subscriber: Subscriber, { topic, qos }: IPublishPacket, payload: Uint8Array): Promise<void> {
    const size = payload.length + Buffer.byteLength(topic) + EVENT_HEADS;
    if (size > maximumBytes(subscriber) || !isEncodable(topic)) {
      this.#dropped++;
      return;
    }
    while (this.#subscribers.has(subscriber.binding.id)) {
      if (this.#port.event(subscriber.binding.id, [topic, payload])) return;
      if (qos === 0) {
        this.#dropped++;
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, CORE_BUSY_MS));
    }
  }

  #reportDrops(): void {
    if (this.#dropped > 0)
      this.#port.log(1, `${this.#dropped} messages from the broker were too large, malformed or too many`);
    this.#dropped = 0;
    const dropped = this.#outbox.dropped - this.#outboxDropped;
    if (dropped > 0)
      this.#port.log(
        1,
        `${dropped} of the oldest waiting messages were dropped: the store is full, or they were too old`,
      );
    this.#outboxDropped = this.#outbox.dropped;
  }
}

function maximumBytes({ isReserved }: Subscriber): number {
  return isReserved ? RESERVED_EVENT_BYTES : LIMITS.payloadBytes;
}

/** A text that strict CBOR takes: whole characters, and no byte order mark in front. */
function isEncodable(topic: string): boolean {
  return topic.isWellFormed() && !topic.startsWith("\uFEFF");
}

/** The filters by which the message came, where the broker says so; otherwise it may have come by any that matches. */
function cameBy(packet: IPublishPacket, identifiers: ReadonlyMap<string, number>): Set<string> | undefined {
  const { subscriptionIdentifier } = packet.properties ?? {};
  if (subscriptionIdentifier === undefined) return undefined;
  const wanted = new Set([subscriptionIdentifier].flat());
  const named = [...identifiers].filter(([, identifier]) => wanted.has(identifier)).map(([filter]) => filter);
  return new Set(named.filter((filter) => filterMatches(filter, packet.topic)));
}

/** The filters of a right that the binding has; of one that it lacks there are none. @throws Refusal E_CONFIG */
function filters(
  { parameters, rights }: HostBinding,
  name: "publish" | "subscribe",
  isReserved: boolean,
): readonly string[] {
  const value = parameters[name] ?? [];
  if (!Array.isArray(value)) throw new Refusal("E_CONFIG", `${name} is not a list of topic filters`);
  const all = value as readonly string[];
  for (const filter of all) {
    const fault = isReserved ? undefined : malformedFilter(filter);
    if (fault !== undefined) throw new Refusal("E_CONFIG", `${name}: ${fault}`, { found: filter });
  }
  return rights.includes(name) ? all : [];
}
