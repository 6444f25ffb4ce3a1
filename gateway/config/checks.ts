/** What must hold between the parts of a configuration: no cycle of calls, one driver for a device, no overcommit. */
import type { Grant, ModuleSpec } from "../../kernel/index.ts";
import type { PartitionInProgress } from "./build.ts";
import { DEFAULTS, PAGE_BYTES } from "./defaults.ts";
import type { Position, Problems } from "./problem.ts";
import { grantTargets } from "./resource.ts";
import { formatSize } from "./units.ts";

/** Where grants and modules are written. */
export interface Places {
  grant(module: string, slot: string): Position;
  module(module: string): Position;
}

const MiB = 1024 * 1024;

interface CallEdge {
  readonly from: string;
  readonly slot: string;
  readonly to: string;
}

/** The edges along which a module can wait for another. */
export function callEdges(modules: readonly ModuleSpec[]): readonly CallEdge[] {
  return modules.flatMap((module) =>
    module.grants.flatMap((grant) => {
      if (grant.interface !== "endpoint" || !grant.rights.includes("call")) return [];
      return grant.to.map((to) => ({ from: module.name, slot: grant.slot, to: to.module }));
    }),
  );
}

/** One cycle of the call graph, as its edges in order, or undefined where there is none. Iterative: chains may be long. */
export function findCallCycle(modules: readonly ModuleSpec[]): readonly CallEdge[] | undefined {
  const outgoing = Map.groupBy(callEdges(modules), ({ from }) => from);
  const done = new Set<string>();
  for (const { name } of modules) {
    const path: { readonly module: string; readonly edges: CallEdge[]; readonly via: CallEdge | undefined }[] = [];
    const onPath = new Set<string>();
    const enter = (module: string, via: CallEdge | undefined): void => {
      path.push({ module, edges: [...(outgoing.get(module) ?? [])], via });
      onPath.add(module);
    };
    if (!done.has(name)) enter(name, undefined);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const edge = top.edges.shift();
      if (edge === undefined) {
        path.pop();
        onPath.delete(top.module);
        done.add(top.module);
      } else if (onPath.has(edge.to)) {
        const start = path.findIndex(({ module }) => module === edge.to);
        return [...path.slice(start + 1).flatMap(({ via }) => (via === undefined ? [] : [via])), edge];
      } else if (!done.has(edge.to)) enter(edge.to, edge);
    }
  }
  return undefined;
}

/** Of a longer cycle the message shows so many. */
const SHOWN_HOPS = 12;

export function checkCallGraph(modules: readonly ModuleSpec[], places: Places, problems: Problems): void {
  const cycle = findCallCycle(modules);
  const last = cycle?.at(-1);
  if (cycle === undefined || last === undefined) return;
  const hops = cycle.map(({ from, slot }) => `${from} -(${slot})-> `);
  const left = hops.length > SHOWN_HOPS ? `… ${hops.length - SHOWN_HOPS} more … -> ` : "";
  const text = `${hops.slice(0, SHOWN_HOPS).join("")}${left}${last.to}`;
  const hint = "each would wait for the next: let one of them only `send`";
  problems.add(places.grant(last.from, last.slot), `the call graph has a cycle: ${text}`, { hint });
}

/** Interfaces whose resource has one driver, and the right that makes it so. */
const EXCLUSIVE: ReadonlyMap<string, string | undefined> = new Map([
  ["i2c-device", undefined],
  ["spi-device", undefined],
  ["gpio-line", undefined],
  ["uart", undefined],
  ["file", "write"],
]);

function exclusiveTarget(grant: Grant): string | undefined {
  if (!EXCLUSIVE.has(grant.interface)) return undefined;
  const right = EXCLUSIVE.get(grant.interface);
  if (right !== undefined && !grant.rights.some((name) => name === right)) return undefined;
  return grantTargets(grant)[0]?.text;
}

/** Two drivers of one device would garble each other's transfers. */
export function checkExclusive(modules: readonly ModuleSpec[], places: Places, problems: Problems): void {
  const owners = new Map<string, string>();
  for (const module of modules) {
    for (const grant of module.grants) {
      const target = exclusiveTarget(grant);
      if (target === undefined) continue;
      const owner = owners.get(target);
      const own = `${module.name}.${grant.slot}`;
      if (owner === undefined) owners.set(target, own);
      else {
        const hint = "give it to one, and let the other ask that one";
        problems.add(places.grant(module.name, grant.slot), `${target} is bound to ${owner} and to ${own}`, { hint });
      }
    }
  }
}

