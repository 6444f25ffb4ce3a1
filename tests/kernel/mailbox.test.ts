/** The mailbox, random offers and takes under each overflow policy, against plain lists. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LIMITS } from "../../kernel/index.ts";
import type { OverflowPolicy } from "../../kernel/index.ts";
import { type Edge, Mailbox, Message, makeEdge, type Offer } from "../../kernel/ipc/mailbox.ts";

const POLICIES: readonly OverflowPolicy[] = ["refuse", "drop-oldest", "drop-newest", "latest"];

interface Item {
  readonly edge: number;
  readonly port: number;
  readonly tag: number;
}

/** Lets in a message of so many bytes, as who sends does. */
function put(mailbox: Mailbox, edge: Edge, length: number, port = 0, correlation = 0): Offer {
  const offer = mailbox.offer(edge, port, length);
  if (typeof offer === "string") return offer;
  offer.correlation = correlation;
  mailbox.add(offer);
  return offer;
}

/** What a mailbox should do, written for clarity. */
class Model {
  items: Item[] = [];
  lost = new Map<number, number>();
  discarded: number[] = [];
  readonly edges: readonly Edge[];

  constructor(edges: readonly Edge[]) {
    this.edges = edges;
  }

  offer(edge: number, port: number, tag: number): "ok" | "full" | "dropped" {
    const { overflow, depth } = this.edges[edge] ?? { overflow: "refuse", depth: 0 };
    const waiting = this.items.filter((item) => item.edge === edge);
    if (waiting.length >= depth) {
      if (overflow === "refuse") return "full";
      if (overflow === "drop-newest") {
        this.#lose(port);
        return "dropped";
      }
      const [oldest] = waiting;
      this.items = this.items.filter((item) => item !== oldest);
      if (oldest !== undefined) this.discarded.push(oldest.tag);
      if (overflow === "drop-oldest") this.#lose(oldest?.port ?? 0);
    }
    this.items.push({ edge, port, tag });
    return "ok";
  }

  #lose(port: number): void {
    this.lost.set(port, (this.lost.get(port) ?? 0) + 1);
  }
}

const action = fc.oneof(
  { weight: 5, arbitrary: fc.record({ edge: fc.nat({ max: 3 }), port: fc.nat({ max: 2 }) }) },
  { weight: 3, arbitrary: fc.constant("take" as const) },
);

test("order, bounds, drops and lost counts are those of the model", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), fc.nat({ max: 4 }), (actions, depth) => {
      const edges = POLICIES.map((policy, index) => makeEdge(index, depth + 1, policy));
      const discarded: number[] = [];
      const mailbox = new Mailbox((message) => discarded.push(message.correlation));
      const model = new Model(edges);
      actions.forEach((step, tag) => {
        if (step === "take") {
          const taken = mailbox.take();
          const wanted = model.items.shift();
          expect(taken?.correlation).toBe(wanted?.tag);
          if (taken !== undefined && wanted !== undefined) {
            expect(mailbox.takeLost(wanted.port)).toBe(model.lost.get(wanted.port) ?? 0);
            model.lost.delete(wanted.port);
            mailbox.recycle(taken);
          }
          return;
        }
        const edge = edges[step.edge] as Edge;
        const offer = put(mailbox, edge, 8, step.port, tag);
        expect(typeof offer === "string" ? offer : "ok").toBe(model.offer(step.edge, step.port, tag));
        expect(mailbox.length).toBe(model.items.length);
        expect(discarded).toEqual(model.discarded);
        expect(edges.map(({ queued }) => queued)).toEqual(
          edges.map((_, index) => model.items.filter((item) => item.edge === index).length),
        );
      });
    }),
    { numRuns: 300 },
  );
});

