/** The only file that uses `Atomics`: doorbells, heartbeats and single-producer single-consumer rings in shared memory. */

/**
 * A partition's control words, each on a cache line of its own. Written by the partition: `sleeping` (cleared by whoever
 * wakes it), `heartbeat`, `patience`. Written by anyone: `bell`. Written by the supervisor: `orders`.
 * The bell is incremented before the sleeper is notified, so a wake-up between its last look and its sleep is never lost.
 */
const CONTROL = Object.freeze({ bell: 0, orders: 16, sleeping: 32, heartbeat: 48, patience: 64, words: 80 } as const);

/** How long a partition looks at its bell before it sleeps: about what a wake-up between two processors costs. */
const SPIN_MS = 0.02;
/** Looks at the bell between two at the clock. */
const SPIN_LOOKS = 64;
/**
 * Between two spins so many sleeps come without, at most: each one in vain doubles them, each that was not takes 6 % off. So it is
 * done only where nine in ten pay, as one in vain costs more than several wake-ups: where both threads have one processor it is not.
 */
const MAXIMUM_RESTRAINT = 256;
/** On one processor nobody else can run while this one spins. It respects the process's affinity. */
const CAN_SPIN = navigator.hardwareConcurrency > 1;

export type SharedBuffer = SharedArrayBuffer;

export class PartitionControl {
  readonly buffer: SharedBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  #restraint = 0;
  #sleepsWithout = 0;

