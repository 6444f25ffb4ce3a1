/**
 * Replaces a module by another version, in its cell or in that of another partition: a table of steps, each with its way
 * back. A step that fails takes itself and all before it back, the last first, and the old version goes on.
 */
import { Refusal } from "../errors.ts";
import { HandleTable } from "../ipc/capability.ts";
import { Message } from "../ipc/mailbox.ts";
import { LIMITS } from "../limits.ts";
import { dismiss, type Incarnation, type ModuleCell } from "./cell.ts";
import { describeFault } from "./fault.ts";
import { arm, holdingsOf, pack, takeUp, unpack } from "./luggage.ts";
import type { FaultCause, HeldTimer, Holdings, Luggage, ModuleOrder, Report } from "./protocol.ts";
import type { SavedState, SlotLink, SwapOrder, SwapRole } from "./protocol.ts";
import type { Environment, Runner } from "./runner.ts";
import type { CancelTimer } from "./timers.ts";

/** Inputs kept for a replay into the old version; beyond them the newest are counted as lost, should it come back. */
const MAXIMUM_INPUTS = 10_000;

/** What a step waits for: an order, the end of the running handler, or the last message that can come here. */
type Signal = "prepare" | "idle" | "empty" | "flip" | "settle" | "finish";

/** A swap in progress: what its steps have made so far. */
export class Swap {
  /** Of the new version. */
  readonly order: ModuleOrder;
  readonly role: SwapRole;
  readonly steps: readonly SwapStep[];
  /** Steps that are done. */
  done = 0;
  phase: "making" | "held" | "away" | "probation" | "settled" = "making";
  heldSince: number;
  /** What the old version has saved, and held then. */
  state: SavedState | undefined;
  holdings: Holdings | undefined;
  /** Timers that the new version has set before it was in force. */
  armed: readonly HeldTimer[] = [];
  next: Incarnation | undefined = undefined;
  /** What was in force before the flip, kept warm for the probation. */
  old: (Pick<ModuleCell, "incarnation" | "order" | "lastState"> & { readonly slots: readonly SlotLink[] }) | undefined =
    undefined;
  luggage: Luggage | undefined = undefined;
  /** Partitions whose last message for a module that goes has not come yet, once they have been told; and those whose has. */
  awaited: Set<number> | undefined = undefined;
  readonly heard = new Set<number>();
  /** True where what has arrived goes back to the partition that it has left. */
  isReturning = false;
  /** Inputs since the flip, for the old version in case it comes back. */
  readonly inputs: Message[] = [];
  inputBytes = 0;
  /** Inputs that were too many to keep, by port. */
  readonly lostInputs = new Map<number, number>();
  cancelDeadline: CancelTimer = () => undefined;

  constructor({ module, role, state, holdings, heldSince = 0 }: SwapOrder) {
    this.order = module;
    this.role = role;
    this.steps = SWAP_STEPS.filter(({ roles }) => roles.includes(role));
    this.state = state;
    this.holdings = holdings;
    this.heldSince = heldSince;
  }
}

interface Place {
  readonly runner: Runner;
  readonly environment: Environment;
}

type Action<Result = void> = (place: Place, cell: ModuleCell, swap: Swap) => Result;

export interface SwapStep {
  readonly name: string;
  /** Whose step it is: of a module that stays in its partition, of one that leaves it, of one that arrives from another. */
  readonly roles: readonly SwapRole[];
  /** What waits for the same as the step before follows it at once. */
  readonly waitsFor: Signal;
  /** Of the swap, once the step is done. */
  readonly phase: Swap["phase"];
  /** @returns what is told of it when it is done */
  run: Action<Report | undefined>;
  /** Takes back what the step has done, also where it has not come to its end. */
  readonly undo?: Action;
}

