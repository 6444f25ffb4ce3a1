/** What a changed configuration would grant, revoke, restart and use, before it happens. */
import { contractConflict, type ModuleSpec, type PartitionSpec } from "../../kernel/index.ts";
import type { GatewayConfiguration, PolicyStatement } from "./configuration.ts";
import { PAGE_BYTES } from "./defaults.ts";
import type { ManifestView } from "./manifests.ts";
import { grantTargets, termsText } from "./resource.ts";
import { settingsChanges } from "./settings.ts";
import { formatDuration, formatSize } from "./units.ts";

/** Authority that one module has over one thing, through one slot. */
export interface GrantChange {
  readonly module: string;
  readonly slot: string;
  readonly target: string;
  readonly rights: readonly string[];
}

export interface ModuleChange {
  readonly module: string;
  readonly kind: "added" | "removed" | "restarted" | "swapped";
  /** In words: `priority 3 -> 2`. */
  readonly changes: readonly string[];
}

/** Before and after. */
export interface Amounts {
  readonly before: number;
  readonly after: number;
}

export interface ContractChange {
  readonly module: string;
  readonly port: string;
  readonly before: string | null;
  readonly after: string | null;
  /** What senders made for the earlier one would find different; null where they still fit. */
  readonly differs: string | null;
}

export interface ChangePlan {
  readonly gained: readonly GrantChange[];
  readonly lost: readonly GrantChange[];
  /** Those that change at all. */
  readonly modules: readonly ModuleChange[];
  readonly partitions: readonly string[];
  /** Processes around the kernel that must start again: `link`, `device`, or `gateway` for all of it. */
  readonly processes: readonly string[];
  readonly rules: { readonly added: readonly string[]; readonly removed: readonly string[] };
  readonly contracts: readonly ContractChange[];
  /** Bytes of modules and partition heaps. */
  readonly memory: Amounts;
  /** Fuel a second of all modules. */
  readonly fuel: Amounts;
}

function authority(modules: readonly ModuleSpec[]): ReadonlyMap<string, GrantChange> {
  const entries = modules.flatMap((module) =>
    module.grants.flatMap((grant) =>
      grantTargets(grant).map(({ text, rights }) => ({ module: module.name, slot: grant.slot, target: text, rights })),
    ),
  );
  const merged = new Map<string, GrantChange>();
  for (const entry of entries) {
    // An mqtt grant may reach one filter twice: to publish and to subscribe.
    const key = `${entry.module} ${entry.slot} ${entry.target}`;
    const known = merged.get(key);
    merged.set(key, known === undefined ? entry : { ...entry, rights: [...known.rights, ...entry.rights] });
  }
  return merged;
}

/** What `after` has that `before` lacks. */
function difference(
  before: ReadonlyMap<string, GrantChange>,
  after: ReadonlyMap<string, GrantChange>,
): readonly GrantChange[] {
  return [...after].flatMap(([key, entry]) => {
    const had = before.get(key)?.rights ?? [];
    const rights = entry.rights.filter((right) => !had.includes(right));
    return rights.length === 0 ? [] : [{ ...entry, rights }];
  });
}

function finalText(final: ModuleSpec["restart"]["final"]): string {
  return final === undefined
    ? "none"
    : `${Buffer.from(final.payload).toString("hex")} to ${final.to.module}.${final.to.port}`;
}

function checkpointText({ checkpointMessages, checkpointMs }: ModuleSpec): string {
  return `${checkpointMessages} messages${checkpointMs === undefined ? "" : ` or ${formatDuration(checkpointMs)}`}`;
}

function settings(spec: ModuleSpec): readonly (readonly [string, string])[] {
  const { restart } = spec;
  const backoff = `${formatDuration(restart.backoffMs)} to ${formatDuration(restart.maximumBackoffMs)}`;
  return [
    ["partition", spec.partition],
    ["priority", `${spec.priority}`],
    ["memory", formatSize(spec.memoryPages * PAGE_BYTES)],
    ["fuel", `${spec.fuelPerPeriod} each ${formatDuration(spec.periodMs)}`],
    ["activation", formatDuration(spec.activationMs)],
    ["checkpoint", checkpointText(spec)],
    ["record", spec.record === true ? "yes" : "no"],
    ["restart", `${restart.policy}, ${restart.intensity} in ${formatDuration(restart.windowMs)}, ${backoff}`],
    ["final message", finalText(restart.final)],
  ];
}

