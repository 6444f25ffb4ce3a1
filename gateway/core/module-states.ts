/** Hands the modules' last good states to the disk: not each of them, for an SD card wears out, and all of them at a stop. */
import type { SavedState } from "../../kernel/index.ts";

/** What a process restart can lose of a module's state at most, where the process was not told to stop. */
export const STATE_INTERVAL_MS = 10_000;

export class ModuleStates {
  readonly #write: (module: string, state: SavedState | undefined) => void;
  readonly #intervalMs: number;
  readonly #waiting = new Map<string, SavedState | undefined>();
  #timer: NodeJS.Timeout | undefined;

  constructor(write: (module: string, state: SavedState | undefined) => void, intervalMs = STATE_INTERVAL_MS) {
    this.#write = write;
    this.#intervalMs = intervalMs;
  }

  /** The latest of each module is written within the interval. A state that is to be forgotten is so at once. */
  keep(module: string, state: SavedState | undefined): void {
    this.#waiting.set(module, state);
    if (state === undefined) this.flush();
    else
      this.#timer ??= setTimeout(() => {
        this.flush();
      }, this.#intervalMs);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [module, state] of this.#waiting) this.#write(module, state);
    this.#waiting.clear();
  }
}
