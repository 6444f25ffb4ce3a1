/** What a partition does, message by message, kept in a ring while somebody has asked for it; otherwise there is none. */

/** Kinds of records. Each has `TRACE_FIELDS` numbers: kind, microseconds since 1970, module, and three of its own. */
export const TRACE = Object.freeze({
  /** An activation begins: edge and number of its message (0, 0 where it has none), port × 256 + kind. */
  begin: 1,
  end: 2,
  /** The handler is suspended, and goes on. */
  wait: 3,
  resume: 4,
  /** A message is put into a mailbox here: edge, number. */
  send: 5,
  /** A message goes to another partition, and comes from one: edge, address in the ring; arrived, its number as well. */
  cross: 6,
  arrive: 7,
} as const);
export const TRACE_FIELDS = 6;

/** Records that are kept until they are fetched. */
const RECORDS = 4096;
/** Nobody has fetched for so long: whoever asked is gone. */
const ABANDONED_MS = 5000;

export class Trace {
  #records = new Float64Array(RECORDS * TRACE_FIELDS);
  #count = 0;
  #lost = 0;
  #fetchedAt = performance.now();

  /** The newest records are left out where nobody fetches. */
  add(kind: number, module: number, first = 0, second = 0, third = 0): void {
    if (this.#count === RECORDS) {
      this.#lost++;
      return;
    }
    const time = (performance.timeOrigin + performance.now()) * 1000;
    this.#records.set([kind, time, module, first, second, third], this.#count++ * TRACE_FIELDS);
  }

  get isAbandoned(): boolean {
    return performance.now() - this.#fetchedAt > ABANDONED_MS;
  }

  take(): { readonly records: Float64Array; readonly lost: number } {
    const taken = { records: this.#records.slice(0, this.#count * TRACE_FIELDS), lost: this.#lost };
    this.#count = 0;
    this.#lost = 0;
    this.#fetchedAt = performance.now();
    return taken;
  }
}
