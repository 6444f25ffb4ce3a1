/** The broker of a measurement: a real Mosquitto where one is installed, the embedded one otherwise; and a byte counter. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { AddressInfo, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Broker } from "../demo/broker.ts";
import { startBroker } from "../demo/broker.ts";

const MOSQUITTO = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"].find((path) =>
  existsSync(path),
);
const START_MS = 10_000;

export interface NamedBroker extends Broker {
  readonly name: string;
  readonly processId: number;
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // SAFETY: a listening TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Mosquitto on the loopback interface, or undefined where there is none. */
export async function startMosquitto(): Promise<NamedBroker | undefined> {
  if (MOSQUITTO === undefined) return undefined;
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), "bulkhead-mosquitto-"));
  const settings = join(folder, "mosquitto.conf");
  const lines = [`listener ${port} 127.0.0.1`, "allow_anonymous true", "persistence false", "log_type error"];
  await writeFile(settings, `${lines.join("\n")}\nmax_queued_messages 100000\n`);
  const child = spawn(MOSQUITTO, ["-c", settings], { stdio: "ignore" });
  await answers(port);
  return {
    name: "Mosquitto",
    processId: child.pid ?? 0,
    url: `mqtt://127.0.0.1:${port}`,
    stop: async () => {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(port: number): Promise<void> {
  for (const since = performance.now(); performance.now() - since < START_MS; ) {
    const socket = connect(port, "127.0.0.1");
    const isUp = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isUp) return;
    await pause(20);
  }
  throw new Error(`mosquitto does not answer at port ${port} within ${START_MS / 1000} s`);
}

export async function startAnyBroker(): Promise<NamedBroker> {
  const mosquitto = await startMosquitto();
  if (mosquitto !== undefined) return mosquitto;
  return { ...(await startBroker()), name: "aedes (no Mosquitto here)", processId: process.pid };
}

/** What stands between a gateway and its broker, and counts: payload bytes of TCP both ways, without headers. */
export class ByteCounter {
  readonly #server = createServer((client) => {
    this.#join(client);
  });
  readonly #sockets = new Set<Socket>();
  readonly #target: URL;
  /** Bytes so far: from the gateway, and to it. */
  up = 0;
  down = 0;

  private constructor(url: string) {
    this.#target = new URL(url);
  }

  static async start(url: string): Promise<ByteCounter> {
    const counter = new ByteCounter(url);
    counter.#server.listen(0, "127.0.0.1");
    await once(counter.#server, "listening");
    return counter;
  }

  get url(): string {
    // SAFETY: as in freePort.
    return `mqtt://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await once(this.#server, "close");
  }

  #join(client: Socket): void {
    const broker = connect(Number(this.#target.port), this.#target.hostname);
    client.on("data", (bytes) => (this.up += bytes.length));
    broker.on("data", (bytes) => (this.down += bytes.length));
    for (const [from, to] of [
      [client, broker],
      [broker, client],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", () => undefined);
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}
