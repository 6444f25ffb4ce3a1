/** A partition's timers: a binary heap by due time. The partition keeps time itself; its event loop never turns. */

interface Entry {
  readonly due: number;
  readonly order: number;
  readonly action: () => void;
  cancelled: boolean;
}

/** Cancels the timer; harmless after it has fired. */
export type CancelTimer = () => void;

export class Timers {
  readonly #heap: Entry[] = [];
  #order = 0;

  /** Runs `action` once when `now` reaches `due` (milliseconds of performance.now()); equal times in order of setting. */
  at(due: number, action: () => void): CancelTimer {
    const entry: Entry = { due, order: this.#order++, action, cancelled: false };
    this.#push(entry);
    return () => {
      entry.cancelled = true;
    };
  }

  fire(now: number): void {
    for (
      let first = this.#heap[0];
      first !== undefined && (first.cancelled || first.due <= now);
      first = this.#heap[0]
    ) {
      this.#pop();
      if (!first.cancelled) first.action();
    }
  }

  /** When the next one is due, or undefined where there is none. */
  next(): number | undefined {
    for (let first = this.#heap[0]; first?.cancelled === true; first = this.#heap[0]) this.#pop();
    return this.#heap[0]?.due;
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
