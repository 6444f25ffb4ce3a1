/** Speaks with a running gateway through the owner's socket in its data folder. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { CONTROL_SOCKET } from "../../gateway/wire/control.ts";
import type { OperatorRequest, Snapshot, TraceAnswer } from "../../gateway/wire/operator.ts";
import { FrameReader, writeFrame } from "../../gateway/wire/frames.ts";
import { plain } from "../../gateway/wire/parse.ts";
import type { Settings } from "../../gateway/wire/parse.ts";
import type { Simulators } from "../../gateway/wire/protocol.ts";
import type { CborInput, CborValue, RefusalCode } from "../../kernel/index.ts";
import { REFUSAL_CODES, Refusal } from "../../kernel/index.ts";

/** A module's row, as the kernel counts it. */
export interface Row {
  readonly name: string;
  readonly version: string;
  readonly state: string;
  readonly generation: number;
  readonly activations: number;
  readonly fuel: number;
  readonly lost: number;
  readonly memoryBytes: number;
  readonly restarts: number;
}

export interface ControlEvents {
  readonly onEvent?: (event: GatewayEvent) => void;
  readonly onMissed?: (count: number) => void;
  readonly onClosed?: () => void;
}

export class ControlClient {
  readonly #socket: Socket;
  readonly #events: ControlEvents;
  readonly #waiting = new Map<number, PromiseWithResolvers<Settings>>();
  readonly #reader = new FrameReader();
  #last = 0;

  private constructor(socket: Socket, events: ControlEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on("data", (chunk: Uint8Array) => {
      try {
        this.#reader.push(chunk, (value) => {
          this.#receive(value);
        });
      } catch {
        socket.destroy();
      }
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      for (const waiting of this.#waiting.values()) waiting.reject(new Refusal("E_ABORTED", "the gateway has gone"));
      this.#waiting.clear();
      events.onClosed?.();
    });
  }

  /** Undefined where no gateway runs in that data folder. @throws Refusal E_CAP where it is another user's */
  static async connect(dataFolder: string, events: ControlEvents = {}): Promise<ControlClient | undefined> {
    if (!existsSync(dataFolder)) return undefined;
    // Through a descriptor, because a socket's path must be short and a data folder's may be long.
    const folder = await open(dataFolder, "r").catch(refuseFolder(dataFolder));
    try {
      const socket = await dial(`/proc/self/fd/${folder.fd}/${CONTROL_SOCKET}`, dataFolder);
      return socket === undefined ? undefined : new ControlClient(socket, events);
    } finally {
      await folder.close();
    }
  }

  async top(): Promise<Row[]> {
    // SAFETY: the gateway's own rows; what is shown of them is names and numbers.
    return (await this.#ask({ kind: "top" })) as unknown as Row[];
  }

  /** @throws Refusal as the gateway gives it */
  async operate(request: OperatorRequest): Promise<unknown> {
    return await this.#ask({ kind: "operator", request });
  }

  /** Begins a trace or goes on with it, or ends it. */
  async trace(isWanted: boolean): Promise<TraceAnswer> {
    return (await this.#ask({ kind: "trace", isWanted })) as unknown as TraceAnswer;
  }

  /** What runs, all pages of it. */
  async snapshot(): Promise<Snapshot> {
    const pages: Snapshot[] = [];
    for (let from: number | null = 0; from !== null; from = pages.at(-1)?.next ?? null) {
      pages.push((await this.operate({ kind: "snapshot", from })) as Snapshot);
    }
    // SAFETY: there is a first page.
    const first = pages[0] as Snapshot;
    const modules = pages.flatMap((page) => page.modules);
    return { ...first, modules, routes: pages.flatMap(({ routes }) => routes), next: null };
  }

  async simulators(): Promise<Simulators> {
    return (await this.#ask({ kind: "simulators" })) as unknown as Simulators;
  }

  /** @throws Refusal as the gateway gives it */
  async simulate(device: string, quantity: string, script: CborInput): Promise<void> {
    await this.#ask({ kind: "simulate", device, quantity, script });
  }

  /** From now on events are told. */
  async follow(): Promise<void> {
    await this.#ask({ kind: "events" });
  }

  close(): void {
    this.#socket.destroy();
  }

  #ask(request: { readonly [field: string]: CborInput }): Promise<Settings> {
    const id = ++this.#last;
    const waiting = Promise.withResolvers<Settings>();
    if (!this.#socket.writable) return Promise.reject(new Refusal("E_ABORTED", "the gateway has gone"));
    this.#waiting.set(id, waiting);
    writeFrame(this.#socket, { ...request, id });
    return waiting.promise;
  }

  #receive(value: CborValue): void {
    const frame = plain(value, "frame") as Readonly<Record<string, Settings>>;
    if (frame["event"] !== undefined) this.#events.onEvent?.(frame["event"] as unknown as GatewayEvent);
    else if (frame["missed"] !== undefined) this.#events.onMissed?.(Number(frame["missed"]));
    else this.#answer(Number(frame["id"]), frame);
  }

  #answer(id: number, frame: Readonly<Record<string, Settings>>): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    const { code, message, detail, value = null } = frame;
    if (typeof code !== "string" || typeof message !== "string") waiting?.resolve(value);
    else waiting?.reject(new Refusal(knownCode(code), message, detail as unknown as Refusal["detail"]));
  }
}

function knownCode(code: string): RefusalCode {
  return Object.hasOwn(REFUSAL_CODES, code) ? (code as RefusalCode) : "E_ABORTED";
}

function dial(path: string, dataFolder: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      resolve(socket);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EACCES" || error.code === "EPERM") reject(notYours(dataFolder));
      else resolve(undefined);
    });
  });
}

function refuseFolder(dataFolder: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof Error && "code" in error && error.code === "EACCES") throw notYours(dataFolder);
    throw error;
  };
}

export function notYours(dataFolder: string): Refusal {
  return new Refusal("E_CAP", `the gateway in ${dataFolder} is another user's`, {
    hint: `only the user that runs it may look into it: say sudo -u ${ownerOf(dataFolder)} before the command`,
  });
}

/** The user's name as passwd(5) has it, or its number as sudo(8) takes it. */
function ownerOf(path: string): string {
  const { uid } = statSync(path);
  const users = readFileSync("/etc/passwd", "utf8").split("\n");
  const user = users.map((line) => line.split(":")).find(([, , number]) => number === String(uid));
  return user?.[0] ?? `'#${uid}'`;
}
