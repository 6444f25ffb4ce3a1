/** Brokers on the loopback, and an agent's transport over a real MQTT client. */

import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { Aedes } from "aedes";
import { connectAsync } from "mqtt";
import type { IClientOptions, MqttClient } from "mqtt";
import type { PublishOptions, Transport } from "../../gateway/trust/effects.ts";

export interface TestBroker {
  readonly url: string;
  close(): Promise<void>;
}

/** `change` makes another broker of it before anybody connects. */
export async function startAedes(change: (aedes: Aedes) => void = () => undefined): Promise<TestBroker> {
  const aedes = await Aedes.createBroker();
  change(aedes);
  const server: Server = createServer((socket) => {
    aedes.handle(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `mqtt://127.0.0.1:${port}`,
    close: async () => {
      await new Promise<void>((resolve) => {
        aedes.close(() => {
          resolve();
        });
      });
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What the link process does for the update agent, on one client. */
export class MqttTransport implements Transport {
  readonly client: MqttClient;
  onMessage: (topic: string, payload: Uint8Array) => void = () => undefined;

  private constructor(client: MqttClient) {
    this.client = client;
    client.on("message", (topic, payload) => {
      this.onMessage(topic, new Uint8Array(payload));
    });
    client.on("error", () => undefined);
  }

  static async connect(url: string, options: IClientOptions = {}): Promise<MqttTransport> {
    return new MqttTransport(await connectAsync(url, options));
  }

  subscribe(topic: string): void {
    this.client.subscribe(topic, { qos: 1 });
  }

  unsubscribe(topic: string): void {
    this.client.unsubscribe(topic);
  }

  publish(topic: string, payload: Uint8Array, { retain, qos }: PublishOptions): void {
    this.client.publish(topic, Buffer.from(payload), { retain, qos });
  }
}
