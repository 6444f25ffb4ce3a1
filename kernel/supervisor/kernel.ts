/** The supervisor: starts, links, watches, restarts and replaces modules and partitions. It waits for nothing. */
import type { AdmittedModule } from "../admission.ts";
import { checkGrants, excessGrants } from "../admission.ts";
import { KERNEL_PORT, NOTICE, RESULT, RESULT_CODES, resultName } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import { Refusal } from "../errors.ts";
import { interfaceDefinition } from "../interfaces.ts";
import { Ring, SharedCounters } from "../ipc/shared.ts";
import { LIMITS } from "../limits.ts";
import type { Freeze, Order, RecordedFailure, Report, SavedState, SlotLink } from "../partition/protocol.ts";
import type { Grant, ModuleSpec, PartitionSpec } from "../system.ts";
import type { HostReply, Inspection, KernelEvent, KernelHost, ModuleRow, ResourceBinding } from "./events.ts";
import {
  Counter,
  edgeKeys,
  moduleOrder,
  ModuleRecord,
  resourceBindings,
  routeRows,
  slotLinks,
  targets,
  calleesFirst,
} from "./modules.ts";
import type { Party } from "./policy.ts";
import { callLevels, checkContracts, checkPorts, routeGuards } from "./policy.ts";
import { measureFuel, sliceFuel } from "../wasm/calibrate.ts";
import { PartitionHandle, PartitionThread } from "./partition.ts";
import type { RestartHistory } from "./restart.ts";
import type { SwapRequest, SwapResult } from "./swaps.ts";
import { SwapCoordinator } from "./swaps.ts";

export interface KernelOptions {
  readonly host: KernelHost;
  readonly onEvent: (event: KernelEvent) => void;
  /** Each new last good state of a module, to be kept for the next process; undefined where it is to be forgotten. */
  readonly onState?: (module: string, state: SavedState | undefined) => void;
  /** What led to each failure of a module that is recorded. */
  readonly onFailure?: (failure: RecordedFailure) => void;
  /** Fuel of one slice. Default: what takes 200 µs on this machine, as measured at the start. */
  readonly sliceFuel?: number;
  /** A partition that is awake and silent for so long is stuck, also where it can't be asked for its processor time. */
  readonly stuckMs?: number;
  /** Keeps a thread ready for a partition that is lost: 7.5 MiB for some 50 ms. Default: none. */
  readonly spare?: boolean;
}

type Statistics = Extract<Report, { type: "statistics" }>;

const NO_TRACE = Object.freeze({ records: new Float64Array(0), lost: 0 });
const WATCH_MS = 10;
/** For a thread that is blocked outside JavaScript: one that runs is found by its processor time. A laden machine is no fault. */
const DEFAULT_STUCK_MS = 5000;
/** A spare is made when what has just started, or been replaced, has had its time. */
const SPARE_DELAY_MS = 300;
const INSPECT_MS = 1000;
const NOTHING = new Uint8Array(0);
const MAXIMUM_RESULT = 0x7fff_ffff;

export class Kernel {
  readonly #options: KernelOptions;
  readonly #partitions: PartitionHandle[] = [];
  readonly #modules = new Map<string, ModuleRecord>();
  readonly #byId = new Map<number, ModuleRecord>();
  readonly #byBinding = new Map<number, ResourceBinding>();
  readonly #ids = new Counter();
  readonly #edges = new Counter(LIMITS.edges - 1);
  readonly #bindings = new Counter();
  readonly #requests = new Counter();
  readonly #lives = new Counter();
  readonly #revocations = new SharedCounters(LIMITS.edges);
  readonly #inspections = new Map<number, (answer: Statistics) => void>();
  readonly #swaps: SwapCoordinator;
  readonly #timers = new Set<NodeJS.Timeout>();
  #watch: NodeJS.Timeout | undefined = undefined;
  #watchedAt = 0;
  /** Names of modules whose links are to be told anew. */
  readonly #changed = new Set<string>();
  #spare: PartitionThread | undefined = undefined;
  #isStarted = false;
  #sliceFuel = 0;
  #stopping = false;