function prefixOf(grant: Grant): string | undefined {
  if (grant.interface !== "store") return undefined;
  const { prefix } = grant.parameters as { readonly prefix?: unknown };
  return typeof prefix === "string" ? prefix : undefined;
}

/** Sorted, an overlapping prefix stands right behind the one that it extends, or behind another that does. */
export function checkStores(modules: readonly ModuleSpec[], places: Places, problems: Problems): void {
  const stores = modules
    .flatMap((module) =>
      module.grants.flatMap((grant) => {
        const prefix = prefixOf(grant);
        return prefix === undefined ? [] : [{ prefix, module: module.name, slot: grant.slot }];
      }),
    )
    .toSorted((left, right) => (left.prefix < right.prefix ? -1 : left.prefix > right.prefix ? 1 : 0));
  let widest: (typeof stores)[number] | undefined;
  for (const store of stores) {
    if (widest === undefined || !store.prefix.startsWith(widest.prefix)) {
      widest = store;
      continue;
    }
    const owners = `${widest.module}.${widest.slot} ('${widest.prefix}') and ${store.module}.${store.slot} ('${store.prefix}')`;
    const detail = { hint: "end each prefix with '/' and keep them apart" };
    problems.add(places.grant(store.module, store.slot), `the store prefixes of ${owners} overlap`, detail);
  }
}

/** The gateway's own folder holds keys and trust: no module reads there. */
export function checkFiles(
  modules: readonly ModuleSpec[],
  own: readonly string[],
  places: Places,
  problems: Problems,
): void {
  for (const module of modules) {
    for (const grant of module.grants) {
      if (grant.interface !== "file") continue;
      const path = String(grant.parameters["path"]);
      const reached = own.find((folder) => path === folder || path.startsWith(`${folder}/`));
      if (reached === undefined) continue;
      const detail = { code: "E_CAP", hint: "keep module files elsewhere" } as const;
      problems.add(places.grant(module.name, grant.slot), `${path} belongs to the gateway itself (${reached})`, detail);
    }
  }
}

/**
 * A callee's priority is at least its callers', or a caller waits for those between them. A callee that names none is
 * raised to its highest caller's; one that names a lower one is refused.
 */
export function settlePriorities(
  modules: readonly ModuleSpec[],
  named: ReadonlySet<string>,
  places: Places,
  problems: Problems,
): readonly ModuleSpec[] {
  const priorities = new Map(modules.map(({ name, priority }) => [name, priority]));
  const edges = callEdges(modules);
  // Each round carries a priority one call further; the graph is acyclic, so as many rounds as modules suffice.
  for (let changed = true, round = 0; changed && round <= modules.length; round += 1) {
    changed = false;
    for (const { from, to } of edges) {
      const [caller, callee] = [priorities.get(from), priorities.get(to)];
      if (caller === undefined || callee === undefined || callee <= caller || named.has(to)) continue;
      priorities.set(to, caller);
      changed = true;
    }
  }
  for (const { from, slot, to } of edges) {
    const [caller = 0, callee = 0] = [priorities.get(from), priorities.get(to)];
    if (callee <= caller) continue;
    const message = `${from}.${slot} calls ${to}, whose priority ${callee} is below ${from}'s ${caller}`;
    problems.add(places.grant(from, slot), message, {
      hint: `set 'priority: ${caller}' in modules.${to}, or remove it`,
    });
  }
  return modules.map((module) => ({ ...module, priority: priorities.get(module.name) ?? module.priority }));
}

function fuelPerSecond({
  fuelPerPeriod,
  periodMs,
}: {
  readonly fuelPerPeriod: number;
  readonly periodMs: number;
}): number {
  return (fuelPerPeriod * 1000) / periodMs;
}

