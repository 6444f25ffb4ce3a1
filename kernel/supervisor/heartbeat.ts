/** Judges from a partition's heartbeat, and from the processor time that its thread has used, whether it is stuck. */

/** Processor milliseconds that a thread must have used between two answers for the later one to count. */
const USED_MS = 5;
/** So many answers in a row, without a heartbeat between them: one alone may be a collection of garbage. */
const ANSWERS = 2;

/**
 * A thread that does not beat is stuck, or the system does not let it run. One that goes on using the processor without a
 * beat is stuck, however laden the machine is. One that cannot be asked is stuck after a long silence only, and time in
 * which the watch itself did not run is no silence.
 */
export class Heartbeat {
  #pulse: number | undefined = undefined;
  #since = 0;
  #used: number | undefined = undefined;
  #answers = 0;

  /**
   * Looks at the pulse, undefined while the partition sleeps.
   * @param lateMs time before `now` in which the watch should have looked, and could not.
   * @returns milliseconds of silence.
   */
  look(now: number, lateMs: number, pulse: number | undefined): number {
    if (pulse === undefined || pulse !== this.#pulse) {
      this.#pulse = pulse;
      this.#since = now;
      this.#used = undefined;
      this.#answers = 0;
    } else this.#since = Math.min(now, this.#since + lateMs);
    return now - this.#since;
  }

  /** Takes the processor time of the thread's life, as of that pulse. @returns true where it is stuck. */
  used(pulse: number | undefined, milliseconds: number): boolean {
    if (pulse === undefined || pulse !== this.#pulse) return false;
    if (this.#used === undefined) this.#used = milliseconds;
    else if (milliseconds - this.#used >= USED_MS) {
      this.#used = milliseconds;
      this.#answers++;
    }
    return this.#answers >= ANSWERS;
  }
}
