/** Which module runs next: fixed priorities, first in first out within one. */

/** Priorities, 0 the highest. */
export const PRIORITIES = 8;

export interface Schedulable {
  readonly priority: number;
  /** True while it stands in a queue; kept by the scheduler. */
  enqueued: boolean;
}

export class Scheduler<Item extends Schedulable> {
  readonly #queues: Fifo<Item>[] = Array.from({ length: PRIORITIES }, () => new Fifo<Item>());

  /** Puts the item at the end of its priority's queue, unless it stands in it. */
  ready(item: Item): void {
    if (item.enqueued) return;
    item.enqueued = true;
    this.#queues[item.priority]?.push(item);
  }

  next(): Item | undefined {
    for (const queue of this.#queues) {
      const item = queue.shift();
      if (item === undefined) continue;
      item.enqueued = false;
      return item;
    }
    return undefined;
  }
}

/** A queue without allocation after warm-up: a ring that doubles. */
class Fifo<Item> {
  #ring: (Item | undefined)[] = new Array<Item | undefined>(16).fill(undefined);
  #head = 0;
  #count = 0;

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
