/** Messages and replies between modules: into a mailbox here, or through a channel to another partition. */
import { HEADER, KIND, RESULT } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import { type Capability, NO_CAPABILITIES, type Target } from "../ipc/capability.ts";
import { type Edge, makeEdge, type Message, reviseEdge } from "../ipc/mailbox.ts";
import { HEAD, Packet } from "../ipc/packet.ts";
import { Policy } from "../ipc/policy.ts";
import { PartitionControl, Ring, SharedCounters } from "../ipc/shared.ts";
import { LIMITS } from "../limits.ts";
import { copyBytes, type GuestLength, type GuestMemory, type GuestPointer } from "../memory.ts";
import type { ModuleCell } from "./cell.ts";
import { NOTHING, Pending } from "./pending.ts";
import type { ChannelOrder, EdgeStatistics, PartitionData, PlaceOrder } from "./protocol.ts";
import type { Timers } from "./timers.ts";
import { TRACE, type Trace } from "./trace.ts";

/** What a sender may say of a message; the rest of the header is the kernel's knowledge. */
export interface Outgoing {
  kind: number;
  capability: Capability;
  correlation: number;
  capabilities: readonly Capability[];
}

interface Channel {
  /** Of the worker at the other end. */
  readonly life: number;
  readonly incoming: Ring;
  readonly outgoing: Ring;
  readonly control: PartitionControl;
  /** True where something was written that the other end's bell has not told yet. */
  isUntold: boolean;
  /** Replies that found the ring full: they are owed, and bounded by the calls that wait for them. */
  readonly owed: { readonly correlation: number; readonly result: number; readonly payload: Uint8Array }[];
}

/** Correlations from here on are no call's: with a module's number they say that no message for it is to follow. */
const LAST_MESSAGE = 0x8000_0000;

export class PostOffice {
  readonly partition: number;
  /** Told of the last message for a module that leaves this partition, and which partition has sent it. */
  onLastMessage: (module: number, generation: number, partition: number) => void = () => undefined;
  /** Modules that are not where the capabilities for them say. */
  readonly #places = new Map<number, number>();
  /** Messages carry the life of the worker that they come from, so that a reply finds this worker and no successor. */
  readonly #life: number;
  readonly #revocations: SharedCounters;
  readonly #cells: ReadonlyMap<number, ModuleCell>;
  readonly #ready: (cell: ModuleCell) => void;
  readonly #edges = new Map<number, Edge>();
  readonly #channels = new Map<number, Channel>();
  readonly #channelsByLife = new Map<number, Channel>();
  readonly pending: Pending;
  readonly #outgoing = new Packet();
  readonly #incoming = new Packet();
  readonly policy = new Policy();
  /** Only while somebody looks. */
  trace: Trace | undefined = undefined;

  constructor(
    { index, life, revocations }: PartitionData,
    cells: ReadonlyMap<number, ModuleCell>,
    timers: Timers,
    now: () => number,
    ready: (cell: ModuleCell) => void,
  ) {
    this.partition = index;
    this.#life = life;
    this.#revocations = new SharedCounters(revocations);
    this.#cells = cells;
    this.pending = new Pending(timers, now);
    this.#ready = ready;
  }

  connect(order: ChannelOrder): void {
    const before = this.#channels.get(order.partition);
    if (before !== undefined) {
      this.#channelsByLife.delete(before.life);
      this.#failCallsInto(order.partition);
    }
    const channel: Channel = {
      life: order.life,
      incoming: new Ring(order.incoming),
      outgoing: new Ring(order.outgoing),
      control: new PartitionControl(order.control),
      isUntold: false,
      owed: [],
    };
    this.#channels.set(order.partition, channel);
    this.#channelsByLife.set(order.life, channel);
  }

  /** Messages for that module go elsewhere from now on. */
  place({ module, partition, left, generation }: PlaceOrder): void {
    this.#places.set(module, partition);
    if (left === undefined || left.partition === this.partition) return;
    this.answer(left.life, LAST_MESSAGE + module, generation, Uint8Array.of(this.partition));
  }

