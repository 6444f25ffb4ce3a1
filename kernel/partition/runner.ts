/** Runs handlers: instantiation, activation, suspension, completion and fault of one module at a time. */
import { KERNEL_PORT, KIND, NOTICE, RESULT } from "../abi.ts";
import type { Message } from "../ipc/mailbox.ts";
import { LIMITS } from "../limits.ts";
import { type CellState, dismiss, Incarnation, type ModuleCell, type Wait } from "./cell.ts";
import { answerCaller, deliverNext, traceBegin } from "./delivery.ts";
import { packInput } from "../wasm/turn.ts";
import { describeFault, type FaultDescription, GuestStopped, isSuspension, recordedFailure } from "./fault.ts";
import { buildImports } from "./imports.ts";
import type { HostRequest, Suspend } from "./link.ts";
import { isDirect, ModuleInstance } from "./instance.ts";
import type { Gates } from "./gates.ts";
import type { PostOffice } from "./post.ts";
import type { FaultCause, ModuleOrder, Report, SlotLink } from "./protocol.ts";
import type { Timers } from "./timers.ts";
import { TRACE } from "./trace.ts";

/** What the runner needs of its partition. */
export interface Environment {
  readonly post: PostOffice;
  readonly gates: Gates;
  readonly timers: Timers;
  readonly sliceFuel: number;
  /** Tells the watch that the next sign of life may be long in coming, or no longer. */
  readonly askPatience: (isAsked: boolean) => void;
  readonly now: () => number;
  /** As `now`, as of the last time that the loop looked: exact enough for periods and limits, and free. */
  readonly coarseNow: () => number;
  /** True where a module of a higher priority waits for the thread. */
  readonly isOutranked: (cell: ModuleCell) => boolean;
  readonly ready: (cell: ModuleCell) => void;
  readonly report: (report: Report) => void;
  readonly link: (cell: ModuleCell, slots: readonly SlotLink[]) => void;
  /** Forgets a cell whose module has gone elsewhere. */
  readonly remove: (cell: ModuleCell) => void;
  readonly request: HostRequest;
}

/** A turn has at most so many messages after its first, so that orders, channels and timers are looked at in time. */
const MAXIMUM_FOLLOWERS = 31;
/** What a module has, before it is held, to end what it does and to handle its last message. */
const LAST_MS = 500;
const LAST_NOTICE = Uint8Array.of(0x81, NOTICE.safeState);
const NOTHING = new Uint8Array(0);

