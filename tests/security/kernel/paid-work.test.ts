/** What the host does for a guest is charged to it, before it is done and by how much there is to do: fuel, not time. */
import { describe, expect, test } from "vitest";
import { KIND, RESULT } from "../../../kernel/abi.ts";
import { encodeCbor, LIMITS } from "../../../kernel/index.ts";
import type { RouteGuard } from "../../../kernel/ipc/policy.ts";
import { SharedCounters } from "../../../kernel/ipc/shared.ts";
import { GuestMemory } from "../../../kernel/memory.ts";
import { checkFuel } from "../../../kernel/message-check.ts";
import { ModuleCell } from "../../../kernel/partition/cell.ts";
import { GuestStopped } from "../../../kernel/partition/fault.ts";
import { type LinkContext, OPERATION_FUEL } from "../../../kernel/partition/link.ts";
import { LOCAL_OPERATIONS } from "../../../kernel/partition/local-operations.ts";
import { PostOffice } from "../../../kernel/partition/post.ts";
import type { PartitionData, SlotLink } from "../../../kernel/partition/protocol.ts";
import { Timers } from "../../../kernel/partition/timers.ts";

const EDGE = 1;
const RIGHTS = ["send", "call", "pass"];
const UNGUARDED: RouteGuard = { isChecked: false, contract: null, require: [] };
type Operation = (...parameters: number[]) => number;

/** A module with one route to another, and what its operations charge. */
class Guest {
  readonly memory = new GuestMemory(new WebAssembly.Memory({ initial: 2 }));
  readonly cell: ModuleCell;
  readonly receiver: ModuleCell;
  readonly post: PostOffice;
  readonly denials: unknown[] = [];
  fuel = 0;
  /** What the counter has before anything is charged. */
  left = 0;
  complete: (result: number) => void = () => undefined;
  result = 0;

  constructor(guard: RouteGuard = UNGUARDED) {
    const cells = [1, 2].map((id) => new ModuleCell({ id, inbox: 100_000 } as never, () => undefined));
    [this.receiver, this.cell] = cells as [ModuleCell, ModuleCell];
    for (const cell of cells) cell.state = "idle";
    // SAFETY: the post office reads no more of it than this.
    const data = { index: 0, life: 1, revocations: new SharedCounters(4).buffer } as PartitionData;
    const byId = new Map(cells.map((cell) => [cell.id, cell]));
    this.post = new PostOffice(
      data,
      byId,
      new Timers(),
      () => 0,
      () => undefined,
    );
    this.post.route(EDGE, 64, "refuse");
    if (guard !== UNGUARDED) this.post.policy.setGuard(EDGE, guard);
  }

  operation(name: string, changes: Partial<SlotLink> = {}): Operation {
    const instance = {
      memory: this.memory,
      charge: (fuel: number) => {
        this.fuel += fuel;
        return this.left - this.fuel;
      },
    };
    // SAFETY: of these objects the operations use what is here; there is no guest behind them.
    const context = {
      post: this.post,
      incarnation: { cell: this.cell, instance },
      now: () => 0,
      report: (report: unknown) => this.denials.push(report),
      suspend: (start: (complete: (result: number) => void) => void) => {
        start((result) => (this.result = result));
        return 0;
      },
    } as unknown as LinkContext;
    const edge = { edge: EDGE, module: 1, partition: 0, port: 0, depth: 64, overflow: "refuse" } as const;
    const slot: SlotLink = {
      slot: "out",
      interface: "endpoint",
      rights: RIGHTS,
      eventPort: 3,
      binding: 0,
      edges: [edge],
      badge: 1,
    };
    // SAFETY: every local operation has this shape.
    return LOCAL_OPERATIONS[name]?.(context, { ...slot, ...changes }) as unknown as Operation;
  }

  /** What one use of an operation charges. */
  cost(use: () => unknown): number {
    const before = this.fuel;
    use();
    return this.fuel - before;
  }

  sendCost(bytes: Uint8Array): number {
    this.memory.write(0 as never, bytes);
    const send = this.operation("endpoint.send");
    return this.cost(() => send(0, bytes.length, 0, 0));
  }
}

const field = (name: string) => ({ name, isOptional: true, kind: "integer", arguments: [] }) as const;
const contract = { message: [field("a")], reply: [field("a")] } as never;
const CHECKED: RouteGuard = { isChecked: true, contract, require: [] };
const requiring = (count: number): RouteGuard => ({
  ...UNGUARDED,
  require: Array.from({ length: count }, (_, index) => ({ field: `f${index}`, test: { minimum: 0 } })),
});
/** Eight kilobytes that are 8,000 items. */
const EMPTIES = Uint8Array.from([0x99, 0x1f, 0x40, ...new Uint8Array(8000).fill(0x80)]);
const TEXT = encodeCbor("a".repeat(8000));

