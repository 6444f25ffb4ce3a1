/** Who waits in a partition for a reply: suspended calls, and requests whose answer comes as a message. */
import { RESULT } from "../abi.ts";
import type { Target } from "../ipc/capability.ts";
import type { Incarnation, ModuleCell } from "./cell.ts";
import type { CancelTimer, Timers } from "./timers.ts";

interface Waiting {
  readonly owner: Incarnation;
  readonly target: Target;
  /** Where the answer comes to as a message; -1 where a suspended call waits for it. */
  readonly port: number;
  /** Called once, with the reply or an error code; the bytes are a view that lives during the call. */
  readonly settle: (result: number, bytes: Uint8Array) => void;
  readonly cancelDeadline: CancelTimer;
}

export const NOTHING = new Uint8Array(0);

export class Pending {
  readonly #waiting = new Map<number, Waiting>();
  readonly #timers: Timers;
  readonly #now: () => number;
  #correlation = 0;

  constructor(timers: Timers, now: () => number) {
    this.#timers = timers;
    this.#now = now;
  }

  /** Registers somebody who waits for an answer within `timeoutMs`. @returns the correlation, never 0. */
  expect(owner: Incarnation, target: Target, timeoutMs: number, settle: Waiting["settle"], port = -1): number {
    const { asked } = owner.cell;
    do this.#correlation = (this.#correlation + 1) & 0x7fff_ffff;
    while (this.#correlation === 0 || this.#waiting.has(this.#correlation) || asked.has(this.#correlation));
    const correlation = this.#correlation;
    const due = this.#now() + timeoutMs;
    const cancelDeadline = this.#timers.at(due, () => this.settle(correlation, RESULT.timeout, NOTHING));
    this.#waiting.set(correlation, { owner, target, port, settle, cancelDeadline });
    return correlation;
  }

  /** Answers whoever waits under this correlation; a late or repeated answer is dropped. */
  settle(correlation: number, result: number, bytes: Uint8Array): void {
    const waiting = this.#waiting.get(correlation);
    this.forget(correlation);
    waiting?.settle(result, bytes);
  }

  /** Answers everybody whose answer will never come. */
  fail(isLost: (target: Target) => boolean, result: number): void {
    for (const [correlation, { target }] of [...this.#waiting]) {
      if (isLost(target)) this.settle(correlation, result, NOTHING);
    }
  }

  /** Takes an expectation back: nothing was sent. */
  forget(correlation: number): void {
    this.#waiting.get(correlation)?.cancelDeadline();
    this.#waiting.delete(correlation);
  }

  /** Forgets what an instance, or any instance of that module, waits for: it is gone, and its successor never asked. */
  forgetAllOf(cell: ModuleCell, only?: Incarnation): void {
    if (only === undefined) cell.asked.clear();
    for (const [correlation, { owner, port }] of [...this.#waiting]) {
      if (owner.cell !== cell || (only !== undefined && owner !== only)) continue;
      this.forget(correlation);
      if (port >= 0) cell.pendingRequests--;
    }
  }

  /** What a module has asked and waits for, with the ports that the answers are for. */
  requestsOf(cell: ModuleCell): (readonly [correlation: number, port: number])[] {
    return [...this.#waiting].flatMap(([correlation, { owner, port }]) =>
      owner.cell === cell && port >= 0 ? [[correlation, port] as const] : [],
    );
  }
}
