/** A module's mailbox: messages that wait for it, bounded per route, without allocation once it has warmed up. */
import { LIMITS } from "../limits.ts";
import type { OverflowPolicy } from "../system.ts";
import { NO_CAPABILITIES } from "./capability.ts";

/** One route as its receiver's partition sees it. */
export interface Edge {
  readonly id: number;
  depth: number;
  overflow: OverflowPolicy;
  /** Messages of this edge in the mailbox. */
  queued: number;
  /** Their payloads' bytes. */
  queuedBytes: number;
  /** Counts of the route: let in, refused to the sender, dropped by its policy. */
  sent: number;
  refused: number;
  dropped: number;
}

export function makeEdge(id: number, depth: number, overflow: OverflowPolicy): Edge {
  const counts = { queued: 0, queuedBytes: 0, sent: 0, refused: 0, dropped: 0 };
  return reviseEdge({ id, depth, overflow, ...counts }, depth, overflow);
}

/** Gives a route other bounds, as a new grant does; what waits already stays. */
export function reviseEdge(edge: Edge, depth: number, overflow: OverflowPolicy): Edge {
  edge.depth = overflow === "latest" ? 1 : depth;
  edge.overflow = overflow;
  return edge;
}

const FIRST_PAYLOAD_BYTES = 128;
/** Messages so short are bounded by the route's depth alone: the news that a long one found no room is always told. */
const SMALL_BYTES = 64;

/** One message that waits. Objects of this shape are reused; the payload's buffer grows and never shrinks. */
export class Message {
  edge: Edge;
  port = 0;
  kind = 0;
  senderModule = 0;
  senderGeneration = 0;
  /** Of the worker to which the reply goes; only for calls. */
  senderLife = 0;
  badge = 0;
  correlation = 0;
  payload = new Uint8Array(FIRST_PAYLOAD_BYTES);
  /** The payload's buffer, for copies by words. */
  words = new DataView(this.payload.buffer);
  length = 0;
  capabilities = NO_CAPABILITIES;
  /** The one that came after it, while both wait. */
  next: Message | undefined = undefined;

  constructor(edge: Edge) {
    this.edge = edge;
  }
}

/** What `offer` found: a message to fill and to `add`, or why there is none. */
export type Offer = Message | "full" | "dropped";

export class Mailbox {
  #first: Message | undefined = undefined;
  #last: Message | undefined = undefined;
  #count = 0;
  /** Bytes of the buffers in `spare`. */
  #spareBytes = 0;
  readonly #spare: Message[] = [];
  readonly #lost = new Map<number, number>();
  /** Counts for `top`: let in, refused to the sender, dropped by a route's policy, and lost to the receiver. */
  readonly counts = { accepted: 0, refused: 0, dropped: 0, lost: 0 };
  /** Told of every message that leaves unread, so that its handles are closed and its caller answered. */
  readonly #discard: (message: Message) => void;

  constructor(discard: (message: Message) => void) {
    this.#discard = discard;
  }

  get length(): number {
    return this.#count;
  }

  /**
   * Finds a message to fill for `edge`, where its overflow policy lets one in: its words are 0. It is nobody's until it is
   * added: who fails to fill it leaves the mailbox as it was.
   */
  offer(edge: Edge, port: number, length: number): Offer {
    // Bounded by route, so that no sender can use up another's room.
    if (isFull(edge, length)) {
      const verdict = this.#overflow(edge, port);
      if (verdict !== "room") return verdict;
    }
    const message = this.#reuse() ?? new Message(edge);
    if (message.payload.length < length) {
      message.payload = new Uint8Array(2 ** Math.ceil(Math.log2(length)));
      message.words = new DataView(message.payload.buffer);
    }
    message.edge = edge;
    message.port = port;
    message.length = length;
    return message;
  }

  /** Lets in what `offer` gave, complete; older ones of its route make room for it. */
  add(message: Message): void {
    const { edge, length } = message;
    while (edge.queued > 0 && isFull(edge, length)) this.#dropOldest(edge);
    this.#link(this.#last, message);
    edge.sent++;
    this.counts.accepted++;
  }