  #placeOf({ module, partition }: Target): number {
    return this.#places.size === 0 ? partition : (this.#places.get(module) ?? partition);
  }

  route(edge: number, depth: number, overflow: Edge["overflow"]): void {
    const known = this.#edges.get(edge);
    if (known === undefined) this.#edges.set(edge, makeEdge(edge, depth, overflow));
    else reviseEdge(known, depth, overflow);
  }

  /** A route that leads to a module of this partition, or from one. */
  edge(id: number): Edge | undefined {
    return this.#edges.get(id);
  }

  statistics(): EdgeStatistics[] {
    return Array.from(this.#edges, ([edge, { sent, refused, dropped, queued }]) => {
      return { edge, sent, refused, dropped, queued };
    });
  }

  readonly isRevoked = (edge: number): boolean => this.#revocations.load(edge) !== 0;

  /** Copies a message out of a guest's memory to where its capability points. The caller has checked rights. */
  send(
    sender: ModuleCell,
    outgoing: Outgoing,
    memory: GuestMemory,
    address: GuestPointer,
    length: GuestLength,
  ): number {
    if (length > LIMITS.payloadBytes) return RESULT["too-large"];
    if (!memory.covers(address, length)) return RESULT["bad-address"];
    const { target } = outgoing.capability;
    if (this.#isCutOff(target)) return RESULT.denied;
    if (this.#placeOf(target) !== this.partition) return this.#sendAcross(sender, outgoing, memory, address, length);
    const receiver = this.#cells.get(target.module);
    const edge = this.#edges.get(target.edge);
    if (receiver?.isAlive !== true || edge === undefined || target.port < 0) return RESULT["dead-peer"];
    if (length > roomOf(receiver)) return RESULT["too-large"];
    const message = receiver.mailbox.offer(edge, target.port, length);
    // A sender need not know of a drop; a caller must, or it would wait for its deadline.
    if (typeof message === "string") return message === "full" || outgoing.kind === KIND.call ? RESULT.full : 0;
    // Whatever goes wrong until it is complete, as where the stack ends, leaves nothing in the mailbox.
    if (!memory.readInto(address, length, message.payload, message.words)) return RESULT["bad-address"];
    this.#stamp(message, sender, outgoing);
    receiver.mailbox.add(message);
    this.trace?.add(TRACE.send, sender.id, edge.id, edge.sent);
    this.#ready(receiver);
    return 0;
  }

  /** Puts a message of the kernel or of the outside world into a mailbox of this partition. */
  deliver(
    receiver: ModuleCell,
    edge: Edge,
    port: number,
    kind: number,
    correlation: number,
    payload: Uint8Array,
  ): number {
    if (!receiver.isAlive) return RESULT["dead-peer"];
    if (payload.length > roomOf(receiver)) return RESULT["too-large"];
    const message = receiver.mailbox.offer(edge, port, payload.length);
    if (typeof message === "string") return message === "full" ? RESULT.full : 0;
    message.payload.set(payload);
    message.kind = kind;
    message.senderLife = this.#life;
    message.correlation = correlation;
    receiver.mailbox.add(message);
    this.#ready(receiver);
    return 0;
  }

  /** Puts the answer of a request into the mailbox of whoever asked; one that does not fit becomes its failure. */
  deliverAnswer(
    receiver: ModuleCell,
    edge: Edge,
    port: number,
    correlation: number,
    result: number,
    bytes: Uint8Array,
  ): void {
    if (receiver.forward !== undefined) return receiver.forward(correlation, result, bytes);
    const delivered = result < 0 ? result : this.deliver(receiver, edge, port, KIND.reply, correlation, bytes);
    if (delivered < 0) this.deliver(receiver, edge, port, KIND.notice, correlation, encodeCbor(delivered));
  }

  /** Delivers the answer to what a module asked before it came here. */
  deliverAsked(cell: ModuleCell, correlation: number, result: number, bytes: Uint8Array): void {
    const asked = cell.asked.get(correlation);
    if (asked === undefined || !cell.asked.delete(correlation)) return;
    this.deliverAnswer(cell, makeEdge(0, 1, "refuse"), asked.port, correlation, result, bytes);
  }

  /** Answers everybody whose call went by a capability that has been revoked meanwhile. */
  failRevokedCalls(): void {
    this.pending.fail((target) => this.#isCutOff(target), RESULT.denied);
  }

  /** What went into the rings of a partition that is gone will never be answered. */
  #failCallsInto(partition: number): void {
    this.pending.fail((target) => this.#placeOf(target) === partition, RESULT["dead-peer"]);
    for (const cell of this.#cells.values()) {
      for (const [correlation, asked] of [...cell.asked]) {
        if (asked.partition === partition) this.deliverAsked(cell, correlation, RESULT["dead-peer"], NOTHING);
      }
    }
  }

  /** Revoked is what was granted, or any delegation on the way from there to here. */
  #isCutOff({ edge, via }: Target): boolean {
    return this.isRevoked(edge) || (via.length > 0 && via.some(this.isRevoked));
  }

  /** Takes in an answer, or the word that no message for a module is to follow. */
  #settle(correlation: number, result: number, bytes: Uint8Array): void {
    if (correlation >= LAST_MESSAGE) this.onLastMessage(correlation - LAST_MESSAGE, result, bytes[0] ?? -1);
    else this.pending.settle(correlation, result, bytes);
  }

  /** Sends the reply of a call back to where it came from. */
  answer(life: number, correlation: number, result: number, bytes: Uint8Array): void {
    if (life === this.#life) return this.#settle(correlation, result, bytes);
    const channel = this.#channelsByLife.get(life);
    if (channel === undefined) return;
    if (channel.owed.length === 0 && this.#writeReply(channel, correlation, result, bytes)) return;
    channel.owed.push({ correlation, result, payload: bytes.slice() });
  }

  /** Takes in what other partitions have sent, a bounded number at a time. @returns true where more may be waiting. */
  receive(): boolean {
    let isMore = false;
    for (const channel of this.#channels.values()) {
      if (channel.owed.length > 0) this.#payOwed(channel);
      let count = 0;
      while (count < RECEIVE_BATCH && channel.incoming.read(this.#accept)) count++;
      if (count === RECEIVE_BATCH) isMore = true;
    }
    return isMore;
  }

  /** Rings where something was written since: once for all of it, so that a burst costs one wake-up. */
  tell(): void {
    for (const channel of this.#channels.values()) {
      if (!channel.isUntold) continue;
      channel.isUntold = false;
      channel.control.ring();
    }
  }

  /** True while replies wait for room in a channel; the partition then must not sleep for long. */
  get owes(): boolean {
    for (const { owed } of this.#channels.values()) if (owed.length > 0) return true;
    return false;
  }

  #payOwed(channel: Channel): void {
    let paid = 0;
    for (const { correlation, result, payload } of channel.owed) {
      if (!this.#writeReply(channel, correlation, result, payload)) break;
      paid++;
    }
    channel.owed.splice(0, paid);
  }

  #writeReply(channel: Channel, correlation: number, result: number, bytes: Uint8Array): boolean {
    const packet = this.#outgoing;
    const ring = channel.outgoing;
    if (!packet.reserve(ring, NO_CAPABILITIES, bytes.length)) return false;
    packet.set(HEAD.isReply, 1);
    packet.set(HEAD.correlation, correlation);
    packet.set(HEAD.result, result);
    ring.bytes.set(bytes, packet.payloadAt);
    ring.commit();
    channel.isUntold = true;
    return true;
  }

  readonly #accept = (ring: Ring, start: number, length: number): void => {
    const packet = this.#incoming;
    packet.read(ring, start, length);
    const { payloadAt: at, payloadLength } = packet;
    if (packet.get(HEAD.isReply) === 1) {
      const correlation = packet.get(HEAD.correlation) >>> 0;
      this.#settle(correlation, packet.get(HEAD.result), ring.bytes.subarray(at, at + payloadLength));
      return;
    }
    const receiver = this.#cells.get(packet.get(HEAD.module));
    const message = this.#admit(packet, receiver);
    if (receiver === undefined || message === null) return;
    copyBytes(ring.view, at, message.words, 0, ring.bytes, message.payload, payloadLength);
    message.kind = packet.get(HEAD.kind);
    message.senderModule = packet.get(HEAD.senderModule);
    message.senderGeneration = packet.get(HEAD.senderGeneration);
    message.senderLife = packet.get(HEAD.senderLife);
    message.badge = packet.get(HEAD.badge) >>> 0;
    message.correlation = packet.get(HEAD.correlation) >>> 0;
    message.capabilities = packet.capabilities;
    receiver.mailbox.add(message);
    this.trace?.add(TRACE.arrive, receiver.id, message.edge.id, at, message.edge.sent);
    this.#ready(receiver);
  };

  /** A message to fill with what came from another partition, or null where that was refused. */
  #admit(packet: Packet, receiver: ModuleCell | undefined): Message | null {
    const edge = this.#edges.get(packet.get(HEAD.edge));
    const port = packet.get(HEAD.port);
    if (receiver?.isAlive !== true || edge === undefined) return this.#refuse(packet, RESULT["dead-peer"]);
    const isTooLarge = packet.payloadLength > roomOf(receiver);
    const message = isTooLarge ? "full" : receiver.mailbox.offer(edge, port, packet.payloadLength);
    if (typeof message !== "string") return message;
    // A sender in another partition cannot be refused any more; what it lost is told to the receiver.
    if (message === "full") receiver.mailbox.addLost(port, 1);
    return this.#refuse(packet, isTooLarge ? RESULT["too-large"] : RESULT.full);
  }

  #refuse(packet: Packet, result: number): null {
    const correlation = packet.get(HEAD.correlation) >>> 0;
    if (packet.get(HEAD.kind) === KIND.call) this.answer(packet.get(HEAD.senderLife), correlation, result, NOTHING);
    return null;
  }

  #sendAcross(
    sender: ModuleCell,
    { capability: { target, badge }, kind, correlation, capabilities }: Outgoing,
    memory: GuestMemory,
    address: GuestPointer,
    length: GuestLength,
  ): number {
    const channel = this.#channels.get(this.#placeOf(target));
    if (channel === undefined || target.port < 0) return RESULT["dead-peer"];
    const packet = this.#outgoing;
    const ring = channel.outgoing;
    if (!packet.reserve(ring, capabilities, length)) return RESULT.full;
    packet.set(HEAD.isReply, 0);
    packet.set(HEAD.module, target.module);
    packet.set(HEAD.port, target.port);
    packet.set(HEAD.kind, kind);
    packet.set(HEAD.senderModule, sender.id);
    packet.set(HEAD.senderGeneration, sender.generation);
    packet.set(HEAD.senderLife, this.#life);
    packet.set(HEAD.badge, badge);
    packet.set(HEAD.correlation, correlation);
    packet.set(HEAD.edge, target.edge);
    memory.readInto(address, length, ring.bytes, ring.view, packet.payloadAt);
    ring.commit();
    channel.isUntold = true;
    this.trace?.add(TRACE.cross, sender.id, target.edge, packet.payloadAt);
    return 0;
  }

  #stamp(message: Message, sender: ModuleCell, { kind, capability, correlation, capabilities }: Outgoing): void {
    message.kind = kind;
    message.senderModule = sender.id;
    message.senderGeneration = sender.generation;
    message.senderLife = this.#life;
    message.badge = capability.badge;
    message.correlation = correlation;
    message.capabilities = capabilities;
  }
}

/** Records taken from one channel before others get their turn. */
const RECEIVE_BATCH = 256;

/** Payload that the module's inbox holds. One that is being restarted has its inbox again soon. */
function roomOf({ order }: ModuleCell): number {
  return order.inbox - HEADER.size;
}
