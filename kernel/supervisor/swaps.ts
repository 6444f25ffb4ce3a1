/** Swaps of one or several modules as one set: all are prepared before any is flipped, and all go back together. */
import type { AdmittedModule } from "../admission.ts";
import { Refusal } from "../errors.ts";
import type { Luggage, ModuleOrder, Report, SavedState } from "../partition/protocol.ts";
import type { ModuleSpec } from "../system.ts";
import type { KernelOptions } from "./events.ts";
import type { Links } from "./links.ts";
import { moduleOrder, type ModuleRecord, type ModuleStatus } from "./modules.ts";
import type { Recovery } from "./recovery.ts";
import { RestartHistory } from "./restart.ts";

export interface SwapRequest {
  readonly name: string;
  readonly admitted: AdmittedModule;
  /** A new specification where the configuration changes with the binary. */
  readonly spec?: ModuleSpec;
}

export interface SwapResult {
  /** Longest time that a module of the set took no messages, in milliseconds. */
  readonly pauseMs: number;
  /** Messages that waited meanwhile and went to the new versions. */
  readonly held: number;
}

interface Candidate {
  readonly record: ModuleRecord;
  readonly admitted: AdmittedModule;
  readonly spec: ModuleSpec;
  /** Partition where the new version is to run. */
  readonly to: number;
}

/** What a record holds of one version, to be put in force or back. */
type Version = Pick<ModuleRecord, "admitted" | "spec" | "grants" | "bindings">;

interface Member {
  readonly record: ModuleRecord;
  readonly next: Version;
  readonly old: Version;
  readonly oldStatus: ModuleStatus;
  /** Of the new version's instance. */
  readonly generation: number;
  readonly module: ModuleOrder;
  readonly deadlineMs: number;
  /** Partitions of the old and of the new version. */
  readonly from: number;
  readonly to: number;
  /** The new version is in force. */
  isFlipped: boolean;
  /** The new version's last good state. */
  latest: SavedState | undefined;
  /** What the module has left behind, until the new version is in force with it. */
  luggage: Luggage | undefined;
  returning: Pick<Extract<Report, { type: "swap-returning" }>, "cause" | "text"> | undefined;
}

/**
 *     idle -> preparing -> flipping -> probation -> settling -> idle (committed)
 *                 \            \           \            \
 *                  +------------+-----------+------------+--> idle (the old versions go on)
 *
 * Settling asks each partition whether its member is still on probation: from its answer on, that member goes back by
 * order only, so no report that is still under way can contradict the commit.
 */
type Phase = "preparing" | "flipping" | "probation" | "settling";

interface SwapSet {
  phase: Phase;
  readonly members: readonly Member[];
  readonly waiting: Set<number>;
  pauseMs: number;
  held: number;
  readonly resolve: (result: SwapResult) => void;
  readonly reject: (refusal: unknown) => void;
  /** Told once when the set goes back during its probation. */
  onReverted: (refusal: Refusal) => void;
  reverted: Refusal | undefined;
  /** Told when the set has ended, one way or the other. */
  readonly onEnded: (() => void)[];
}

/** As much of them as the coordinator uses. */
export type SwapLinks = Pick<Links, "order" | "place" | "bind" | "of" | "route" | "release" | "relink" | "trim">;
export type SwapRecovery = Pick<Recovery, "restart" | "runs" | "hold" | "keep">;

export class SwapCoordinator {
  readonly #links: SwapLinks;
  readonly #recovery: SwapRecovery;
  readonly #emit: KernelOptions["onEvent"];
  #set: SwapSet | undefined = undefined;
  #cancelProbation: () => void = () => undefined;

  constructor(links: SwapLinks, recovery: SwapRecovery, emit: KernelOptions["onEvent"]) {
    this.#links = links;
    this.#recovery = recovery;
    this.#emit = emit;
  }

  get isSettling(): boolean {
    return this.#set?.phase === "settling";
  }

