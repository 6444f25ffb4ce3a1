/** A module's cell: what outlives its instances (mailbox, handles, timers, last good state) and the activation in progress. */
import { RESULT } from "../abi.ts";
import { FloodGate } from "../flood.ts";
import { HandleTable } from "../ipc/capability.ts";
import { type Edge, Mailbox, type Message } from "../ipc/mailbox.ts";
import { LIMITS } from "../limits.ts";
import type { GatedEntry, GateLink } from "./gates.ts";
import { GuestStopped } from "./fault.ts";
import type { ModuleInstance, Turns } from "./instance.ts";
import type { HeldTimer, ModuleOrder, SavedState, SlotLink } from "./protocol.ts";
import type { Swap } from "./swap.ts";
import type { CancelTimer } from "./timers.ts";

/**
 *     empty -> idle <-> running <-> suspended
 *                \        |           /
 *                 +----> dead <------+        dead -> idle (restart), dead -> held
 */
export type CellState = "empty" | "idle" | "running" | "suspended" | "dead" | "held";

/** One run of a handler. Reused: a module has at most one at a time. */
class Activation {
  kind = 0;
  port = 0;
  correlation = 0;
  senderLife = 0;
  /** Fuel left to be granted after the slice in progress. */
  fuelLeft = 0;
  /** What the fuel counter said when it was last looked at; below 0 it is a debt. */
  granted = 0;
  startedAt = 0;
}

/** A suspension: settled by the scheduler when its turn comes, rejected when the module is killed. */
export interface Wait {
  readonly resolve: (result: number) => void;
  readonly reject: (error: Error) => void;
  /** True where the slice ended: fuel is granted anew at resumption. */
  readonly isSlice: boolean;
  /** Takes back what it waits for: a timer, a call, a request of the host. */
  undo: (() => void) | undefined;
  result: number | undefined;
}

/** An instance and whether it is the one in force; news of any other is dropped. */
export class Incarnation {
  readonly cell: ModuleCell;
  readonly order: ModuleOrder;
  /** True where it is entered directly and runs to its end; else under JavaScript Promise Integration. */
  readonly isDirect: boolean;
  // SAFETY: `Runner.incarnate` hands no incarnation out without both.
  instance!: ModuleInstance;
  /** What it is entered by; and where a blocking module, which is so only once, stands between two turns. */
  turns!: Turns;
  rest: Rest | undefined = undefined;
  /** True while the kernel runs it outside a handler: it can then not be suspended. */
  synchronous = false;
  /** It has been told to start, or soon will be. */
  isBegun = false;
  /** Its `call` imports, and what gates into it share, once there is one. */
  readonly links: GateLink[] = [];
  entry: GatedEntry | undefined = undefined;

  constructor(cell: ModuleCell, order: ModuleOrder, isDirect: boolean) {
    this.cell = cell;
    this.order = order;
    this.isDirect = isDirect;
  }

  get isInForce(): boolean {
    return this.cell.incarnation === this;
  }
}

/** A blocking module's own suspension, in which it waits for its next message. */
export interface Rest {
  readonly resolve: (input: number) => void;
  readonly reject: (error: Error) => void;
}

/** Ends an instance that stands between two turns: an abandoned suspension is never collected. */
export function dismiss(incarnation: Incarnation | undefined): void {
  incarnation?.rest?.reject(new GuestStopped("host", "stopped"));
  if (incarnation !== undefined) incarnation.rest = undefined;
}

/** A slot's one timer. Times are of performance.now(), which all threads share. */
export interface SlotTimer extends HeldTimer {
  readonly cancel: CancelTimer;
}