function sameGrants(before: ModuleSpec, after: ModuleSpec): boolean {
  return JSON.stringify(before.grants) === JSON.stringify(after.grants);
}

function routeTerms({ grants }: ModuleSpec): ReadonlyMap<string, string> {
  return new Map(grants.map((grant) => [grant.slot, grant.interface === "endpoint" ? termsText(grant) : ""]));
}

/** What routes ask of their messages, where that changes. */
function routeChanges(before: ModuleSpec, after: ModuleSpec): readonly string[] {
  const [had, has] = [routeTerms(before), routeTerms(after)];
  return [...has].flatMap(([slot, terms]) => {
    const earlier = had.get(slot) ?? "";
    return earlier === terms ? [] : [`messages of ${slot}: ${earlier || "any"} -> ${terms || "any"}`];
  });
}

function compareModules(
  before: ModuleSpec | undefined,
  after: ModuleSpec | undefined,
  restarted: ReadonlySet<string>,
): ModuleChange | undefined {
  if (before === undefined) return after && { module: after.name, kind: "added", changes: [`in ${after.partition}`] };
  if (after === undefined) return { module: before.name, kind: "removed", changes: [] };
  const now = new Map(settings(after));
  const changes = settings(before)
    .filter(([key, value]) => now.get(key) !== value)
    .map(([key, value]) => `${key} ${value} -> ${now.get(key) ?? ""}`);
  changes.push(...settingsChanges(before.settings, after.settings));
  if (!sameGrants(before, after)) changes.push("grants", ...routeChanges(before, after));
  if (restarted.has(after.partition)) changes.push(`partition ${after.partition} restarts`);
  return changes.length === 0 ? undefined : { module: after.name, kind: "restarted", changes };
}

function changedPartitions(before: readonly PartitionSpec[], after: readonly PartitionSpec[]): ReadonlySet<string> {
  const heaps = new Map(before.map(({ name, heapMiB }) => [name, heapMiB]));
  const now = new Set(after.map(({ name }) => name));
  const changed = after.filter(({ name, heapMiB }) => heaps.get(name) !== heapMiB).map(({ name }) => name);
  return new Set([...changed, ...[...heaps.keys()].filter((name) => !now.has(name))]);
}

function statementText({ decision, from, to, rights }: PolicyStatement): string {
  return `${decision}: ${from} -> ${to}${rights.length === 0 ? "" : ` (${rights.join(", ")})`}`;
}

function withoutFirst(list: readonly string[], others: readonly string[]): readonly string[] {
  return list.filter((entry) => !others.includes(entry));
}

function same(before: unknown, after: unknown): boolean {
  return JSON.stringify(before) === JSON.stringify(after);
}

function changedProcesses(before: GatewayConfiguration, after: GatewayConfiguration): readonly string[] {
  const identity = ({ gateway, dataFolder, trust }: GatewayConfiguration): unknown => [gateway, dataFolder, trust];
  const link = ({ broker, console }: GatewayConfiguration): unknown => [broker, console];
  return [
    ...(same(identity(before), identity(after)) ? [] : ["gateway"]),
    ...(same(link(before), link(after)) ? [] : ["link"]),
    ...(same(before.devices, after.devices) ? [] : ["device"]),
  ];
}

function memoryBytes({ system }: GatewayConfiguration): number {
  const heaps = system.partitions.reduce((sum, { heapMiB }) => sum + heapMiB * 1024 * 1024, 0);
  return system.modules.reduce((sum, { memoryPages }) => sum + memoryPages * PAGE_BYTES, heaps);
}

function fuelPerSecond({ system }: GatewayConfiguration): number {
  return system.modules.reduce((sum, module) => sum + (module.fuelPerPeriod * 1000) / module.periodMs, 0);
}

