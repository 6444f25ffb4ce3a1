/** The supervisor: starts, links, watches, restarts and replaces modules and partitions. It waits for nothing. */
import { type AdmittedModule, checkGrants } from "../admission.ts";
import { RESULT, RESULT_CODES, resultName } from "../abi.ts";
import { Refusal } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Freeze, HostReply, Report, SavedState } from "../partition/protocol.ts";
import type { Grant, ModuleSpec, PartitionSpec } from "../system.ts";
import { measureFuel, sliceFuel } from "../wasm/calibrate.ts";
import { Delays } from "./delays.ts";
import type { Inspection, KernelOptions, ModuleRow } from "./events.ts";
import { Links } from "./links.ts";
import { calleesFirst, moduleOrder, ModuleRecord, routeRows } from "./modules.ts";
import { Partitions, type Statistics } from "./partitions.ts";
import { checkContracts, checkPorts, type Party } from "./policy.ts";
import { Recovery } from "./recovery.ts";
import { SwapCoordinator, type SwapRequest, type SwapResult } from "./swaps.ts";

const NO_TRACE = Object.freeze({ records: new Float64Array(0), lost: 0 });
const NOTHING = new Uint8Array(0);
/** What modules have at a stop: those at work half of it to end that, then all of them the rest for their last message. */
const STOP_MS = 500;
const LOOK_MS = 10;
const MAXIMUM_RESULT = 0x7fff_ffff;

export class Kernel {
  readonly #options: KernelOptions;
  readonly #modules = new Map<string, ModuleRecord>();
  readonly #byId = new Map<number, ModuleRecord>();
  #ids = 0;
  readonly #delays = new Delays();
  readonly #partitions: Partitions;
  readonly #links: Links;
  readonly #recovery: Recovery;
  readonly #swaps: SwapCoordinator;
  #isStarted = false;
  #stopped: Promise<void> | undefined = undefined;

  constructor(options: KernelOptions) {
    this.#options = options;
    const partitions = {
      onReport: this.#onReport.bind(this),
      introduce: (index: number) => this.#links.introduce(index),
      onLost: this.#onPartitionLost.bind(this),
      onReplaced: this.#onPartitionReplaced.bind(this),
    };
    this.#partitions = new Partitions(partitions, options, this.#delays);
    this.#links = new Links(this.#modules, this.#partitions, options.host);
    this.#recovery = new Recovery(this.#links, this.#delays, options, (record) => this.#swaps.isChanging(record));
    this.#swaps = new SwapCoordinator(this.#links, this.#recovery, options.onEvent);
  }

