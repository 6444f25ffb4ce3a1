/** What a gateway keeps on its disk, looked at by somebody else and never changed. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { FileSystem } from "../gateway/trust/index.ts";
import { nodeFileSystem, Store } from "../gateway/trust/index.ts";
import { Refusal } from "../kernel/index.ts";

/** Takes every write and makes none: a start counts its tries, and a look must not. */
const LOOKED_AT: FileSystem = Object.freeze({
  ...nodeFileSystem,
  makeFolder: () => undefined,
  write: () => undefined,
  writeAt: () => undefined,
  truncate: () => undefined,
  syncFile: () => undefined,
  syncFolder: () => undefined,
  rename: () => undefined,
  remove: () => undefined,
});

const NOTHING_THERE: FileSystem = Object.freeze({
  ...LOOKED_AT,
  list: () => [],
  read: () => undefined,
  size: () => undefined,
});

/** The update agent's store; one in which nothing is where this user may not look into the data folder. */
export function lookAt(dataFolder: string): { readonly store: Store; readonly isOpen: boolean } {
  const isOpen = mayRead(dataFolder);
  return { store: new Store(isOpen ? LOOKED_AT : NOTHING_THERE, join(dataFolder, "trust")), isOpen };
}

/** A folder that is not there yet hides nothing. */
function mayRead(folder: string): boolean {
  try {
    readdirSync(folder);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "EACCES");
  }
}

export function readOrRefuse(path: string): Uint8Array | Refusal {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return new Refusal("E_STORE", `${path} cannot be read`, { found, hint: "check the path in gateway.yaml" });
  }
}
