/** The supervisor's record of each module, and the orders that are made from it. */
import type { AdmittedModule } from "../admission.ts";
import { FloodGate } from "../flood.ts";
import { LIMITS } from "../limits.ts";
import { interfaceDefinition } from "../interfaces.ts";
import type { EdgeLink, ModuleOrder, SavedState, SlotLink } from "../partition/protocol.ts";
import type { EndpointGrant, Grant, ModuleSpec } from "../system.ts";
import type { ResourceBinding } from "./events.ts";
import { RestartHistory } from "./restart.ts";

export type ModuleStatus = "loading" | "loaded" | "running" | "failed" | "held";

export class ModuleRecord {
  readonly id: number;
  spec: ModuleSpec;
  admitted: AdmittedModule;
  partition: number;
  generation = 1;
  status: ModuleStatus = "loading";
  history: RestartHistory;
  restarts = 0;
  /** When the failure was seen that is being healed now. */
  failedAt = 0;
  failedCause = "";
  state: SavedState | undefined = undefined;
  /** True once a restored state has crashed at once: dropped the first time, held the second. */
  droppedState = false;
  readonly denials = new FloodGate(LIMITS.denialsPerSecond);
  readonly grants = new Map<string, Grant>();
  readonly bindings = new Map<string, ResourceBinding>();
  /** Edge numbers of an endpoint slot's targets, by `slot>module.port`; a target keeps its number. */
  readonly edges = new Map<string, number>();

  constructor(id: number, spec: ModuleSpec, admitted: AdmittedModule, partition: number) {
    this.id = id;
    this.spec = spec;
    this.admitted = admitted;
    this.partition = partition;
    this.history = new RestartHistory(spec.restart);
    for (const grant of spec.grants) this.grants.set(grant.slot, grant);
  }
}

/** Numbers that are given once: edges, bindings. */
export class Counter {
  #last = 0;

  next(): number {
    return ++this.#last;
  }
}

/** The slots of a module's manifest as they are bound now; one without a grant is absent. */
export function slotLinks(
  record: ModuleRecord,
  modules: ReadonlyMap<string, ModuleRecord>,
  edges: Counter,
  admitted = record.admitted,
): SlotLink[] {
  const { manifest } = admitted;
  const links: SlotLink[] = [];
  for (const [slot, { port }] of manifest.slots) {
    const grant = record.grants.get(slot);
    if (grant === undefined) continue;
    links.push({
      slot,
      interface: grant.interface,
      rights: grant.rights,
      eventPort: port === null ? -1 : manifest.ports.findIndex(({ name }) => name === port),
      binding: record.bindings.get(slot)?.id ?? 0,
      edges: grant.interface === "endpoint" ? edgeLinks(record, grant, modules, edges) : [],
      badge: grant.interface === "endpoint" ? grant.badge : 0,
    });
  }
  return links;
}

function edgeLinks(
  record: ModuleRecord,
  grant: EndpointGrant,
  modules: ReadonlyMap<string, ModuleRecord>,
  edges: Counter,
): EdgeLink[] {
  return grant.to.map(({ module, port }) => {
    const key = `${grant.slot}>${module}.${port}`;
    const edge = record.edges.get(key) ?? edges.next();
    record.edges.set(key, edge);
    const target = modules.get(module);
    return {
      edge,
      module: target?.id ?? 0,
      partition: target?.partition ?? -1,
      port: target?.admitted.manifest.ports.findIndex(({ name }) => name === port) ?? -1,
      depth: grant.depth,
      overflow: grant.overflow,
    };
  });
}

export function moduleOrder(record: ModuleRecord, slots: readonly SlotLink[], admitted = record.admitted): ModuleOrder {
  const { manifest, compiled, imports, exports } = admitted;
  const { spec } = record;
  return {
    id: record.id,
    generation: record.generation,
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
  };
}

/** The grants of a module that somebody outside the partitions answers. */
export function resourceBindings(record: ModuleRecord, bindings: Counter): ResourceBinding[] {
  const made: ResourceBinding[] = [];
  for (const grant of record.grants.values()) {
    if (grant.interface === "endpoint") continue;
    if (interfaceDefinition(grant.interface).answeredBy === "partition" || record.bindings.has(grant.slot)) continue;
    const { slot, interface: interfaceName, rights, parameters } = grant;
    const binding = {
      id: bindings.next(),
      module: record.spec.name,
      slot,
      interface: interfaceName,
      rights,
      parameters,
    };
    record.bindings.set(slot, binding);
    made.push(binding);
  }
  return made;
}
