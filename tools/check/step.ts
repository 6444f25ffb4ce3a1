/** What a step of the check is, and how a tool of another package is run as one. */
import { spawn } from "node:child_process";
import path from "node:path";
import { PACKAGE_ROOT } from "../root.ts";

/** What a step found: a word or two for its line, and on failure everything that there is to read. */
export interface Finding {
  readonly ok: boolean;
  readonly summary: string;
  readonly details: string;
}

export interface Step {
  readonly name: string;
  readonly purpose: string;
  run(): Finding | Promise<Finding>;
}

/** Runs a JavaScript tool of this package under the current Node, on the tree at `root`; it passes if it exits with 0. */
export function runTool(root: string, script: string, ...parameters: string[]): Promise<Finding> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [path.join(PACKAGE_ROOT, script), ...parameters], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const collect = (chunk: string) => (output += chunk);
    child.stdout.setEncoding("utf8").on("data", collect);
    child.stderr.setEncoding("utf8").on("data", collect);
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const ok = code === 0;
      resolve({ ok, summary: ok ? "" : `exit ${code ?? signal ?? "unknown"}`, details: output.trim() });
    });
  });
}

/** The same for a script of tools/check/, whose output on success is the summary: it loads the code that it checks. */
export async function runOwn(script: string): Promise<Finding> {
  const finding = await runTool(PACKAGE_ROOT, script);
  return finding.ok ? { ...finding, summary: finding.details } : finding;
}

/** Ends such a script. */
export function tell({ ok, summary, details }: Finding): void {
  process.stdout.write(`${ok ? summary : details}\n`);
  process.exitCode = ok ? 0 : 1;
}
