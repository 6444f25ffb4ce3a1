/** What a host process says of itself, passed on: so much a second, and of the rest how much there was. */
import { LIMITS } from "../../kernel/index.ts";
import { printable } from "./parse.ts";

/** Log lines a second that the process may write; more are counted. */
const LOG_LINES = LIMITS.logLinesPerSecond;
/** Changes of status a second; of more, the last one is reported when the second is over. */
const STATUSES = 20;

export interface Listener {
  readonly name: string;
  readonly onStatus: (state: string, text: string) => void;
  /** Level 0 error, 1 warning, 2 information, 3 debug; the text is printable and may be believed no further. */
  readonly onLog: (level: number, text: string) => void;
}

export class Telling {
  readonly #listener: Listener;
  #statuses = 0;
  #heldStatus: readonly [state: string, text: string] | undefined;
  #logLines = 0;
  #logLost = 0;

  constructor(listener: Listener) {
    this.#listener = listener;
  }

  status(state: string, text: string): void {
    if (this.#statuses++ < STATUSES) this.#listener.onStatus(state, text);
    else this.#heldStatus = [state, text];
  }

  log(level: number, text: string): void {
    if (this.#logLines++ < LOG_LINES) this.#listener.onLog(level, printable(text));
    else this.#logLost++;
  }

  /** What it wrote to stderr: no more lines are looked at than may be passed on. */
  stderr(chunk: Uint8Array): void {
    for (const line of Buffer.from(chunk).toString("utf8").split("\n", LOG_LINES)) {
      if (line.trim() !== "") this.log(1, line);
    }
  }

  /** A second is over: what was held is told. */
  nextSecond(): void {
    const lost = this.#logLost;
    const held = this.#heldStatus;
    this.#statuses = this.#logLines = this.#logLost = 0;
    this.#heldStatus = undefined;
    if (held !== undefined) this.status(...held);
    if (lost > 0) this.log(1, `${lost} log lines of the ${this.#listener.name} process were left out`);
  }
}
