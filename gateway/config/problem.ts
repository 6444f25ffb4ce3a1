/** What is wrong with a configuration: problems with their place, and the one error that carries them. */
import { Refusal, type RefusalCode } from "../../kernel/index.ts";

/** A place in a configuration file; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface ProblemDetail {
  /** `E_CONFIG` where nothing else is said. */
  readonly code?: RefusalCode;
  readonly expected?: string;
  readonly found?: string;
  /** The valid name that was probably meant. */
  readonly nearest?: string | undefined;
  /** What to do next. */
  readonly hint?: string;
}

export interface Problem extends ProblemDetail {
  readonly code: RefusalCode;
  readonly at: Position;
  readonly message: string;
}

/** At most so many problems are kept: a file that is not YAML at all has thousands. */
const KEPT = 100;

/** Collects problems, so that one run names all of them. */
export class Problems {
  readonly #list: Problem[] = [];

  add(at: Position, message: string, detail: ProblemDetail = {}): void {
    if (this.#list.length < KEPT) this.#list.push({ code: "E_CONFIG", ...detail, at, message });
  }

  get any(): boolean {
    return this.#list.length > 0;
  }

  /** In the order of the text; files in the order in which they first had a problem. */
  sorted(): readonly Problem[] {
    const files = [...new Set(this.#list.map(({ at }) => at.file))];
    const rank = ({ at }: Problem): readonly [number, number, number] => [files.indexOf(at.file), at.line, at.column];
    return this.#list.toSorted((left, right) => {
      const [a, b] = [rank(left), rank(right)];
      return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
    });
  }

  /** Throws what was found, if anything was. */
  settle(): void {
    if (this.any) throw new ConfigurationError(this.sorted());
  }
}

export function describePosition({ file, line, column }: Position): string {
  return `${file}:${line}:${column}`;
}

/** One line for people: place, code, message, nearest name, expectation, finding, next step. */
export function describeProblem({ at, code, message, nearest, expected, found, hint }: Problem): string {
  return [
    `${describePosition(at)}: ${code}: ${message}`,
    nearest === undefined ? "" : `did you mean '${nearest}'?`,
    expected === undefined ? "" : `expected ${expected}`,
    found === undefined ? "" : `found ${found}`,
    hint ?? "",
  ]
    .filter((part) => part !== "")
    .join("; ");
}

/** The only error that loading a configuration throws on wrong input. The command line ends with exit code 2 on it. */
export class ConfigurationError extends Refusal {
  /** At least one, first in the text first. */
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const [first] = problems;
    const { expected, found, hint } = first ?? {};
    super(first?.code ?? "E_CONFIG", first === undefined ? "not valid" : describeProblem(first), {
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found }),
      ...(hint === undefined ? {} : { hint }),
    });
    this.name = "ConfigurationError";
    this.problems = problems;
  }

  /** One line for each problem, the first error first. */
  override describe(): string {
    return this.problems.map(describeProblem).join("\n");
  }
}
