/** What `bulkhead doctor` finds: one thing each, how bad it is, and what to do about it. */

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
