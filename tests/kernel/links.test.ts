/** Where slots lead, when the numbers of routes come to their end. */
import { expect, test } from "vitest";
import { admitModule, LIMITS } from "../../kernel/index.ts";
import { SharedCounters } from "../../kernel/ipc/shared.ts";
import type { Order } from "../../kernel/partition/protocol.ts";
import { Links } from "../../kernel/supervisor/links.ts";
import { ModuleRecord } from "../../kernel/supervisor/modules.ts";
import type { Partitions } from "../../kernel/supervisor/partitions.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { endpoint, endpointSlot } from "../support/probe.ts";

test("who is granted past the last number is refused, and what has to be told is told all the same", async () => {
  const to = Array.from({ length: 64 }, (_, index) => ({ module: `m${index}`, port: "in" }));
  const spec = moduleSpec("sender", [endpoint("m0.in", { to })]);
  const manifest = manifestFields("sender", { slots: { out: endpointSlot(["send"]) } });
  const record = new ModuleRecord(1, spec, await admitModule(moduleBinary(watModule("", ECHO), manifest), spec), 0);
  const orders: Order[] = [];
  // SAFETY: links use no more of partitions than this.
  const partitions = {
    revocations: new SharedCounters(LIMITS.edges),
    broadcast: () => undefined,
    order: (_: number, order: Order) => void orders.push(order),
  } as unknown as Partitions;
  const links = new Links(new Map([["sender", record]]), partitions, {
    bind: () => undefined,
    unbind: () => undefined,
    request: () => Promise.resolve({ result: 0, bytes: new Uint8Array(0) }),
  });
  links.bind(record);
  const [grant] = spec.grants;
  if (grant === undefined) throw new Error("no grant");
  const given: number[] = [];
  for (let round = 0; round < LIMITS.edges / 64 - 1; round++) {
    if (round > 0) links.grant(record, grant);
    given.push(...links.of(record).flatMap(({ edges }) => edges.map(({ edge }) => edge)));
  }
  expect(new Set(given).size).toBe(given.length);
  // Of the last 64 numbers the greatest is no route's: the table ends there.
  expect(() => links.grant(record, grant)).toThrow(/all numbers of routes/);
  expect(links.of(record)[0]?.edges.map(({ edge }) => edge)).toEqual([
    ...Array.from({ length: 63 }, (_, index) => LIMITS.edges - 63 + index),
    0,
  ]);
  orders.length = 0;
  expect(() => links.revoke(record, "out")).not.toThrow();
  expect(() => links.tell()).not.toThrow();
  expect(orders.filter(({ type }) => type === "link")).toMatchObject([
    { type: "link", slots: [{ rights: [], edges: to.map(() => ({ edge: 0, partition: -1 })) }] },
  ]);
  expect(partitions.revocations.load(0)).toBe(0);
});
