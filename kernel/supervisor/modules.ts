/** The supervisor's record of each module, and the orders that are made from it. */
import type { AdmittedModule } from "../admission.ts";
import { FloodGate } from "../flood.ts";
import { Refusal } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { EdgeLink, EdgeStatistics, ModuleOrder, SavedState, SlotLink } from "../partition/protocol.ts";
import type { EndpointGrant, Grant, ModuleSpec } from "../system.ts";
import type { ResourceBinding, RouteRow } from "./events.ts";
import { RestartHistory } from "./restart.ts";

export type ModuleStatus = "loading" | "loaded" | "running" | "failed" | "held";

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
  const rows = new Map<number, { -readonly [Key in keyof RouteRow]: RouteRow[Key] }>();
  for (const record of records) {
    const { spec, edges, revoked } = record;
    for (const grant of endpoints(record)) {
      if (revoked.has(grant.slot)) continue;
      edgeKeys(grant).forEach((key, index) => {
        const { module = "", port = "" } = grant.to[index] ?? {};
        const row = { from: spec.name, slot: grant.slot, to: `${module}.${port}` };
        rows.set(edges.get(key) ?? 0, { ...row, sent: 0, refused: 0, dropped: 0, queued: 0 });
      });
    }
  }
  for (const { edge, sent, refused, dropped, queued } of counts) {
    const row = rows.get(edge);
    if (row === undefined) continue;
    row.sent += sent;
    row.refused += refused;
    row.dropped += dropped;
    row.queued += queued;
  }
  return [...rows.values()];
}

/** Numbers that are given once: edges, bindings, lives. */
export class Counter {
  readonly #most: number;
  #last = 0;

  constructor(most = Number.MAX_SAFE_INTEGER) {
    this.#most = most;
  }

  /** @throws Refusal E_SIZE where all have been given. */
  next(): number {
    if (this.#last >= this.#most) {
      throw new Refusal("E_SIZE", "all numbers of this kind have been given", { hint: "restart the gateway" });
    }
    return ++this.#last;
  }
}

/** What is passed on by handles leads nowhere itself. */
const NO_ENDPOINT: Pick<EndpointGrant, "to" | "depth" | "overflow"> = { to: [], depth: 1, overflow: "refuse" };

/** The slots of a module's manifest as they are bound now; one without a grant is absent. */
export function slotLinks(
  record: ModuleRecord,
  modules: ReadonlyMap<string, ModuleRecord>,
  edges: Counter,
): SlotLink[] {
  const { manifest } = record.admitted;
  const links: SlotLink[] = [];
  for (const [slot, { port }] of manifest.slots) {
    const grant = record.grants.get(slot);
    if (grant === undefined) continue;
    links.push({
      slot,
      interface: grant.interface,
      rights: record.revoked.has(slot) ? [] : grant.rights,
      eventPort: port === null ? -1 : manifest.ports.findIndex(({ name }) => name === port),
      binding: record.bindings.get(slot)?.id ?? 0,
      edges: edgeLinks(record, grant, modules, edges),
      badge: grant.interface === "endpoint" ? grant.badge : 0,
      notify: grant.interface === "handles" && grant.parameters["notify"] === true,
    });
  }
  return links;
}

/** The keys of a grant's targets in `edges`: other rights or rules are another edge. What is passed on by handles has one too. */
export function edgeKeys(grant: Grant): string[] {
  if (grant.interface === "handles") return [`${grant.slot}>`];
  if (grant.interface !== "endpoint") return [];
  const { slot, to, rights, check, require } = grant;
  const terms = JSON.stringify([rights, check ?? false, require ?? []]);
  return to.map(({ module, port }) => `${slot}>${module}.${port} ${terms}`);
}

function edgeLinks(
  record: ModuleRecord,
  grant: Grant,
  modules: ReadonlyMap<string, ModuleRecord>,
  edges: Counter,
): EdgeLink[] {
  const { to, depth, overflow } = grant.interface === "endpoint" ? grant : NO_ENDPOINT;
  return edgeKeys(grant).map((key, index) => {
    const edge = record.edges.get(key) ?? edges.next();
    record.edges.set(key, edge);
    const address = to[index];
    const target = modules.get(address?.module ?? "");
    return {
      edge,
      module: target?.id ?? 0,
      partition: target?.partition ?? -1,
      port: target?.admitted.manifest.ports.findIndex(({ name }) => name === address?.port) ?? -1,
      depth,
      overflow,
    };
  });
}

export function moduleOrder(
  record: ModuleRecord,
  slots: readonly SlotLink[],
  generation = record.generation,
): ModuleOrder {
  const { manifest, compiled, imports, exports, sha256, metered, isRecorded } = record.admitted;
  const { spec } = record;
  return {
    id: record.id,
    generation,
    name: manifest.name,
    compiled,
    imports,
    exports,
    slots,
    ports: manifest.ports.map(({ fuel, stack }) => ({ fuel, stack })),
    inboxBytes: manifest.inbox,
    stateBytes: Math.min(manifest.state, LIMITS.stateBytes),
    schema: manifest.schema,
    fuel: manifest.fuel,
    priority: spec.priority,
    fuelPerPeriod: spec.fuelPerPeriod,
    periodMs: spec.periodMs,
    activationMs: spec.activationMs,
    checkpointMessages: spec.checkpointMessages,
    checkpointMs: spec.checkpointMs ?? 0,
    record: isRecorded,
    sha256,
    metered,
    canonicalNans: manifest.canonicalNans,
    settings: spec.settings ?? new Uint8Array(0),
  };
}