  /** Takes the oldest message; give it back with `recycle` when it has been delivered. */
  take(): Message | undefined {
    const message = this.#first;
    if (message !== undefined) this.#unlink(undefined, message);
    return message;
  }

  /** Puts messages back before everything that waits, in their order; they have been accepted once and count again. */
  putBack(messages: readonly Message[]): void {
    for (const message of messages.toReversed()) this.#link(undefined, message);
  }

  /** Keeps the message for another one, which sees nothing of it. */
  recycle(message: Message): void {
    message.port = 0;
    message.kind = 0;
    message.senderModule = 0;
    message.senderGeneration = 0;
    message.senderLife = 0;
    message.badge = 0;
    message.correlation = 0;
    message.length = 0;
    message.capabilities = NO_CAPABILITIES;
    if (this.#spareBytes + message.payload.length > LIMITS.spareBytes) return;
    this.#spareBytes += message.payload.length;
    this.#spare.push(message);
  }

  #reuse(): Message | undefined {
    const message = this.#spare.pop();
    if (message !== undefined) this.#spareBytes -= message.payload.length;
    return message;
  }

  /** Messages of this port that were lost since the last call; they are then told. */
  takeLost(port: number): number {
    if (this.#lost.size === 0) return 0;
    const count = this.#lost.get(port) ?? 0;
    if (count > 0) this.#lost.delete(port);
    return count;
  }

  takeAllLost(): (readonly [port: number, count: number])[] {
    const lost = [...this.#lost];
    this.#lost.clear();
    return lost;
  }

  addLost(port: number, count: number): void {
    if (count <= 0) return;
    this.counts.lost += count;
    this.#lost.set(port, (this.#lost.get(port) ?? 0) + count);
  }

  /** Discards everything that waits. */
  clear(): void {
    for (let message = this.take(); message !== undefined; message = this.take()) this.#discard(message);
  }

  #overflow(edge: Edge, port: number): "room" | "full" | "dropped" {
    if (edge.overflow === "refuse") {
      edge.refused++;
      this.counts.refused++;
      return "full";
    }
    if (edge.overflow === "drop-newest" || edge.queued === 0) {
      edge.dropped++;
      this.counts.dropped++;
      this.addLost(port, 1);
      return "dropped";
    }
    return "room";
  }

  #dropOldest(edge: Edge): void {
    let before: Message | undefined;
    let message = this.#first;
    while (message !== undefined && message.edge !== edge) {
      before = message;
      message = message.next;
    }
    if (message === undefined) return;
    this.#unlink(before, message);
    edge.dropped++;
    this.counts.dropped++;
    // A tick or level that is replaced is not lost: the newer one says all that it said.
    if (edge.overflow !== "latest") this.addLost(message.port, 1);
    this.#discard(message);
    this.recycle(message);
  }

  /** Puts the message behind that one, or before all. */
  #link(before: Message | undefined, message: Message): void {
    message.next = before === undefined ? this.#first : before.next;
    if (before === undefined) this.#first = message;
    else before.next = message;
    if (message.next === undefined) this.#last = message;
    this.#count++;
    message.edge.queued++;
    message.edge.queuedBytes += message.length;
  }

  /** Takes out the message behind that one, or the first. */
  #unlink(before: Message | undefined, message: Message): void {
    if (before === undefined) this.#first = message.next;
    else before.next = message.next;
    if (message.next === undefined) this.#last = before;
    message.next = undefined;
    this.#count--;
    message.edge.queued--;
    message.edge.queuedBytes -= message.length;
  }
}

/** True where nothing of so many bytes may come by this route before something has left. */
function isFull({ queued, depth, queuedBytes }: Edge, length: number): boolean {
  return queued >= depth || (length > SMALL_BYTES && queuedBytes + length > LIMITS.edgeBytes);
}
