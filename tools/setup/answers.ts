/** What `bulkhead setup` must know: each question with its flag, its default, and the check by the real configuration reader. */
import { createInterface } from "node:readline/promises";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigurationError, parseConfiguration } from "../../gateway/config/index.ts";
import type { RootDocument } from "../../gateway/envelopes/index.ts";
import { initialTrust } from "../../gateway/envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Io } from "../command.ts";
import { linesText } from "../printing.ts";
import { PACKAGE_ROOT } from "../root.ts";

export const QUESTIONS = ["id", "vendor", "class", "broker", "root"] as const;
export type Question = (typeof QUESTIONS)[number];

/** An empty broker is none: the gateway works alone. */
export type Answers = Readonly<Record<Question, string>> & {
  readonly data: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
};

const PROMPTS: Readonly<Record<Question, string>> = Object.freeze({
  id: "Name of this gateway, unique in the fleet",
  vendor: "Vendor whose modules it takes, a domain",
  class: "Class of gateway",
  broker: "Address of the MQTT broker, such as mqtts://broker.example:8883 (empty: none)",
  root: "Root envelope, made by `bulkhead root init` and carried here by hand",
});

/** What a question is answered with by Enter alone, or by `--yes`. */
const DEFAULTS: Readonly<Partial<Record<Question, string>>> = Object.freeze({ class: "raspberry-pi", broker: "" });

/** In place of what is not answered yet, while one answer is checked. */
const STAND_INS: Answers = Object.freeze({
  id: "gateway",
  vendor: "vendor.example",
  class: "raspberry-pi",
  broker: "",
  root: "root.envelope",
  data: "data",
});

/** Where the pages and the schema lie: with this program, or where the Debian package puts them. */
const HAS_DOCUMENTS = existsSync(join(PACKAGE_ROOT, "docs"));
const PAGES = HAS_DOCUMENTS ? join(PACKAGE_ROOT, "docs") : "/usr/share/doc/bulkhead";
const SCHEMAS = HAS_DOCUMENTS ? PAGES : "/usr/share/bulkhead";

/** The configuration that these answers make. A JSON text is a YAML text, whatever is in it. */
export function configurationText(answers: Answers, root: string): string {
  const { id, vendor, class: kind, broker, data, username, passwordFile, caFile } = answers;
  const line = (key: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`  ${key}: ${JSON.stringify(value)}`];
  return [
    `# Written by \`bulkhead setup\`. Keys and meanings: ${join(PAGES, "configuration-keys.md")}`,
    `# yaml-language-server: $schema=${join(SCHEMAS, "gateway-schema.json")}`,
    "gateway:",
    ...[...line("id", id), ...line("vendor", vendor), ...line("class", kind)],
    `data: ${JSON.stringify(data)}`,
    "trust:",
    ...line("root", root),
    ...(broker === ""
      ? []
      : ["broker:", ...line("url", broker), ...line("username", username), ...line("password-file", passwordFile)]),
    ...(broker === "" ? [] : line("ca-file", caFile)),
    "",
  ].join("\n");
}

/** Why an answer will not do, or undefined where it will. */
export function problemOf(question: Question, answer: string): string | undefined {
  try {
    if (question === "root") readRoot(answer);
    else parseConfiguration(configurationText({ ...STAND_INS, [question]: answer }, STAND_INS.root), "answer");
    return undefined;
  } catch (error) {
    if (error instanceof ConfigurationError) {
      const { message, expected, hint } = error.problems[0] ?? { message: error.message };
      return [message, expected === undefined ? "" : `expected ${expected}`, hint ?? ""]
        .filter((text) => text !== "")
        .join("; ");
    }
    if (error instanceof Refusal) return error.describe();
    throw error;
  }
}

export interface GivenRoot {
  readonly bytes: Uint8Array;
  readonly document: RootDocument;
}

/** @throws Refusal where it is no root, or not signed by enough of its own root keys */
export function readRoot(path: string): GivenRoot {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(readFileSync(path));
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_CONFIG", `${JSON.stringify(path)} cannot be read`, {
      found,
      hint: "name the file that `bulkhead root init` made",
    });
  }
  return { bytes, document: initialTrust(bytes).root };
}

/** Asks for what no flag has said, until each answer will do. @throws Refusal E_ABORTED by Ctrl-C or the end of input */
export async function ask(given: Partial<Record<Question, string>>, io: Io): Promise<Record<Question, string>> {
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  const interrupted = new AbortController();
  const stop = (): void => {
    interrupted.abort();
  };
  reader.on("SIGINT", stop).on("close", stop);
  io.signal.addEventListener("abort", stop);
  const answers: Partial<Record<Question, string>> = { ...given };
  try {
    for (const question of QUESTIONS) {
      while (answers[question] === undefined) {
        const fallback = DEFAULTS[question];
        const shown = fallback === undefined || fallback === "" ? "" : ` [${fallback}]`;
        const typed = await reader.question(`${PROMPTS[question]}${shown}: `, { signal: interrupted.signal });
        const answer = typed.trim() === "" ? (fallback ?? "") : typed.trim();
        const problem = problemOf(question, answer);
        if (problem === undefined) answers[question] = answer;
        else io.stdout(linesText([`  ${problem}`]));
      }
    }
    // SAFETY: the loop above has left none of them undefined.
    return answers as Record<Question, string>;
  } catch (error) {
    if (!(error instanceof Error) || error.name !== "AbortError") throw error;
    throw new Refusal("E_ABORTED", "stopped; nothing was written");
  } finally {
    reader.close();
  }
}

/** For machines: flags and defaults only. @throws Refusal E_CONFIG that names every flag that is missing or wrong */
export function withDefaults(given: Partial<Record<Question, string>>): Record<Question, string> {
  const answers = { ...DEFAULTS, ...given };
  const missing = QUESTIONS.filter((question) => answers[question] === undefined);
  if (missing.length > 0) {
    const found = `no ${missing.map((question) => `--${question}`).join(", ")}`;
    throw new Refusal("E_CONFIG", "not everything is known that must be", {
      found,
      hint: "give these flags, or run it in a terminal without --yes to be asked",
    });
  }
  return answers as Record<Question, string>;
}
