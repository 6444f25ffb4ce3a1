/** Actions of the supervisor that are due later, and none after it has stopped. */

export class Delays {
  readonly #timers = new Set<NodeJS.Timeout>();

  /** At once where there is nothing to wait for. */
  after(milliseconds: number, action: () => void): void {
    if (milliseconds === 0) return action();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }

  clear(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
