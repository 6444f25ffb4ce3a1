/** For the tests of the link: a broker on a free loopback port, and the link process as the core starts it. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Aedes } from "aedes";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import type { HostResult } from "../../gateway/wire/child.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";
import { linkPermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { decodeCbor } from "../../kernel/index.ts";
import type { CborInput, GrantParameter } from "../../kernel/index.ts";

export interface Broker {
  readonly aedes: Aedes;
  readonly port: number;
  readonly url: string;
  stop(): Promise<void>;
}

/** A broker on that port, or on a free one. */
export async function startBroker(port = 0): Promise<Broker> {
  const aedes = await Aedes.createBroker();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => undefined);
    aedes.handle(socket);
  });
  const bound = await listen(server, port);
  return {
    aedes,
    port: bound,
    url: `mqtt://127.0.0.1:${bound}`,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        aedes.close(resolve);
      });
      await closed;
    },
  };
}

export function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", () => {
      resolve((server.address() as AddressInfo).port);
    });
  });
}

export interface Event {
  readonly binding: number;
  readonly topic: string;
  readonly payload: string;
}

/** The link process, with what it said so far. */
export class Link {
  readonly events: Event[] = [];
  readonly statuses: string[] = [];
  readonly logs: string[] = [];
  readonly folder: string;
  readonly host: HostProcess;

  constructor(settings: Readonly<Record<string, CborInput>>, folder = mkdtempSync(join(tmpdir(), "bulkhead-link-"))) {
    this.folder = folder;
    this.host = new HostProcess({
      name: "link",
      ...hostEntry("link"),
      settings: { clientId: "gw-test", ...settings },
      permissions: linkPermissions(folder, []),
      heapMiB: 128,
      onEvent: (binding, bytes) => {
        const [topic, payload] = decodeCbor(bytes, FRAME_CBOR) as [string, Uint8Array];
        this.events.push({ binding, topic, payload: Buffer.from(payload).toString() });
      },
      onStatus: (state, text) => this.statuses.push(`${state}: ${text}`),
      onLog: (_level, text) => this.logs.push(text),
    });
  }

  publish(binding: number, topic: string | Uint8Array, payload: string | Uint8Array, flags = 1): Promise<number> {
    const bytes = [topic, payload].map((part) => (typeof part === "string" ? new TextEncoder().encode(part) : part));
    return this.host
      .request({ binding, operation: "publish", numbers: [flags], bytes, capacity: 0, timeoutMs: 10_000 })
      .then(({ result }: HostResult) => result);
  }

  async online(): Promise<void> {
    await until(() => this.statuses.at(-1)?.startsWith("online") === true);
  }

  async stop(): Promise<void> {
    await this.host.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function mqtt(
  id: number,
  publish: readonly string[],
  subscribe: readonly string[] = [],
  more: Readonly<Record<string, GrantParameter>> = {},
): HostBinding {
  const rights = ["publish", "subscribe"];
  return { id, interface: "mqtt", owner: `test.${id}`, rights, parameters: { publish, subscribe, ...more } };
}

export async function until(condition: () => boolean, ms = 10_000): Promise<void> {
  const limit = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > limit) throw new Error("it never came about");
    await sleep(5);
  }
}
