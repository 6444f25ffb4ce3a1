/** The supervisor's record of each module, and the orders that are made from it. */
import type { AdmittedModule } from "../admission.ts";
import { FloodGate } from "../flood.ts";
import { LIMITS } from "../limits.ts";
import type { EdgeStatistics, ModuleOrder, SavedState, SlotLink } from "../partition/protocol.ts";
import type { EndpointGrant, Grant, ModuleSpec } from "../system.ts";
import type { ResourceBinding, RouteRow } from "./events.ts";
import { RestartHistory } from "./restart.ts";

export type ModuleStatus = "loading" | "running" | "failed" | "held";

export class ModuleRecord {
  readonly id: number;
  #generations = 1;
  spec: ModuleSpec;
  admitted: AdmittedModule;
  partition: number;
  /** Capabilities for it may name another partition than where it is. */
  isMoved = false;
  generation = 1;
  /** Of calling: see `callLevels`. -1 until it has been told to every partition. */
  level = -1;
  status: ModuleStatus = "loading";
  history: RestartHistory;
  restarts = 0;
  /** When the failure was seen that is being healed now. */
  failedAt = 0;
  failedCause = "";
  state: SavedState | undefined = undefined;
  /** When a restored state that crashed at once was dropped; the next one within the window is a reason to hold. */
  droppedAt = Number.NEGATIVE_INFINITY;
  readonly denials = new FloodGate(LIMITS.denialsPerSecond);
  grants = new Map<string, Grant>();
  bindings = new Map<string, ResourceBinding>();
  /** Slots whose rights were taken away; only a new grant gives them back, no swap and no restart does. */
  revoked = new Set<string>();
  /** Edge numbers of an endpoint slot's targets, by `slot>module.port`; a target keeps its number until it is revoked. */
  edges = new Map<string, number>();

  constructor(id: number, spec: ModuleSpec, admitted: AdmittedModule, partition: number) {
    this.id = id;
    this.spec = spec;
    this.admitted = admitted;
    this.partition = partition;
    this.history = new RestartHistory(spec.restart);
    for (const grant of spec.grants) this.grants.set(grant.slot, grant);
  }

  /** True from its failure until it runs again: whoever asked to be told of it has been told. */
  isMissed = false;

  /** A generation that no instance of this module has had, nor will have again. */
  nextGeneration(): number {
    return ++this.#generations;
  }

  /** The module as a swap would make it. What its grants have in common with today's stays bound as it is. */
  successor(admitted: AdmittedModule, spec: ModuleSpec): ModuleRecord {
    const next = new ModuleRecord(this.id, spec, admitted, this.partition);
    if (spec === this.spec) next.grants = new Map(this.grants);
    next.revoked = this.revoked;
    next.edges = this.edges;
    for (const [slot, binding] of this.bindings) {
      if (JSON.stringify(next.grants.get(slot)) === JSON.stringify(this.grants.get(slot))) {
        next.bindings.set(slot, binding);
      }
    }
    return next;
  }
}

export function endpoints({ grants }: Pick<ModuleRecord, "grants">): EndpointGrant[] {
  return [...grants.values()].filter((grant) => grant.interface === "endpoint");
}

/** The modules that its endpoints lead to. */
export function targets(record: ModuleRecord): string[] {
  return endpoints(record).flatMap(({ to }) => to.map(({ module }) => module));
}

/** Who is called before who calls: levels go upward with each call. */
export function calleesFirst(records: Iterable<ModuleRecord>): ModuleRecord[] {
  return [...records].sort((a, b) => b.level - a.level);
}

/** The routes of these modules with what their two ends have counted. */
export function routeRows(records: Iterable<ModuleRecord>, counts: readonly EdgeStatistics[]): RouteRow[] {
  const byEdge = Map.groupBy(counts, ({ edge }) => edge);
  return [...records].flatMap((record) => {
    const inForce = endpoints(record).filter(({ slot }) => !record.revoked.has(slot));
    return inForce.flatMap((grant) =>
      edgeKeys(grant).map((key, index): RouteRow => {
        const ends = byEdge.get(record.edges.get(key) ?? 0) ?? [];
        const sum = (count: keyof EdgeStatistics): number => ends.reduce((total, end) => total + end[count], 0);
        const { module = "", port = "" } = grant.to[index] ?? {};
        const row = { from: record.spec.name, slot: grant.slot, to: `${module}.${port}` };
        return { ...row, sent: sum("sent"), refused: sum("refused"), dropped: sum("dropped"), queued: sum("queued") };
      }),
    );
  });
}

/** The keys of a grant's targets in `edges`: other rights or rules are another edge. What is passed on by handles has one too. */
export function edgeKeys(grant: Grant): string[] {
  if (grant.interface === "handles") return [`${grant.slot}>`];
  if (grant.interface !== "endpoint") return [];
  const { slot, to, rights, check, require } = grant;
  const terms = JSON.stringify([rights, check ?? false, require ?? []]);
  return to.map(({ module, port }) => `${slot}>${module}.${port} ${terms}`);
}

export function moduleOrder(
  record: ModuleRecord,
  slots: readonly SlotLink[],
  generation = record.generation,
): ModuleOrder {
  const { id, admitted, spec } = record;
  const { manifest, compiled, imports, exports, sha256, metered, isRecorded } = admitted;
  const { name, inbox, state, schema, fuel, canonicalNans } = manifest;
  const { priority, fuelPerPeriod, periodMs, activationMs, checkpointMessages, checkpointMs = 0 } = spec;
  return {
    ...{ id, generation, slots, compiled, imports, exports, sha256, metered, record: isRecorded },
    ...{ name, inbox, state, schema, fuel, canonicalNans },
    ...{ priority, fuelPerPeriod, periodMs, activationMs, checkpointMessages, checkpointMs },
    ports: manifest.ports.map((port) => ({ fuel: port.fuel, stack: port.stack })),
    settings: spec.settings ?? new Uint8Array(0),
  };
}
