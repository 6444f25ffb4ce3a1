/** A release engineer's connection to the broker: subscriptions with handlers, retained publications, one clean end. */

import { readFile } from "node:fs/promises";
import { connectAsync } from "mqtt";
import type { IClientOptions, MqttClient } from "mqtt";
import { Refusal } from "../../kernel/index.ts";

/** File names are read when connecting. */
export interface BrokerOptions {
  readonly url: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** MQTT 5 needs a broker that has it; 4 is MQTT 3.1.1 and is understood everywhere. */
  readonly protocolVersion?: 4 | 5;
}

/** The broker answers a connection within this, or is taken to be away. */
const CONNECT_MS = 10_000;

export type TopicHandler = (payload: Uint8Array, topic: string) => void;

export class BrokerSession {
  readonly #client: MqttClient;
  readonly #handlers = new Map<string, TopicHandler>();

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, payload) => {
      const handler = this.#handlers.get(topic) ?? this.#wildcard(topic);
      handler?.(new Uint8Array(payload), topic);
    });
    // Reconnections are the client's own business; without a listener an error would end the process.
    client.on("error", () => undefined);
  }

  /** @throws Refusal E_TIMEOUT where there is no broker, E_CONFIG where it turns us away */
  static async connect(options: BrokerOptions): Promise<BrokerSession> {
    try {
      return new BrokerSession(await connectAsync(options.url, await clientOptions(options), false));
    } catch (error) {
      const found = error instanceof Error ? error.message || error.name : String(error);
      throw new Refusal("E_TIMEOUT", `the broker at ${options.url} does not take the connection`, {
        found,
        hint: "check --broker, and the certificates if it is mqtts://",
      });
    }
  }

  /** `filter` may contain `+`; the handler is told the topic, and is given the retained messages first. */
  async subscribe(filter: string, handler: TopicHandler): Promise<void> {
    // The client does not ask again for what it is subscribed to, so retained messages would not come again.
    if (this.#handlers.has(filter)) await this.unsubscribe(filter);
    this.#handlers.set(filter, handler);
    await this.#client.subscribeAsync(filter, { qos: 1 }).catch(turnedAway(`a subscription to ${filter}`));
  }

  async unsubscribe(filter: string): Promise<void> {
    this.#handlers.delete(filter);
    await this.#client.unsubscribeAsync(filter);
  }

  /** Resolves when the broker has acknowledged it. @throws Refusal E_CONFIG where it says that we may not */
  async retain(topic: string, payload: Uint8Array): Promise<void> {
    const published = this.#client.publishAsync(topic, Buffer.from(payload), { qos: 1, retain: true });
    await published.catch(turnedAway(`a message for ${topic}`));
  }

  /** Takes a retained message away. */
  async clear(topic: string): Promise<void> {
    await this.retain(topic, new Uint8Array());
  }

  async close(): Promise<void> {
    await this.#client.endAsync();
  }

  /** Ends at once, whatever the broker has not acknowledged. */
  async abandon(): Promise<void> {
    await this.#client.endAsync(true);
  }

  #wildcard(topic: string): TopicHandler | undefined {
    for (const [filter, handler] of this.#handlers) if (filter.includes("+") && matches(filter, topic)) return handler;
    return undefined;
  }
}

/** What MQTT.js says of what was under way when the connection ended. */
const CONNECTION_ENDED = "Connection closed";

/** What the broker's own word against a subscription or a message becomes, or its silence. */
function turnedAway(what: string): (error: unknown) => never {
  return (error) => {
    const found = error instanceof Error ? error.message : String(error);
    const hint = "look at the broker's access list, and at --username and --cert";
    if (found !== CONNECTION_ENDED) throw new Refusal("E_CONFIG", `the broker does not take ${what}`, { found, hint });
    throw new Refusal("E_TIMEOUT", `the connection to the broker ended before it took ${what}`, {
      hint: `try again; where that does not help, ${hint}`,
    });
  };
}

function matches(filter: string, topic: string): boolean {
  const levels = topic.split("/");
  const wanted = filter.split("/");
  return levels.length === wanted.length && wanted.every((level, index) => level === "+" || level === levels[index]);
}

async function clientOptions(options: BrokerOptions): Promise<IClientOptions> {
  const { username, passwordFile, caFile, certificateFile, keyFile } = options;
  return {
    protocolVersion: options.protocolVersion ?? 4,
    connectTimeout: CONNECT_MS,
    resubscribe: true,
    ...(username === undefined ? {} : { username }),
    ...(passwordFile === undefined ? {} : { password: (await readFile(passwordFile, "utf8")).trimEnd() }),
    ...(caFile === undefined ? {} : { ca: await readFile(caFile) }),
    ...(certificateFile === undefined ? {} : { cert: await readFile(certificateFile) }),
    ...(keyFile === undefined ? {} : { key: await readFile(keyFile) }),
  };
}