/** In their order: the whole of a swap, as one partition sees it. */
export const SWAP_STEPS: readonly SwapStep[] = [
  {
    name: "make",
    roles: ["stay", "arrive"],
    waitsFor: "prepare",
    phase: "making",
    run: ({ runner, environment }, cell, swap) => {
      if (swap.role === "arrive") {
        cell.state = "idle";
        environment.link(cell, swap.order.slots);
      }
      if (swap.holdings !== undefined) takeUp(environment, cell, swap.holdings);
      swap.next = runner.incarnate(cell, swap.order);
    },
  },
  {
    name: "initialize",
    roles: ["stay", "arrive"],
    waitsFor: "prepare",
    phase: "making",
    // The old version goes on with what it holds, until the new one is in force.
    run: ({ runner }, cell, swap) => {
      const { handles, slotTimers } = cell;
      cell.handles = new HandleTable();
      cell.slotTimers = new Map();
      try {
        runner.initialize(made(swap));
        if (cell.handles.size > 0) throw new Refusal("E_STATE", "it derives handles before it has its state");
        swap.armed = holdingsOf(cell).timers;
      } finally {
        cell.stopTimers();
        cell.handles = handles;
        cell.slotTimers = slotTimers;
      }
    },
  },
  {
    name: "hold",
    roles: ["stay", "leave"],
    waitsFor: "prepare",
    phase: "held",
    run: ({ environment }, cell, swap) => {
      environment.gates.invalidate(cell);
      swap.heldSince = environment.now();
    },
  },
  {
    name: "save",
    roles: ["stay", "leave"],
    waitsFor: "idle",
    phase: "held",
    run: ({ runner }, cell, swap) => {
      const { incarnation } = cell;
      swap.holdings = holdingsOf(cell);
      // A dead one's last good state serves as well.
      swap.state =
        incarnation === undefined
          ? cell.lastState
          : runner.synchronously(incarnation, () => incarnation.instance.save());
      const holdings = holdingsOf(cell);
      swap.holdings = holdings;
      if (swap.role !== "leave") return undefined;
      cell.stopTimers();
      return { type: "swap-saved", ...named(cell, swap), state: swap.state, holdings, heldSince: swap.heldSince };
    },
    undo: ({ environment }, cell, { holdings }) => {
      if (holdings !== undefined) takeUp(environment, cell, holdings);
    },
  },
  {
    name: "restore",
    roles: ["stay", "arrive"],
    waitsFor: "idle",
    phase: "held",
    run: ({ runner }, cell, swap) => {
      const { state } = swap;
      const next = made(swap);
      // A version that declares no state takes over without any; that is its author's decision.
      if (state !== undefined && swap.order.state > 0) runner.synchronously(next, () => next.instance.restore(state));
      return { type: "swap-prepared", ...named(cell, swap) };
    },
  },
  {
    name: "leave",
    roles: ["leave"],
    waitsFor: "empty",
    phase: "away",
    run: ({ environment }, cell, swap) => {
      const luggage = pack(cell, environment.post);
      swap.luggage = luggage;
      cell.forward = (correlation, result, bytes) => {
        environment.report({ type: "answered", module: cell.id, correlation, result, bytes: bytes.slice() });
      };
      return { type: "swap-luggage", ...named(cell, swap), luggage };
    },
    undo: (_, cell) => {
      cell.forward = undefined;
    },
  },
  {
    name: "flip",
    roles: ["stay", "arrive"],
    waitsFor: "flip",
    phase: "probation",
    run: ({ environment }, cell, swap) => {
      const { order, luggage } = swap;
      environment.gates.invalidate(cell);
      const { incarnation, lastState } = cell;
      swap.old = { incarnation, order: cell.order, lastState, slots: [...cell.links.values()] };
      if (luggage !== undefined) unpack(cell, environment.post, luggage);
      swap.luggage = undefined;
      cell.incarnation = made(swap);
      cell.order = order;
      cell.generation = order.generation;
      cell.state = "idle";
      environment.link(cell, order.slots);
      for (const timer of swap.armed) arm(environment, cell, timer);
    },
    undo: ({ runner, environment }, cell, { next, old, state }) => {
      if (old === undefined) return;
      const wasHeld = cell.state === "held" || cell.isEnding;
      runner.halt(cell);
      environment.post.pending.forgetAllOf(cell, next);
      cell.order = old.order;
      keepState(environment, cell, state ?? old.lastState);
      // What was revoked meanwhile is not given back.
      const isRevoked = ({ slot }: SlotLink): boolean => cell.links.get(slot)?.rights.length === 0;
      const slots = old.slots.map((slot) => (isRevoked(slot) ? { ...slot, rights: [] } : slot));
      environment.link(cell, slots);
      if (wasHeld) dismiss(old.incarnation);
      if (old.incarnation === undefined || wasHeld) return;
      cell.incarnation = old.incarnation;
      cell.state = "idle";
    },
  },
  {
    name: "begin",
    roles: ["stay", "arrive"],
    waitsFor: "flip",
    phase: "probation",
    run: ({ runner, environment }, cell, swap) => {
      keepState(environment, cell, swap.state ?? cell.lastState);
      const pauseMs = environment.now() - swap.heldSince;
      const held = cell.mailbox.length;
      runner.begin(cell, swap.state !== undefined && swap.order.state > 0);
      return { type: "swap-flipped", ...named(cell, swap), pauseMs, held };
    },
    undo: (_, cell, swap) => {
      cell.mailbox.putBack(swap.inputs);
      for (const [port, count] of swap.lostInputs) cell.mailbox.addLost(port, count);
    },
  },
  {
    name: "settle",
    roles: ["stay", "arrive"],
    waitsFor: "settle",
    // From now on it goes back by order only.
    phase: "settled",
    run: (_, cell, swap) => ({ type: "swap-settled", ...named(cell, swap) }),
  },
  {
    name: "finish",
    roles: ["stay", "leave", "arrive"],
    waitsFor: "finish",
    phase: "settled",
    run: ({ environment }, cell, { role, old }) => {
      dismiss(old?.incarnation);
      cell.swap = undefined;
      if (role === "leave") environment.remove(cell);
    },
  },
];

