/** A verb run in the test's own process, as on a command line that is no terminal. */
import type { Command } from "../../tools/command.ts";

export interface VerbOutcome {
  readonly code: number;
  readonly out: string;
  readonly errors: string;
  /** Both, in the order in which they came, and what would steer a terminal. */
  readonly text: string;
}

/** @param signal aborted where Ctrl-C would be pressed. */
export async function runVerb(
  verb: Pick<Command, "run">,
  args: readonly string[],
  signal = new AbortController().signal,
): Promise<VerbOutcome> {
  const texts = { out: "", errors: "", text: "" };
  const write = (to: "out" | "errors") => (more: string) => {
    texts[to] += more;
    texts.text += more;
  };
  const control = (more: string): void => void (texts.text += more);
  const io = { stdout: write("out"), stderr: write("errors"), control, isTerminal: false, signal };
  return { code: await verb.run([...args], io), ...texts };
}
