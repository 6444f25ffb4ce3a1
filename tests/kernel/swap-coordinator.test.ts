/** The supervisor's side of a swap, with reports as a partition sends them, in orders that threads seldom give. */
import { expect, test } from "vitest";
import { admitModule, Refusal } from "../../kernel/index.ts";
import type { Order, Report } from "../../kernel/partition/protocol.ts";
import { ModuleRecord } from "../../kernel/supervisor/modules.ts";
import type { SwapLinks, SwapRecovery } from "../../kernel/supervisor/swaps.ts";
import { SwapCoordinator } from "../../kernel/supervisor/swaps.ts";
import { manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";

const HANDLER = `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`;

async function record(id: number, name: string): Promise<ModuleRecord> {
  const spec = moduleSpec(name);
  const admitted = await admitModule(moduleBinary(watModule("", HANDLER), manifestFields(name)), spec);
  const made = new ModuleRecord(id, spec, admitted, id);
  made.status = "running";
  return made;
}

interface Bench {
  readonly links: SwapLinks;
  readonly swaps: SwapCoordinator;
  readonly orders: { readonly module: string; readonly order: Order }[];
  readonly members: readonly [ModuleRecord, ModuleRecord];
  readonly start: () => Promise<string>;
  /** The generation that the last `prepare-swap` order gave the member's new version. */
  readonly generation: (member: ModuleRecord) => number;
  readonly report: (member: ModuleRecord, type: "swap-prepared" | "swap-settled", generation: number) => void;
}

async function bench(): Promise<Bench> {
  const orders: Bench["orders"] = [];
  const nothing = (): undefined => undefined;
  const links: SwapLinks = {
    order: (to, order) => {
      orders.push({ module: to.spec.name, order });
    },
    ...{
      bind: nothing,
      of: () => [],
      route: nothing,
      release: nothing,
      relink: nothing,
      trim: nothing,
      place: nothing,
    },
  };
  const recovery: SwapRecovery = { restart: nothing, runs: nothing, hold: nothing, keep: nothing };
  const swaps = new SwapCoordinator(links, recovery, nothing);
  const members = [await record(1, "first"), await record(2, "second")] as const;
  return {
    links,
    swaps,
    orders,
    members: [members[0], members[1]],
    start: async () =>
      await swaps
        .swap(
          members.map((member) => {
            return { record: member, admitted: member.admitted, spec: member.spec, to: member.partition };
          }),
          1000,
        )
        .then(
          () => "swapped",
          (error: unknown) => (error as { code: string }).code,
        ),
    generation: (member) => {
      const last = orders.findLast(({ module, order }) => order.type === "prepare-swap" && module === member.spec.name);
      if (last?.order.type !== "prepare-swap") throw new Error(`${member.spec.name} was never prepared`);
      return last.order.module.generation;
    },
    report: (member, type, generation) => {
      swaps.onReport(member, { type, module: member.id, generation });
    },
  };
}

const flips = ({ orders }: Bench): string[] =>
  orders.filter(({ order }) => order.type === "flip-swap").map(({ module }) => module);

test("a report of a set that was refused does not count for the next one", async () => {
  const made = await bench();
  const [first, second] = made.members;
  const refused = made.start();
  const late = made.generation(second);
  const refusal: Report = {
    type: "swap-refused",
    module: first.id,
    generation: made.generation(first),
    code: "E_STATE",
    text: "planned",
  };
  made.swaps.onReport(first, refusal);
  expect(await refused).toBe("E_STATE");
  const again = made.start();
  made.report(second, "swap-prepared", late);
  made.report(first, "swap-prepared", made.generation(first));
  // The second member still ends its handler: a flip now would find nothing to flip, and the set would wait for ever.
  expect(flips(made)).toEqual([]);
  made.report(second, "swap-prepared", made.generation(second));
  expect(flips(made)).toEqual(["first", "second"]);
  made.swaps.stop();
  expect(await again).toBe("E_ABORTED");
});

test("a set whose second member cannot be prepared is taken back, and the next one goes ahead", async () => {
  const made = await bench();
  const [first, second] = made.members;
  const { bind } = made.links;
  made.links.bind = (record) => {
    if (record.id === second.id) throw new Refusal("E_SIZE", "all numbers of routes have been given");
  };
  expect(await made.start()).toBe("E_SIZE");
  expect(made.orders.map(({ module, order }) => [module, order.type])).toEqual([
    ["first", "prepare-swap"],
    ["first", "abort-swap"],
  ]);
  expect(made.swaps.isChanging(first)).toBe(false);
  made.links.bind = bind;
  const again = made.start();
  for (const member of made.members) made.report(member, "swap-prepared", made.generation(member));
  expect(flips(made)).toEqual(["first", "second"]);
  made.swaps.stop();
  expect(await again).toBe("E_ABORTED");
});