describe("the check of a route's content", () => {
  test("is paid by the item: 8,000 empty arrays cost what they take, and a text of as many bytes does not", () => {
    const free = new Guest().sendCost(EMPTIES);
    expect(new Guest(CHECKED).sendCost(EMPTIES) - free).toBeGreaterThan(8000 * 50);
    expect(new Guest(CHECKED).sendCost(TEXT) - free).toBeLessThan(8000);
  });

  test("is paid for each requirement", () => {
    const [one, nine] = [new Guest(requiring(1)).sendCost(EMPTIES), new Guest(requiring(9)).sendCost(EMPTIES)];
    expect(nine - one).toBeGreaterThanOrEqual(8 * 8000 * 10);
  });

  test("is paid before it is done", () => {
    const guest = new Guest(CHECKED);
    guest.left = 100_000 - LIMITS.entryFuel;
    expect(() => guest.sendCost(EMPTIES)).toThrow(GuestStopped);
    expect([guest.denials, guest.receiver.mailbox.length]).toEqual([[], 0]);
  });

  test("of a reply is paid by the caller's period", () => {
    const guest = new Guest(CHECKED);
    guest.memory.write(0 as never, encodeCbor(new Map([["a", 1]])));
    guest.operation("endpoint.call")(0, 4, 1000, 60_000, 1000);
    const message = guest.receiver.mailbox.take();
    expect(message?.kind).toBe(KIND.call);
    guest.post.answer(1, message?.correlation ?? 0, 0, EMPTIES);
    expect(guest.result).toBe(RESULT.contract);
    expect(guest.cell.periodFuel).toBe(checkFuel(EMPTIES, 0));
  });

  test("costs a bounded amount for any bytes, with heads that run off the end", () => {
    const ends = [[], [0x1b], [0x7b, 255, 255, 255, 255, 255, 255, 255, 255], [0x5f], [0x9f], [0xff], [0xdf]];
    for (const bytes of ends) {
      expect(checkFuel(Uint8Array.from(bytes), 0)).toBeLessThan(2000);
    }
    const most = new Uint8Array(LIMITS.payloadBytes).fill(0x80);
    expect(checkFuel(most, 0)).toBeLessThan(LIMITS.entryFuel / 10);
    expect(checkFuel(most, 0)).toBe(checkFuel(most.subarray(0, 60_000), 0) + (LIMITS.payloadBytes - 60_000) / 2);
  });
});

describe("an operation of an endpoint that comes to nothing is paid all the same:", () => {
  const guest = new Guest();
  const [nowhere, deaf] = [{ edges: [] }, { eventPort: -1 }];
  const { memory } = guest;
  memory.write(64 as never, new Uint8Array(8).fill(0xff));
  memory.write(128 as never, new Uint8Array(8));
  test.each<[string, string, Partial<SlotLink>, number[], number]>([
    ["a send to nobody", "endpoint.send", nowhere, [0, 4, 0, 0], 0],
    ["a send with too many handles", "endpoint.send", {}, [0, 4, 64, 0xffff_ffff], RESULT.invalid],
    ["a send with the same handle twice", "endpoint.send", {}, [0, 4, 128, 2], RESULT["bad-handle"]],
    ["a send with a handle that is none", "endpoint.send", {}, [0, 4, 64, 1], RESULT["bad-handle"]],
    ["a send of too much", "endpoint.send", {}, [0, LIMITS.payloadBytes + 1, 0, 0], RESULT["too-large"]],
    ["a call without a deadline", "endpoint.call", {}, [0, 4, 0, 0, 0], RESULT.invalid],
    ["a call of nobody", "endpoint.call", nowhere, [0, 4, 0, 0, 1], RESULT.denied],
    ["a call with a reply outside", "endpoint.call", {}, [0, 4, -8, 64, 1], RESULT["bad-address"]],
    ["a request without a deadline", "endpoint.request", {}, [0, 4, 0], RESULT.invalid],
    ["a request without a port", "endpoint.request", deaf, [0, 4, 100], RESULT.invalid],
    ["a derivation from nothing", "endpoint.derive", nowhere, [1], RESULT.invalid],
    ["a derivation of more", "endpoint.derive", { rights: ["pass"] }, [7], RESULT.denied],
  ])("%s", (_, name, changes, parameters, result) => {
    const use = guest.operation(name, changes);
    expect(guest.cost(() => expect(use(...parameters)).toBe(result))).toBeGreaterThanOrEqual(OPERATION_FUEL.handles);
  });

  test("a request over the quota, and a derivation past the table's end", () => {
    const request = guest.operation("endpoint.request");
    guest.cell.pendingRequests = LIMITS.pendingRequests;
    const cost = guest.cost(() => expect(request(0, 4, 100)).toBe(RESULT.quota));
    expect(cost).toBeGreaterThanOrEqual(OPERATION_FUEL.handles);
    const derive = guest.operation("endpoint.derive");
    for (let count = 0; count < LIMITS.handles; count++) expect(derive(1)).toBeGreaterThan(0);
    expect(guest.cost(() => expect(derive(1)).toBe(RESULT.quota))).toBeGreaterThanOrEqual(OPERATION_FUEL.handles);
  });
});
