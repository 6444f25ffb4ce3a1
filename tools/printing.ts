/** The way of every verb's text to the terminal: what a value says is shown there, never obeyed, and ends no line. */
import { ConfigurationError } from "../gateway/config/index.ts";
import { describeProblem } from "../gateway/config/problem.ts";
import { escapeControls } from "../gateway/wire/escape.ts";
import { Refusal } from "../kernel/index.ts";
import type { RefusalCode } from "../kernel/index.ts";
import type { Io } from "./command.ts";

/** Each on a line of its own, whatever is in it. */
export function linesText(lines: readonly string[]): string {
  return lines.map((line) => `${escapeControls(line)}\n`).join("");
}

/** A refusal that quotes several lines of another program, such as a compiler. */
export class QuotingRefusal extends Refusal {
  constructor(code: RefusalCode, lines: readonly string[], hint?: string) {
    super(code, lines.join("\n"), hint === undefined ? {} : { hint });
  }
}

/** One line, except of those that are made of several. */
export function refusalText(error: Refusal): string {
  if (error instanceof ConfigurationError) return linesText(error.problems.map(describeProblem));
  return linesText(error instanceof QuotingRefusal ? error.describe().split("\n") : [error.describe()]);
}

type Write = (text: string) => void;

/** What a verb writes by; beyond ends of lines, only what goes through `control` may steer a terminal. */
export function printer(stdout: Write, stderr: Write): Pick<Io, "stdout" | "stderr" | "control"> {
  return {
    // In JSON these characters stand within strings only, where the escape means the same.
    stdout: (text) => {
      stdout(escapeWithin(text));
    },
    stderr: (text) => {
      stderr(escapeWithin(text));
    },
    control: (text, to = "stdout") => {
      (to === "stdout" ? stdout : stderr)(text);
    },
  };
}

function escapeWithin(text: string): string {
  return text.split("\n").map(escapeControls).join("\n");
}
