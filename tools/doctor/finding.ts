/** What `bulkhead doctor` finds: one thing each, how bad it is, and what to do about it. */
import { escapeControls } from "../../gateway/wire/escape.ts";

/** From harmless to hopeless. */
export const SEVERITIES = ["ok", "warning", "error"] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface Finding {
  /** What was looked at: `clock`, `disk`, `i2c-1`. */
  readonly subject: string;
  readonly severity: Severity;
  readonly text: string;
  /** What to do; there is one for everything that is not `ok`. */
  readonly remedy?: string;
}

export function ok(subject: string, text: string): Finding {
  return { subject, severity: "ok", text };
}

export function warning(subject: string, text: string, remedy: string): Finding {
  return { subject, severity: "warning", text, remedy };
}

export function failure(subject: string, text: string, remedy: string): Finding {
  return { subject, severity: "error", text, remedy };
}

/** 0 all is well, 3 it works and something should be looked at, 1 something does not work. 2 is for wrong usage. */
export function exitCode(findings: readonly Finding[]): number {
  if (findings.some(({ severity }) => severity === "error")) return 1;
  return findings.some(({ severity }) => severity === "warning") ? 3 : 0;
}

const SIGNS = Object.freeze({ ok: "ok     ", warning: "WARNING", error: "ERROR  " });
const COLOURS = Object.freeze({ ok: 32, warning: 33, error: 31 });

/** For people; a broker's and a file's texts are shown, never obeyed. */
export function findingsText(findings: readonly Finding[], isTerminal: boolean): string {
  const width = Math.max(...findings.map(({ subject }) => subject.length));
  const lines = findings.flatMap(({ subject, severity, text, remedy }) => {
    const sign = isTerminal ? `\u001b[${COLOURS[severity]}m${SIGNS[severity]}\u001b[0m` : SIGNS[severity];
    return [
      `${sign}  ${escapeControls(subject.padEnd(width))}  ${escapeControls(text)}`,
      ...(remedy === undefined ? [] : [`${" ".repeat(width + 11)}${escapeControls(remedy)}`]),
    ];
  });
  return `${lines.join("\n")}\n`;
}