  /** @throws Refusal E_BUSY while another set is in progress; else as `Kernel.swap`. */
  async swap(candidates: readonly Candidate[], deadlineMs: number): Promise<SwapResult> {
    if (candidates.length === 0) throw new Refusal("E_UNKNOWN", "a swap needs at least one module");
    if (this.#set !== undefined) throw new Refusal("E_BUSY", "another swap is in progress");
    return await new Promise<SwapResult>((resolve, reject) => {
      const callbacks = { resolve, reject, onReverted: () => undefined, reverted: undefined, onEnded: [] };
      const waiting = new Set(candidates.map(({ record }) => record.id));
      const members: Member[] = [];
      const set: SwapSet = (this.#set = { phase: "preparing", members, waiting, pauseMs: 0, held: 0, ...callbacks });
      try {
        for (const candidate of candidates) members.push(this.#prepare(candidate, deadlineMs));
      } catch (error) {
        this.#refused(set, error);
      }
    });
  }

  /** True while a module's next version is being prepared or flipped in: nobody else may stop or start it then. */
  isChanging(record: ModuleRecord): boolean {
    if (this.#set?.phase !== "preparing" && this.#set?.phase !== "flipping") return false;
    return this.#memberOf(record) !== undefined;
  }

  #memberOf(record: ModuleRecord): Member | undefined {
    return this.#set?.members.find((member) => member.record === record);
  }

  async probation(names: readonly string[], milliseconds: number): Promise<void> {
    const set = this.#set;
    if (set?.reverted !== undefined) throw set.reverted;
    if (set === undefined || !names.every((name) => set.members.some(({ record }) => record.spec.name === name))) {
      throw new Refusal("E_PROBATION", "the set is not on probation");
    }
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, milliseconds);
      const end = (refusal: Refusal): void => {
        clearTimeout(timer);
        reject(refusal);
      };
      set.onReverted = end;
      this.#cancelProbation = () => end(new Refusal("E_ABORTED", "the kernel is stopping"));
    });
  }

  /** Ends the probation of the whole set that these modules are of. */
  settle(records: readonly ModuleRecord[], keep: boolean): void {
    const set = this.#set;
    if (set?.phase !== "probation" || set.reverted !== undefined) return;
    if (!records.some((record) => this.#memberOf(record) !== undefined)) return;
    set.phase = "settling";
    for (const { record } of set.members) {
      set.waiting.add(record.id);
      this.#links.order(record, { type: "settle-swap", module: record.id, keep });
    }
  }

  async settled(): Promise<void> {
    const set = this.#set;
    if (set === undefined || (set.phase !== "settling" && set.reverted === undefined)) return;
    await new Promise<void>((resolve) => set.onEnded.push(resolve));
  }

  onReport(record: ModuleRecord, report: Report): void {
    const set = this.#set;
    const member = this.#memberOf(record);
    // Reports of a set before this one, of the same module, may still come in.
    if (set === undefined || member === undefined || !("generation" in report)) return;
    if (report.generation !== member.generation) return;
    switch (report.type) {
      case "swap-saved":
        return this.#arrive(set, member, report);
      case "swap-prepared":
        return this.#prepared(set, record);
      case "swap-refused": {
        const refusal = new Refusal(report.code, `${record.spec.name}: ${report.text}`);
        return set.phase === "preparing" ? this.#refused(set, refusal) : this.#putBack(set, member, refusal);
      }
      case "swap-luggage":
        return this.#packed(set, member, report.luggage);
      case "swap-returning":
        member.returning = report;
        this.#links.place(record, member.from, member.generation, true);
        return this.#goBack(set, failure(member, report.cause, report.text), member);
      case "swap-flipped":
        return this.#flipped(set, member, report.pauseMs, report.held);
      case "swap-settled":
        return this.#settled(set, record);
      case "swap-reverted":
        return this.#reverted(set, member, report);
      default:
    }
  }

  /** Lets go of what either version of a member has bound to a slot that is revoked. */
  revoke(record: ModuleRecord, slot: string): void {
    const member = this.#memberOf(record);
    for (const { bindings } of member === undefined ? [] : [member.next, member.old]) {
      const binding = bindings.get(slot);
      if (bindings.delete(slot) && binding !== undefined) this.#links.release([binding.id]);
    }
  }

  /** A member's partition died: before the flip the set is given up, afterwards it goes back. */
  onPartitionLost(index: number): void {
    for (const member of this.#set?.members ?? []) {
      const set = this.#set;
      const { record, from, to, generation } = member;
      if (set === undefined || (from !== index && to !== index)) continue;
      const refusal = new Refusal("E_PROBATION", `the partition of ${record.spec.name} was lost during the swap`);
      if (set.phase === "preparing") return this.#refused(set, refusal);
      if (from !== to) this.#links.place(record, from, generation, false);
      this.#goBack(set, refusal, member);
      if (from === index) {
        if (from !== to) this.#links.order(record, { type: "unload", module: record.id }, to);
        this.#putBack(set, member, refusal);
      } else this.#recall(member);
    }
  }

  /** True where the state is of a version that may still go back: it is kept when that version is there to stay. */
  defers(record: ModuleRecord, state: SavedState): boolean {
    const member = this.#memberOf(record);
    if (member?.isFlipped === true) member.latest = state;
    return member?.isFlipped === true;
  }

  stop(): void {
    this.#cancelProbation();
    const set = this.#set;
    this.#set = undefined;
    set?.reject(new Refusal("E_ABORTED", "the kernel is stopping"));
    for (const tell of set?.onEnded ?? []) tell();
  }

  #prepare({ record, admitted, spec, to }: Candidate, deadlineMs: number): Member {
    const generation = record.nextGeneration();
    const next = record.successor(admitted, spec);
    this.#links.bind(next);
    const module = moduleOrder(next, this.#links.of(next), generation);
    const { partition: from, status: oldStatus } = record;
    this.#links.order(record, { type: "prepare-swap", module, deadlineMs, role: from === to ? "stay" : "leave" });
    const versions = { next: version(next), old: version(record), oldStatus, generation, module };
    const progress = { isFlipped: false, latest: undefined, luggage: undefined, returning: undefined };
    return { record, ...versions, deadlineMs, from, to, ...progress };
  }

  /** The old version has saved its state and holds still: the new one is made in the other partition. */
  #arrive(set: SwapSet, member: Member, { state, holdings, heldSince }: Extract<Report, { type: "swap-saved" }>): void {
    if (set.phase !== "preparing") return;
    const { record, to, module, deadlineMs } = member;
    this.#links.route(record, to);
    const saved = { state, holdings, heldSince };
    this.#links.order(record, { type: "prepare-swap", module, deadlineMs, role: "arrive", ...saved }, to);
  }

  #prepared(set: SwapSet, record: ModuleRecord): void {
    set.waiting.delete(record.id);
    if (set.phase !== "preparing" || set.waiting.size > 0) return;
    set.phase = "flipping";
    for (const { record: member, from, to, generation } of set.members) {
      set.waiting.add(member.id);
      if (from === to) this.#links.order(member, { type: "flip-swap", module: member.id });
      else this.#links.place(member, to, generation, true);
    }
  }

