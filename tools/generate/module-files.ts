/** Makes the generated AssemblyScript of each module: its slots and its entry file, from its module.yaml. */
import path from "node:path";
import { moduleFolders } from "../build/build.ts";
import { generateEntry, generateSlots } from "../build/generate.ts";
import { readModuleFile } from "../build/module-file.ts";
import { PACKAGE_ROOT } from "../root.ts";

interface GeneratedFile {
  readonly path: string;
  generate(): string;
}

async function filesOf(folder: string): Promise<GeneratedFile[]> {
  const { entry, builds, settings } = await readModuleFile(folder);
  const generated = path.join(path.relative(PACKAGE_ROOT, folder), "generated");
  return builds
    .slice(0, 1)
    .flatMap(({ manifest }) => [
      { path: path.join(generated, "slots.ts"), generate: () => generateSlots(manifest) },
      { path: path.join(generated, "entry.ts"), generate: () => generateEntry(manifest, entry) },
      ...(settings === undefined ? [] : [{ path: path.join(generated, "settings.ts"), generate: () => settings }]),
    ]);
}

export async function files(): Promise<readonly GeneratedFile[]> {
  return (await Promise.all((await moduleFolders()).map(filesOf))).flat();
}
