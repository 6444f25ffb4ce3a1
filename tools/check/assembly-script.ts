/** Type-checks the AssemblyScript: the SDK by itself, and each module as the build compiles it; nothing is written. */
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { moduleFolders } from "../build/build.ts";
import { compileModule } from "../build/compile.ts";
import { readModuleFile } from "../build/module-file.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { type Finding, runTool, tell } from "./step.ts";

const COMPILER = "node_modules/assemblyscript/bin/asc.js";

/** What is wrong with a module's folder, or undefined. */
async function problemOf(folder: string): Promise<string | undefined> {
  try {
    const { entry, builds, settings } = await readModuleFile(folder);
    for (const { manifest } of builds.slice(0, 1)) {
      await compileModule({ folder, entry, manifest, settings, checkOnly: true });
    }
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error.describe();
    throw error;
  }
}

/** The SDK's index as an entry file: what no module uses yet is compiled too. */
async function problemOfSdk(root: string): Promise<string | undefined> {
  const finding = await runTool(root, COMPILER, "modules/sdk/index.ts", "--noEmit", "--noColors");
  return finding.ok ? undefined : finding.details;
}

/** Checks what is below `root`. */
export async function checkModules(root: string): Promise<Finding> {
  const folders = await moduleFolders(path.join(root, "modules"));
  const problems = [await problemOfSdk(root)];
  for (const folder of folders) problems.push(await problemOf(folder));
  const found = problems.filter((problem) => problem !== undefined);
  const what = `the SDK and ${folders.length} modules`;
  return {
    ok: found.length === 0 && folders.length > 0,
    summary: found.length === 0 ? what : `${found.length} of ${what}`,
    details: found.join("\n"),
  };
}

if (import.meta.main) tell(await checkModules(PACKAGE_ROOT));
