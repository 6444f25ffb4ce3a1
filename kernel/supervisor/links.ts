/** Where the slots of modules lead: the bindings, edges and routes that carry out grants, and who is told of them. */
import { Refusal } from "../errors.ts";
import { interfaceDefinition } from "../interfaces.ts";
import { LIMITS } from "../limits.ts";
import type { EdgeLink, Order, SlotLink } from "../partition/protocol.ts";
import type { EndpointGrant, Grant } from "../system.ts";
import type { KernelHost, ResourceBinding } from "./events.ts";
import { edgeKeys, type ModuleRecord, targets } from "./modules.ts";
import type { Partitions } from "./partitions.ts";
import { callLevels, routeGuards } from "./policy.ts";

/** What is passed on by handles leads nowhere itself. */
const NO_ENDPOINT: Pick<EndpointGrant, "to" | "depth" | "overflow"> = { to: [], depth: 1, overflow: "refuse" };

export class Links {
  readonly modules: ReadonlyMap<string, ModuleRecord>;
  readonly partitions: Partitions;
  readonly #host: KernelHost;
  readonly #byBinding = new Map<number, ResourceBinding>();
  /** Numbers are given once. */
  #edges = 0;
  #bindings = 0;
  /** Names of modules whose links are to be told anew. */
  readonly #changed = new Set<string>();

  constructor(modules: ReadonlyMap<string, ModuleRecord>, partitions: Partitions, host: KernelHost) {
    this.modules = modules;
    this.partitions = partitions;
    this.#host = host;
  }

  /** Sends an order about a module to where it is. What has changed of links goes first; a new cell's come with its load. */
  order(record: ModuleRecord, order: Order, partition = record.partition): void {
    if (order.type !== "load") this.tell();
    this.partitions.order(partition, order);
  }

  /** Puts the module into that partition: messages for it go there, and what it has left is told of the last one. */
  place(record: ModuleRecord, partition: number, generation: number, isLeft: boolean): void {
    const left = isLeft ? this.partitions.departure(record.partition) : undefined;
    record.partition = partition;
    record.isMoved = true;
    this.partitions.broadcast({ type: "place", module: record.id, partition, generation, ...(left && { left }) });
  }

  /** A new partition knows of no policy and of no place yet. */
  introduce(index: number): void {
    for (const record of this.modules.values()) {
      record.level = -1;
      this.of(record);
      const { id: module, isMoved, generation, partition } = record;
      if (isMoved) this.partitions.order(index, { type: "place", module, partition, generation });
    }
  }

