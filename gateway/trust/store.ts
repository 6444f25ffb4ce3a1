/** The update agent's storage: immutable content-addressed files and a two-slot state file that survive any power cut. */

import { join } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { isDigest, sha256Hex } from "../wire/digest.ts";
import { replaceFile, TEMPORARY_SUFFIX } from "./file-system.ts";
import type { FileSystem } from "./file-system.ts";
import { Part } from "./part.ts";
import { decodeSlot, EMPTY_STATE, encodeSlot } from "./store-state.ts";
import type { ModuleSet, Slot, StoreState } from "./store-state.ts";

/** What a folder of content-addressed files holds. */
export type ContentKind = "blobs" | "envelopes";

/** How a state slot was found at start. */
export type SlotCondition = "good" | "absent" | "corrupt";

/** Room that must stay on the disk after a download: two state slots and the database's next pages. */
export const RESERVED_BYTES = 4 << 20;

const FOLDERS: readonly string[] = ["", "blobs", "envelopes", "parts", "quarantine"];
const SLOTS = [0, 1] as const;

/**
 * ```
 * folder/blobs/<sha256>       wasm, never changed once there
 * folder/envelopes/<sha256>   envelopes of any kind, without wasm
 * folder/parts/<sha256>       what has arrived of a blob, with a journal of block digests beside it
 * folder/quarantine/          what failed its digest, for people to look at
 * folder/state.0, state.1     the state of the last even and of the last odd generation
 * ```
 * A write goes to the slot that does not hold the newest good generation, so that one is never at risk.
 */
export class Store {
  readonly folder: string;
  readonly slots: readonly SlotCondition[];
  readonly #fileSystem: FileSystem;
  #slots: (Slot | undefined)[] = [];

