/** Swaps of one or several modules as one set: all are prepared before any is flipped, and all go back together. */
import type { AdmittedModule } from "../admission.ts";
import { Refusal } from "../errors.ts";
import type { Order, Report, SlotLink } from "../partition/protocol.ts";
import type { ModuleSpec } from "../system.ts";
import type { KernelEvent } from "./events.ts";
import type { ModuleRecord } from "./modules.ts";
import { moduleOrder } from "./modules.ts";

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

interface Member {
  readonly record: ModuleRecord;
  readonly admitted: AdmittedModule;
  readonly spec: ModuleSpec;
}

interface OldVersion {
  readonly admitted: AdmittedModule;
  readonly spec: ModuleSpec;
}

/** What the coordinator needs of the kernel. */
export interface SwapEnvironment {
  readonly order: (record: ModuleRecord, order: Order) => void;
  readonly links: (record: ModuleRecord, admitted: AdmittedModule) => SlotLink[];
  readonly emit: (event: KernelEvent) => void;
  readonly relink: () => void;
}

/**
 *     idle -> preparing -> flipping -> probation -> idle (committed)
 *                 \            \           \
 *                  +------------+-----------+--> idle (the old versions go on)
 */
type Phase = "preparing" | "flipping" | "probation";

interface SwapSet {
  phase: Phase;
  readonly members: readonly Member[];
  readonly old: ReadonlyMap<number, OldVersion>;
  readonly waiting: Set<number>;
  pauseMs: number;
  held: number;
  readonly resolve: (result: SwapResult) => void;
  readonly reject: (refusal: Refusal) => void;
  /** Told once when the set goes back during its probation. */
  onReverted: (refusal: Refusal) => void;
  reverted: Refusal | undefined;
}

export class SwapCoordinator {
  readonly #environment: SwapEnvironment;
  #set: SwapSet | undefined = undefined;
  #cancelProbation: () => void = () => undefined;

  constructor(environment: SwapEnvironment) {
    this.#environment = environment;
  }