  /** Starts the partitions' workers and the watch over them. @throws Refusal E_BUSY where it has been started. */
  async start(partitions: readonly PartitionSpec[]): Promise<void> {
    if (this.#isStarted) throw new Refusal("E_BUSY", "the kernel has been started");
    this.#isStarted = true;
    const fuel = this.#options.sliceFuel ?? sliceFuel(measureFuel(() => performance.now()));
    await this.#partitions.start(partitions, fuel);
  }

  /**
   * Instantiates a module in its partition, bound to its grants. It gets no message before `begin`.
   * @param state the last good one of an earlier process, which this instance is handed
   * @throws Refusal E_UNKNOWN for a partition, E_BUSY for a name in use, E_CAP where a grant is missing.
   */
  load(spec: ModuleSpec, admitted: AdmittedModule, state?: SavedState): void {
    if (this.#modules.has(spec.name)) throw new Refusal("E_BUSY", `there is a module ${spec.name} already`);
    const partition = this.#partitionOf(spec);
    checkGrants(spec, admitted);
    const record = new ModuleRecord(++this.#ids, spec, admitted, partition);
    record.state = state;
    checkContracts(new Map(this.#modules).set(spec.name, record), new Set([spec.name]));
    this.#links.bind(record);
    this.#emitAdmitted(admitted);
    this.#modules.set(spec.name, record);
    this.#byId.set(record.id, record);
    for (const grant of spec.grants) this.#emitGrant("granted", spec.name, grant);
    this.#loadInto(record);
    this.#links.relink([record]);
  }

  /** Adds a partition to a kernel that runs; modules may be loaded into it when this has resolved. */
  async addPartition(spec: PartitionSpec): Promise<void> {
    await this.#partitions.add(spec);
  }

  /** Takes a module away with all its rights; its callers find a dead peer. @throws Refusal E_UNKNOWN, E_BUSY in a swap. */
  unload(name: string): void {
    const record = this.#findAtRest(name);
    for (const slot of record.grants.keys()) if (!record.revoked.has(slot)) this.revoke(name, slot);
    this.#links.order(record, { type: "unload", module: record.id });
    this.#partitions.broadcast({ type: "module-dead", module: record.id });
    this.#modules.delete(name);
    this.#byId.delete(record.id);
    this.#options.onState?.(name, undefined);
    this.#links.relink([record]);
  }

  /** Hands every loaded module, or one, its start notice; whom a module calls comes before it. */
  begin(name?: string): void {
    this.#links.tell();
    for (const record of calleesFirst(this.#modules.values())) {
      if (name === undefined || record.spec.name === name)
        this.#links.order(record, { type: "start", module: record.id });
    }
  }

  /**
   * Binds a slot of a loaded module, or binds it anew; the module sees it at its next use.
   * @throws Refusal E_UNKNOWN for a module or slot that does not exist, E_CAP where the interface is another, E_BUSY
   * while the module is being swapped.
   */
  grant(name: string, grant: Grant): void {
    this.#links.grant(this.#findAtRest(name), grant);
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
    this.#swaps.revoke(record, slot);
    this.#links.revoke(record, slot);
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
      if (![record.partition, to].every((index) => this.#partitions.isAlive(index)))
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
    this.#recovery.restart(record);
  }

  /** Stops a module until it is restarted by order. @throws Refusal E_UNKNOWN, E_BUSY while it is being swapped. */
  hold(name: string, reason = "held by order"): void {
    this.#recovery.hold(this.#findAtRest(name), reason);
  }

  /** An event of a bound resource: a message for the module that holds it with the right to events. Others are dropped. */
  event(binding: number, payload: Uint8Array): void {
    const listener = this.#links.listener(binding);
    if (listener === undefined || payload.length > LIMITS.payloadBytes) return;
    const { record, slot } = listener;
    this.#links.order(record, { type: "host-event", module: record.id, slot, payload });
  }

  /** Statistics of every module. */
  async top(): Promise<ModuleRow[]> {
    return (await this.inspect()).modules;
  }

  /** What runs and what goes by its routes, from the partitions that answer within a second. */
  async inspect(trace?: boolean): Promise<Inspection> {
    const answers = await this.#partitions.inspect(trace);
    const modules = answers.flatMap((answer, index) =>
      (answer?.modules ?? []).flatMap((row): ModuleRow[] => {
        const record = this.#byId.get(row.module);
        // One that moves has a cell in both.
        if (record?.partition !== index) return [];
        const { spec, admitted, restarts, status } = record;
        const { name, partition } = spec;
        const state = status === "held" ? "held" : row.state;
        return [{ ...row, state, name, partition, version: admitted.manifest.version, restarts }];
      }),
    );
    const counts = answers.flatMap((answer) => answer?.edges ?? []);
    const routes = routeRows(this.#modules.values(), counts);
    const { specs } = this.#partitions;
    const partitions = specs.map((spec, index) => ({ ...spec, answers: answers[index] !== undefined }));
    const traces = specs.map(({ name }, index) => ({ name, ...(answers[index]?.trace ?? NO_TRACE) }));
    return { partitions, modules, routes, traces };
  }

  /** What a module may do now: its specification, and the grants in force. @throws Refusal E_UNKNOWN. */
  authority(name: string): { readonly spec: ModuleSpec; readonly grants: readonly Grant[] } {
    const { spec, grants, revoked } = this.#find(name);
    return { spec, grants: [...grants.values()].filter(({ slot }) => !revoked.has(slot)) };
  }

  /** Gives every module its last message, and ends every partition. Nothing of the kernel runs afterwards. */
  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop());
  }

  async #stop(): Promise<void> {
    const since = performance.now();
    for (const record of this.#modules.values()) this.#links.order(record, { type: "save", module: record.id });
    await this.#noneIs(["running", "suspended"], since + STOP_MS / 2);
    this.#partitions.beginStop();
    this.#delays.clear();
    this.#swaps.stop();
    for (const record of this.#modules.values()) {
      record.status = "held";
      this.#links.order(record, { type: "hold", module: record.id });
    }
    await this.#noneIs(["idle", "running", "suspended"], since + STOP_MS);
    await this.#partitions.stop();
  }

  /** Resolves when no module is in such a state any more, or at `end`. Who does not answer is not waited for. */
  async #noneIs(states: readonly string[], end: number): Promise<void> {
    const isSo = (answer: Statistics | undefined, at: number): boolean =>
      // One that moves has a cell in both.
      (answer?.modules ?? []).some((row) => states.includes(row.state) && this.#byId.get(row.module)?.partition === at);
    for (let left = end - performance.now(); left > 0; left = end - performance.now()) {
      if (!(await this.#partitions.inspect(undefined, left)).some(isSo)) return;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }

  /** Makes a partition stop answering, as a fault of the kernel would: for tests of the watch. */
  freezePartition(name: string, where: Freeze = "loop"): void {
    this.#partitions.freeze(name, where);
  }

  /** True while a thread waits to take the place of a partition that is lost. */
  get hasSpare(): boolean {
    return this.#partitions.hasSpare;
  }

  #partitionOf({ partition }: ModuleSpec): number {
    const index = this.#partitions.specs.findIndex(({ name }) => name === partition);
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

  #loadInto(record: ModuleRecord): void {
    const isHeld = record.status === "held";
    if (!isHeld) record.status = "loading";
    const slots = this.#links.of(record);
    this.#links.order(record, { type: "load", module: moduleOrder(record, slots), state: record.state, isHeld });
  }

  #onReport(index: number, report: Report): void {
    if (report.type === "up" || report.type === "statistics") return;
    if (report.type === "checkpoint") this.#partitions.order(index, { type: "kept", module: report.module });
    const record = this.#byId.get(report.module);
    if (record === undefined) return;
    // A report from the partition that a module has left is late news, but for those of its leaving.
    if (record.partition !== index && report.type !== "answered" && !report.type.startsWith("swap-")) return;
    const module = record.spec.name;
    switch (report.type) {
      case "loaded":
        return this.#recovery.loaded(record, report);
      case "fault":
        return this.#recovery.failed(record, report);
      case "checkpoint":
        if (!this.#swaps.defers(record, report.state)) this.#recovery.keep(record, report.state);
        return;
      case "answered":
        return this.#links.order(record, report);
      case "failure":
        return this.#options.onFailure?.(report.failure);
      case "host-request":
        return void this.#hostRequest(record, report);
      case "log":
        return this.#options.onEvent({ type: "log", module, level: report.level, text: report.text });
      case "denied":
        return this.#options.onEvent({ ...report, module, result: resultName(report.result) });
      default:
        this.#swaps.onReport(record, report);
    }
  }

  async #hostRequest(record: ModuleRecord, report: Extract<Report, { type: "host-request" }>): Promise<void> {
    const { request, operation, numbers, bytes, capacity } = report;
    const binding = this.#links.binding(report.binding);
    // What a partition asked for is no business of the one that replaces it.
    const partition = this.#partitions.at(record.partition);
    let reply: HostReply = { result: RESULT.denied, bytes: NOTHING };
    if (binding !== undefined) {
      try {
        reply = checkedReply(await this.#options.host.request(binding, operation, numbers, bytes, capacity));
      } catch {
        // The host's own failure is the module's I/O error, never the kernel's end.
        reply = { result: RESULT.io, bytes: NOTHING };
      }
      // Nothing comes through a binding that was taken away meanwhile.
      if (this.#links.binding(binding.id) === undefined) reply = { result: RESULT.denied, bytes: NOTHING };
    }
    if (reply.result === RESULT.denied || reply.result === RESULT.quota) {
      const untold = record.denials.admit(performance.now(), `${binding?.slot}.${operation}`);
      const result = resultName(reply.result);
      const denial = { module: record.spec.name, slot: binding?.slot ?? "", operation, result, text: "" };
      if (untold !== undefined) this.#options.onEvent({ type: "denied", ...denial, untold });
    }
    partition?.order({ type: "host-reply", request, result: reply.result, bytes: reply.bytes });
  }

  #membersOf(index: number): ModuleRecord[] {
    return [...this.#modules.values()].filter(({ partition }) => partition === index);
  }

  #onPartitionLost(index: number): void {
    const members = this.#membersOf(index);
    this.#swaps.onPartitionLost(index);
    for (const record of members) {
      // One that has only tried to move here goes on where it was.
      if (record.partition === index) this.#recovery.miss(record);
      this.#partitions.broadcast({ type: "module-dead", module: record.id });
    }
  }

  /** Its modules are loaded with their last good state, their callers told. */
  #onPartitionReplaced(index: number, since: number): void {
    const members = this.#membersOf(index);
    for (const record of members) {
      record.generation = record.nextGeneration();
      if (record.status !== "held") {
        record.restarts++;
        record.failedAt = since;
        record.failedCause = "partition";
      }
      this.#loadInto(record);
    }
    this.#links.relink(this.#modules.values());
    this.#links.tell();
    for (const record of calleesFirst(members)) this.#links.order(record, { type: "start", module: record.id });
  }

  #emitAdmitted({ manifest, sha256 }: AdmittedModule): void {
    this.#options.onEvent({ type: "admitted", module: manifest.name, version: manifest.version, sha256 });
  }

  #emitGrant(type: "granted" | "revoked", module: string, grant: Grant): void {
    this.#options.onEvent({ type, module, slot: grant.slot, grant });
  }
}

/** What a host process answers is fallible: anything that is no reply is its I/O error, and never reaches a partition. */
function checkedReply(reply: Partial<HostReply> | null | undefined): HostReply {
  const { result, bytes } = reply ?? {};
  const isResult = Number.isInteger(result) && result !== undefined && result <= MAXIMUM_RESULT;
  const isKnown = isResult && (result >= 0 || RESULT_CODES.some(({ code }) => code === result));
  return isKnown && bytes instanceof Uint8Array ? { result, bytes } : { result: RESULT.io, bytes: NOTHING };
}