  constructor(buffer: SharedBuffer = new SharedArrayBuffer(CONTROL.words * 4)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** Wakes the partition where it sleeps; cheap where it does not, or where somebody else is waking it. */
  ring(): void {
    Atomics.add(this.#words, CONTROL.bell, 1);
    const isAsleep = Atomics.load(this.#words, CONTROL.sleeping) === 1;
    if (isAsleep && Atomics.exchange(this.#words, CONTROL.sleeping, 0) === 1) Atomics.notify(this.#words, CONTROL.bell);
  }

  /** Tells the partition that an order waits at its port, and wakes it. */
  announceOrder(): void {
    Atomics.add(this.#words, CONTROL.orders, 1);
    this.ring();
  }

  /** Orders announced so far, modulo 2^32. */
  orders(): number {
    return Atomics.load(this.#words, CONTROL.orders);
  }

  /** The bell's value now; give it to `sleep` after looking for work once more. */
  listen(): number {
    return Atomics.load(this.#words, CONTROL.bell);
  }

  /** Sleeps until the bell has another value than `heard`, or for so many milliseconds. */
  sleep(heard: number, milliseconds: number): void {
    if (CAN_SPIN && milliseconds > SPIN_MS && this.#spin(heard)) return;
    Atomics.store(this.#words, CONTROL.sleeping, 1);
    Atomics.wait(this.#words, CONTROL.bell, heard, milliseconds);
    Atomics.store(this.#words, CONTROL.sleeping, 0);
  }

  /** Looks at the bell for a while where that has paid lately. @returns true where it was rung. */
  #spin(heard: number): boolean {
    if (this.#sleepsWithout > 0) {
      this.#sleepsWithout--;
      return false;
    }
    const end = performance.now() + SPIN_MS;
    let isRung = false;
    do {
      for (let look = 0; look < SPIN_LOOKS && !isRung; look++) isRung = this.listen() !== heard;
    } while (!isRung && performance.now() < end);
    this.#restraint = isRung
      ? Math.floor(this.#restraint * 0.94)
      : Math.min(this.#restraint * 2 + 1, MAXIMUM_RESTRAINT);
    this.#sleepsWithout = this.#restraint;
    return isRung;
  }

  beat(): void {
    Atomics.add(this.#words, CONTROL.heartbeat, 1);
  }

  /** Says whether the next beat may be long in coming: while code runs that nothing can interrupt, and fuel bounds. */
  askPatience(isAsked: boolean): void {
    Atomics.store(this.#words, CONTROL.patience, isAsked ? 1 : 0);
    this.beat();
  }

  get hasPatience(): boolean {
    return Atomics.load(this.#words, CONTROL.patience) === 1;
  }

  /** The heartbeat's value, or undefined while the partition sleeps: a sleeper is not stuck. */
  pulse(): number | undefined {
    if (Atomics.load(this.#words, CONTROL.sleeping) === 1) return undefined;
    return Atomics.load(this.#words, CONTROL.heartbeat);
  }
}

/** Words at the start of a ring. `head` is the reader's, `tail` the writer's, each on a cache line of its own. */
const RING = Object.freeze({ head: 0, tail: 16, headerBytes: 128 } as const);
const ALIGNMENT = 8;
/** A record length of this value says: the rest up to the end is unused, go on at the start. */
const WRAP = -1;

/**
 * One direction of a channel: records of bytes, written by one thread and read by one other.
 * Positions grow for ever modulo 2^32 and are masked, so full and empty are never confused.
 *
 *     0      4..64      64     68..128   128
 *     +------+----------+------+---------+---------------------------------------+
 *     | head | (pad)    | tail | (pad)   | u32 length, bytes, padding to 8 | ... |
 *     +------+----------+------+---------+---------------------------------------+
 */
export class Ring {
  readonly buffer: SharedBuffer;
  /** The data as words, as bytes, and for copies at any address; only the place that `reserve` or `read` names is one's own. */
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly view: DataView<SharedArrayBuffer>;
  readonly #positions: Int32Array<SharedArrayBuffer>;
  readonly #capacity: number;
  #reservedTail = 0;

  /** @param buffer made by `Ring.allocate`; its data size is a power of two. */
  constructor(buffer: SharedBuffer) {
    this.buffer = buffer;
    this.#capacity = buffer.byteLength - RING.headerBytes;
    this.#positions = new Int32Array(buffer, 0, RING.headerBytes / 4);
    this.words = new Int32Array(buffer, RING.headerBytes);
    this.bytes = new Uint8Array(buffer, RING.headerBytes);
    this.view = new DataView(buffer, RING.headerBytes);
  }

  static allocate(capacity: number): SharedBuffer {
    if (capacity < 64 || (capacity & (capacity - 1)) !== 0) throw new RangeError("a ring's size is a power of two");
    return new SharedArrayBuffer(RING.headerBytes + capacity);
  }

  /**
   * Makes room for a record of `length` bytes, which the reader sees from `commit` on. Without a commit nothing was written.
   * @returns the record's address in `bytes`, a multiple of 4, or -1 where there is no room now.
   */
  reserve(length: number): number {
    const size = recordSize(length);
    // SAFETY: only this thread writes tail; head can only grow, so the room found is there until this write.
    const tail = Atomics.load(this.#positions, RING.tail);
    const used = (tail - Atomics.load(this.#positions, RING.head)) >>> 0;
    const offset = (tail >>> 0) & (this.#capacity - 1);
    const toEnd = this.#capacity - offset;
    const needed = size <= toEnd ? size : toEnd + size;
    if (used + needed > this.#capacity) return -1;
    const at = size <= toEnd ? offset : 0;
    if (at !== offset) this.words[offset >> 2] = WRAP;
    this.words[at >> 2] = length;
    this.#reservedTail = (tail + needed) | 0;
    return at + 4;
  }

  /** Hands the record that was reserved last to the reader. */
  commit(): void {
    Atomics.store(this.#positions, RING.tail, this.#reservedTail);
  }

  /**
   * Hands address and length of the oldest record to `consume` and removes it, even where `consume` throws.
   * @returns false where the ring is empty.
   */
  read(consume: (ring: Ring, at: number, length: number) => void): boolean {
    const head = Atomics.load(this.#positions, RING.head);
    if (head === Atomics.load(this.#positions, RING.tail)) return false;
    let offset = (head >>> 0) & (this.#capacity - 1);
    let skipped = 0;
    if (this.words[offset >> 2] === WRAP) {
      skipped = this.#capacity - offset;
      offset = 0;
    }
    const length = this.words[offset >> 2] ?? 0;
    try {
      consume(this, offset + 4, length);
    } finally {
      Atomics.store(this.#positions, RING.head, (head + skipped + recordSize(length)) | 0);
    }
    return true;
  }
}

function recordSize(length: number): number {
  return (4 + length + ALIGNMENT - 1) & -ALIGNMENT;
}

/** A table of words that every thread sees, indexed by number. */
export class SharedCounters {
  readonly buffer: SharedBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(source: SharedBuffer | number) {
    this.buffer = typeof source === "number" ? new SharedArrayBuffer(source * 4) : source;
    this.#words = new Int32Array(this.buffer);
  }

  /** SAFETY: a plain read, for nothing that is read after it hangs on it: what another thread has stored is seen at the next one. */
  load(index: number): number {
    return this.#words[index] ?? 0;
  }

  store(index: number, value: number): void {
    Atomics.store(this.#words, index, value);
  }
}
