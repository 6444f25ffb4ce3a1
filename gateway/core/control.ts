/** The owner's socket: a Unix socket in the data folder, for this user only, that tells what runs and turns simulated values. */
import { closeSync, constants, openSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { Refusal, RESULT } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { CONTROL_SOCKET, parseControlRequest } from "../wire/control.ts";
import type { ControlRequest } from "../wire/control.ts";
import { FrameReader, writeFrame } from "../wire/frames.ts";
import type { OperatorRequest, TraceAnswer } from "../wire/operator.ts";
import { parseSimulators } from "../wire/parse.ts";
import { toRefusal } from "../wire/trust-protocol.ts";
import type { GatewayEvent } from "./events.ts";

/** `dev`, `sim` and a few that look on. */
const CLIENTS = 8;
/** A client that asks more at once does not read the answers. */
const REQUESTS_AT_ONCE = 16;
/** Events wait for a slow reader up to here; the rest is counted. */
const BACKLOG_BYTES = 256 * 1024;
const PROBE_MS = 1000;

/** What the socket reaches of the gateway. */
export interface Controlled {
  top(): Promise<readonly object[]>;
  trace(isWanted: boolean): Promise<TraceAnswer>;
  /** @throws Refusal as the answer */
  operate(request: OperatorRequest): Promise<unknown>;
  /** Undefined where there is no device process. */
  simulators(): Promise<Uint8Array | undefined>;
  simulate(device: string, quantity: string, script: CborInput): Promise<number | undefined>;
  simulated(device: string, quantity: string, script: unknown): void;
}

interface Client {
  readonly socket: Socket;
  wantsEvents: boolean;
  missed: number;
  running: number;
}

export class Control {
  readonly #gateway: Controlled;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  #folder: number | undefined;

  constructor(gateway: Controlled) {
    this.#gateway = gateway;
    this.#server = createServer((socket) => {
      this.#accept(socket);
    });
    this.#server.maxConnections = CLIENTS;
  }

  /** @throws Refusal E_BUSY where another gateway answers in this data folder, E_STORE where there can be no socket */
  async open(dataFolder: string): Promise<void> {
    // Through the folder's descriptor: a path of any length fits, and the folder cannot be exchanged meanwhile.
    this.#folder = openSync(dataFolder, constants.O_RDONLY | constants.O_DIRECTORY);
    const path = `/proc/self/fd/${this.#folder}/${CONTROL_SOCKET}`;
    if (await answers(path)) {
      throw new Refusal("E_BUSY", `another gateway runs in the data folder ${dataFolder}`, {
        hint: "stop it, or give this one a data folder of its own",
      });
    }
    rmSync(path, { force: true });
    const listening = new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).once("listening", resolve);
    });
    // The name appears within `listen`, and must never be there with wider rights than in the end.
    const mask = process.umask(0o177);
    this.#server.listen(path);
    process.umask(mask);
    try {
      await listening;
    } catch (error) {
      throw new Refusal("E_STORE", `there can be no socket in ${dataFolder}`, {
        found: error instanceof Error ? error.message : "",
      });
    }
    this.#server.on("error", () => undefined);
  }

  /** Tells whoever asked for events. */
  tell(event: GatewayEvent): void {
    for (const client of this.#clients) if (client.wantsEvents) tellOne(client, event);
  }

  /** What was told and answered is written out, within a bound. */
  async close(): Promise<void> {
    for (const { socket } of this.#clients) {
      socket.end();
      socket.setTimeout(PROBE_MS, () => socket.destroy());
    }
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
    if (this.#folder !== undefined) closeSync(this.#folder);
    this.#folder = undefined;
  }

  #accept(socket: Socket): void {
    const client: Client = { socket, wantsEvents: false, missed: 0, running: 0 };
    this.#clients.add(client);
    const reader = new FrameReader();
    socket.on("error", () => undefined);
    socket.on("close", () => this.#clients.delete(client));
    socket.on("data", (chunk: Uint8Array) => {
      try {
        reader.push(chunk, (value) => {
          if (++client.running > REQUESTS_AT_ONCE) throw new Refusal("E_BUSY", "too many requests at once");
          void this.#serve(client, parseControlRequest(value));
        });
      } catch {
        // Whoever does not speak the protocol is not reasoned with.
        socket.destroy();
      }
    });
  }

  async #serve(client: Client, request: ControlRequest): Promise<void> {
    const send = (answer: CborInput): void => {
      if (client.socket.writable) writeFrame(client.socket, answer);
    };
    try {
      // An answer that has no form in a frame is refused as well.
      send({ id: request.id, value: await this.#carryOut(client, request) });
    } catch (error) {
      const { code, message, detail } = toRefusal(error);
      send({ id: request.id, code, message, detail: { ...detail } });
    } finally {
      client.running--;
    }
  }

  async #carryOut(client: Client, request: ControlRequest): Promise<CborInput> {
    switch (request.kind) {
      case "top":
        return (await this.#gateway.top()).map((row) => ({ ...row }));
      case "events":
        client.wantsEvents = true;
        return null;
      case "trace": {
        const { modules, pieces, ...rest } = await this.#gateway.trace(request.isWanted);
        return { ...rest, modules: modules.map((row) => ({ ...row })), pieces: pieces.map((row) => ({ ...row })) };
      }
      case "operator":
        // SAFETY: what the operator sees is plain data.
        return (await this.#gateway.operate(request.request)) as CborInput;
      case "simulators":
        return await this.#simulators();
      case "simulate":
        await this.#simulate(request);
        return null;
    }
  }

  async #simulators(): Promise<CborInput> {
    const bytes = await this.#gateway.simulators();
    if (bytes === undefined) return { seconds: 0, parts: [] };
    const { seconds, parts } = parseSimulators(bytes);
    return { seconds, parts: parts.map((part) => ({ ...part })) };
  }

  async #simulate(request: Extract<ControlRequest, { kind: "simulate" }>): Promise<void> {
    const { device, quantity } = request;
    // SAFETY: the frame's parser makes plain data of it.
    const script = request.script as CborInput;
    const result = await this.#gateway.simulate(device, quantity, script);
    if (result === 0) {
      this.#gateway.simulated(device, quantity, script);
      return;
    }
    if (result === RESULT.invalid) {
      throw new Refusal("E_CONFIG", `${quantity} of ${device} cannot follow that`, {
        expected: "a number, { base, swing, period, noise }, or [[seconds, value], …]; a list of faults for `faults`",
      });
    }
    if (result === undefined || result === RESULT["not-found"]) {
      throw new Refusal("E_UNKNOWN", `there is no simulated ${quantity} of ${device}`, {
        hint: "`bulkhead sim list` shows what is simulated; real devices are never turned",
      });
    }
    throw new Refusal("E_BUSY", "the device process does not answer", { hint: "try again when it is back" });
  }
}

function tellOne(client: Client, event: GatewayEvent): void {
  const { socket } = client;
  if (!socket.writable) return;
  if (socket.writableLength > BACKLOG_BYTES) {
    client.missed++;
    return;
  }
  if (client.missed > 0) writeFrame(socket, { missed: client.missed });
  client.missed = 0;
  // SAFETY: events are plain data; what is undefined in them has no form in CBOR.
  const told = Object.entries(event as unknown as Record<string, CborInput | undefined>).filter(
    (entry): entry is [string, CborInput] => entry[1] !== undefined,
  );
  writeFrame(socket, { event: Object.fromEntries(told) });
}

/** True where a process listens at that path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.setTimeout(PROBE_MS);
    const end = (isThere: boolean) => {
      probe.destroy();
      resolve(isThere);
    };
    probe.once("connect", () => {
      end(true);
    });
    probe.once("timeout", () => {
      end(true);
    });
    probe.once("error", () => {
      end(false);
    });
  });
}