  constructor(options: KernelOptions) {
    this.#options = options;
    this.#swaps = new SwapCoordinator({
      order: this.#order.bind(this),
      route: this.#route.bind(this),
      place: this.#place.bind(this),
      keep: this.#keep.bind(this),
      links: (record) => {
        this.#bind(record);
        return this.#links(record);
      },
      release: this.#release.bind(this),
      restart: (record) => {
        this.#restart(record, false);
      },
      runs: this.#runs.bind(this),
      hold: this.#hold.bind(this),
      emit: options.onEvent,
      relink: this.#relink.bind(this),
      trim: (record) => {
        const granted = new Set([...record.grants.values()].flatMap(edgeKeys));
        this.#revokeEdges(record, (key) => !granted.has(key));
      },
    });
  }

  /** Starts the partitions' workers and the watch over them. @throws Refusal E_BUSY where it has been started. */
  async start(partitions: readonly PartitionSpec[]): Promise<void> {
    if (this.#isStarted) throw new Refusal("E_BUSY", "the kernel has been started");
    this.#isStarted = true;
    this.#sliceFuel = this.#options.sliceFuel ?? sliceFuel(measureFuel(() => performance.now()));
    for (const spec of partitions) this.#partitions.push(this.#spawn(this.#partitions.length, spec));
    for (const partition of this.#partitions) this.#connect(partition.index);
    await Promise.all(this.#partitions.map((partition) => partition.started()));
    this.#watchedAt = performance.now();
    this.#watch = setInterval(() => {
      this.#watchPartitions();
    }, WATCH_MS);
    this.#prepareSpare();
  }

  /**
   * Instantiates a module in its partition, bound to its grants. It gets no message before `begin`.
   * @param state the last good one of an earlier process, which this instance is handed
   * @returns slots that are granted and never used.
   * @throws Refusal E_UNKNOWN for a partition, E_BUSY for a name in use, E_CAP where a grant is missing.
   */
  load(spec: ModuleSpec, admitted: AdmittedModule, state?: SavedState): string[] {
    if (this.#modules.has(spec.name)) throw new Refusal("E_BUSY", `there is a module ${spec.name} already`);
    const partition = this.#partitionOf(spec);
    checkGrants(spec, admitted);
    const record = new ModuleRecord(this.#ids.next(), spec, admitted, partition);
    record.state = state;
    checkContracts(new Map(this.#modules).set(spec.name, record), new Set([spec.name]));
    this.#emitAdmitted(admitted);
    this.#modules.set(spec.name, record);
    this.#byId.set(record.id, record);
    this.#bind(record);
    for (const grant of spec.grants) this.#emitGrant("granted", spec.name, grant);
    this.#loadInto(record);
    this.#relink([record]);
    return excessGrants(spec, admitted);
  }

  /** Adds a partition to a kernel that runs; modules may be loaded into it when this has resolved. */
  async addPartition(spec: PartitionSpec): Promise<void> {
    const partition = this.#spawn(this.#partitions.length, spec);
    this.#partitions.push(partition);
    this.#connect(partition.index);
    await partition.started();
  }

  /** Takes a module away with all its rights; its callers find a dead peer. @throws Refusal E_UNKNOWN, E_BUSY in a swap. */
  unload(name: string): void {
    const record = this.#findAtRest(name);
    for (const slot of record.grants.keys()) if (!record.revoked.has(slot)) this.revoke(name, slot);
    this.#order(record, { type: "unload", module: record.id });
    this.#broadcast({ type: "module-dead", module: record.id });
    this.#modules.delete(name);
    this.#byId.delete(record.id);
    this.#options.onState?.(name, undefined);
    this.#relink([record]);
  }

  /** Hands every loaded module, or one, its start notice; whom a module calls comes before it. */
  begin(name?: string): void {
    this.#tellLinks();
    for (const record of calleesFirst(this.#modules.values())) {
      if (name === undefined || record.spec.name === name) this.#order(record, { type: "start", module: record.id });
    }
  }

  /**
   * Binds a slot of a loaded module, or binds it anew; the module sees it at its next use.
   * @throws Refusal E_UNKNOWN for a module or slot that does not exist, E_CAP where the interface is another, E_BUSY
   * while the module is being swapped.
   */
  grant(name: string, grant: Grant): void {
    const record = this.#findAtRest(name);
    const slot = record.admitted.manifest.slots.get(grant.slot);
    if (slot === undefined) throw new Refusal("E_UNKNOWN", `${name} has no slot ${grant.slot}`);
    if (slot.interface !== grant.interface) {
      const interfaces = { expected: slot.interface, found: grant.interface };
      throw new Refusal("E_CAP", `${name}.${grant.slot} has another interface`, interfaces);
    }
    this.#unbind(record, grant.slot);
    record.revoked.delete(grant.slot);
    // What was derived from the old grant may be wider than the new one.
    this.#revokeEdges(record, (key) => key.startsWith(`${grant.slot}>`));
    record.grants.set(grant.slot, grant);
    this.#bind(record);
    this.#relink([record]);
    this.#emitGrant("granted", name, grant);
  }

  /**
   * Takes a slot's rights away, and with them every handle that was derived from it, wherever it has gone: later uses are
   * denied from the next one on, calls in flight when their partition hears of it.
   * @throws Refusal E_UNKNOWN.
   */
  revoke(name: string, slot: string): void {
    const record = this.#find(name);
    const grant = record.grants.get(slot);
    if (grant === undefined) throw new Refusal("E_UNKNOWN", `${name} has no grant ${slot}`);
    this.#unbind(record, slot);
    this.#swaps.revoke(record, slot);
    record.revoked.add(slot);
    this.#revokeEdges(record, (key) => key.startsWith(`${slot}>`));
    this.#relink([record]);
    this.#emitGrant("revoked", name, grant);
  }

  /**
   * Replaces modules by other versions as one set, or none of them.
   * The set is on probation afterwards: `settle` ends it.
   * @throws Refusal E_CAP, E_STATE, E_TIMEOUT or E_PROBATION, the old versions then go on; E_UNKNOWN, E_BUSY or E_CONFIG
   * where nothing has been tried.
   */
  async swap(requests: readonly SwapRequest[], deadlineMs = 5000): Promise<SwapResult> {
    // Until then it is open where its modules are.
    if (this.#swaps.isSettling) await this.#swaps.settled();
    const set = requests.map(({ name, admitted, spec }) => {
      const record = this.#find(name);
      checkGrants(spec ?? record.spec, admitted);
      const to = spec === undefined ? record.partition : this.#partitionOf(spec);
      // One that is dead answers no order, and tells its end no second time.
      if ([record.partition, to].some((index) => this.#partitions[index]?.isAlive !== true))
        throw new Refusal("E_BUSY", `the partition of ${name} is being replaced`);
      checkPorts(record.admitted, admitted);
      return { record, admitted, spec: spec ?? record.spec, to };
    });
    const after = new Map<string, Party>(this.#modules);
    for (const { record, admitted, spec } of set) after.set(spec.name, record.successor(admitted, spec));
    checkContracts(after, new Set(set.map(({ spec }) => spec.name)));
    for (const { admitted } of set) this.#emitAdmitted(admitted);
    return await this.#swaps.swap(set, deadlineMs);
  }

  /** Resolves after `milliseconds` of good behaviour of the swapped set. @throws Refusal E_PROBATION where it went back. */
  async probation(names: readonly string[], milliseconds: number): Promise<void> {
    await this.#swaps.probation(names, milliseconds);
  }

  /** Ends a probation: keeps the new versions, or puts the old ones back with everything that came since. */
  settle(names: readonly string[], keep: boolean): void {
    this.#swaps.settle(
      names.map((name) => this.#find(name)),
      keep,
    );
  }

  /** Resolves when a set that settles, or goes back, has done so. */
  async settled(): Promise<void> {
    await this.#swaps.settled();
  }

  /** Runs a held or running module afresh. @throws Refusal E_UNKNOWN, E_BUSY while it is being swapped. */
  restart(name: string): void {
    const record = this.#findAtRest(name);
    record.history.reset();
    record.failedAt = performance.now();
    record.failedCause = "order";
    this.#restart(record, false);
  }

  /** Stops a module until it is restarted by order. @throws Refusal E_UNKNOWN, E_BUSY while it is being swapped. */
  hold(name: string, reason = "held by order"): void {
    this.#hold(this.#findAtRest(name), reason);
  }

  /** An event of a bound resource: a message for the module that holds it with the right to events. Others are dropped. */
  event(binding: number, payload: Uint8Array): void {
    const bound = this.#byBinding.get(binding);
    const record = bound === undefined ? undefined : this.#modules.get(bound.module);
    // Of two bindings of a slot that is being swapped, the one in force speaks.
    const isInForce = bound !== undefined && record?.bindings.get(bound.slot) === bound;
    if (!isInForce || payload.length > LIMITS.payloadBytes) return;
    if (!bound.rights.includes(interfaceDefinition(bound.interface).event?.right ?? "")) return;
    this.#order(record, { type: "host-event", module: record.id, slot: bound.slot, payload });
  }

  /** Statistics of every module. */
  async top(): Promise<ModuleRow[]> {
    return (await this.inspect()).modules;
  }

  /** What runs and what goes by its routes, from the partitions that answer within a second. */
  async inspect(trace?: boolean): Promise<Inspection> {
    const answers = await Promise.all(this.#partitions.map((partition) => this.#inspect(partition, trace)));
    const modules = answers
      .flatMap((answer, index) => (answer?.modules ?? []).map((row) => ({ row, index })))
      .flatMap(({ row, index }): ModuleRow[] => {
        const record = this.#byId.get(row.module);
        // One that moves has a cell in both.
        if (record?.partition !== index) return [];
        const { name, partition } = record.spec;
        const state = record.status === "held" ? "held" : row.state;
        return [
          { ...row, state, name, partition, version: record.admitted.manifest.version, restarts: record.restarts },
        ];
      });
    const counts = answers.flatMap((answer) => answer?.edges ?? []);
    const routes = routeRows(this.#modules.values(), counts);
    const partitions = this.#partitions.map(({ spec }, index) => ({ ...spec, answers: answers[index] !== undefined }));
    const traces = this.#partitions.map(({ spec: { name } }, index) => ({
      name,
      ...(answers[index]?.trace ?? NO_TRACE),
    }));
    return { partitions, modules, routes, traces };
  }

  /** What a module may do now: its specification, and the grants in force. @throws Refusal E_UNKNOWN. */
  authority(name: string): { readonly spec: ModuleSpec; readonly grants: readonly Grant[] } {
    const { spec, grants, revoked } = this.#find(name);
    return { spec, grants: [...grants.values()].filter(({ slot }) => !revoked.has(slot)) };
  }

  /** Ends every partition. Nothing of the kernel runs afterwards. */
  async stop(): Promise<void> {
    if (!this.#stopping && this.#options.onState !== undefined) await this.#saveStates();
    this.#stopping = true;
    clearInterval(this.#watch);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#swaps.stop();
    await Promise.all([this.#spare?.worker.terminate(), ...this.#partitions.map((partition) => partition.kill())]);
  }

  /** Asks every idle module for its state, and waits until each partition has answered, for a second at most. */
  async #saveStates(): Promise<void> {
    for (const record of this.#modules.values()) this.#order(record, { type: "save", module: record.id });
    await this.top();
  }

  /** Makes a partition stop answering, as a fault of the kernel would: for tests of the watch. */
  freezePartition(name: string, where: Freeze = "loop"): void {
    this.#partitions.find((partition) => partition.spec.name === name)?.order({ type: "freeze", where });
  }

  /** True while a thread waits to take the place of a partition that is lost. */
  get hasSpare(): boolean {
    return this.#spare !== undefined;
  }

  #partitionOf({ partition }: ModuleSpec): number {
    const index = this.#partitions.findIndex(({ spec }) => spec.name === partition);
    if (index < 0) throw new Refusal("E_UNKNOWN", `there is no partition ${partition}`);
    return index;
  }

  #find(name: string): ModuleRecord {
    const record = this.#modules.get(name);
    if (record === undefined) throw new Refusal("E_UNKNOWN", `there is no module ${name}`);
    return record;
  }

  #findAtRest(name: string): ModuleRecord {
    const record = this.#find(name);
    if (!this.#swaps.isChanging(record)) return record;
    throw new Refusal("E_BUSY", `${name} is being swapped`, { hint: "try again when the swap has ended" });
  }

  #order(record: ModuleRecord, order: Order, partition = record.partition): void {
    if (order.type !== "load") this.#tellLinks();
    this.#partitions[partition]?.order(order);
  }

  #route(record: ModuleRecord, partition: number): void {
    for (const from of this.#modules.values()) {
      const edges = this.#links(from).flatMap((slot) => slot.edges.filter(({ module }) => module === record.id));
      for (const { edge, depth, overflow } of edges)
        this.#partitions[partition]?.order({ type: "route", edge, depth, overflow });
    }
  }

  #place(record: ModuleRecord, partition: number, generation: number, isLeft: boolean): void {
    const from = this.#partitions[record.partition];
    record.partition = partition;
    record.isMoved = true;
    const alive = this.#partitions.filter((other) => other !== from && other.isAlive);
    const others = alive.map(({ index }) => index);
    const left = from && isLeft ? { left: { partition: from.index, life: from.life, others } } : {};
    this.#broadcast({ type: "place", module: record.id, partition, generation, ...left });
  }

  #keep(record: ModuleRecord, state: SavedState): void {
    record.state = state;
    this.#options.onState?.(record.spec.name, state);
  }

  #broadcast(order: Order): void {
    for (const partition of this.#partitions) partition.order(order);
  }

  #spawn(index: number, spec: PartitionSpec, history?: RestartHistory): PartitionHandle {
    const { buffer: revocations } = this.#revocations;
    const spare = this.#spare?.heapMiB === spec.heapMiB ? this.#spare : undefined;
    if (spare !== undefined) this.#prepareSpare();
    const birth = { index, life: this.#lives.next(), spec, sliceFuel: this.#sliceFuel, revocations, history, spare };
    const partition: PartitionHandle = new PartitionHandle(birth, {
      onReport: (report) => {
        this.#onReport(index, report);
      },
      onStuck: (reason) => {
        this.#killPartition(partition, reason);
      },
      onLost: (reason) => {
        this.#replace(index, reason);
      },
    });
    return partition;
  }

  /** Makes a thread that waits, with the heap of the first partition: one of another heap starts from nothing. */
  #prepareSpare(): void {
    this.#spare = undefined;
    const [first] = this.#partitions;
    if (this.#options.spare !== true || first === undefined) return;
    this.#after(SPARE_DELAY_MS, () => {
      const spare = new PartitionThread(first.spec.heapMiB);
      this.#spare = spare;
      spare.worker.once("exit", () => {
        if (this.#spare === spare) this.#spare = undefined;
      });
    });
  }

  /** Lays new rings between one partition and every other. */
  #connect(index: number): void {
    const partition = this.#partitions[index];
    // A new partition knows of no policy yet.
    for (const record of this.#modules.values()) {
      record.level = -1;
      this.#links(record);
      const { id, isMoved, generation, partition: place } = record;
      if (isMoved) partition?.order({ type: "place", module: id, partition: place, generation });
    }
    for (const other of this.#partitions) {
      if (partition === undefined || other.index === index || (other.index < index && this.#watch === undefined))
        continue;
      const there = Ring.allocate(LIMITS.channelBytes);
      const back = Ring.allocate(LIMITS.channelBytes);
      type End = typeof there;
      const channel = (to: PartitionHandle, from: PartitionHandle, incoming: End, outgoing: End): void => {
        const { index: other, life, control } = from;
        to.order({ type: "channel", partition: other, life, control: control.buffer, incoming, outgoing });
      };
      channel(partition, other, back, there);
      channel(other, partition, there, back);
    }
  }

  #bind(record: ModuleRecord): void {
    const made = resourceBindings(record, this.#bindings);
    for (const binding of made) this.#byBinding.set(binding.id, binding);
    if (made.length > 0) this.#options.host.bind(made);
  }

  /** A slot that is granted anew gets new edges, so what was derived before stays revoked. */
  #revokeEdges(record: ModuleRecord, isGone: (key: string) => boolean): void {
    for (const [key, edge] of record.edges) {
      if (!isGone(key)) continue;
      this.#revocations.store(edge, 1);
      record.edges.delete(key);
    }
    this.#broadcast({ type: "revoked" });
  }

  #unbind(record: ModuleRecord, slot: string): void {
    const binding = record.bindings.get(slot);
    if (binding === undefined) return;
    record.bindings.delete(slot);
    this.#release([binding.id]);
  }

  #release(ids: readonly number[]): void {
    const known = ids.filter((id) => this.#byBinding.delete(id));
    if (known.length > 0) this.#options.host.unbind(known);
  }

  #loadInto(record: ModuleRecord): void {
    const isHeld = record.status === "held";
    if (!isHeld) record.status = "loading";
    const slots = this.#links(record);
    this.#order(record, { type: "load", module: moduleOrder(record, slots), state: record.state, isHeld });
  }

  /** Where the slots lead. What their routes ask for is known in every partition before a message can go by them. */
  #links(record: ModuleRecord): SlotLink[] {
    const slots = slotLinks(record, this.#modules, this.#edges);
    const guards = routeGuards(record, slots, this.#modules);
    if (guards.length > 0) this.#broadcast({ type: "policy", levels: [], guards });
    return slots;
  }

  /** What these modules' slots lead to, and what leads to them, has changed: told once for many, before the next order. */
  #relink(changed: Iterable<ModuleRecord>): void {
    if (this.#changed.size === 0) queueMicrotask(this.#tellLinks);
    for (const record of changed) this.#changed.add(record.spec.name);
  }

  /** Tells modules where their endpoints lead now, and every receiver which routes come to it. */
  readonly #tellLinks = (): void => {
    const names = new Set(this.#changed);
    this.#changed.clear();
    if (names.size === 0) return;
    this.#tellLevels();
    for (const record of this.#modules.values()) {
      if (!names.has(record.spec.name) && !targets(record).some((name) => names.has(name))) continue;
      const slots = this.#links(record);
      this.#order(record, { type: "link", module: record.id, slots });
      for (const { edges } of slots) {
        for (const { edge, partition, depth, overflow } of edges) {
          if (partition !== record.partition)
            this.#partitions[partition]?.order({ type: "route", edge, depth, overflow });
        }
      }
    }
  };

  #tellLevels(): void {
    const changed = [...callLevels(this.#modules)].flatMap(([name, level]) => {
      const record = this.#modules.get(name);
      if (record === undefined || record.level === level) return [];
      record.level = level;
      return [[record.id, level] as const];
    });
    if (changed.length > 0) this.#broadcast({ type: "policy", levels: changed, guards: [] });
  }

  #onReport(index: number, report: Report): void {
    if (report.type === "statistics") {
      this.#inspections.get(report.request)?.(report);
      return;
    }
    if (report.type === "up" || report.type === "host-cancel") return;
    const record = this.#byId.get(report.module);
    if (record === undefined) return;
    // A report from the partition that a module has left is late news, but for those of its leaving.
    if (record.partition !== index && report.type !== "answered" && !report.type.startsWith("swap-")) return;
    const module = record.spec.name;
    switch (report.type) {
      case "loaded":
        this.#onLoaded(record, report.generation, report.restored);
        return;
      case "fault":
        this.#onFault(record, report);
        return;
      case "checkpoint":
        if (!this.#swaps.defers(record, report.state)) this.#keep(record, report.state);
        return;
      case "answered":
        this.#order(record, report);
        return;
      case "failure":
        this.#options.onFailure?.(report.failure);
        return;
      case "host-request":
        void this.#hostRequest(record, report);
        return;
      case "log":
        this.#options.onEvent({ type: "log", module, level: report.level, text: report.text });
        return;
      case "denied":
        this.#options.onEvent({ ...report, module, result: resultName(report.result) });
        return;
      default:
        this.#swaps.onReport(record, report);
    }
  }

  #onLoaded(record: ModuleRecord, generation: number, restored: boolean): void {
    if (generation !== record.generation || record.status === "held") return;
    this.#options.onEvent({ type: "loaded", module: record.spec.name, generation, restored });
    this.#runs(record);
  }

  /** It serves: whoever missed it is told. */
  #runs(record: ModuleRecord): void {
    const { generation } = record;
    record.status = "running";
    if (record.isMissed) this.#tellPeers(record, NOTICE.peerBack);
    record.isMissed = false;
    if (record.failedAt === 0) return;
    const milliseconds = performance.now() - record.failedAt;
    record.failedAt = 0;
    this.#options.onEvent({
      type: "restarted",
      module: record.spec.name,
      generation,
      cause: record.failedCause,
      milliseconds,
    });
  }

  #onFault(record: ModuleRecord, report: Extract<Report, { type: "fault" }>): void {
    const { generation, cause, text, trace, input } = report;
    if (generation !== record.generation) return;
    record.status = "failed";
    record.failedAt = performance.now();
    record.failedCause = cause;
    this.#options.onEvent({ type: "fault", module: record.spec.name, generation, cause, text, trace, input });
    this.#miss(record);
    const verdict = record.history.failed(record.failedAt);
    // The swap's end decides: the new version takes over, or the old one is restarted.
    if (this.#swaps.isChanging(record)) return;
    // A crash right after a restore says that the state is poisoned: it is dropped once, then the module is held.
    if (report.justRestored && record.failedAt - record.droppedAt < record.spec.restart.windowMs) {
      this.#hold(record, "it failed again right after its state had been dropped");
      return;
    }
    if (verdict.action === "hold") {
      this.#hold(record, `it failed too often; the last time: ${text}`);
      return;
    }
    this.#after(verdict.delayMs, () => {
      // Meanwhile an order, a swap or the loss of its partition may have dealt with it.
      const isWaiting = record.status === "failed" && record.generation === generation;
      if (!isWaiting || this.#swaps.isChanging(record)) return;
      if (record.spec.restart.policy !== "restart-partition") this.#restart(record, report.justRestored);
      else this.#restartPartition(record, report.justRestored);
    });
  }

  #restart(record: ModuleRecord, dropState: boolean): void {
    record.generation = record.nextGeneration();
    record.restarts++;
    record.status = "loading";
    if (dropState) this.#dropState(record);
    this.#order(record, { type: "restart", module: record.id, generation: record.generation, dropState });
  }

  #hold(record: ModuleRecord, reason: string): void {
    record.status = "held";
    record.failedAt = 0;
    this.#miss(record);
    this.#order(record, { type: "hold", module: record.id });
    this.#broadcast({ type: "module-dead", module: record.id });
    this.#options.onEvent({ type: "held", module: record.spec.name, reason });
    if (record.spec.restart.policy === "safe-state") this.#sendFinal(record);
  }

  #dropState(record: ModuleRecord): void {
    record.dropState();
    this.#options.onState?.(record.spec.name, undefined);
  }

  /** The partition with everything in it is replaced: for a module whose failure may have harmed what it shares. */
  #restartPartition(record: ModuleRecord, dropState: boolean): void {
    if (dropState) this.#dropState(record);
    const partition = this.#partitions[record.partition];
    if (partition !== undefined)
      this.#killPartition(partition, `${record.spec.name} failed: its policy is restart-partition`);
  }

  /** The last message of a module that is held, in its name but from the kernel. */
  #sendFinal({ spec: { name, restart } }: ModuleRecord): void {
    if (restart.final === undefined) return;
    const { to, payload } = restart.final;
    const target = this.#modules.get(to.module);
    const port = target?.admitted.manifest.ports.findIndex((candidate) => candidate.name === to.port) ?? -1;
    const isSent = target !== undefined && target.status !== "held" && port >= 0;
    if (isSent) this.#order(target, { type: "tell", module: target.id, port, payload });
    this.#options.onEvent({ type: "final-message", module: name, to: `${to.module}.${to.port}`, isSent });
  }

  #miss(record: ModuleRecord): void {
    if (!record.isMissed) this.#tellPeers(record, NOTICE.peerLost);
    record.isMissed = true;
  }

  /** Tells those who asked, by `notify` in their grant, that the module behind a slot or handle is gone or there again. */
  #tellPeers({ id, spec: { name } }: ModuleRecord, notice: number): void {
    this.#broadcast({ type: "peer", module: id, notice });
    for (const peer of this.#modules.values()) {
      for (const grant of peer.grants.values()) {
        if (grant.interface !== "endpoint" || grant.notify !== true || peer.revoked.has(grant.slot)) continue;
        if (!grant.to.some(({ module }) => module === name)) continue;
        const payload = encodeCbor([notice, grant.slot]);
        this.#order(peer, { type: "tell", module: peer.id, port: KERNEL_PORT, payload });
      }
    }
  }

  async #hostRequest(record: ModuleRecord, report: Extract<Report, { type: "host-request" }>): Promise<void> {
    const { request, operation, numbers, bytes, capacity } = report;
    const binding = this.#byBinding.get(report.binding);
    const partition = this.#partitions[record.partition];
    let reply: HostReply = { result: RESULT.denied, bytes: NOTHING };
    if (binding !== undefined) {
      try {
        reply = checkedReply(await this.#options.host.request(binding, operation, numbers, bytes, capacity));
      } catch {
        // The host's own failure is the module's I/O error, never the kernel's end.
        reply = { result: RESULT.io, bytes: NOTHING };
      }
      // Nothing comes through a binding that was taken away meanwhile.
      if (!this.#byBinding.has(binding.id)) reply = { result: RESULT.denied, bytes: NOTHING };
    }
    if (reply.result === RESULT.denied || reply.result === RESULT.quota) {
      const untold = record.denials.admit(performance.now(), `${binding?.slot}.${operation}`);
      const result = resultName(reply.result);
      const denial = { module: record.spec.name, slot: binding?.slot ?? "", operation, result, text: "" };
      if (untold !== undefined) this.#options.onEvent({ type: "denied", ...denial, untold });
    }
    partition?.order({ type: "host-reply", request, result: reply.result, bytes: reply.bytes });
  }

  #watchPartitions(): void {
    const now = performance.now();
    const lateMs = Math.max(0, now - this.#watchedAt - 2 * WATCH_MS);
    this.#watchedAt = now;
    const stuckMs = this.#options.stuckMs ?? DEFAULT_STUCK_MS;
    for (const partition of this.#partitions) partition.watch(now, lateMs, stuckMs);
  }

  #killPartition(partition: PartitionHandle, reason: string): void {
    void partition.kill().then((confirmed) => {
      if (!confirmed) this.#options.onEvent({ type: "partition-unkillable", partition: partition.spec.name });
    });
    this.#replace(partition.index, reason);
  }

  /** A partition is gone: a new one takes its place, its modules are loaded with their last good state, callers are told. */
  #replace(index: number, reason: string): void {
    const lost = this.#partitions[index];
    if (this.#stopping || lost === undefined) return;
    const since = performance.now();
    this.#options.onEvent({ type: "partition-lost", partition: lost.spec.name, reason });
    const members = [...this.#modules.values()].filter(({ partition }) => partition === index);
    this.#swaps.onPartitionLost(index);
    for (const record of members) {
      // One that has only tried to move here goes on where it was.
      if (record.partition === index) this.#miss(record);
      this.#broadcast({ type: "module-dead", module: record.id });
    }
    const verdict = lost.history.failed(since);
    this.#after(verdict.action === "restart" ? verdict.delayMs : 0, () => {
      if (!this.#stopping) this.#revive(lost, since);
    });
  }

  #revive(lost: PartitionHandle, since: number): void {
    const { index } = lost;
    const members = [...this.#modules.values()].filter(({ partition }) => partition === index);
    const replacement = this.#spawn(index, lost.spec, lost.history);
    this.#partitions[index] = replacement;
    this.#connect(index);
    for (const record of members) {
      record.generation = record.nextGeneration();
      if (record.status !== "held") {
        record.restarts++;
        record.failedAt = since;
        record.failedCause = "partition";
      }
      this.#loadInto(record);
    }
    this.#relink(this.#modules.values());
    this.#tellLinks();
    for (const record of calleesFirst(members)) this.#order(record, { type: "start", module: record.id });
    replacement
      .started()
      .then(() => {
        const milliseconds = performance.now() - since;
        this.#options.onEvent({ type: "partition-replaced", partition: lost.spec.name, milliseconds });
      })
      .catch(() => undefined);
  }

  #inspect(partition: PartitionHandle, trace: boolean | undefined): Promise<Statistics | undefined> {
    return new Promise((resolve) => {
      const request = this.#requests.next();
      const finish = (answer?: Statistics): void => {
        clearTimeout(timer);
        this.#inspections.delete(request);
        resolve(answer);
      };
      const timer = setTimeout(finish, INSPECT_MS);
      this.#inspections.set(request, finish);
      partition.order({ type: "inspect", request, trace });
    });
  }

  #emitAdmitted({ manifest, sha256 }: AdmittedModule): void {
    this.#options.onEvent({ type: "admitted", module: manifest.name, version: manifest.version, sha256 });
  }

  #emitGrant(type: "granted" | "revoked", module: string, grant: Grant): void {
    this.#options.onEvent({ type, module, slot: grant.slot, grant });
  }

  #after(milliseconds: number, action: () => void): void {
    if (milliseconds === 0) {
      action();
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }
}

/** What a host process answers is fallible: anything that is no reply is its I/O error, and never reaches a partition. */
function checkedReply(reply: Partial<HostReply> | null | undefined): HostReply {
  const { result, bytes } = reply ?? {};
  const isResult = Number.isInteger(result) && result !== undefined && result <= MAXIMUM_RESULT;
  const isKnown = isResult && (result >= 0 || RESULT_CODES.some(({ code }) => code === result));
  return isKnown && bytes instanceof Uint8Array ? { result, bytes } : { result: RESULT.io, bytes: NOTHING };
}