describe("the bytes of a route", () => {
  const big = LIMITS.payloadBytes;

  function fill(mailbox: Mailbox, edge: Edge): number {
    let count = 0;
    while (typeof put(mailbox, edge, big) !== "string") count++;
    return count;
  }

  test("are bounded", () => {
    const mailbox = new Mailbox(() => undefined);
    expect(fill(mailbox, makeEdge(0, 1_000_000, "refuse")) * big).toBeLessThanOrEqual(LIMITS.edgeBytes);
  });

  test("used up by one route leave room for another", () => {
    const mailbox = new Mailbox(() => undefined);
    fill(mailbox, makeEdge(0, 1_000_000, "refuse"));
    expect(typeof mailbox.offer(makeEdge(1, 4, "refuse"), 0, 100)).not.toBe("string");
    expect(typeof mailbox.offer(makeEdge(2, 4, "refuse"), 0, big)).not.toBe("string");
  });
});

describe("a message that is never completed", () => {
  test.each(POLICIES)("leaves the mailbox of a %s route as it was", (policy) => {
    const discarded: number[] = [];
    const mailbox = new Mailbox((message) => discarded.push(message.correlation));
    const edge = makeEdge(0, 1, policy);
    put(mailbox, edge, 8, 3, 1);
    const before = [{ ...edge }, { ...mailbox.counts }];
    const offer = mailbox.offer(edge, 3, 100);
    if (typeof offer !== "string") offer.correlation = 2;
    const isLetIn = policy === "drop-oldest" || policy === "latest";
    expect(typeof offer !== "string").toBe(isLetIn);
    if (isLetIn) expect([edge, mailbox.counts]).toEqual(before);
    expect(discarded).toEqual([]);
    expect([mailbox.length, mailbox.take()?.correlation, mailbox.take()]).toEqual([1, 1, undefined]);
  });

  test("is not offered again with anything of its own, and neither is one that has been read", () => {
    const mailbox = new Mailbox(() => undefined);
    const edge = makeEdge(0, 4, "refuse");
    const first = put(mailbox, edge, 8, 3, 77) as Message;
    const header = { kind: 2, senderModule: 5, senderGeneration: 6, senderLife: 7, badge: 9 };
    Object.assign(first, header, { capabilities: [{}] });
    mailbox.recycle(mailbox.take() as Message);
    const { edge: _, payload, words, next, ...wiped } = first;
    expect(Object.values(wiped).filter((value) => value !== 0)).toEqual([[]]);
    const again = mailbox.offer(edge, 1, 4) as Message;
    expect([again.payload === payload, again.words === words, next]).toEqual([true, true, undefined]);
    expect(again).toMatchObject({ kind: 0, senderModule: 0, senderGeneration: 0, senderLife: 0, badge: 0 });
    expect(again).toMatchObject({ correlation: 0, capabilities: [], length: 4 });
  });
});

test("putting messages back keeps their order and comes before what waits", () => {
  const edge = makeEdge(0, 10, "refuse");
  const mailbox = new Mailbox(() => undefined);
  for (const tag of [1, 2, 3, 4]) put(mailbox, edge, 4, 0, tag);
  const [first, second] = [mailbox.take(), mailbox.take()] as [Message, Message];
  mailbox.putBack([Object.assign(new Message(edge), first), Object.assign(new Message(edge), second)]);
  expect([1, 2, 3, 4].map(() => mailbox.take()?.correlation)).toEqual([1, 2, 3, 4]);
  expect(edge.queued).toBe(0);
});

test("recycled messages of all sizes do not pile up their buffers", () => {
  const edge = makeEdge(0, 1000, "refuse");
  const mailbox = new Mailbox(() => undefined);
  for (let round = 0; round < 1000; round++) {
    // The large ones stand at another place each time, so that every message object has had its turn.
    for (let count = 0; count < 60; count++) {
      put(mailbox, edge, (count + round * 7) % 20 === 0 ? LIMITS.payloadBytes : 16);
    }
    for (let taken = mailbox.take(); taken !== undefined; taken = mailbox.take()) mailbox.recycle(taken);
  }
  const buffers = new Set<ArrayBufferLike>();
  for (let count = 0; count < 500; count++) buffers.add((put(mailbox, edge, 1) as Message).payload.buffer);
  const held = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(held).toBeLessThan(LIMITS.spareBytes + 500 * 128 + 1);
});
