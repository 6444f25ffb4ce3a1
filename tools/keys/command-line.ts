/** What the verbs about keys and documents share: options, errors that say what to do next, output for people or as JSON. */

import type { ParseArgsConfig } from "node:util";
import { parseArgs } from "node:util";
import { Refusal } from "../../kernel/index.ts";
import { escapeControls } from "../../gateway/wire/escape.ts";
import type { Command, Io } from "../command.ts";
import { linesText, refusalText } from "../printing.ts";

/** A mistake in how a verb was called: exit code 2. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig["options"]>;

/** What a verb reports: lines for people, whose values cannot end them, an object for `--json`. */
export interface Report {
  readonly lines: readonly string[];
  readonly json: Readonly<Record<string, unknown>>;
}

export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>, positionals: readonly string[]) {
    this.#values = values;
    this.positionals = positionals;
  }

  /** The same options with other positionals: what follows a sub-verb. */
  withPositionals(positionals: readonly string[]): Arguments {
    return new Arguments(this.#values, positionals);
  }

  has(name: string): boolean {
    return this.#values[name] === true;
  }

  optional(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  required(name: string): string {
    const value = this.optional(name);
    if (value === undefined) throw new UsageError(`--${name} is missing`);
    return value;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
  }

  /** A whole number from 0, or the default where the option is absent. */
  number(name: string, otherwise?: number): number {
    const text = otherwise === undefined ? this.required(name) : this.optional(name);
    return text === undefined ? (otherwise ?? 0) : parseNumber(text, `--${name}`);
  }

  /** `--issued`, or now, in seconds since 1970. */
  issued(): number {
    const text = this.optional("issued");
    return text === undefined ? Math.floor(Date.now() / 1000) : parseDate(text, "--issued");
  }

  /** `--expires` as a date, or as a number of days after `issued`. */
  expires(issued: number, defaultDays: number): number {
    const text = this.optional("expires") ?? `${defaultDays}d`;
    const days = /^(\d{1,5})d$/.exec(text)?.[1];
    return days === undefined ? parseDate(text, "--expires") : issued + Number(days) * 86_400;
  }
}

export function parseNumber(text: string, name: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`${name} takes a whole number, not ${JSON.stringify(text)}`);
  return Number(text);
}

function parseDate(text: string, name: string): number {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) throw new UsageError(`${name} takes a date such as 2027-01-31, or days such as 90d`);
  return Math.floor(milliseconds / 1000);
}

/** `name=value`, as in `--floor threshold=7`. */
export function parsePair(text: string, name: string): readonly [string, string] {
  const [left, right, ...rest] = text.split("=");
  if (left === undefined || left === "" || right === undefined || right === "" || rest.length > 0) {
    throw new UsageError(`${name} takes name=value, not ${JSON.stringify(text)}`);
  }
  return [left, right];
}

/** A verb, from its options and what it does; `--help` and `--json` come with it. */
export function defineCommand(definition: {
  readonly name: string;
  readonly summary: string;
  readonly help: string;
  readonly options: Options;
  readonly act: (args: Arguments, io: Io) => Promise<Report>;
}): Command {
  const { name, summary, help, options, act } = definition;
  return {
    name,
    summary,
    help,
    async run(args, io) {
      if (args.includes("--help")) {
        io.stdout(`${help.trim()}\n`);
        return 0;
      }
      const isJson = args.includes("--json");
      try {
        const report = await act(parse(args, options), io);
        io.stdout(isJson ? `${JSON.stringify(report.json)}\n` : linesText(report.lines));
        return 0;
      } catch (error) {
        return explain(name, error, isJson, io);
      }
    },
  };
}

function parse(args: string[], options: Options): Arguments {
  const all: Options = { ...options, json: { type: "boolean" }, help: { type: "boolean" } };
  try {
    const { values, positionals } = parseArgs({ args, options: all, allowPositionals: true, strict: true });
    return new Arguments(values, positionals);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Says what went wrong and what to do; returns the exit code. */
function explain(verb: string, error: unknown, isJson: boolean, io: Io): number {
  const isUsage = error instanceof UsageError;
  if (isJson) io.stdout(`${JSON.stringify({ ok: false, ...describe(error) })}\n`);
  if (isUsage)
    io.stderr(`bulkhead ${verb}: ${escapeControls(error.message)}\nbulkhead ${verb} --help says how it is used.\n`);
  else
    io.stderr(
      `bulkhead ${verb}: ${error instanceof Refusal ? refusalText(error) : linesText([describe(error).message])}`,
    );
  return isUsage ? 2 : 1;
}

function describe(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof UsageError) return { code: "usage", message: error.message };
  if (error instanceof Refusal) return { code: error.code, message: error.describe() };
  if (!isSystemError(error)) throw error;
  return { code: error.code, message: SYSTEM_ERRORS[error.code]?.(error.path ?? "the file") ?? error.message };
}

interface SystemError extends Error {
  readonly code: string;
  /** Absent where the file was open already, as when the disk fills up. */
  readonly path?: string;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "syscall" in error && "code" in error;
}

const SYSTEM_ERRORS: Readonly<Record<string, (path: string) => string>> = Object.freeze({
  ENOENT: (path: string) => `${path} does not exist; check the path`,
  EEXIST: (path: string) => `${path} exists already and is not overwritten; choose another name or move it away`,
  EACCES: (path: string) => `${path} may not be accessed; check its owner and mode`,
  EISDIR: (path: string) => `${path} is a folder; name a file in it`,
  ENOSPC: (path: string) => `the disk of ${path} is full`,
});

/** The last that a date can have (ECMA-262, section 21.4.1.1). */
const LATEST_SECONDS = 8_640_000_000_000;

/** A date for people, in UTC; of what no calendar reaches, the number. */
export function formatDate(seconds: number): string {
  if (Math.abs(seconds) > LATEST_SECONDS) return `${seconds} s after 1970`;
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
