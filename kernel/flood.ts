/** Lets so many through each second and counts the rest: one source's flood can neither fill a disk nor hide another's. */
export class FloodGate {
  readonly #perSecond: number;
  /** What passed in this second, by kind. */
  readonly #kinds = new Set<string>();
  #second = -1;
  #passed = 0;
  #heldBack = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /**
   * @param now milliseconds of any clock that does not go backward.
   * @param kind one of few; the first of a kind passes in each second, so that a flood of one does not hide another.
   * @returns how many were held back since the last that passed, or undefined where this one is held back too.
   */
  admit(now: number, kind = ""): number | undefined {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#passed = 0;
      this.#kinds.clear();
    }
    if (this.#passed >= this.#perSecond && this.#kinds.has(kind)) {
      this.#heldBack++;
      return undefined;
    }
    this.#passed++;
    this.#kinds.add(kind);
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    return heldBack;
  }
}
