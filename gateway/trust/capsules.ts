/** The capsules on disk: a folder for each module, bounded in number and bytes; the oldest give way. */
import { join } from "node:path";
import type { RecordedFailure } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { CAPSULE_BYTES, CAPSULE_SUFFIX, encodeCapsule, formOf } from "../wire/capsule.ts";
import type { CapsuleNotice } from "../wire/trust-protocol.ts";
import type { FileSystem } from "./file-system.ts";
import { replaceFile } from "./file-system.ts";
import { RESERVED_BYTES } from "./store.ts";

/** Of one module: its last failures, and the first of them after a good while are among these as long as it is not in a loop. */
const MODULE_CAPSULES = 8;
/** Of all modules together. */
const ALL_BYTES = 8 * CAPSULE_BYTES;

interface KeptCapsule {
  readonly path: string;
  /** Names begin with the time, so that they sort by it. */
  readonly name: string;
  readonly bytes: number;
}

export class CapsuleStore {
  readonly #fileSystem: FileSystem;
  readonly #folder: string;
  readonly #recipient: Uint8Array | undefined;
  readonly #now: () => number;

  /** @param recipient the operator's X25519 key to which each capsule is sealed */
  constructor(fileSystem: FileSystem, folder: string, recipient: Uint8Array | undefined, now: () => number) {
    this.#fileSystem = fileSystem;
    this.#folder = folder;
    this.#recipient = recipient;
    this.#now = now;
  }

  /** Writes one, and removes what it is one too many for. @throws Refusal E_STORE where the disk refuses or is full */
  keep(failure: RecordedFailure): CapsuleNotice {
    const { name: module, generation } = failure;
    const time = Math.max(0, Math.round(this.#now()));
    const capsule = { ...failure, time, architecture: process.arch, isRedacted: false };
    const bytes = encodeCapsule(capsule, this.#recipient);
    const folder = join(this.#folder, module);
    this.#fileSystem.makeFolder(folder);
    this.#makeRoom(module, bytes.length);
    const free = this.#fileSystem.freeBytes(folder);
    if (free < bytes.length + RESERVED_BYTES) {
      const detail = { expected: `${bytes.length + RESERVED_BYTES} bytes free`, found: `${free}` };
      throw new Refusal("E_STORE", "there is no room for a capsule", detail);
    }
    const path = join(folder, `${String(time).padStart(15, "0")}-${generation}${CAPSULE_SUFFIX}`);
    replaceFile(this.#fileSystem, path, bytes);
    return { module, path, bytes: bytes.length, form: formOf(capsule, this.#recipient) };
  }

  #makeRoom(module: string, bytes: number): void {
    const own = this.#list(module);
    for (const { path } of own.splice(0, own.length - MODULE_CAPSULES + 1)) this.#fileSystem.remove(path);
    // Who has the most gives way: a module that fails with large memories pushes out nobody's but its own.
    const kept = this.#fileSystem.list(this.#folder).map((each) => {
      return { capsules: this.#list(each), extra: each === module ? bytes : 0 };
    });
    const sizes = kept.map(({ capsules, extra }) => capsules.reduce((sum, each) => sum + each.bytes, extra));
    while (sizes.reduce((sum, each) => sum + each, 0) > ALL_BYTES) {
      const most = sizes.indexOf(Math.max(...sizes));
      const oldest = kept[most]?.capsules.shift();
      if (oldest === undefined) return;
      this.#fileSystem.remove(oldest.path);
      sizes[most] = (sizes[most] ?? 0) - oldest.bytes;
    }
  }

  /** A module's capsules, the oldest first. */
  #list(module: string): KeptCapsule[] {
    const folder = join(this.#folder, module);
    return this.#fileSystem.list(folder).flatMap((name) => {
      const path = join(folder, name);
      return name.endsWith(CAPSULE_SUFFIX) ? [{ path, name, bytes: this.#fileSystem.size(path) ?? 0 }] : [];
    });
  }
}