function contractChanges(
  before: ReadonlyMap<string, ManifestView>,
  after: ReadonlyMap<string, ManifestView>,
): readonly ContractChange[] {
  return [...after].flatMap(([module, manifest]) => {
    const earlier = before.get(module);
    if (earlier === undefined) return [];
    const [had, has] = [earlier, manifest].map(({ ports }) => new Map(ports.map((port) => [port.name, port])));
    const ports = new Set([...(had?.keys() ?? []), ...(has?.keys() ?? [])]);
    return [...ports].flatMap((port) => {
      const [old, now] = [had?.get(port), has?.get(port)];
      if (old?.contract === now?.contract && same(old?.rules, now?.rules)) return [];
      const differs = old?.rules && now?.rules && contractConflict(old.rules, now.rules);
      return [{ module, port, before: old?.contract ?? null, after: now?.contract ?? null, differs: differs ?? null }];
    });
  });
}

export interface Manifests {
  readonly before: ReadonlyMap<string, ManifestView>;
  readonly after: ReadonlyMap<string, ManifestView>;
}

/** Compares two configurations; `manifests` are those of the modules before and after, as far as they are known. */
export function planChange(
  before: GatewayConfiguration,
  after: GatewayConfiguration,
  manifests?: Manifests,
): ChangePlan {
  const [had, has] = [authority(before.system.modules), authority(after.system.modules)];
  const restarted = changedPartitions(before.system.partitions, after.system.partitions);
  const earlier = new Map(before.system.modules.map((module) => [module.name, module]));
  const later = new Map(after.system.modules.map((module) => [module.name, module]));
  const names = [...new Set([...earlier.keys(), ...later.keys()])];
  const [oldRules, newRules] = [before.rules.map(statementText), after.rules.map(statementText)];
  return {
    gained: difference(had, has),
    lost: difference(has, had),
    modules: names.flatMap((name) => compareModules(earlier.get(name), later.get(name), restarted) ?? []),
    partitions: [...restarted],
    processes: changedProcesses(before, after),
    rules: { added: withoutFirst(newRules, oldRules), removed: withoutFirst(oldRules, newRules) },
    contracts: manifests === undefined ? [] : contractChanges(manifests.before, manifests.after),
    memory: { before: memoryBytes(before), after: memoryBytes(after) },
    fuel: { before: fuelPerSecond(before), after: fuelPerSecond(after) },
  };
}

function grantText({ module, slot, target, rights }: GrantChange): string {
  return `${module}.${slot} -> ${target} (${rights.join(", ")})`;
}

function amounts(name: string, { before, after }: Amounts, format: (amount: number) => string): string {
  return before === after ? `${name}: ${format(after)}` : `${name}: ${format(before)} -> ${format(after)}`;
}

/** The plan as people read it: `+` is gained, `-` lost, `~` changed. */
export function describeChange(plan: ChangePlan): string {
  const marks = { added: "+", removed: "-", restarted: "~", swapped: "~" } as const;
  const lines = [
    ...plan.gained.map((entry) => `+ grant    ${grantText(entry)}`),
    ...plan.lost.map((entry) => `- grant    ${grantText(entry)}`),
    ...plan.rules.added.map((rule) => `+ rule     ${rule}`),
    ...plan.rules.removed.map((rule) => `- rule     ${rule}`),
    ...plan.modules.map(
      ({ module, kind, changes }) => `${marks[kind]} module   ${module}: ${[kind, ...changes].join("; ")}`,
    ),
    ...plan.contracts.map(
      ({ module, port, before, after, differs }) =>
        `~ contract ${module}.${port}: ${before ?? "none"} -> ${after ?? "none"}${differs === null ? "" : ` (${differs})`}`,
    ),
    ...plan.partitions.map((name) => `~ restart  partition ${name}`),
    ...plan.processes.map((name) => `~ restart  ${name === "gateway" ? "the whole gateway" : `the ${name} process`}`),
  ];
  const totals = [
    amounts("memory", plan.memory, formatSize),
    amounts("fuel a second", plan.fuel, (amount) => `${Math.round(amount)}`),
  ];
  return [...(lines.length === 0 ? ["no change"] : lines), ...totals].join("\n");
}