export class ModuleCell {
  readonly id: number;
  order: ModuleOrder;
  generation = 0;
  state: CellState = "empty";
  incarnation: Incarnation | undefined = undefined;
  readonly mailbox: Mailbox;
  handles = new HandleTable();
  readonly activation = new Activation();
  wait: Wait | undefined = undefined;
  /** Timer expirations not yet delivered, by slot's event port. */
  readonly ticks = new Map<number, number>();
  /** The slots as they are linked now; an endpoint's targets change when another module is loaded or moved. */
  readonly links = new Map<string, SlotLink>();
  /** Grows with each change of `links`, so that who has looked need not look again. */
  linkVersion = 0;
  slotTimers = new Map<string, SlotTimer>();
  /** The kernel's own notices, CBOR. They come before anything else. */
  readonly notices: Uint8Array[] = [];
  lastState: SavedState | undefined = undefined;
  /** Messages handled since the last checkpoint, and when that was. */
  sinceCheckpoint = 0;
  /** A state is on its way to the supervisor; a newer one waits here until that has come in, and the newest follows it. */
  isKeeping = false;
  isUnkept = false;
  savedAt = 0;
  /** The process is about to stop: whatever is handled now is saved. */
  isStopping = false;
  /** The notice that waits, or is being handled, is its last message; then it is held. */
  isEnding = false;
  /** True until the first message after a restore has been handled: a crash before that means poisoned state. */
  justRestored = false;
  swap: Swap | undefined = undefined;
  /** Answers to what it asked in another partition come from there: where from and for which port, by correlation. */
  readonly asked = new Map<number, { readonly partition: number; readonly port: number }>();
  /** Where events of its slots wait. */
  readonly eventEdges = new Map<string, Edge>();
  /** Where answers go that come here for a module that has left. */
  forward: ((correlation: number, result: number, bytes: Uint8Array) => void) | undefined = undefined;
  enqueued = false;
  behind: ModuleCell | undefined = undefined;
  activations = 0;
  /** The route of the message that was taken last, for the trace. */
  taken: Edge | undefined = undefined;
  fuelUsed = 0;
  periodFuel = 0;
  periodStart = 0;
  /** True while it waits for its next period. */
  throttled = false;
  /** Since when it could run and has not, 0 where it need not wait; and the longest that it ever had to, in milliseconds. */
  readyAt = 0;
  longestWait = 0;
  pendingRequests = 0;
  /** When it is asked next whether it is well. */
  healthDue = 0;
  readonly logLines = new FloodGate(LIMITS.logLinesPerSecond);
  readonly denials = new FloodGate(LIMITS.denialsPerSecond);

  constructor(order: ModuleOrder, discard: (cell: ModuleCell, message: Message, result: number) => void) {
    this.id = order.id;
    this.order = order;
    this.mailbox = new Mailbox((message) => discard(this, message, this.isAlive ? RESULT.full : RESULT["dead-peer"]));
  }

  startCheckpoint(now: number): void {
    this.sinceCheckpoint = 0;
    this.savedAt = now;
  }

  /** True where a module that has handled so many messages since its last checkpoint is due for the next one. */
  isDue(handled: number, now: number): boolean {
    const { checkpointMessages, checkpointMs } = this.order;
    if (this.isStopping || this.isEnding) return handled > 0;
    if (checkpointMessages > 0 && handled >= checkpointMessages) return true;
    return checkpointMs > 0 && handled > 0 && now - this.savedAt >= checkpointMs;
  }

  charge(fuel: number): void {
    this.fuelUsed += fuel;
    this.periodFuel += fuel;
  }

  /** True where the fuel of the period in progress, which may begin now, is used up. */
  isSpent(now: number): boolean {
    const { periodMs, fuelPerPeriod } = this.order;
    if (now - this.periodStart >= periodMs) {
      const periods = Math.floor((now - this.periodStart) / periodMs);
      this.periodStart += periods * periodMs;
      // What was used beyond a period's fuel, at a start or by a last slice, is a debt of the next ones.
      this.periodFuel = Math.max(0, this.periodFuel - periods * fuelPerPeriod);
    }
    return this.periodFuel >= fuelPerPeriod;
  }

  /** Stops a slot's timer and takes back a tick that waits. */
  cancelTimer(slot: string, port: number): void {
    const timer = this.slotTimers.get(slot);
    if (timer === undefined) return;
    timer.cancel();
    this.slotTimers.delete(slot);
    this.ticks.delete(port);
  }

  stopTimers(): void {
    for (const { cancel } of this.slotTimers.values()) cancel();
    this.slotTimers.clear();
  }

  get priority(): number {
    return this.order.priority;
  }

  /** True where messages for it make sense: it runs, or is about to run again. */
  get isAlive(): boolean {
    return this.state !== "empty" && this.state !== "held" && !this.isEnding;
  }

  /** True while a handler is in progress, on the thread or set aside. */
  get isActive(): boolean {
    return this.state === "running" || this.state === "suspended";
  }

  /** True while a swap keeps its messages waiting. */
  get isHeld(): boolean {
    return this.swap?.phase === "held" || this.swap?.phase === "away";
  }

  get hasInput(): boolean {
    return this.notices.length > 0 || this.ticks.size > 0 || this.mailbox.length > 0;
  }

  /** True where the scheduler can do something for it now. */
  get isReady(): boolean {
    if (this.state === "suspended") return this.wait?.result !== undefined;
    return this.state === "idle" && !this.isHeld && this.hasInput;
  }
}
