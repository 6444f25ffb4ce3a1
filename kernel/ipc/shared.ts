/** The only file that uses `Atomics`: doorbells, heartbeats and single-producer single-consumer rings in shared memory. */

/**
 * A partition's control words. Written by the partition: `sleeping`, `heartbeat`. Written by anyone: `bell`.
 * The bell is incremented before the sleeper is notified, so a wake-up between its last look and its sleep is never lost.
 */
const CONTROL = Object.freeze({ bell: 0, sleeping: 1, heartbeat: 2, words: 16 } as const);

export type SharedBuffer = SharedArrayBuffer;

export class PartitionControl {
  readonly buffer: SharedBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(buffer: SharedBuffer = new SharedArrayBuffer(CONTROL.words * 4)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** Wakes the partition where it sleeps; cheap where it does not. */
  ring(): void {
    Atomics.add(this.#words, CONTROL.bell, 1);
    if (Atomics.load(this.#words, CONTROL.sleeping) === 1) Atomics.notify(this.#words, CONTROL.bell);
  }

  /** The bell's value now; give it to `sleep` after looking for work once more. */
  listen(): number {
    return Atomics.load(this.#words, CONTROL.bell);
  }

  /** Sleeps until the bell has another value than `heard`, or for so many milliseconds. */
  sleep(heard: number, milliseconds: number): void {
    Atomics.store(this.#words, CONTROL.sleeping, 1);
    Atomics.wait(this.#words, CONTROL.bell, heard, milliseconds);
    Atomics.store(this.#words, CONTROL.sleeping, 0);
  }

  beat(): void {
    Atomics.add(this.#words, CONTROL.heartbeat, 1);
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
const WRAP = 0xffff_ffff;

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
  readonly #positions: Int32Array<SharedArrayBuffer>;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;
  readonly #view: DataView<SharedArrayBuffer>;
  readonly #capacity: number;

  /** @param buffer made by `Ring.allocate`; its data size is a power of two. */
  constructor(buffer: SharedBuffer) {
    this.buffer = buffer;
    this.#capacity = buffer.byteLength - RING.headerBytes;
    this.#positions = new Int32Array(buffer, 0, RING.headerBytes / 4);
    this.#bytes = new Uint8Array(buffer, RING.headerBytes);
    this.#view = new DataView(buffer, RING.headerBytes);
  }

  static allocate(capacity: number): SharedBuffer {
    if (capacity < 64 || (capacity & (capacity - 1)) !== 0) throw new RangeError("a ring's size is a power of two");
    return new SharedArrayBuffer(RING.headerBytes + capacity);
  }

  /**
   * Appends one record, its parts joined.
   * @returns false where there is no room now; nothing is then written.
   */
  write(first: Uint8Array, second: Uint8Array, secondLength = second.length): boolean {
    const length = first.length + secondLength;
    const size = recordSize(length);
    // SAFETY: only this thread writes tail; head can only grow, so the room found is there until this write.
    const tail = Atomics.load(this.#positions, RING.tail);
    const used = (tail - Atomics.load(this.#positions, RING.head)) >>> 0;
    const offset = (tail >>> 0) & (this.#capacity - 1);
    const toEnd = this.#capacity - offset;
    const needed = size <= toEnd ? size : toEnd + size;
    if (used + needed > this.#capacity) return false;
    const at = size <= toEnd ? offset : 0;
    if (at !== offset) this.#view.setUint32(offset, WRAP, true);
    this.#view.setUint32(at, length, true);
    this.#bytes.set(first, at + 4);
    this.#bytes.set(second.subarray(0, secondLength), at + 4 + first.length);
    Atomics.store(this.#positions, RING.tail, (tail + needed) | 0);
    return true;
  }

  /**
   * Hands the oldest record to `consume` and removes it, even where `consume` throws. The view is valid during the call only.
   * @returns false where the ring is empty.
   */
  read(consume: (record: Uint8Array) => void): boolean {
    const head = Atomics.load(this.#positions, RING.head);
    if (head === Atomics.load(this.#positions, RING.tail)) return false;
    let offset = (head >>> 0) & (this.#capacity - 1);
    let skipped = 0;
    if (this.#view.getUint32(offset, true) === WRAP) {
      skipped = this.#capacity - offset;
      offset = 0;
    }
    const length = this.#view.getUint32(offset, true);
    try {
      consume(this.#bytes.subarray(offset + 4, offset + 4 + length));
    } finally {
      Atomics.store(this.#positions, RING.head, (head + skipped + recordSize(length)) | 0);
    }
    return true;
  }
}

function recordSize(length: number): number {
  return (4 + length + ALIGNMENT - 1) & -ALIGNMENT;
}

/** Counters that every partition sees, indexed by number: messages of an edge that wait at its receiver. */
export class SharedCounters {
  readonly buffer: SharedBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(source: SharedBuffer | number) {
    this.buffer = typeof source === "number" ? new SharedArrayBuffer(source * 4) : source;
    this.#words = new Int32Array(this.buffer);
  }

  add(index: number, amount: number): number {
    return Atomics.add(this.#words, index, amount) + amount;
  }

  load(index: number): number {
    return Atomics.load(this.#words, index);
  }

  store(index: number, value: number): void {
    Atomics.store(this.#words, index, value);
  }
}
