/** Publishes in order: straight to the broker while it answers quickly, through the outbox while it does not. */
import type { MqttClient } from "mqtt";
import type { HostAnswer } from "../wire/host-process.ts";
import { failed } from "../wire/host-process.ts";
import type { BrokerLimits } from "./connection.ts";
import type { Outbox, OutgoingMessage } from "./outbox.ts";

export const FLAG_QOS_1 = 1;
export const FLAG_RETAIN = 2;

/** A message that the broker has not acknowledged by then goes to the disk, and its caller goes on. */
const PATIENCE_MS = 250;
/** Appends and removals of so long share one commit, for each one wears the SD card. */
const COMMIT_MS = 20;
/** A PUBLISH's fixed header, topic length, identifier and empty properties. */
const PACKET_HEADS = 12;
const TRIM_MS = 60_000;
/** PUBACK (MQTT 5.0 section 3.4.2.1): packet identifier in use, quota exceeded. What passes is waited for. */
const TRANSIENT_REFUSALS: readonly number[] = [0x91, 0x97];
const FIRST_REST_MS = 500;
const MAXIMUM_REST_MS = 60_000;

/**
 * A message under way. It is answered once it is safe: acknowledged by the broker, or on the disk. `id` is its row
 * there, and `isSent` tells that this connection has carried it.
 */
interface Flight {
  readonly message: OutgoingMessage;
  id: number | undefined;
  answer: ((answer: HostAnswer) => void) | undefined;
  timer: NodeJS.Timeout | undefined;
}

export class Publisher {
  readonly #outbox: Outbox;
  readonly #onProblem: (text: string) => void;
  readonly #trimmer: NodeJS.Timeout;
  #client: MqttClient | undefined;
  #limits: BrokerLimits | undefined;
  /** On the way to the broker, oldest first. */
  readonly #flights = new Set<Flight>();
  /** Waiting for the next commit, oldest first; all of them younger than the flights. */
  #unsaved: Flight[] = [];
  #acknowledged: number[] = [];
  #commit: NodeJS.Timeout | undefined;
  /** The youngest row that this connection has sent, or is to send again after a rest. */
  #sentId = 0;
  #rest: NodeJS.Timeout | undefined;
  #restMs = FIRST_REST_MS;

