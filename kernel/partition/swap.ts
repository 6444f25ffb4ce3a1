/** Replaces a module by another version in its cell: prepare, flip, and settle after the probation or go back. */
import { NOTICE } from "../abi.ts";
import { encodeCbor } from "../cbor/index.ts";
import { Refusal } from "../errors.ts";
import type { Message } from "../ipc/mailbox.ts";
import type { Incarnation, ModuleCell, Swap } from "./cell.ts";
import { describeFault } from "./fault.ts";
import type { FaultCause, ModuleOrder, SavedState } from "./protocol.ts";
import type { Environment, Runner } from "./runner.ts";

/** Inputs kept for a replay into the old version; beyond them the oldest are dropped and counted. */
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
      if (cell.swap?.phase === "probation") record(cell.swap, message);
    };
    runner.onRevert = (cell, cause, text) => {
      if (cell.swap !== undefined) this.#revert(cell, cell.swap, cause, text);
    };
  }

  /** Makes the new version beside the old, then holds the mailbox until the running handler has ended. */
  prepare(cell: ModuleCell, order: ModuleOrder, deadlineMs: number): void {
    if (cell.swap !== undefined) {
      this.#refuse(cell, "E_PROBATION", "another swap of this module is in progress");
      return;
    }
    let next: Incarnation;
    try {
      next = this.#runner.incarnate(cell, order);
      this.#runner.initialize(next);
    } catch (error) {
      this.#refuse(cell, "E_PROBATION", describeFault(error).text);
      return;
    }
    const now = this.#environment.now();
    const swap: Swap = {
      next,
      phase: "quiescing",
      heldSince: now,
      heldMessages: 0,
      stateAtSwap: undefined,
      previous: undefined,
      inputs: [],
      cancelDeadline: this.#environment.timers.at(now + deadlineMs, () => {
        this.abort(cell);
        this.#refuse(cell, "E_TIMEOUT", "the running handler did not end in time");
      }),
    };
    cell.swap = swap;
    if (cell.state !== "running" && cell.state !== "suspended") this.#capture(cell, swap);
  }

  /** Puts the prepared version in force; everything that waited goes to it. */
  flip(cell: ModuleCell): void {
    const { swap } = cell;
    if (swap?.phase !== "prepared") return;
    const { order } = swap.next;
    swap.phase = "probation";
    swap.previous = cell.incarnation;
    cell.incarnation = swap.next;
    cell.order = order;
    cell.generation = order.generation;
    cell.lastState = swap.stateAtSwap ?? cell.lastState;
    cell.sinceCheckpoint = 0;
    this.#environment.link(cell, order.slots);
    cell.state = "idle";
    const pauseMs = this.#environment.now() - swap.heldSince;
    this.#runner.notify(cell, encodeCbor([NOTICE.start, swap.stateAtSwap !== undefined]));
    this.#environment.report({ type: "swap-flipped", module: cell.id, pauseMs, held: cell.mailbox.length });
  }

  /** Gives up before the flip; the old version goes on with what has waited. */
  abort(cell: ModuleCell): void {
    const { swap } = cell;
    if (swap === undefined || swap.phase === "probation") return;
    swap.cancelDeadline();
    cell.swap = undefined;
    this.#environment.ready(cell);
  }

  /** Ends the probation: `keep` drops the old version, otherwise it takes over again. */
  settle(cell: ModuleCell, keep: boolean): void {
    const { swap } = cell;
    if (swap?.phase !== "probation") return;
    if (keep) cell.swap = undefined;
    else this.#revert(cell, swap, "order", "rolled back by order");
  }

  #capture(cell: ModuleCell, swap: Swap): void {
    try {
      swap.stateAtSwap = this.#carryState(cell, swap.next);
    } catch (error) {
      this.abort(cell);
      this.#refuse(cell, error instanceof Refusal ? "E_STATE" : "E_PROBATION", describeFault(error).text);
      return;
    }
    swap.cancelDeadline();
    swap.phase = "prepared";
    this.#environment.report({ type: "swap-prepared", module: cell.id });
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
    this.#runner.halt(cell);
    cell.swap = undefined;
    const { previous, inputs } = swap;
    if (previous !== undefined) {
      cell.incarnation = previous;
      cell.order = previous.order;
      cell.state = "idle";
      this.#environment.link(cell, previous.order.slots);
      cell.mailbox.putBack(inputs);
      this.#runner.notify(cell, encodeCbor([NOTICE.start, true]));
    }
    this.#environment.report({ type: "swap-reverted", module: cell.id, cause, text, replayed: inputs.length });
  }

  #refuse(cell: ModuleCell, code: "E_STATE" | "E_TIMEOUT" | "E_PROBATION", text: string): void {
    this.#environment.report({ type: "swap-refused", module: cell.id, code, text });
  }
}

function record(swap: Swap, message: Message): void {
  if (swap.inputs.length >= MAXIMUM_INPUTS) swap.inputs.shift();
  swap.inputs.push({ ...message, payload: message.payload.slice(0, message.length) });
}
