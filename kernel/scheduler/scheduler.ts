/** Which module runs next: fixed priorities, first in first out within one. */

/** Priorities, 0 the highest. */
export const PRIORITIES = 8;

export interface Schedulable<Item> {
  readonly priority: number;
  /** Kept by the scheduler: whether it waits, and who does behind it. */
  enqueued: boolean;
  behind: Item | undefined;
}

export class Scheduler<Item extends Schedulable<Item>> {
  /** Bit n is set where a module of priority n waits. */
  #waiting = 0;
  readonly #first = new Array<Item | undefined>(PRIORITIES).fill(undefined);
  readonly #last = new Array<Item | undefined>(PRIORITIES).fill(undefined);

  /** Puts the item at the end of its priority's queue, unless it stands in it. */
  ready(item: Item): void {
    if (item.enqueued) return;
    item.enqueued = true;
    const { priority } = item;
    const last = this.#last[priority];
    if (last === undefined) this.#first[priority] = item;
    else last.behind = item;
    this.#last[priority] = item;
    this.#waiting |= 1 << priority;
  }

  next(): Item | undefined {
    if (this.#waiting === 0) return undefined;
    const priority = 31 - Math.clz32(this.#waiting & -this.#waiting);
    const item = this.#first[priority];
    if (item === undefined) return undefined;
    this.#first[priority] = item.behind;
    if (item.behind === undefined) {
      this.#last[priority] = undefined;
      this.#waiting &= ~(1 << priority);
    }
    item.behind = undefined;
    item.enqueued = false;
    return item;
  }

  /** True where somebody of a higher priority than this waits. */
  hasAbove(priority: number): boolean {
    return (this.#waiting & ((1 << priority) - 1)) !== 0;
  }
}