  constructor(fileSystem: FileSystem, folder: string) {
    this.folder = folder;
    this.#fileSystem = fileSystem;
    this.#makeFolders();
    this.slots = SLOTS.map((index) => this.#readSlot(index));
  }

  get generation(): number {
    return this.#newest()?.generation ?? 0;
  }

  get state(): StoreState {
    return this.#newest()?.state ?? EMPTY_STATE;
  }

  /** Makes the changed state the one that the next boot finds. @throws Refusal E_STORE, and nothing has changed */
  save(changes: Partial<StoreState>): void {
    const slot: Slot = { generation: this.generation + 1, state: { ...this.state, ...changes } };
    const index = slot.generation % 2;
    replaceFile(this.#fileSystem, this.#slotPath(index), encodeSlot(slot.generation, slot.state));
    this.#slots[index] = slot;
  }

  /** The bytes of this digest, or undefined where there are none; bytes that do not have it go into quarantine. */
  read(kind: ContentKind, digest: string): Uint8Array | undefined {
    const bytes = this.#fileSystem.read(this.#path(kind, digest));
    if (bytes === undefined || sha256Hex(bytes) === digest) return bytes;
    this.quarantine(kind, digest);
    return undefined;
  }

  /** Is there a file of this name? Only `read` tells whether it still has its digest. */
  has(kind: ContentKind, digest: string): boolean {
    return this.#fileSystem.size(this.#path(kind, digest)) !== undefined;
  }

  /** Stores bytes under their digest, durably. @throws Refusal E_DIGEST, E_STORE */
  put(kind: ContentKind, digest: string, bytes: Uint8Array): void {
    if (sha256Hex(bytes) !== digest)
      throw new Refusal("E_DIGEST", `bytes for ${kind} do not have the digest ${digest}`);
    if (this.read(kind, digest) !== undefined) return;
    replaceFile(this.#fileSystem, this.#path(kind, digest), bytes);
  }

  /** The download of a blob, continued where its last good block ended. */
  part(digest: string, size: number): Part {
    return new Part(this.#fileSystem, this.#path("parts", digest), size);
  }

  /** Turns a complete part into a blob, and returns the very bytes that were hashed. @throws Refusal E_DIGEST, E_STORE */
  finishPart(digest: string, part: Part): Uint8Array {
    const bytes = part.complete();
    if (sha256Hex(bytes) !== digest) {
      part.discard();
      throw new Refusal("E_DIGEST", "the wasm that arrived does not have the signed digest", {
        expected: digest,
        found: sha256Hex(bytes),
        hint: "push it again; if that does not help, look at who may publish below bulkhead/v1/blob/",
      });
    }
    part.moveTo(this.#path("blobs", digest));
    this.#fileSystem.syncFolder(join(this.folder, "blobs"));
    return bytes;
  }

  /** Takes a file out of use without destroying the evidence. A disk that refuses even that is no reason to stop. */
  quarantine(kind: ContentKind, digest: string): void {
    const path = this.#path(kind, digest);
    try {
      this.#fileSystem.rename(path, join(this.folder, "quarantine", `${kind}-${digest}`));
      this.#fileSystem.syncFolder(join(this.folder, kind));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  /** What a download of this blob has yet to write: what of it is on the disk already takes no more room. */
  missingBytes(digest: string, size: number): number {
    if (this.has("blobs", digest)) return 0;
    return Math.max(0, size - (this.#fileSystem.size(this.#path("parts", digest)) ?? 0));
  }

  /**
   * Evidence goes before an update does: the quarantine is emptied where it stands in the way.
   * @throws Refusal E_STORE where a download of so many bytes would fill the disk
   */
  requireRoom(bytes: number): void {
    if (this.#hasRoom(bytes)) return;
    const quarantine = join(this.folder, "quarantine");
    for (const name of this.#fileSystem.list(quarantine)) this.#fileSystem.remove(join(quarantine, name));
    if (this.#hasRoom(bytes)) return;
    const free = this.#fileSystem.freeBytes(this.folder);
    throw new Refusal("E_STORE", "the disk has no room for this update", {
      expected: `${bytes + RESERVED_BYTES} bytes free`,
      found: `${free} bytes`,
      hint: "free some space on the gateway's disk; the gateway tries again by itself",
    });
  }

  /**
   * Removes what no set of either slot refers to and nobody keeps. Both slots count: if the newest is lost, the other's
   * sets are what boots.
   */
  collect(keep: ReadonlySet<string>): number {
    const wanted = new Set(keep);
    for (const slot of this.#slots) if (slot !== undefined) addDigests(slot.state, wanted);
    const removed = (["blobs", "envelopes", "parts"] as const).map((folder) => this.#collectFolder(folder, wanted));
    return removed.reduce((sum, count) => sum + count, 0);
  }

  #collectFolder(folder: "blobs" | "envelopes" | "parts", wanted: ReadonlySet<string>): number {
    const unwanted = this.#fileSystem.list(join(this.folder, folder)).filter((name) => {
      const isLeftOver = name.endsWith(TEMPORARY_SUFFIX);
      return isLeftOver || !wanted.has(name.slice(0, 64));
    });
    for (const name of unwanted) this.#fileSystem.remove(join(this.folder, folder, name));
    return unwanted.length;
  }

  #hasRoom(bytes: number): boolean {
    return this.#fileSystem.freeBytes(this.folder) >= bytes + RESERVED_BYTES;
  }

  #newest(): Slot | undefined {
    const [even, odd] = this.#slots;
    if (even === undefined || odd === undefined) return even ?? odd;
    return even.generation > odd.generation ? even : odd;
  }

  #makeFolders(): void {
    for (const name of FOLDERS) {
      try {
        this.#fileSystem.makeFolder(join(this.folder, name));
      } catch (error) {
        // A read-only disk must not keep the gateway from running what is on it.
        if (!(error instanceof Refusal)) throw error;
      }
    }
  }

  #readSlot(index: number): SlotCondition {
    try {
      const bytes = this.#fileSystem.read(this.#slotPath(index));
      if (bytes === undefined) return "absent";
      const slot = decodeSlot(bytes);
      if (slot.generation % 2 !== index) return "corrupt";
      this.#slots[index] = slot;
      return "good";
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return "corrupt";
    }
  }

  #slotPath(index: number): string {
    return join(this.folder, `state.${index}`);
  }

  #path(kind: ContentKind | "parts", digest: string): string {
    if (!isDigest(digest)) throw new Refusal("E_DIGEST", "this is not a digest", { found: digest.slice(0, 80) });
    return join(this.folder, kind, digest);
  }
}

function addDigests(state: StoreState, digests: Set<string>): void {
  const sets: (ModuleSet | undefined)[] = [state.installed, state.previous, state.candidate?.set];
  for (const set of sets) {
    if (set === undefined) continue;
    for (const { envelope, blob } of set.modules.values()) digests.add(envelope).add(blob);
    if (set.configuration !== null) digests.add(set.configuration);
    if (set.plan !== null) digests.add(set.plan);
  }
}
