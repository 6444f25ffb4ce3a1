/** What a verb of the command `bulkhead` is: the shape that every tool implements. */

export interface Io {
  stdout(text: string): void;
  stderr(text: string): void;
  /** As it is: the program's own colours, bars and screens. Values in it have gone through `escapeControls`. */
  control(text: string, to?: "stdout" | "stderr"): void;
  /** True where stdout is a terminal: colours and progress bars only then. */
  readonly isTerminal: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly help: string;
  /** @returns the exit code: 0 only on success, 2 for wrong usage or configuration. */
  run(args: string[], io: Io): Promise<number>;
}
