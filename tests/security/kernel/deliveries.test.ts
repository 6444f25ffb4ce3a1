/** A message is in a mailbox whole or not at all: whatever ends its sender half-way leaves nothing of it, nor of another's. */
import { expect, test } from "vitest";
import { KIND, RESULT } from "../../../kernel/abi.ts";
import { makeEdge, type Message } from "../../../kernel/ipc/mailbox.ts";
import { PartitionControl, Ring, SharedCounters } from "../../../kernel/ipc/shared.ts";
import { type GuestMemory, guestLength, guestPointer } from "../../../kernel/memory.ts";
import { ModuleCell } from "../../../kernel/partition/cell.ts";
import { type Outgoing, PostOffice } from "../../../kernel/partition/post.ts";
import type { PartitionData } from "../../../kernel/partition/protocol.ts";
import { Timers } from "../../../kernel/partition/timers.ts";

const EDGE = 1;
const DEPTH = 2;
const SECRET = 0x5e;

class Office {
  readonly receiver: ModuleCell;
  readonly sender: ModuleCell;
  readonly post: PostOffice;
  woken = 0;

  constructor(index: number, overflow: "refuse" | "latest" = "refuse") {
    const cells = [1, 2].map((id) => new ModuleCell({ id, inbox: 4096 } as never, () => undefined));
    [this.receiver, this.sender] = cells as [ModuleCell, ModuleCell];
    for (const cell of cells) cell.state = "idle";
    // SAFETY: the post office reads no more of it than this.
    const data = { index, life: index + 1, revocations: new SharedCounters(4).buffer } as PartitionData;
    const byId = new Map(cells.map((cell) => [cell.id, cell]));
    this.post = new PostOffice(
      data,
      byId,
      new Timers(),
      () => 0,
      () => this.woken++,
    );
    this.post.route(EDGE, DEPTH, overflow);
  }

  send(memory: GuestMemory, badge: number, partition = 0): number {
    const target = { edge: EDGE, module: 1, partition, port: 0, via: [] };
    const capability = { target, rights: 1, badge };
    const outgoing: Outgoing = { kind: KIND.send, capability, correlation: 0, capabilities: [] };
    return this.post.send(this.sender, outgoing, memory, guestPointer(0), guestLength(16));
  }

  /** Has somebody else's message pass through the mailbox, so that its object is there to be used again. */
  warm(): void {
    expect(this.send(memoryOf(SECRET), 5)).toBe(0);
    this.receiver.mailbox.recycle(this.receiver.mailbox.take() as Message);
    this.woken = 0;
  }

  /** Makes each message that the mailbox offers fail at its last word. */
  sabotage(): void {
    const { mailbox } = this.receiver;
    const offer = mailbox.offer.bind(mailbox);
    mailbox.offer = (...parameters) => {
      const message = offer(...parameters);
      return typeof message === "string" ? message : new Proxy(message, { set: overflow });
    };
  }

  get state(): object {
    const { mailbox } = this.receiver;
    return { waiting: mailbox.length, ...mailbox.counts, edge: { ...this.post.edge(EDGE) }, woken: this.woken };
  }
}

function overflow(): never {
  throw new RangeError("Maximum call stack size exceeded");
}

/** A guest's memory of these bytes, from which copying may fail. */
function memoryOf(byte: number, readInto?: GuestMemory["readInto"]): GuestMemory {
  const copy: GuestMemory["readInto"] = (...[, length, target, , at]) => {
    target.fill(byte, at, (at ?? 0) + length);
    return true;
  };
  // SAFETY: sending uses no more of a memory than this.
  return { covers: () => true, readInto: readInto ?? copy } as unknown as GuestMemory;
}

test.each(["refuse", "latest"] as const)("a sender that is stopped while its message is copied: %s", (policy) => {
  const office = new Office(0, policy);
  office.warm();
  expect(office.send(memoryOf(1), 9)).toBe(0);
  const before = office.state;
  expect(() => office.send(memoryOf(2, overflow), 9)).toThrow(RangeError);
  expect(office.state).toEqual(before);
  const outside = memoryOf(2, () => false);
  expect(office.send(outside, 9)).toBe(RESULT["bad-address"]);
  expect(office.state).toEqual(before);
  expect(office.receiver.mailbox.take()).toMatchObject({ badge: 9, senderModule: 2, length: 16 });
  expect(office.receiver.mailbox.take()).toBeUndefined();
});

test("a sender that is stopped while its message is stamped", () => {
  const office = new Office(0);
  office.warm();
  const before = office.state;
  office.sabotage();
  expect(() => office.send(memoryOf(2), 9)).toThrow(RangeError);
  expect(office.state).toEqual(before);
});

test("the kernel's own message, where it fails half-way", () => {
  const office = new Office(0);
  office.warm();
  const before = office.state;
  office.sabotage();
  const edge = makeEdge(0, 1, "refuse");
  expect(() => office.post.deliver(office.receiver, edge, 0, KIND.event, 0, new Uint8Array(8))).toThrow(RangeError);
  expect([office.state, edge.queued]).toEqual([before, 0]);
});

test("a message from another partition, where taking it in fails half-way", () => {
  const [here, there] = [new Office(0), new Office(1)];
  here.warm();
  const before = here.state;
  const [to, from, control] = [Ring.allocate(1 << 16), Ring.allocate(1 << 16), new PartitionControl().buffer];
  here.post.connect({ type: "channel", partition: 1, life: 2, incoming: to, outgoing: from, control });
  there.post.connect({ type: "channel", partition: 0, life: 1, incoming: from, outgoing: to, control });
  expect(() => there.send(memoryOf(2, overflow), 9)).toThrow(RangeError);
  here.post.receive();
  expect(here.state).toEqual(before);
  expect(there.send(memoryOf(2), 9)).toBe(0);
  here.sabotage();
  expect(() => here.post.receive()).toThrow(RangeError);
  expect(here.state).toEqual(before);
});
