/** Which module runs next: fixed priorities, first in first out within one. */

/** Priorities, 0 the highest. */
export const PRIORITIES = 8;

export interface Schedulable {
  readonly priority: number;
  /** True while it stands in a queue; kept by the scheduler. */
  enqueued: boolean;
}

export class Scheduler<Item extends Schedulable> {
  /** Bit n is set where a module of priority n waits. */
  #waiting = 0;
  readonly #queues: Fifo<Item>[] = Array.from({ length: PRIORITIES }, () => new Fifo<Item>());

  /** Puts the item at the end of its priority's queue, unless it stands in it. */
  ready(item: Item): void {
    if (item.enqueued) return;
    item.enqueued = true;
    this.#queues[item.priority]?.push(item);
    this.#waiting |= 1 << item.priority;
  }

  next(): Item | undefined {
    if (this.#waiting === 0) return undefined;
    const lowest = this.#waiting & -this.#waiting;
    const queue = this.#queues[31 - Math.clz32(lowest)];
    const item = queue?.shift();
    if (queue?.isEmpty !== false) this.#waiting &= ~lowest;
    if (item !== undefined) item.enqueued = false;
    return item;
  }

  /** True where somebody of a higher priority than this waits. */
  hasAbove(priority: number): boolean {
    return (this.#waiting & ((1 << priority) - 1)) !== 0;
  }
}

/** A queue without allocation after warm-up: a ring that doubles. */
class Fifo<Item> {
  #ring: (Item | undefined)[] = new Array<Item | undefined>(16).fill(undefined);
  #head = 0;
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  push(item: Item): void {
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#count++) & (this.#ring.length - 1)] = item;
  }

  shift(): Item | undefined {
    if (this.#count === 0) return undefined;
    const item = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#count--;
    return item;
  }

  #grow(): void {
    const ordered = [...this.#ring.slice(this.#head), ...this.#ring.slice(0, this.#head)];
    this.#ring = [...ordered, ...new Array<Item | undefined>(ordered.length).fill(undefined)];
    this.#head = 0;
  }
}
