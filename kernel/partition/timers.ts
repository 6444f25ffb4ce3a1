/** A partition's timers: a binary heap by due time. The partition keeps time itself; its event loop never turns. */

interface Entry {
  readonly due: number;
  readonly order: number;
  /** Undefined once it is cancelled or has fired: what it held can then be collected. */
  action: (() => void) | undefined;
}

/** Cancels the timer; harmless after it has fired. */
export type CancelTimer = () => void;

/** Cancelled entries are swept when there are more of them than this, and than of live ones. */
const SWEEP_AT_LEAST = 64;

export class Timers {
  #heap: Entry[] = [];
  #order = 0;
  #cancelled = 0;

  /** Entries in the heap, cancelled ones not yet swept included: at most twice the live ones, plus a few. */
  get size(): number {
    return this.#heap.length;
  }

  /** Runs `action` once when `now` reaches `due` (milliseconds of performance.now()); equal times in order of setting. */
  at(due: number, action: () => void): CancelTimer {
    const entry: Entry = { due, order: this.#order++, action };
    this.#push(entry);
    return () => {
      if (entry.action === undefined) return;
      entry.action = undefined;
      this.#cancelled++;
      if (this.#cancelled > SWEEP_AT_LEAST && this.#cancelled * 2 > this.#heap.length) this.#sweep();
    };
  }

  fire(now: number): void {
    for (let first = this.#first(); first !== undefined && first.due <= now; first = this.#first()) {
      this.#pop();
      const { action } = first;
      first.action = undefined;
      action?.();
    }
  }

  /** When the next one is due, or undefined where there is none. */
  next(): number | undefined {
    return this.#first()?.due;
  }

  /** The earliest live entry; cancelled ones before it are removed. */
  #first(): Entry | undefined {
    for (let first = this.#heap[0]; first !== undefined && first.action === undefined; first = this.#heap[0]) {
      this.#pop();
      this.#cancelled--;
    }
    return this.#heap[0];
  }

  /** Removes every cancelled entry. Its cost is spread over the cancellations that led to it. */
  #sweep(): void {
    const live = this.#heap.filter(({ action }) => action !== undefined);
    this.#cancelled = 0;
    // Sorted entries are a heap.
    live.sort((a, b) => a.due - b.due || a.order - b.order);
    this.#heap = live;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) return;
      this.#exchange(index, parent);
      index = parent;
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    let index = 0;
    for (;;) {
      const left = index * 2 + 1;
      const right = left + 1;
      let least = index;
      if (left < this.#heap.length && this.#before(left, least)) least = left;
      if (right < this.#heap.length && this.#before(right, least)) least = right;
      if (least === index) return;
      this.#exchange(index, least);
      index = least;
    }
  }

  #before(left: number, right: number): boolean {
    const a = this.#heap[left];
    const b = this.#heap[right];
    if (a === undefined || b === undefined) return false;
    return a.due < b.due || (a.due === b.due && a.order < b.order);
  }

  #exchange(left: number, right: number): void {
    const heap = this.#heap;
    // SAFETY: both indices are inside the heap, as the callers have compared with its length.
    [heap[left], heap[right]] = [heap[right] as Entry, heap[left] as Entry];
  }
}
