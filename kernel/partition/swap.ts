/** Replaces a module by another version in its cell: prepare, flip, and settle after the probation or go back. */
import { Refusal } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import type { Message } from "../ipc/mailbox.ts";
import type { Incarnation, ModuleCell, Swap } from "./cell.ts";
import { describeFault } from "./fault.ts";
import type { FaultCause, ModuleOrder, SavedState, SlotLink } from "./protocol.ts";
import type { Environment, Runner } from "./runner.ts";

/** Inputs kept for a replay into the old version; beyond them the newest are counted as lost, should it come back. */
const MAXIMUM_INPUTS = 10_000;

export class Swapper {
  readonly #runner: Runner;
  readonly #environment: Environment;

  constructor(runner: Runner, environment: Environment) {
    this.#runner = runner;
    this.#environment = environment;
    runner.onIdle = (cell) => {
      if (cell.swap?.phase === "quiescing") this.#capture(cell, cell.swap);
    };
    runner.onInput = (cell, message) => {
      if (cell.swap?.phase === "probation" || cell.swap?.phase === "settled") record(cell.swap, message);
    };
    runner.onRevert = (cell, cause, text) => {
      if (cell.swap !== undefined) this.#revert(cell, cell.swap, cause, text);
    };
  }

  /** Makes the new version beside the old, then holds the mailbox until the running handler has ended. */
  prepare(cell: ModuleCell, order: ModuleOrder, deadlineMs: number): void {
    if (cell.swap !== undefined) {
      this.#refuse(cell, order, "E_PROBATION", "another swap of this module is in progress");
      return;
    }
    let next: Incarnation;
    try {
      next = this.#runner.incarnate(cell, order);
      this.#runner.initialize(next);
    } catch (error) {
      this.#refuse(cell, order, "E_PROBATION", describeFault(error).text);
      return;
    }
    const now = this.#environment.now();
    const swap: Swap = {
      next,
      phase: "quiescing",
      heldSince: now,
      stateAtSwap: undefined,
      previous: undefined,
      old: { order: cell.order, state: cell.lastState, handles: cell.handles, slots: [] },
      inputs: [],
      inputBytes: 0,
      lostInputs: new Map(),
      cancelDeadline: this.#environment.timers.at(now + deadlineMs, () => {
        this.abort(cell);
        this.#refuse(cell, order, "E_TIMEOUT", "the running handler did not end in time");
      }),
    };
    cell.swap = swap;
    this.#environment.gates.invalidate(cell);
    if (!cell.isActive) this.#capture(cell, swap);
  }

  /** Puts the prepared version in force; everything that waited goes to it. */
  flip(cell: ModuleCell): void {
    const { swap } = cell;
    if (swap?.phase !== "prepared") return;
    const { order } = swap.next;
    swap.phase = "probation";
    this.#environment.gates.invalidate(cell);
    swap.previous = cell.incarnation;
    swap.old.handles = cell.handles.copy();
    swap.old.slots = [...cell.links.values()];
    cell.incarnation = swap.next;
    cell.order = order;
    cell.generation = order.generation;
    this.#keepState(cell, swap.stateAtSwap ?? cell.lastState);
    this.#environment.link(cell, order.slots);
    cell.state = "idle";
    const pauseMs = this.#environment.now() - swap.heldSince;
    // A start notice that the old version has not seen is not for the new one.
    cell.notices.length = 0;
    this.#runner.begin(cell, swap.stateAtSwap !== undefined);
    this.#environment.report({
      type: "swap-flipped",
      module: cell.id,
      generation: order.generation,
      pauseMs,
      held: cell.mailbox.length,
    });
  }

  /** Gives up before the flip; the old version goes on with what has waited. */
  abort(cell: ModuleCell): void {
    const { swap } = cell;
    if (swap === undefined || !cell.isHeld) return;
    swap.cancelDeadline();
    cell.swap = undefined;
    this.#environment.ready(cell);
  }

  /** Ends the probation: the old version takes over again, or is kept only until the whole set is known to stay. */
  settle(cell: ModuleCell, keep: boolean): void {
    const { swap } = cell;
    if (swap === undefined || cell.isHeld) return;
    if (!keep) {
      this.#revert(cell, swap, "order", "rolled back by order");
      return;
    }
    swap.phase = "settled";
    this.#environment.report({ type: "swap-settled", module: cell.id, generation: swap.next.order.generation });
  }

  /** Drops the old version. */
  finish(cell: ModuleCell): void {
    if (cell.swap?.phase === "settled") cell.swap = undefined;
  }

  #capture(cell: ModuleCell, swap: Swap): void {
    try {
      swap.stateAtSwap = this.#carryState(cell, swap.next);
    } catch (error) {
      this.abort(cell);
      this.#refuse(
        cell,
        swap.next.order,
        error instanceof Refusal ? "E_STATE" : "E_PROBATION",
        describeFault(error, swap.next.instance).text,
      );
      return;
    }
    swap.cancelDeadline();
    swap.phase = "prepared";
    this.#environment.report({ type: "swap-prepared", module: cell.id, generation: swap.next.order.generation });
  }

  /** Saves the old version's state and hands it to the new one. A dead one's last good state serves as well. */
  #carryState(cell: ModuleCell, next: Incarnation): SavedState | undefined {
    const { incarnation } = cell;
    const saved =
      incarnation === undefined
        ? cell.lastState
        : this.#runner.synchronously(incarnation, () => incarnation.instance.save());
    // A version that declares no state takes over without any; that is its author's decision.
    if (saved === undefined || next.order.stateBytes === 0) return undefined;
    this.#runner.synchronously(next, () => {
      next.instance.restore(saved);
    });
    return saved;
  }

  /** The old version is as it was at the swap: it gets the start notice and every input since then. */
  #revert(cell: ModuleCell, swap: Swap, cause: FaultCause | "order", text: string): void {
    const { previous, inputs, old } = swap;
    const { generation } = swap.next.order;
    const wasHeld = cell.state === "held";
    this.#runner.halt(cell);
    this.#environment.post.forgetAllOf(cell, swap.next);
    cell.swap = undefined;
    cell.order = old.order;
    cell.handles = old.handles;
    this.#keepState(cell, swap.stateAtSwap ?? old.state);
    // What was revoked meanwhile is not given back.
    const isRevoked = ({ slot }: SlotLink): boolean => cell.links.get(slot)?.rights.length === 0;
    this.#environment.link(
      cell,
      old.slots.map((slot) => (isRevoked(slot) ? { ...slot, rights: [] } : slot)),
    );
    cell.mailbox.putBack(inputs);
    for (const [port, count] of swap.lostInputs) cell.mailbox.addLost(port, count);
    const isAlive = previous !== undefined && !wasHeld;
    if (isAlive) {
      cell.incarnation = previous;
      cell.state = "idle";
      this.#runner.begin(cell, true);
    }
    this.#environment.report({
      type: "swap-reverted",
      module: cell.id,
      generation,
      cause,
      text,
      replayed: inputs.length,
      isAlive,
    });
  }

  /** The state to which a restart goes back, here and in the supervisor, which has it should the partition die. */
  #keepState(cell: ModuleCell, state: SavedState | undefined): void {
    cell.lastState = state;
    cell.startCheckpoint(this.#environment.now());
    if (state !== undefined) this.#environment.report({ type: "checkpoint", module: cell.id, state });
  }

  #refuse(
    cell: ModuleCell,
    { generation }: ModuleOrder,
    code: "E_STATE" | "E_TIMEOUT" | "E_PROBATION",
    text: string,
  ): void {
    this.#environment.report({ type: "swap-refused", module: cell.id, generation, code, text });
  }
}

function record(swap: Swap, message: Message): void {
  if (swap.inputs.length >= MAXIMUM_INPUTS || swap.inputBytes + message.length > LIMITS.probationBytes) {
    swap.lostInputs.set(message.port, (swap.lostInputs.get(message.port) ?? 0) + 1);
    return;
  }
  swap.inputBytes += message.length;
  const payload = message.payload.slice(0, message.length);
  swap.inputs.push({ ...message, payload, words: new DataView(payload.buffer) });
}