export class Swapper {
  readonly #place: Place;

  constructor(runner: Runner, environment: Environment) {
    this.#place = { runner, environment };
    runner.onIdle = (cell) => this.#advance(cell, "idle");
    runner.onInput = (cell, message) => {
      if (cell.swap?.phase === "probation" || cell.swap?.phase === "settled") record(cell.swap, message);
    };
    runner.onRevert = (cell, cause, text) => {
      if (cell.swap !== undefined) this.#goBack(cell, cell.swap, cause, text);
    };
  }

  /** Makes the new version beside the old, then holds the mailbox until the running handler has ended. */
  prepare(cell: ModuleCell, order: SwapOrder): void {
    const { environment } = this.#place;
    if (cell.swap !== undefined)
      return this.#refuse(cell, order.module.generation, "E_PROBATION", "another swap of this module is in progress");
    if (cell.isEnding) this.#place.runner.stop(cell, "held");
    const swap = new Swap(order);
    swap.cancelDeadline = environment.timers.at(environment.now() + order.deadlineMs, () => {
      this.#fail(cell, swap, new Refusal("E_TIMEOUT", "the running handler did not end in time"));
    });
    cell.swap = swap;
    this.#advance(cell, "prepare");
  }

  /** Puts the prepared version in force; everything that waited goes to it. */
  flip(cell: ModuleCell, luggage: Luggage | undefined): void {
    if (cell.swap !== undefined && luggage !== undefined) cell.swap.luggage = luggage;
    this.#advance(cell, "flip");
  }

  /** Gives up before the flip; the old version goes on with what has waited. */
  abort(cell: ModuleCell): void {
    const { swap } = cell;
    if (swap !== undefined && (swap.phase === "making" || swap.phase === "held")) this.#undo(cell, swap);
  }

  /** Ends the probation: the old version takes over again, or is kept only until the whole set is known to stay. */
  settle(cell: ModuleCell, keep: boolean, luggage: readonly Luggage[]): void {
    const { swap } = cell;
    if (keep) this.#advance(cell, "settle");
    else if (swap === undefined) for (const each of luggage) unpack(cell, this.#place.environment.post, each);
    else if (swap.role !== "stay" || swap.old !== undefined) {
      this.#goBack(cell, swap, "order", "rolled back by order", luggage);
    }
  }

  /** Drops the old version. */
  finish(cell: ModuleCell): void {
    this.#advance(cell, "finish");
  }

  /** Messages for the module go elsewhere from now on: what waits follows them when these partitions have sent their last. */
  left(cell: ModuleCell | undefined, others: readonly number[]): void {
    const swap = cell?.swap;
    if (cell === undefined || swap === undefined) return;
    swap.awaited = new Set(others.filter((other) => !swap.heard.has(other)));
    this.#goWhenEmpty(cell, swap);
  }

  /** A partition has sent its last message for a module that leaves, or is gone. */
  heard(cell: ModuleCell, partition: number): void {
    const { swap } = cell;
    if (swap === undefined) return;
    swap.heard.add(partition);
    swap.awaited?.delete(partition);
    this.#goWhenEmpty(cell, swap);
  }

  #goWhenEmpty(cell: ModuleCell, swap: Swap): void {
    if (swap.awaited?.size !== 0) return;
    swap.awaited = undefined;
    if (swap.role === "leave") this.#advance(cell, "empty");
    else if (swap.isReturning) {
      const luggage = pack(cell, this.#place.environment.post, swap.inputs);
      const lost = [...luggage.lost, ...swap.lostInputs];
      this.#place.environment.report({ type: "swap-luggage", ...named(cell, swap), luggage: { ...luggage, lost } });
      this.#place.environment.remove(cell);
    }
  }

  #advance(cell: ModuleCell, signal: Signal): void {
    const { swap } = cell;
    for (let step = swap?.steps[swap.done]; swap !== undefined && step !== undefined; step = swap.steps[swap.done]) {
      if (step.waitsFor === "idle" ? cell.isActive : step.waitsFor !== signal) return;
      let report: Report | undefined;
      try {
        report = step.run(this.#place, cell, swap);
      } catch (error) {
        return this.#fail(cell, swap, error);
      }
      swap.done++;
      swap.phase = step.phase;
      if (step.waitsFor === "idle") swap.cancelDeadline();
      if (report !== undefined) this.#place.environment.report(report);
    }
    this.#place.environment.ready(cell);
  }

  /** @throws the error of a step that cannot be taken back here: the partition ends, and the supervisor decides. */
  #fail(cell: ModuleCell, swap: Swap, error: unknown): void {
    const { name } = swap.steps[swap.done] ?? {};
    if (name === "leave" || name === "finish") throw error;
    const { cause, text } = describeFault(error, swap.next?.instance);
    if (swap.old !== undefined || swap.luggage !== undefined || name === "settle")
      return this.#goBack(cell, swap, cause, text);
    this.#undo(cell, swap);
    const { code } = error instanceof Refusal ? error : { code: undefined };
    const told = code === "E_STATE" || code === "E_TIMEOUT" ? code : "E_PROBATION";
    this.#refuse(cell, swap.order.generation, told, text);
  }

