/** The connection to the broker: tried until it stands, kept, and built anew; each attempt is a client of its own. */
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { MqttClient } from "mqtt";
import type { IClientOptions, IConnackPacket, IPublishPacket } from "mqtt";
import { GuardedSocket, PacketGuard } from "./packet-guard.ts";
import type { BrokerSettings, WillSettings } from "./settings.ts";

/** Larger packets never reach the parser. Blocks and envelopes of updates are well below. */
export const PACKET_BYTES = 512 * 1024;
/** PUBLISH packets with QoS 1 that the broker may have on the way to us. */
const RECEIVE_MAXIMUM = 32;
/** Messages on the way to the broker at one time, where it does not ask for fewer. */
const WINDOW = 20;
const CONNECT_MS = 15_000;
const FIRST_RETRY_MS = 250;
const MAXIMUM_RETRY_MS = 60_000;
/** A connection that stood so long was a good one: the next attempt after it comes soon. */
const GOOD_MS = 30_000;
/** CONNACK: unacceptable protocol version, in MQTT 3.1.1 and 5. */
const WRONG_VERSION = [0x01, 0x84];

/** What the broker takes (MQTT 5.0 section 3.2.2.3); one of MQTT 3.1.1 does not say, and takes what is usual. */
export interface BrokerLimits {
  /** Messages with QoS 1 that may be under way to it. */
  readonly window: number;
  readonly mayRetain: boolean;
  readonly packetBytes: number;
  readonly hasSubscriptionIdentifiers: boolean;
}

export interface ConnectionEvents {
  readonly onOnline: (client: MqttClient, limits: BrokerLimits) => void;
  readonly onOffline: () => void;
  /** Handles one message; the broker is acknowledged, and sends more, once it resolves. */
  readonly onMessage: (packet: IPublishPacket) => Promise<void>;
  readonly onStatus: (state: "online" | "offline", text: string) => void;
}

/** MQTT 5 where the broker has it, else 3.1.1. Sessions are clean: what is to be received or sent is known here. */
export class Connection {
  readonly #broker: BrokerSettings;
  readonly #clientId: string;
  readonly #will: WillSettings | null;
  readonly #events: ConnectionEvents;
  #client: MqttClient | undefined;
  #version: 4 | 5 = 5;
  #retryMs = FIRST_RETRY_MS;
  #retry: NodeJS.Timeout | undefined;
  #onlineAt: number | undefined;
  #saidState: "online" | "offline" | undefined;
  #isStopped = false;

  constructor(broker: BrokerSettings, clientId: string, will: WillSettings | null, events: ConnectionEvents) {
    this.#broker = broker;
    this.#clientId = clientId;
    this.#will = will;
    this.#events = events;
  }

  /** The client while the connection stands. */
  get client(): MqttClient | undefined {
    return this.#onlineAt === undefined ? undefined : this.#client;
  }

  open(): void {
    const client = new MqttClient(() => this.#stream(), this.#options());
    this.#client = client;
    let reason = "the broker closed the connection";
    client.on("error", (error) => {
      reason = describe(error);
    });
    client.on("connect", (packet) => {
      this.#online(client, packet);
    });
    client.handleMessage = (packet, done) => {
      this.#events.onMessage(packet).then(() => {
        done();
      }, done);
    };
    client.once("close", () => {
      this.#closed(client, reason);
    });
  }

  /** Says goodbye to the broker, so that the will is not published, and tries no more. */
  async close(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    await this.#client?.endAsync(this.client === undefined);
  }

  #options(): IClientOptions {
    const { username, password, keepAliveSeconds } = this.#broker;
    const will = this.#will;
    return {
      clientId: this.#clientId,
      protocolVersion: this.#version,
      clean: true,
      keepalive: keepAliveSeconds,
      connectTimeout: CONNECT_MS,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(will === null ? {} : { will: { ...will, payload: Buffer.from(will.payload), qos: 1 as const } }),
      ...(this.#version === 5
        ? { properties: { maximumPacketSize: PACKET_BYTES, receiveMaximum: RECEIVE_MAXIMUM } }
        : {}),
    };
  }

  /** The socket, with the guard between it and the parser. */
  #stream(): Duplex {
    const { url, tls } = this.#broker;
    const isTls = url.protocol === "mqtts:";
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const port = url.port === "" ? (isTls ? 8883 : 1883) : Number(url.port);
    const socket = isTls ? connectTls({ host, port, ...tls, ALPNProtocols: ["mqtt"] }) : connectTcp({ host, port });
    return new GuardedSocket(socket, new PacketGuard(PACKET_BYTES, this.#version === 5));
  }

  #online(client: MqttClient, { properties }: IConnackPacket): void {
    this.#onlineAt = performance.now();
    this.#say("online", `connected to ${this.#broker.url.host} with MQTT ${this.#version === 5 ? "5" : "3.1.1"}`);
    this.#events.onOnline(client, {
      window: Math.min(properties?.receiveMaximum ?? WINDOW, WINDOW),
      mayRetain: properties?.retainAvailable ?? true,
      packetBytes: properties?.maximumPacketSize ?? Number.MAX_SAFE_INTEGER,
      hasSubscriptionIdentifiers: this.#version === 5 && (properties?.subscriptionIdentifiersAvailable ?? true),
    });
  }

  #closed(client: MqttClient, reason: string): void {
    const wasOnlineAt = this.#onlineAt;
    this.#onlineAt = undefined;
    client.removeAllListeners();
    client.on("error", () => undefined);
    if (wasOnlineAt !== undefined) this.#events.onOffline();
    if (this.#isStopped) return;
    if (wasOnlineAt !== undefined && performance.now() - wasOnlineAt > GOOD_MS) this.#retryMs = FIRST_RETRY_MS;
    if (wasOnlineAt === undefined && this.#version === 5 && isVersionRefusal(reason)) {
      this.#version = 4;
      this.open();
      return;
    }
    this.#say("offline", `no connection to ${this.#broker.url.host}: ${reason}; it is tried again and again`);
    this.#scheduleRetry();
  }

  /** Half of the delay is jitter, so that ten thousand gateways do not come back in the same second. */
  #scheduleRetry(): void {
    const delay = this.#retryMs / 2 + (Math.random() * this.#retryMs) / 2;
    this.#retryMs = Math.min(this.#retryMs * 2, MAXIMUM_RETRY_MS);
    this.#retry = setTimeout(() => {
      this.#version = 5;
      this.open();
    }, delay);
  }

  /** Says each change once. */
  #say(state: "online" | "offline", text: string): void {
    if (this.#saidState === state) return;
    this.#saidState = state;
    this.#events.onStatus(state, text);
  }
}

const VERSION_REFUSAL = "the broker does not speak this version of MQTT";

function isVersionRefusal(reason: string): boolean {
  return reason === VERSION_REFUSAL || reason === "the broker closed the connection";
}

function describe(error: Error & { code?: unknown }): string {
  if (typeof error.code === "number" && WRONG_VERSION.includes(error.code)) return VERSION_REFUSAL;
  // Of several addresses tried (IPv4, IPv6), the first failure tells most.
  const [first] = error instanceof AggregateError ? (error.errors as Error[]) : [];
  return first?.message ?? error.message;
}