export class Runner {
  /** The module whose code is on the thread now, if any. */
  running: ModuleCell | undefined = undefined;
  /** Messages that the turn in progress has handled beside its first; a turn is what a module does before others get theirs. */
  followers = 0;
  /** What the module had used when its turn began. */
  #fuelBefore = 0;
  /** The blocking module whose turn has just ended; and the result of a turn's last activation, still to be settled. */
  #ended: Incarnation | undefined = undefined;
  #lastResult = 0;
  /** Called when a handler has ended and the module is idle: swaps wait for it. */
  onIdle: (cell: ModuleCell) => void = () => undefined;
  /** Called with each input of a module on probation, before it runs. */
  onInput: (cell: ModuleCell, message: Message) => void = () => undefined;
  /** Takes the old version back where the module is on probation; its caller is then answered by the replay. */
  onRevert: (cell: ModuleCell, cause: FaultCause, text: string) => void = () => undefined;
  readonly #environment: Environment;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Makes and initialises an instance and hands it the last good state. @throws Refusal, trap or GuestStopped. */
  instantiate(cell: ModuleCell): void {
    const incarnation = this.incarnate(cell, cell.order);
    cell.incarnation = incarnation;
    this.initialize(incarnation);
    cell.justRestored = false;
    if (cell.lastState !== undefined && incarnation.instance.has("bulkhead_restore")) {
      const { lastState } = cell;
      this.synchronously(incarnation, () => incarnation.instance.restore(lastState));
      cell.justRestored = true;
    }
    cell.state = "idle";
    cell.startCheckpoint(this.#environment.coarseNow());
    this.#environment.ready(cell);
  }

  /** Makes an instance for the cell without running any of its code. */
  incarnate(cell: ModuleCell, order: ModuleOrder): Incarnation {
    const incarnation = new Incarnation(cell, order, isDirect(order, this.#environment.sliceFuel));
    const imports = buildImports({
      ...this.#environment,
      incarnation,
      exhausted: () => this.#exhausted(incarnation),
      nextSlice: () => this.#nextSlice(incarnation) ?? 1,
      suspend: (start) => this.#suspend(incarnation, start),
    });
    // A large memory takes its time.
    this.#environment.askPatience(true);
    try {
      incarnation.instance = new ModuleInstance(order, imports);
    } finally {
      this.#environment.askPatience(false);
    }
    const next = (result: number, fuel: number): number => this.#goOn(incarnation, result, fuel);
    const idle = (result: number): number | Promise<number> => this.#rest(incarnation, result);
    incarnation.turns = incarnation.instance.turns(incarnation.isDirect, next, idle);
    return incarnation;
  }

  initialize(incarnation: Incarnation): void {
    this.synchronously(incarnation, () => incarnation.instance.initialize());
  }

  /** Runs guest code outside a handler: it can neither be suspended nor interrupted, only stopped by its fuel. */
  synchronously<Result>(incarnation: Incarnation, action: () => Result): Result {
    const { cell, instance } = incarnation;
    incarnation.synchronous = true;
    this.#environment.askPatience(true);
    try {
      return action();
    } catch (error) {
      // A blocking module's meter asks for another slice by suspending, which it can't do here.
      if (isSuspension(error) && instance.remaining() < 0)
        throw budgetUsed(Math.min(cell.order.fuel, LIMITS.entryFuel));
      throw error;
    } finally {
      incarnation.synchronous = false;
      this.#environment.askPatience(false);
      cell.charge(instance.takeSpent());
    }
  }

  /** Queues the start notice: `[1, restored]`, or `[1, restored, settings]`. */
  begin(cell: ModuleCell, restored: boolean): void {
    if (cell.incarnation === undefined || cell.isEnding) return;
    cell.incarnation.isBegun = true;
    const { settings } = cell.order;
    const start = Uint8Array.of(settings.length > 0 ? 0x83 : 0x82, NOTICE.start, restored ? 0xf5 : 0xf4, ...settings);
    // One that an older instance has not seen is not for this one; what else it was to be told is.
    const others = cell.notices.splice(0).filter(([, notice]) => notice !== NOTICE.start);
    for (const notice of [start, ...others]) this.notify(cell, notice);
  }

  /** Queues one of the kernel's own notices; it comes before any message. */
  notify(cell: ModuleCell, payload: Uint8Array): void {
    if (!cell.isAlive) return;
    cell.notices.push(payload);
    this.#environment.ready(cell);
  }

  /** Resumes the handler where it was suspended, or starts one for the next input. */
  run(cell: ModuleCell): void {
    this.followers = 0;
    this.#fuelBefore = cell.fuelUsed;
    if (cell.readyAt > 0) cell.longestWait = Math.max(cell.longestWait, this.#environment.coarseNow() - cell.readyAt);
    cell.readyAt = 0;
    if (cell.state === "suspended") this.#resume(cell);
    else this.#start(cell);
  }

  /** Ends the turn of a blocking module that has come to rest; called when nobody's code is on the thread. */
  conclude(): void {
    const ended = this.#ended;
    this.#ended = undefined;
    if (ended?.isInForce === true) this.#finish(ended.cell, this.#lastResult);
  }

  /** True where the module has used up its period's fuel: it is set aside until the next period. */
  throttle(cell: ModuleCell): boolean {
    if (cell.isEnding || !cell.isSpent(this.#environment.coarseNow())) return false;
    if (cell.throttled) return true;
    cell.throttled = true;
    this.#environment.timers.at(cell.periodStart + cell.order.periodMs, () => {
      cell.throttled = false;
      this.#environment.ready(cell);
    });
    return true;
  }

  /** Stops a handler that has been at it, waiting included, for longer than its activation may take. */
  enforceDeadline(cell: ModuleCell, now: number): void {
    if (cell.state !== "suspended" || now - cell.activation.startedAt < cell.order.activationMs) return;
    this.fault(cell, new GuestStopped("timeout", `an activation took more than ${cell.order.activationMs} ms`));
  }

  /** Asks an idle module whether it is well; anything but 0 is a fault. */
  checkHealth(cell: ModuleCell, now: number): void {
    const { incarnation } = cell;
    if (cell.state !== "idle" || cell.isHeld || now < cell.healthDue) return;
    if (incarnation?.instance.has("bulkhead_health") !== true || this.throttle(cell)) return;
    cell.healthDue = now + LIMITS.healthMilliseconds;
    try {
      const health = this.synchronously(incarnation, () => incarnation.instance.health());
      if (health !== 0) this.fault(cell, new GuestStopped("health", `its health check gave ${health}`));
    } catch (error) {
      this.fault(cell, error);
    }
  }

  /** Holds a module; one that is well saves its state first, and has then a last message to leave safe what it drives. */
  hold(cell: ModuleCell): void {
    const { generation, incarnation } = cell;
    // One that was never told to start knows no settings, and drives nothing.
    if (incarnation?.isBegun !== true || cell.isHeld) return this.stop(cell, "held");
    if (cell.isEnding) return;
    cell.isEnding = true;
    cell.notices.push(LAST_NOTICE);
    this.checkpoint(cell);
    this.#environment.ready(cell);
    this.#environment.timers.at(this.#environment.now() + LAST_MS, () => {
      if (cell.isEnding && cell.generation === generation) this.stop(cell, "held");
    });
  }

  /** Ends an instance for good: its suspension is rejected, its caller answered, its timers and handles closed. */
  stop(cell: ModuleCell, state: CellState & ("dead" | "held" | "empty")): void {
    const { activation } = cell;
    if (this.halt(cell) && activation.kind === KIND.call) {
      this.#environment.post.answer(activation.senderLife, activation.correlation, RESULT["dead-peer"], NOTHING);
    }
    cell.state = state;
    this.#environment.post.pending.forgetAllOf(cell);
    cell.handles.closeAll();
    if (state !== "dead") cell.mailbox.clear();
    if (state === "empty") dismiss(cell.swap?.old?.incarnation);
  }

  /** Takes the instance off the thread and out of force. @returns true where a handler was in progress. */
  halt(cell: ModuleCell): boolean {
    const { wait, incarnation } = cell;
    const wasActive = cell.isActive;
    this.#environment.gates.invalidate(cell);
    cell.wait = undefined;
    cell.incarnation = undefined;
    cell.state = "dead";
    if (this.running === cell) this.running = undefined;
    // An abandoned suspension is never collected: it must be rejected.
    wait?.undo?.();
    wait?.reject(new GuestStopped("host", "stopped"));
    dismiss(incarnation);
    cell.stopTimers();
    cell.ticks.clear();
    cell.notices.length = 0;
    cell.isEnding = false;
    cell.readyAt = 0;
    return wasActive;
  }

  /** A module is at fault: the old version takes over where it is on probation, else the supervisor decides. */
  fault(cell: ModuleCell, error: unknown): void {
    const instance = cell.incarnation?.instance;
    const description = describeFault(error, instance);
    this.reportFailure(cell, description);
    const { port } = cell.activation;
    const input = cell.isActive ? { port, payload: instance?.lastInput(LIMITS.faultInputBytes) ?? NOTHING } : undefined;
    if (cell.incarnation !== undefined && cell.isActive) account(cell, cell.incarnation.instance.remaining());
    const { id: module, justRestored, generation, isEnding } = cell;
    if (cell.swap?.phase === "probation" && !isEnding) return this.onRevert(cell, description.cause, description.text);
    this.stop(cell, isEnding ? "held" : "dead");
    this.#environment.report({ type: "fault", module, generation, ...description, input, justRestored });
    // A swap that waited for this handler to end can go on with the last good state.
    this.onIdle(cell);
  }

  /** Hands on what led to a failure, where it has been recorded. */
  reportFailure({ id, incarnation }: ModuleCell, description: FaultDescription): void {
    const failure = incarnation && recordedFailure(incarnation, description, this.#environment.sliceFuel);
    if (failure !== undefined) this.#environment.report({ type: "failure", module: id, failure });
  }

  #start(cell: ModuleCell): void {
    const { incarnation, activation } = cell;
    if (incarnation === undefined) return;
    const length = this.#begin(cell, incarnation);
    if (length < 0) return this.#environment.ready(cell);
    const { turns, rest, isDirect } = incarnation;
    const { granted, port } = activation;
    if (!isDirect) {
      this.running = cell;
      incarnation.rest = undefined;
      if (rest !== undefined) rest.resolve(packInput(port, length));
      else turns(granted, LIMITS.stackBytes, port, length)?.catch((error: unknown) => this.#fail(incarnation, error));
      return;
    }
    try {
      void turns(granted, LIMITS.stackBytes, port, length);
      if (incarnation.isInForce) this.#finish(cell, this.#lastResult);
    } catch (error) {
      this.#fail(incarnation, error);
    }
  }

  #fail(incarnation: Incarnation, error: unknown): void {
    if (incarnation.isInForce) this.fault(incarnation.cell, error);
  }

  /** Delivers the next input and makes an activation of it. @returns its payload's length, or -1 where there is none. */
  #begin(cell: ModuleCell, incarnation: Incarnation): number {
    const { activation, order } = cell;
    const { post } = this.#environment;
    const length = deliverNext(incarnation, post, this.onInput);
    if (length < 0) return -1;
    activation.startedAt = this.#environment.coarseNow();
    activation.granted = Math.min(order.fuel, this.#environment.sliceFuel);
    activation.fuelLeft = order.fuel - activation.granted;
    cell.activations++;
    cell.state = "running";
    if (post.trace !== undefined) traceBegin(cell, post.trace);
    return length;
  }

  /**
   * Settles an activation and begins the next one of the same turn. The turn ends where somebody of a higher priority
   * waits, after a bounded number of messages, and where it has used a quarter of a slice: so others wait for little more
   * than the one slice that its last activation may take.
   * @returns port and length as `packInput` gives them, or -1: the activation is then still to be settled.
   */
  #goOn(incarnation: Incarnation, packed: number, remaining: number): number {
    const { cell } = incarnation;
    if (!account(cell, remaining) || !this.#mayGoOn(cell) || !this.#settle(cell, incarnation, packed)) return -1;
    cell.sinceCheckpoint++;
    this.followers++;
    const length = this.#begin(cell, incarnation);
    if (length >= 0) return packInput(cell.activation.port, length);
    // What waited was too large for the inbox. The activation is settled; nothing is to be answered again.
    cell.activation.kind = KIND.event;
    return -1;
  }

  /** Ends a turn: a blocking module stands here until its next one. One that has failed meanwhile is unwound. */
  #rest(incarnation: Incarnation, result: number): number | Promise<number> {
    if (!incarnation.isInForce) throw new GuestStopped("host", "stopped");
    this.#lastResult = result;
    if (incarnation.isDirect) return -1;
    this.running = undefined;
    this.#ended = incarnation;
    return new Promise<number>((resolve, reject) => {
      incarnation.rest = { resolve, reject };
    });
  }

  #mayGoOn(cell: ModuleCell): boolean {
    const { mailbox, ticks, notices, swap, sinceCheckpoint } = cell;
    if (mailbox.length === 0 && ticks.size === 0) return false;
    if (notices.length > 0 || cell.isEnding || swap !== undefined || this.followers >= MAXIMUM_FOLLOWERS) return false;
    if (cell.isDue(sinceCheckpoint + 1, this.#environment.coarseNow())) return false;
    if ((cell.fuelUsed - this.#fuelBefore) * 4 > this.#environment.sliceFuel) return false;
    return !this.#environment.isOutranked(cell) && !this.throttle(cell);
  }

  #resume(cell: ModuleCell): void {
    const { wait, incarnation, activation } = cell;
    if (wait?.result === undefined || incarnation === undefined) return;
    cell.wait = undefined;
    cell.state = "running";
    this.running = cell;
    this.#environment.post.trace?.add(TRACE.resume, cell.id);
    if (wait.isSlice) {
      // What the meter charged beyond the last slice is a debt: while any is left, it asks again. What was left of it is kept.
      const slice = Math.min(activation.fuelLeft, this.#environment.sliceFuel - Math.max(activation.granted, 0));
      activation.fuelLeft -= slice;
      activation.granted += slice;
      incarnation.instance.charge(-slice);
    }
    wait.resolve(wait.result);
  }

  #suspend(incarnation: Incarnation, start: Parameters<Suspend>[0], isSlice = false): Promise<number> {
    const { cell } = incarnation;
    return new Promise<number>((resolve, reject) => {
      const wait: Wait = { resolve, reject, isSlice, result: undefined, undo: undefined };
      cell.wait = wait;
      cell.state = "suspended";
      this.#environment.post.trace?.add(TRACE.wait, cell.id);
      this.running = undefined;
      wait.undo = start((result) => {
        // A late answer to a handler that is gone, or has already had its answer, is dropped.
        if (cell.wait !== wait || wait.result !== undefined) return;
        wait.result = result;
        this.#environment.ready(cell);
      });
    });
  }

  /** The slice is used up: a direct module has had all it may; a blocking one goes to the end of its queue. */
  #exhausted(incarnation: Incarnation): undefined | Promise<number> {
    const { cell } = incarnation;
    // Only a gate runs what is idle: it has set its own limit, and its caller pays.
    if (cell.state === "idle" && !incarnation.synchronous)
      throw new GuestStopped("budget", "the port's declared fuel is used up");
    if (incarnation.synchronous) throw budgetUsed(Math.min(cell.order.fuel, LIMITS.entryFuel));
    const next = this.#nextSlice(incarnation);
    if (next === undefined) throw budgetUsed(cell.order.fuel);
    return next;
  }

  /** Puts the handler at the end of its queue, until it has a new slice; undefined where it has no fuel for one. */
  #nextSlice(incarnation: Incarnation): undefined | Promise<number> {
    const { cell } = incarnation;
    if (!cell.isActive) return undefined;
    if (!account(cell, incarnation.instance.remaining()) || cell.activation.fuelLeft <= 0) return undefined;
    return this.#suspend(incarnation, atOnce, true);
  }

  #finish(cell: ModuleCell, packed: number): void {
    const { incarnation } = cell;
    if (incarnation === undefined) return;
    if (this.running === cell) this.running = undefined;
    if (!account(cell, incarnation.instance.remaining())) return this.fault(cell, budgetUsed(cell.order.fuel));
    if (!this.#settle(cell, incarnation, packed)) return;
    cell.state = "idle";
    if (cell.isEnding && cell.notices.length === 0) return this.stop(cell, "held");
    cell.sinceCheckpoint++;
    this.checkpoint(cell);
    // A fault while saving has changed the state.
    if ((cell.state as CellState) !== "idle") return;
    this.onIdle(cell);
    this.#environment.ready(cell);
  }

  /** Answers the caller. @returns false where what the handler returned was its module's fault. */
  #settle(cell: ModuleCell, incarnation: Incarnation, packed: number): boolean {
    const { activation } = cell;
    const { post } = this.#environment;
    post.trace?.add(TRACE.end, cell.id);
    const failure = answerCaller(incarnation, post, packed);
    if (failure !== undefined) {
      this.fault(cell, failure);
      return false;
    }
    // The start notice touches little of a state: the first message shows whether it is any good.
    if (activation.kind !== KIND.notice || activation.port !== KERNEL_PORT) cell.justRestored = false;
    return true;
  }

