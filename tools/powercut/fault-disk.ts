/** A disk in memory that can lose its power at any operation, and then shows what a real one may show: anything not synced. */

import { dirname } from "node:path";
import { storeRefusal } from "../../gateway/trust/index.ts";
import type { FileSystem } from "../../gateway/trust/index.ts";

/** A number from 0 up to, and without, 1. */
export type Random = () => number;

/** A small generator with a seed, so that every failure can be had again. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    // Mulberry32: good enough to choose faults.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Bytes that a disk writes as one. */
const SECTOR = 512;

/** `now` is what programs see, `safe` what is surely on the medium. */
interface Inode {
  now: Uint8Array;
  safe: Uint8Array;
}

/** A change of names that has not been synced: removals and additions that reach the medium together or not at all. */
interface NameChange {
  readonly folders: readonly string[];
  readonly removed: readonly string[];
  readonly added: readonly (readonly [string, Inode])[];
}

/**
 * Fails as disks do: `failNext` gives the errno of every writing operation from now on, `cutAt` the number of the
 * operation during which the power goes. After the cut every operation fails and changes nothing.
 */
export class FaultDisk implements FileSystem {
  readonly #random: Random;
  #names = new Map<string, Inode>();
  #safeNames = new Map<string, Inode>();
  #changes: NameChange[] = [];
  #folders = new Set<string>();
  #operations = 0;
  #cutAt = Number.POSITIVE_INFINITY;
  #isOff = false;
  #errno: string | undefined;
  #free = Number.POSITIVE_INFINITY;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Operations that write, so far. */
  get operations(): number {
    return this.#operations;
  }

  get isOff(): boolean {
    return this.#isOff;
  }

  /** The power goes during the writing operation of this number (the first is 1). */
  cutAt(operation: number): void {
    this.#cutAt = operation;
  }

  /** Every writing operation fails with this, until it is called with undefined. */
  failWith(errno: string | undefined): void {
    this.#errno = errno;
  }

  /** Bytes that may still be written; a write beyond fails with ENOSPC. */
  limitFree(bytes: number): void {
    this.#free = bytes;
  }

  /** The power comes back: what was not synced is there, not there, or there in part. */
  restart(): void {
    for (const change of this.#changes) if (this.#random() < 0.5) apply(change, this.#safeNames);
    const inodes = new Set(this.#safeNames.values());
    for (const inode of inodes) {
      inode.safe = this.#survivor(inode);
      inode.now = inode.safe.slice();
    }
    this.#names = new Map(this.#safeNames);
    this.#changes = [];
    this.#isOff = false;
    this.#operations = 0;
    this.#cutAt = Number.POSITIVE_INFINITY;
  }

  /** Changes stored bytes behind everybody's back. */
  corrupt(path: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const inode = this.#names.get(path);
    if (inode === undefined) throw storeRefusal(path, "ENOENT");
    inode.now = change(inode.now.slice());
    inode.safe = inode.now.slice();
  }

  /** Every file, in order of names. */
  get files(): readonly string[] {
    return [...this.#names.keys()].sort();
  }

  makeFolder(path: string): void {
    // Folders are made once in a gateway's life; losing them is the same as a first start.
    if (this.#folders.has(path)) return;
    this.#write(path, () => this.#folders.add(path));
  }

  list(path: string): string[] {
    this.#requirePower(path);
    return this.files.filter((name) => dirname(name) === path).map((name) => name.slice(path.length + 1));
  }

  read(path: string): Uint8Array | undefined {
    this.#requirePower(path);
    return this.#names.get(path)?.now.slice();
  }

  size(path: string): number | undefined {
    this.#requirePower(path);
    return this.#names.get(path)?.now.length;
  }

  write(path: string, bytes: Uint8Array): void {
    this.#write(path, (share) => {
      this.#spend(path, bytes.length);
      this.#inode(path).now = bytes.slice(0, Math.floor(bytes.length * share));
    });
  }

  writeAt(path: string, offset: number, bytes: Uint8Array): void {
    this.#write(path, (share) => {
      this.#spend(path, bytes.length);
      const inode = this.#inode(path);
      const written = bytes.subarray(0, Math.floor(bytes.length * share));
      const grown = new Uint8Array(Math.max(inode.now.length, offset + written.length));
      grown.set(inode.now);
      grown.set(written, offset);
      inode.now = grown;
    });
  }

  truncate(path: string, length: number): void {
    this.#write(path, () => {
      const inode = this.#inode(path);
      inode.now = inode.now.slice(0, length);
    });
  }

  syncFile(path: string): void {
    this.#write(path, (share) => {
      const inode = this.#names.get(path);
      if (inode === undefined) throw storeRefusal(path, "ENOENT");
      if (share === 1) inode.safe = inode.now.slice();
    });
  }

  syncFolder(path: string): void {
    this.#write(path, (share) => {
      if (share < 1) return;
      for (const change of this.#changes) if (change.folders.includes(path)) apply(change, this.#safeNames);
      this.#changes = this.#changes.filter(({ folders }) => !folders.includes(path));
    });
  }

  rename(from: string, to: string): void {
    this.#write(to, (share) => {
      const inode = this.#names.get(from);
      if (inode === undefined) throw storeRefusal(from, "ENOENT");
      if (share < 1) return;
      this.#change({ folders: [dirname(from), dirname(to)], removed: [from], added: [[to, inode]] });
    });
  }

  remove(path: string): void {
    this.#write(path, (share) => {
      if (share < 1 || !this.#names.has(path)) return;
      this.#change({ folders: [dirname(path)], removed: [path], added: [] });
    });
  }

  freeBytes(path: string): number {
    this.#requirePower(path);
    return this.#free;
  }

  /** Does the operation whole, or, if the power goes during it, to a random share below 1. */
  #write(path: string, operation: (share: number) => void): void {
    this.#requirePower(path);
    if (this.#errno !== undefined) throw storeRefusal(path, this.#errno);
    this.#operations++;
    if (this.#operations < this.#cutAt) {
      operation(1);
      return;
    }
    operation(this.#random());
    this.#isOff = true;
    throw storeRefusal(path, "power cut");
  }

  #requirePower(path: string): void {
    if (this.#isOff) throw storeRefusal(path, "power cut");
  }

  #spend(path: string, bytes: number): void {
    if (bytes > this.#free) throw storeRefusal(path, "ENOSPC");
    this.#free -= bytes;
  }

  #inode(path: string): Inode {
    const known = this.#names.get(path);
    if (known !== undefined) return known;
    const inode: Inode = { now: new Uint8Array(), safe: new Uint8Array() };
    this.#change({ folders: [dirname(path)], removed: [], added: [[path, inode]] });
    return inode;
  }

  #change(change: NameChange): void {
    apply(change, this.#names);
    this.#changes.push(change);
  }

  /** Of what was written and not synced, each sector is on the medium or is not; the length is the old or the new one. */
  #survivor({ now, safe }: Inode): Uint8Array {
    const survivor = new Uint8Array(this.#random() < 0.5 ? now.length : safe.length);
    for (let at = 0; at < survivor.length; at += SECTOR) {
      const source = this.#random() < 0.5 ? now : safe;
      survivor.set(source.subarray(at, Math.min(at + SECTOR, survivor.length)), at);
    }
    return survivor;
  }
}

function apply({ removed, added }: NameChange, names: Map<string, Inode>): void {
  for (const path of removed) names.delete(path);
  for (const [path, inode] of added) names.set(path, inode);
}