function partitionFuelPerSecond({ draft }: PartitionInProgress): number {
  if (draft?.fuel === undefined) return DEFAULTS.coreFuelPerSecond;
  const { limit, period } = draft.fuel.value;
  return fuelPerSecond({ fuelPerPeriod: limit.value, periodMs: period?.value ?? DEFAULTS.periodMs });
}

/** Gives modules without `fuel:` their share of what is left of their partition, and refuses what does not fit. */
export function settleFuel(
  modules: readonly ModuleSpec[],
  named: ReadonlySet<string>,
  partitions: ReadonlyMap<string, PartitionInProgress>,
  places: Places,
  problems: Problems,
): readonly ModuleSpec[] {
  const shares = new Map<string, number>();
  for (const [name, partition] of partitions) {
    const members = modules.filter((module) => module.partition === name);
    const silent = members.filter((module) => !named.has(module.name));
    const capacity = partitionFuelPerSecond(partition);
    const asked = members.reduce((sum, module) => sum + (named.has(module.name) ? fuelPerSecond(module) : 0), 0);
    if (asked > capacity) {
      const found = `${Math.round(asked)} fuel a second asked for by its modules`;
      const expected = `at most ${Math.round(capacity)}`;
      problems.add(partition.at, `the partition '${name}' has less fuel than its modules' sum`, {
        expected,
        found,
        hint: "lower `fuel` of modules, or move some to another partition",
      });
      continue;
    }
    if (silent.length === 0) continue;
    const left = Math.min((capacity - asked) / silent.length, DEFAULTS.largestShare * DEFAULTS.coreFuelPerSecond);
    const share = Math.floor((left * DEFAULTS.periodMs) / 1000);
    shares.set(name, share);
    if (share >= DEFAULTS.smallestFuelPerPeriod) continue;
    const message = `the partition '${name}' has no fuel left for '${silent[0]?.name ?? ""}'`;
    const hint = "give it `fuel`, lower that of others, or move some to another partition";
    problems.add(places.module(silent[0]?.name ?? ""), message, {
      found: `${share} in each ${DEFAULTS.periodMs}ms`,
      hint,
    });
  }
  return modules.map((module) =>
    named.has(module.name)
      ? module
      : { ...module, fuelPerPeriod: shares.get(module.partition) ?? module.fuelPerPeriod },
  );
}

export interface GatewayLimits {
  readonly memoryBytes: number;
  readonly cores: number;
  readonly spare: boolean;
}

/** Memory of a partition's modules, bytes. */
export function memoryOf(modules: readonly ModuleSpec[], partition: string): number {
  return modules.reduce(
    (sum, module) => sum + (module.partition === partition ? module.memoryPages * PAGE_BYTES : 0),
    0,
  );
}

export function checkTotals(
  modules: readonly ModuleSpec[],
  partitions: ReadonlyMap<string, PartitionInProgress>,
  limits: GatewayLimits & { readonly at: Position },
  problems: Problems,
): void {
  let total = 0;
  for (const [name, { draft, spec, at }] of partitions) {
    const used = memoryOf(modules, name);
    total += used + spec.heapMiB * MiB;
    const allowed = draft?.memory?.value;
    if (allowed === undefined || used <= allowed) continue;
    const detail = {
      expected: `at most ${formatSize(allowed)}`,
      found: formatSize(used),
      hint: "lower `memory` of modules",
    };
    problems.add(draft?.memory?.at ?? at, `the modules of partition '${name}' have more memory than it`, detail);
  }
  if (total > limits.memoryBytes) {
    const hint = "lower `memory` of modules or `heap` of partitions, or raise limits.memory if this machine has it";
    const detail = { expected: `at most ${formatSize(limits.memoryBytes)}`, found: formatSize(total), hint };
    problems.add(limits.at, "modules and partition heaps have more memory than the gateway", detail);
  }
  const fuel = modules.reduce((sum, module) => sum + fuelPerSecond(module), 0);
  const capacity = limits.cores * DEFAULTS.coreFuelPerSecond;
  if (fuel <= capacity) return;
  const detail = {
    expected: `at most ${capacity} fuel a second (${limits.cores} cores)`,
    found: `${Math.round(fuel)}`,
  };
  problems.add(limits.at, "the modules have more fuel than the gateway's cores", {
    ...detail,
    hint: "lower `fuel` of modules",
  });
}
