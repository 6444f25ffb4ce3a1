/** Tells systemd, where it started the gateway, that it is ready, alive and stopping: sd_notify(3) without its library. */
import { dlopen } from "node:ffi";
import { Refusal } from "../../kernel/index.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of `sun_path` in `sockaddr_un`, of which a path leaves the last one 0 (unix(7)). */
const PATH_BYTES = 108;
/** A sign of life shorter than this says no more. */
const SHORTEST_MS = 10;

/** Misspelt keys of a signature are ignored silently, so the first datagram is the proof: it returns its own length. */
const SIGNATURES = {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  sendto: { arguments: ["i32", "pointer", "u64", "i32", "pointer", "u32"], return: "i64" },
} as const;

type Environment = Record<string, string | undefined>;

export class ServiceManager {
  readonly #send: (text: string) => boolean;
  readonly #watchdogMs: number | undefined;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(send: (text: string) => boolean, watchdogMs: number | undefined) {
    this.#send = send;
    this.#watchdogMs = watchdogMs;
  }

  /**
   * The manager of this process, or undefined where it has none. What it has said in the environment is taken out of it:
   * it is not for the processes that this one starts.
   * @throws Refusal E_CONFIG where its socket does not take what it is told
   */
  static find(environment: Environment = process.env): ServiceManager | undefined {
    const { NOTIFY_SOCKET: address, WATCHDOG_USEC: microseconds, WATCHDOG_PID: watched } = environment;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) Reflect.deleteProperty(environment, name);
    if (address === undefined || address === "") return undefined;
    // The launcher is the process that was started, and waits for this one.
    const isWatched = watched === undefined || [process.pid, process.ppid].includes(Number(watched));
    const halfMs = Math.floor(Number(microseconds) / 2000);
    const send = datagrams(address);
    if (!send(`STATUS=starting\nMAINPID=${process.pid}\n`)) {
      throw new Refusal("E_CONFIG", "the service manager's socket takes no message", {
        expected: "a datagram socket: a path, or @ and an abstract name",
        found: address,
        hint: "start the gateway as a service of Type=notify, or without NOTIFY_SOCKET",
      });
    }
    return new ServiceManager(send, isWatched && halfMs > 0 ? Math.max(halfMs, SHORTEST_MS) : undefined);
  }

  /** The gateway runs. From now on its main thread says so itself, in half of the time that it has: one that is stuck cannot. */
  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${oneLine(status)}\n`);
    if (this.#watchdogMs === undefined) return;
    this.#send("WATCHDOG=1\n");
    this.#heartbeat = setInterval(() => this.#send("WATCHDOG=1\n"), this.#watchdogMs);
  }

  status(text: string): void {
    this.#send(`STATUS=${oneLine(text)}\n`);
  }

  stopping(): void {
    clearInterval(this.#heartbeat);
    this.#send("STOPPING=1\nSTATUS=stopping\n");
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/\p{C}/gu, " ");
}

/** Node has datagrams for IP only. @throws Refusal E_CONFIG for an address that no socket has */
function datagrams(address: string): (text: string) => boolean {
  const name = new TextEncoder().encode(address.replace(/^@/, "\0"));
  if (!/^[/@]./.test(address) || name.length >= PATH_BYTES) {
    throw new Refusal("E_CONFIG", "NOTIFY_SOCKET names no socket", {
      expected: `a path or @name of less than ${PATH_BYTES} bytes`,
      found: address,
      hint: "it is systemd's to set: see sd_notify(3)",
    });
  }
  const { functions } = dlopen(null, SIGNATURES);
  const descriptor = functions.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  // sa_family_t, 2 bytes in this machine's order, then the name; an abstract one begins with 0 and has no end but its length.
  const to = new Uint8Array(2 + name.length + (name[0] === 0 ? 0 : 1));
  new DataView(to.buffer).setUint16(0, AF_UNIX, true);
  to.set(name, 2);
  return (text) => {
    const bytes = new TextEncoder().encode(text);
    return (
      Number(functions.sendto(descriptor, bytes, BigInt(bytes.length), MSG_NOSIGNAL, to, to.length)) === bytes.length
    );
  };
}
