/** Type-checks the AssemblyScript of the modules: each is compiled from its entry file, and nothing is written. */
import { existsSync, globSync } from "node:fs";
import path from "node:path";
import { type Finding, runTool } from "./step.ts";

const COMPILER = "node_modules/assemblyscript/bin/asc.js";

/** The entry file of every module, of the SDK, and of whatever else has an `index.ts` in a folder of its own. */
export function entryFiles(root: string): string[] {
  return globSync("modules/*/index.ts", { cwd: root }).sort();
}

export async function checkAssemblyScript(root: string): Promise<Finding> {
  const config = existsSync(path.join(root, "asconfig.json")) ? ["--config", "asconfig.json"] : [];
  const entries = entryFiles(root);
  const failures: string[] = [];
  for (const entry of entries) {
    const finding = await runTool(root, COMPILER, entry, "--noEmit", "--noColors", ...config);
    if (!finding.ok) failures.push(`${entry}:\n${finding.details}`);
  }
  return {
    ok: failures.length === 0 && entries.length > 0,
    summary: failures.length === 0 ? `${entries.length} entry files` : `${failures.length} of ${entries.length} fail`,
    details: failures.join("\n"),
  };
}