  /** What waited where the module was goes after it, or back to it. */
  #packed(set: SwapSet, member: Member, luggage: Luggage): void {
    const { record, returning } = member;
    member.luggage = luggage;
    if (returning !== undefined) this.#recall(member, [luggage]);
    else if (set.reverted !== undefined && record.partition === member.from) this.#recall(member);
    else if (set.reverted !== undefined) this.#sendBack(record, [luggage]);
    else this.#links.order(record, { type: "flip-swap", module: record.id, luggage });
  }

  /** The old version goes on, with what came meanwhile. */
  #recall(
    { record, from, luggage, isFlipped }: Member,
    brought = luggage === undefined || isFlipped ? [] : [luggage],
  ): void {
    const order = { type: "settle-swap", module: record.id, keep: false, luggage: brought } as const;
    this.#links.order(record, order, from);
  }

  #sendBack(record: ModuleRecord, luggage: readonly Luggage[] = []): void {
    this.#links.order(record, { type: "settle-swap", module: record.id, keep: false, luggage });
  }

  #refused(set: SwapSet, refusal: unknown): void {
    for (const { record, from, to, next, old } of set.members) {
      for (const place of new Set([from, to]))
        this.#links.order(record, { type: "abort-swap", module: record.id }, place);
      this.#releaseAllBut(next, old);
    }
    this.#end(set);
    set.reject(refusal);
    // A failure that the swap would have healed is healed now.
    for (const { record } of set.members) if (record.status === "failed") this.#recovery.restart(record);
  }

  #flipped(set: SwapSet, member: Member, pauseMs: number, held: number): void {
    member.isFlipped = true;
    member.luggage = undefined;
    // Another member has gone back already: this one's order to go back is under way.
    if (set.reverted !== undefined) return;
    set.waiting.delete(member.record.id);
    set.pauseMs = Math.max(set.pauseMs, pauseMs);
    set.held += held;
    this.#putInForce(member, member.next);
    member.record.generation = member.generation;
    this.#recovery.runs(member.record);
    if (set.waiting.size > 0 || set.phase !== "flipping") return;
    set.phase = "probation";
    this.#links.relink(set.members.map(({ record }) => record));
    const modules = set.members.map(({ record }) => record.spec.name);
    this.#emit({ type: "swapped", modules, pauseMs: set.pauseMs, held: set.held });
    set.resolve({ pauseMs: set.pauseMs, held: set.held });
  }

  #settled(set: SwapSet, record: ModuleRecord): void {
    if (set.phase !== "settling" || set.reverted !== undefined) return;
    set.waiting.delete(record.id);
    if (set.waiting.size > 0) return;
    for (const { record: member, from, to, next, old, latest } of set.members) {
      for (const place of new Set([from, to]))
        this.#links.order(member, { type: "finish-swap", module: member.id }, place);
      if (latest !== undefined) this.#recovery.keep(member, latest);
      this.#releaseAllBut(old, next);
      // A target that the new version is not granted any more is lost to whoever got it from the old one, too.
      this.#links.trim(member);
    }
    this.#emit({ type: "committed", modules: set.members.map(({ record: { spec } }) => spec.name) });
    this.#end(set);
  }

  #reverted(set: SwapSet, member: Member, report: Extract<Report, { type: "swap-reverted" }>): void {
    const { record } = member;
    const { replayed, isAlive } = report;
    const { cause, text } = member.returning ?? report;
    this.#putInForce(member, member.old);
    // Unless it has been restarted since: that instance has a later one.
    record.generation = Math.max(record.generation, member.generation);
    this.#emit({ type: "swap-reverted", module: record.spec.name, cause, text, replayed });
    if (!isAlive && member.oldStatus === "held") this.#recovery.hold(record, "it was held before the swap");
    else if (!isAlive) this.#recovery.restart(record);
    this.#putBack(set, member, failure(member, cause, text));
  }

  /** The old version of a member is in force again: so shall those of the others be. */
  #putBack(set: SwapSet, member: Member, refusal: Refusal): void {
    this.#putInForce(member, member.old);
    member.isFlipped = false;
    this.#goBack(set, refusal, member);
    set.waiting.delete(member.record.id);
    if (set.waiting.size > 0) return;
    for (const { next, old } of set.members) this.#releaseAllBut(next, old);
    for (const { record } of set.members) this.#links.trim(record);
    this.#end(set);
  }

  /** One member goes back: so do the others. */
  #goBack(set: SwapSet, refusal: Refusal, first: Member): void {
    if (set.reverted !== undefined) return;
    set.reverted = refusal;
    for (const { record, from, to, luggage, isFlipped } of set.members) {
      set.waiting.add(record.id);
      // What has not all come yet to where it goes is sent back when it has.
      const isThere = from === to || luggage !== undefined || isFlipped;
      if (record !== first.record && isThere) this.#sendBack(record);
    }
    set.reject(refusal);
    set.onReverted(refusal);
  }

  #end(set: SwapSet): void {
    this.#set = undefined;
    this.#links.relink(set.members.map(({ record }) => record));
    for (const tell of set.onEnded) tell();
  }

  #putInForce({ record }: Member, version: Version): void {
    const { restart } = version.spec;
    if (record.spec.restart !== restart) record.history = new RestartHistory(restart);
    Object.assign(record, version);
  }

  /** Lets go of what only one of the two versions was bound to. */
  #releaseAllBut(dropped: Version, kept: Version): void {
    const keep = new Set(kept.bindings.values());
    this.#links.release([...dropped.bindings.values()].filter((item) => !keep.has(item)).map(({ id }) => id));
  }
}

function version({ admitted, spec, grants, bindings }: ModuleRecord): Version {
  return { admitted, spec, grants, bindings };
}

function failure({ record }: Member, cause: string, text: string): Refusal {
  return new Refusal("E_PROBATION", `${record.spec.name} failed on probation (${cause}): ${text}`);
}