  /** Binds what is not bound yet of grants that the host answers. @throws Refusal E_SIZE where a route could get no number. */
  bind(record: ModuleRecord): void {
    const fresh = [...record.grants.values()].flatMap(edgeKeys).filter((key) => !record.edges.has(key)).length;
    if (this.#edges + fresh >= LIMITS.edges)
      throw new Refusal("E_SIZE", "all numbers of routes have been given", { hint: "restart the gateway" });
    const made: ResourceBinding[] = [];
    for (const grant of record.grants.values()) {
      if (grant.interface === "endpoint" || interfaceDefinition(grant.interface).answeredBy === "partition") continue;
      if (record.bindings.has(grant.slot) || record.revoked.has(grant.slot)) continue;
      const binding = { ...grant, id: ++this.#bindings, module: record.spec.name };
      record.bindings.set(grant.slot, binding);
      this.#byBinding.set(binding.id, binding);
      made.push(binding);
    }
    if (made.length > 0) this.#host.bind(made);
  }

  binding(id: number): ResourceBinding | undefined {
    return this.#byBinding.get(id);
  }

  /** Binds a slot anew. @throws Refusal E_UNKNOWN for a slot that does not exist, E_CAP where the interface is another. */
  grant(record: ModuleRecord, grant: Grant): void {
    const { name } = record.spec;
    const slot = record.admitted.manifest.slots.get(grant.slot);
    if (slot === undefined) throw new Refusal("E_UNKNOWN", `${name} has no slot ${grant.slot}`);
    if (slot.interface !== grant.interface) {
      const interfaces = { expected: slot.interface, found: grant.interface };
      throw new Refusal("E_CAP", `${name}.${grant.slot} has another interface`, interfaces);
    }
    // What was derived from the old grant may be wider than the new one.
    this.#take(record, grant.slot);
    record.revoked.delete(grant.slot);
    record.grants.set(grant.slot, grant);
    this.bind(record);
    this.relink([record]);
  }

  /** Takes a slot's rights away, and with them every handle that was derived from it. */
  revoke(record: ModuleRecord, slot: string): void {
    record.revoked.add(slot);
    this.#take(record, slot);
    this.relink([record]);
  }

  /** Revokes the record's edges to what it is no longer granted. */
  trim(record: ModuleRecord): void {
    const granted = new Set([...record.grants.values()].flatMap(edgeKeys));
    this.#revokeEdges(record, (key) => !granted.has(key));
  }

  /** Ends bindings; those that have ended already are passed over. */
  release(ids: readonly number[]): void {
    const known = ids.filter((id) => this.#byBinding.delete(id));
    if (known.length > 0) this.#host.unbind(known);
  }

  /** Where the slots lead. What their routes ask for is known in every partition before a message can go by them. */
  of(record: ModuleRecord): SlotLink[] {
    const slots = [...record.admitted.manifest.slots.keys()].flatMap((slot) => {
      const grant = record.grants.get(slot);
      return grant === undefined ? [] : [this.#slot(record, grant)];
    });
    const guards = routeGuards(record, slots, this.modules);
    if (guards.length > 0) this.partitions.broadcast({ type: "policy", levels: [], guards });
    return slots;
  }

  /** A slot as it is bound now. */
  #slot(record: ModuleRecord, grant: Grant): SlotLink {
    const { slot } = grant;
    const { slots, ports } = record.admitted.manifest;
    return {
      slot,
      interface: grant.interface,
      rights: record.revoked.has(slot) ? [] : grant.rights,
      eventPort: ports.findIndex(({ name }) => name === slots.get(slot)?.port),
      binding: record.bindings.get(slot)?.id ?? 0,
      edges: this.#edgesOf(record, grant),
      badge: grant.interface === "endpoint" ? grant.badge : 0,
      notify: grant.interface === "handles" && grant.parameters["notify"] === true,
    };
  }

  #edgesOf(record: ModuleRecord, grant: Grant): EdgeLink[] {
    const { to, depth, overflow } = grant.interface === "endpoint" ? grant : NO_ENDPOINT;
    return edgeKeys(grant).map((key, index) => {
      const edge = record.edges.get(key) ?? this.#edges + 1;
      // What is told to others must not fail: a route that gets no number any more leads nowhere.
      if (edge >= LIMITS.edges) return { edge: 0, module: 0, partition: -1, port: -1, depth, overflow };
      this.#edges = Math.max(this.#edges, edge);
      record.edges.set(key, edge);
      const address = to[index];
      const target = this.modules.get(address?.module ?? "");
      const port = target?.admitted.manifest.ports.findIndex(({ name }) => name === address?.port) ?? -1;
      return { edge, module: target?.id ?? 0, partition: target?.partition ?? -1, port, depth, overflow };
    });
  }

  /** What these modules' slots lead to, and what leads to them, has changed: told once for many, before the next order. */
  relink(changed: Iterable<ModuleRecord>): void {
    if (this.#changed.size === 0) queueMicrotask(this.tell);
    for (const record of changed) this.#changed.add(record.spec.name);
  }

  /** Tells modules where their endpoints lead now, and every receiver which routes come to it. */
  readonly tell = (): void => {
    const names = new Set(this.#changed);
    this.#changed.clear();
    if (names.size === 0) return;
    this.#tellLevels();
    for (const record of this.modules.values()) {
      if (!names.has(record.spec.name) && !targets(record).some((name) => names.has(name))) continue;
      const slots = this.of(record);
      this.partitions.order(record.partition, { type: "link", module: record.id, slots });
      for (const { edge, partition, depth, overflow } of slots.flatMap(({ edges }) => edges)) {
        if (partition !== record.partition) this.partitions.order(partition, { type: "route", edge, depth, overflow });
      }
    }
  };

  /** Tells a partition of every route to a module, before messages may come by them. */
  route(record: ModuleRecord, partition: number): void {
    for (const from of this.modules.values()) {
      const edges = this.of(from).flatMap((slot) => slot.edges.filter(({ module }) => module === record.id));
      for (const { edge, depth, overflow } of edges)
        this.partitions.order(partition, { type: "route", edge, depth, overflow });
    }
  }

  #tellLevels(): void {
    const changed = [...callLevels(this.modules)].flatMap(([name, level]) => {
      const record = this.modules.get(name);
      if (record === undefined || record.level === level) return [];
      record.level = level;
      return [[record.id, level] as const];
    });
    if (changed.length > 0) this.partitions.broadcast({ type: "policy", levels: changed, guards: [] });
  }

  /** A slot that is granted anew gets a new binding and new edges, so what was derived before stays revoked. */
  #take(record: ModuleRecord, slot: string): void {
    const binding = record.bindings.get(slot);
    record.bindings.delete(slot);
    if (binding !== undefined) this.release([binding.id]);
    this.#revokeEdges(record, (key) => key.startsWith(`${slot}>`));
  }

  #revokeEdges(record: ModuleRecord, isGone: (key: string) => boolean): void {
    for (const [key, edge] of record.edges) {
      if (!isGone(key)) continue;
      this.partitions.revocations.store(edge, 1);
      record.edges.delete(key);
    }
    this.partitions.broadcast({ type: "revoked" });
  }

  /** The module that an event of a bound resource is for, where it may have events and the binding is in force. */
  listener(id: number): { record: ModuleRecord; slot: string } | undefined {
    const bound = this.#byBinding.get(id);
    const record = bound === undefined ? undefined : this.modules.get(bound.module);
    // Of two bindings of a slot that is being swapped, the one in force speaks.
    if (bound === undefined || record?.bindings.get(bound.slot) !== bound) return undefined;
    const right = interfaceDefinition(bound.interface).eventRight ?? "";
    return bound.rights.includes(right) ? { record, slot: bound.slot } : undefined;
  }
}
