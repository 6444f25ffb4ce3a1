/** Watches a module's folder: says that something that a build reads has changed, once for a burst of changes. */
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** Editors write a file in several steps. */
const SETTLE_MS = 40;
const DEEPEST = 4;
const SOURCES = /^[^.#][^~]*\.(ts|yaml|json|wat|c|h|cddl)$/;
const NOT_SOURCES = new Set(["generated", "build", "dist", "node_modules"]);

export class SourceWatch {
  readonly #folder: string;
  readonly #onChange: (files: ReadonlySet<string>) => void;
  readonly #watchers = new Map<string, FSWatcher>();
  #changed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** `onChange` gets the names of the files, relative to their own folders. */
  constructor(folder: string, onChange: (files: ReadonlySet<string>) => void) {
    this.#folder = folder;
    this.#onChange = onChange;
    this.#look();
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  /** A watch on each folder that there is; folders come and go. */
  #look(): void {
    const folders = new Set(sourceFolders(this.#folder, DEEPEST));
    for (const [folder, watcher] of this.#watchers) {
      if (folders.has(folder)) continue;
      watcher.close();
      this.#watchers.delete(folder);
    }
    for (const folder of folders) {
      if (this.#watchers.has(folder)) continue;
      const watcher = watch(folder, (_event, name) => {
        if (name !== null) this.#note(name);
      });
      // A folder that is removed ends its watch; the next look finds out.
      watcher.on("error", () => undefined);
      this.#watchers.set(folder, watcher);
    }
  }

  #note(name: string): void {
    const isFolder = !name.includes(".") && !NOT_SOURCES.has(name);
    if ((!SOURCES.test(name) || name.endsWith(".test.ts")) && !isFolder) return;
    this.#changed.add(name);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      const changed = this.#changed;
      this.#changed = new Set();
      this.#look();
      this.#onChange(changed);
    }, SETTLE_MS);
  }
}

function sourceFolders(folder: string, depth: number): string[] {
  if (depth === 0) return [];
  try {
    const inside = readdirSync(folder, { withFileTypes: true }).filter(
      (entry) => entry.isDirectory() && !entry.name.startsWith(".") && !NOT_SOURCES.has(entry.name),
    );
    return [folder, ...inside.flatMap(({ name }) => sourceFolders(join(folder, name), depth - 1))];
  } catch {
    return [];
  }
}