  /** @throws Refusal E_BUSY while another set is in progress; else as `Kernel.swap`. */
  async swap(members: readonly Member[], deadlineMs: number): Promise<SwapResult> {
    if (this.#set !== undefined) throw new Refusal("E_BUSY", "another swap is in progress");
    return await new Promise<SwapResult>((resolve, reject) => {
      const old = new Map(members.map(({ record }) => [record.id, { admitted: record.admitted, spec: record.spec }]));
      const waiting = new Set(members.map(({ record }) => record.id));
      const callbacks = { resolve, reject, onReverted: (): void => undefined, reverted: undefined };
      this.#set = { phase: "preparing", members, old, waiting, pauseMs: 0, held: 0, ...callbacks };
      for (const { record, admitted, spec } of members) {
        record.generation++;
        for (const grant of spec.grants) record.grants.set(grant.slot, grant);
        const slots = this.#environment.links(record, admitted);
        const module = moduleOrder(record, slots, admitted);
        this.#environment.order(record, { type: "prepare-swap", module, deadlineMs });
      }
    });
  }

  async probation(names: readonly string[], milliseconds: number): Promise<void> {
    const set = this.#set;
    if (set?.reverted !== undefined) throw set.reverted;
    if (set === undefined || !names.every((name) => set.members.some(({ record }) => record.spec.name === name))) {
      throw new Refusal("E_PROBATION", "the set is not on probation");
    }
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#cancelProbation = () => {
        clearTimeout(timer);
        reject(new Refusal("E_ABORTED", "the kernel is stopping"));
      };
      set.onReverted = (refusal) => {
        clearTimeout(timer);
        reject(refusal);
      };
    });
  }

  settle(records: readonly ModuleRecord[], keep: boolean): void {
    const set = this.#set;
    if (set?.phase !== "probation") return;
    for (const record of records) this.#environment.order(record, { type: "settle-swap", module: record.id, keep });
    if (!keep) return;
    this.#set = undefined;
    this.#environment.emit({ type: "committed", modules: records.map(({ spec }) => spec.name) });
  }

  onReport(record: ModuleRecord, report: Report): void {
    const set = this.#set;
    if (set === undefined) return;
    switch (report.type) {
      case "swap-prepared":
        this.#prepared(set, record);
        return;
      case "swap-refused":
        this.#refused(set, record, new Refusal(report.code, `${record.spec.name}: ${report.text}`));
        return;
      case "swap-flipped":
        this.#flipped(set, record, report.pauseMs, report.held);
        return;
      case "swap-reverted":
        this.#reverted(set, record, report);
        return;
      default:
    }
  }

  /** A member's partition died: before the flip the set is given up, afterwards it goes back. */
  onPartitionLost(record: ModuleRecord): void {
    const set = this.#set;
    if (set === undefined || !set.old.has(record.id)) return;
    const refusal = new Refusal("E_PROBATION", `the partition of ${record.spec.name} was lost during the swap`);
    if (set.phase === "preparing") {
      this.#refused(set, record, refusal);
      return;
    }
    this.#restoreOld(set, record);
    this.#goBack(set, refusal, record);
  }

  stop(): void {
    this.#cancelProbation();
    const set = this.#set;
    this.#set = undefined;
    set?.reject(new Refusal("E_ABORTED", "the kernel is stopping"));
  }

  #prepared(set: SwapSet, record: ModuleRecord): void {
    set.waiting.delete(record.id);
    if (set.phase !== "preparing" || set.waiting.size > 0) return;
    set.phase = "flipping";
    for (const { record: member } of set.members) {
      set.waiting.add(member.id);
      this.#environment.order(member, { type: "flip-swap", module: member.id });
    }
  }

  #refused(set: SwapSet, record: ModuleRecord, refusal: Refusal): void {
    this.#set = undefined;
    for (const { record: member } of set.members) {
      if (member !== record) this.#environment.order(member, { type: "abort-swap", module: member.id });
      this.#restoreOld(set, member);
    }
    this.#environment.relink();
    set.reject(refusal);
  }

  #flipped(set: SwapSet, record: ModuleRecord, pauseMs: number, held: number): void {
    set.waiting.delete(record.id);
    set.pauseMs = Math.max(set.pauseMs, pauseMs);
    set.held += held;
    const member = set.members.find((candidate) => candidate.record === record);
    if (member !== undefined) {
      record.admitted = member.admitted;
      record.spec = member.spec;
      record.status = "running";
    }
    if (set.waiting.size > 0 || set.phase !== "flipping") return;
    set.phase = "probation";
    this.#environment.relink();
    const modules = set.members.map(({ spec }) => spec.name);
    this.#environment.emit({ type: "swapped", modules, pauseMs: set.pauseMs, held: set.held });
    set.resolve({ pauseMs: set.pauseMs, held: set.held });
  }

  #reverted(set: SwapSet, record: ModuleRecord, report: Extract<Report, { type: "swap-reverted" }>): void {
    const { cause, text, replayed } = report;
    this.#restoreOld(set, record);
    this.#environment.emit({ type: "swap-reverted", module: record.spec.name, cause, text, replayed });
    this.#goBack(
      set,
      new Refusal("E_PROBATION", `${record.spec.name} failed on probation (${cause}): ${text}`),
      record,
    );
  }

  /** One member went back: so do the others, and the old links with them. */
  #goBack(set: SwapSet, refusal: Refusal, first: ModuleRecord): void {
    set.waiting.delete(first.id);
    if (set.reverted === undefined) {
      set.reverted = refusal;
      for (const { record } of set.members) {
        if (record !== first) {
          set.waiting.add(record.id);
          this.#environment.order(record, { type: "settle-swap", module: record.id, keep: false });
        }
      }
      set.reject(refusal);
      set.onReverted(refusal);
    }
    if (set.waiting.size > 0) return;
    this.#set = undefined;
    this.#environment.relink();
  }

  #restoreOld(set: SwapSet, record: ModuleRecord): void {
    const old = set.old.get(record.id);
    if (old === undefined) return;
    record.admitted = old.admitted;
    record.spec = old.spec;
    record.grants.clear();
    for (const grant of old.spec.grants) record.grants.set(grant.slot, grant);
  }
}