  constructor(outbox: Outbox, onProblem: (text: string) => void) {
    this.#outbox = outbox;
    this.#onProblem = onProblem;
    this.#trimmer = setInterval(() => {
      this.#guarded(() => {
        this.#outbox.trim(Date.now());
      });
    }, TRIM_MS);
    this.#trimmer.unref();
  }

  /** Resolves with 0 once the message cannot be lost any more, short of the outbox overflowing. */
  publish(message: OutgoingMessage): Promise<HostAnswer> {
    return new Promise((answer) => {
      const flight: Flight = { message, id: undefined, answer, timer: undefined };
      if (this.#isDirect()) this.#sendDirect(flight);
      else this.#save(flight);
    });
  }

  online(client: MqttClient, limits: BrokerLimits): void {
    this.#client = client;
    this.#limits = limits;
    this.#sentId = 0;
    this.#pump();
  }

  /** What was on the way is on the way no more: it is kept, in its order, and sent again by the next connection. */
  offline(): void {
    this.#client = undefined;
    this.#endRest();
    this.#flush();
    this.#flights.clear();
  }

  /** Puts what is not safe yet on the disk. */
  stop(): void {
    clearInterval(this.#trimmer);
    this.#client = undefined;
    this.#endRest();
    this.#flush();
    this.#outbox.close();
  }

  #isDirect(): boolean {
    const isNothingBefore = this.#outbox.count === 0 && this.#unsaved.length === 0;
    return this.#client !== undefined && isNothingBefore && this.#flights.size < this.#window;
  }

  get #window(): number {
    return this.#limits?.window ?? 0;
  }

  #sendDirect(flight: Flight): void {
    flight.timer = setTimeout(() => {
      this.#flush();
    }, PATIENCE_MS);
    this.#send(flight);
  }

  #send(flight: Flight): void {
    const { topic, payload, flags } = flight.message;
    const client = this.#client;
    const limits = this.#limits;
    this.#flights.add(flight);
    if (Buffer.byteLength(topic) + payload.length + PACKET_HEADS > (limits?.packetBytes ?? 0)) {
      this.#onProblem(`the broker takes no message of ${payload.length} bytes: ${topic}`);
      this.#settle(flight, failed("too-large"));
      return;
    }
    const retain = (flags & FLAG_RETAIN) !== 0 && limits?.mayRetain === true;
    const options = { qos: (flags & FLAG_QOS_1) as 0 | 1, retain };
    client?.publish(topic, Buffer.from(payload), options, (error) => {
      if (this.#client !== client) return;
      if (!(error instanceof Error)) {
        this.#restMs = FIRST_REST_MS;
        this.#settle(flight, { result: 0 });
      } else if (isTransient(error)) this.#sendLater(flight, error);
      else if (isRefusal(error)) {
        this.#onProblem(`the broker refuses ${topic}: ${error.message}`);
        this.#settle(flight, failed("io"));
      }
      // Any other error is the connection's: what is under way is kept when it closes.
    });
  }

  /** Acknowledged, or refused for good (MQTT 5 reason codes): in neither case it is to be sent again. */
  #settle(flight: Flight, answer: HostAnswer): void {
    if (!this.#flights.delete(flight)) return;
    clearTimeout(flight.timer);
    flight.answer?.(answer);
    flight.answer = undefined;
    if (flight.id !== undefined) {
      this.#acknowledged.push(flight.id);
      this.#scheduleCommit();
    }
    this.#pump();
  }

  /** The broker can't take it now: it is kept, and goes again after a rest, before anything that came later. */
  #sendLater(flight: Flight, error: Error): void {
    this.#flush();
    if (!this.#flights.delete(flight) || flight.id === undefined) return;
    this.#sentId = Math.min(this.#sentId, flight.id - 1);
    if (this.#rest !== undefined) return;
    this.#onProblem(`the broker takes no more for now: ${error.message}; tried again in ${this.#restMs} ms`);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#pump();
    }, this.#restMs);
    this.#restMs = Math.min(this.#restMs * 2, MAXIMUM_REST_MS);
  }

  #endRest(): void {
    clearTimeout(this.#rest);
    this.#rest = undefined;
  }

  #save(flight: Flight): void {
    this.#unsaved.push(flight);
    this.#scheduleCommit();
  }

  #scheduleCommit(): void {
    this.#commit ??= setTimeout(() => {
      this.#flush();
      this.#pump();
    }, COMMIT_MS);
  }

  /** One commit for all: flights without a row first, for they are older than anything that waits. */
  #flush(): void {
    clearTimeout(this.#commit);
    this.#commit = undefined;
    const fresh = [...[...this.#flights].filter(({ id }) => id === undefined), ...this.#unsaved];
    this.#unsaved = [];
    const isSaved = this.#guarded(() => {
      this.#outbox.remove(this.#acknowledged);
      this.#acknowledged = [];
      if (fresh.length === 0) return;
      const ids = this.#outbox.append(
        fresh.map(({ message }) => message),
        Date.now(),
      );
      fresh.forEach((flight, index) => {
        flight.id = ids[index];
      });
      // This connection has carried them; the pump goes on behind them, but not behind what it refused before.
      for (const flight of fresh) if (this.#flights.has(flight)) this.#sentId = Math.max(this.#sentId, flight.id ?? 0);
    });
    for (const flight of fresh) {
      clearTimeout(flight.timer);
      flight.answer?.(isSaved ? { result: 0 } : failed("quota"));
      flight.answer = undefined;
    }
  }

  /** Sends stored messages while there is room in the window. */
  #pump(): void {
    const room = this.#window - this.#flights.size;
    if (this.#client === undefined || this.#rest !== undefined || room <= 0 || this.#outbox.count === 0) return;
    const underWay = new Set([...this.#flights].map(({ id }) => id));
    for (const { id, ...message } of this.#outbox.after(this.#sentId, room)) {
      // A message that is refused on the spot lets the next ones go from within.
      if (id <= this.#sentId) continue;
      this.#sentId = id;
      if (underWay.has(id) || this.#acknowledged.includes(id)) continue;
      this.#send({ message, id, answer: undefined, timer: undefined });
    }
  }

  #guarded(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      this.#onProblem(`the store of waiting messages fails: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  }
}

function isTransient(error: Error): boolean {
  return "code" in error && typeof error.code === "number" && TRANSIENT_REFUSALS.includes(error.code);
}

/** A PUBACK that says no, MQTT 5.0 section 3.4.2.1. The client fails with other errors when a connection breaks. */
function isRefusal(error: Error): boolean {
  return "code" in error && typeof error.code === "number" && error.code >= 0x80;
}