  #undo(cell: ModuleCell, swap: Swap): void {
    swap.cancelDeadline();
    for (let index = swap.done; index >= 0; index--) swap.steps[index]?.undo?.(this.#place, cell, swap);
    cell.swap = undefined;
    if (swap.role === "arrive") this.#place.environment.remove(cell);
    else this.#place.environment.ready(cell);
  }

  /**
   * The old version is as it was at the swap: it gets the start notice and every input since then. Where it is in another
   * partition, the module first goes back there.
   */
  #goBack(
    cell: ModuleCell,
    swap: Swap,
    cause: FaultCause | "order",
    text: string,
    luggage: readonly Luggage[] = [],
  ): void {
    const { runner, environment } = this.#place;
    if (swap.role === "arrive") {
      if (swap.isReturning) return;
      const brought = swap.luggage ?? luggage[0];
      if (brought !== undefined) unpack(cell, environment.post, brought);
      runner.halt(cell);
      environment.post.pending.forgetAllOf(cell, swap.next);
      swap.phase = "held";
      swap.isReturning = true;
      return environment.report({ type: "swap-returning", ...named(cell, swap), cause, text });
    }
    this.#undo(cell, swap);
    for (const each of luggage.toReversed()) unpack(cell, environment.post, each);
    const isAlive = cell.incarnation !== undefined;
    if (isAlive) runner.begin(cell, true);
    const replayed = luggage.reduce((sum, each) => sum + each.replayed, swap.inputs.length);
    environment.report({ type: "swap-reverted", ...named(cell, swap), cause, text, replayed, isAlive });
  }

  #refuse({ id }: ModuleCell, generation: number, code: "E_STATE" | "E_TIMEOUT" | "E_PROBATION", text: string): void {
    this.#place.environment.report({ type: "swap-refused", module: id, generation, code, text });
  }
}

function made({ next }: Swap): Incarnation {
  if (next === undefined) throw new Error("the new version has not been made");
  return next;
}

function named(
  { id }: ModuleCell,
  { order: { generation } }: Swap,
): { readonly module: number; readonly generation: number } {
  return { module: id, generation };
}

/** The state to which a restart goes back, here and in the supervisor, which has it should the partition die. */
function keepState({ report, now }: Environment, cell: ModuleCell, state: SavedState | undefined): void {
  cell.lastState = state;
  cell.startCheckpoint(now());
  if (state !== undefined) report({ type: "checkpoint", module: cell.id, state });
}

function record(swap: Swap, message: Message): void {
  if (swap.inputs.length >= MAXIMUM_INPUTS || swap.inputBytes + message.length > LIMITS.probationBytes) {
    swap.lostInputs.set(message.port, (swap.lostInputs.get(message.port) ?? 0) + 1);
    return;
  }
  swap.inputBytes += message.length;
  const payload = message.payload.slice(0, message.length);
  swap.inputs.push(Object.assign(new Message(message.edge), message, { payload, words: new DataView(payload.buffer) }));
}