  /** Saves what an idle module has made of the messages since its last checkpoint, where it is time for the next one. */
  checkpoint(cell: ModuleCell): void {
    if (cell.isDue(cell.sinceCheckpoint, this.#environment.coarseNow())) this.save(cell);
  }

  /** Keeps an idle module's state as the last good one, here and in the supervisor. */
  save(cell: ModuleCell): void {
    const { incarnation } = cell;
    if (cell.state !== "idle" || cell.isHeld || incarnation === undefined) return;
    cell.startCheckpoint(this.#environment.coarseNow());
    try {
      const state = this.synchronously(incarnation, () => incarnation.instance.save());
      if (state === undefined) return;
      cell.lastState = state;
      cell.charge(state.bytes.length >>> 3);
      cell.isUnkept = true;
      if (!cell.isKeeping || cell.isStopping || cell.isEnding) this.#tellState(cell);
    } catch (error) {
      this.fault(cell, error);
    }
  }

  /** The supervisor has the state that was sent last. */
  kept(cell: ModuleCell): void {
    cell.isKeeping = false;
    // Of one that has failed the supervisor may be giving up the state.
    if (cell.isUnkept && cell.state !== "dead") this.#tellState(cell);
  }

  #tellState(cell: ModuleCell): void {
    const { id: module, lastState: state } = cell;
    cell.isUnkept = false;
    cell.isKeeping = state !== undefined;
    if (state !== undefined) this.#environment.report({ type: "checkpoint", module, state });
  }
}

/** What waits for nothing but its turn. */
function atOnce(complete: (result: number) => void): undefined {
  complete(0);
}

/** @returns false where more is left than was granted: the counter has wrapped around, and the budget is used up. */
function account(cell: ModuleCell, remaining: number): boolean {
  if (remaining > cell.activation.granted) return false;
  cell.charge(cell.activation.granted - remaining);
  cell.activation.granted = remaining;
  return true;
}

function budgetUsed(fuel: number): GuestStopped {
  return new GuestStopped("budget", `one activation may use ${fuel} fuel`);
}
