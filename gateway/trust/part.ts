/** A blob on its way: blocks appended in order, each with its digest in a journal, so that a resume trusts only whole ones. */

import { dirname } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { sha256Hex } from "../wire/digest.ts";
import { BLOCK_BYTES, blockCount, blockLength } from "../wire/update-topics.ts";
import type { FileSystem } from "./file-system.ts";

const DIGEST_BYTES = 32;
const JOURNAL_SUFFIX = ".journal";

/**
 * The journal holds 32 bytes for each block. A block that the disk lost, or kept in part, does not have its digest, and
 * is fetched again; so is what came after it.
 */
export class Part {
  readonly #fileSystem: FileSystem;
  readonly #path: string;
  readonly #size: number;
  #blocks: number;

  constructor(fileSystem: FileSystem, path: string, size: number) {
    this.#fileSystem = fileSystem;
    this.#path = path;
    this.#size = size;
    this.#blocks = this.#countGoodBlocks();
  }

  /** Index of the block that is wanted next. */
  get next(): number {
    return this.#blocks;
  }

  get isComplete(): boolean {
    return this.#blocks === blockCount(this.#size);
  }

  get percent(): number {
    return this.#size === 0 ? 100 : Math.floor((100 * this.#blocks) / blockCount(this.#size));
  }

  /** Appends the next block. It is sure to be there after `sync` only. @throws Refusal E_SIZE, E_STORE */
  append(block: Uint8Array): void {
    const expected = blockLength(this.#size, this.#blocks);
    if (block.length !== expected || expected === 0) {
      throw new Refusal(
        "E_SIZE",
        `block ${this.#blocks} of the wasm is longer or shorter than the signed size allows`,
        {
          expected: `${expected} bytes`,
          found: `${block.length} bytes`,
        },
      );
    }
    this.#fileSystem.writeAt(this.#path, this.#blocks * BLOCK_BYTES, block);
    const digest = Uint8Array.fromHex(sha256Hex(block));
    this.#fileSystem.writeAt(this.#path + JOURNAL_SUFFIX, this.#blocks * DIGEST_BYTES, digest);
    this.#blocks++;
  }

  sync(): void {
    this.#fileSystem.syncFile(this.#path);
    this.#fileSystem.syncFile(this.#path + JOURNAL_SUFFIX);
    this.#fileSystem.syncFolder(dirname(this.#path));
  }

  /** The whole of it, as it is on the disk. @throws Refusal E_STORE where the disk has lost some of it */
  complete(): Uint8Array {
    const bytes = this.#size === 0 ? new Uint8Array() : this.#fileSystem.read(this.#path);
    if (bytes?.length === this.#size) return bytes;
    throw new Refusal("E_STORE", "a download is not on the disk with all its bytes", {
      expected: `${this.#size} bytes`,
      found: `${bytes?.length ?? 0} bytes`,
    });
  }

  moveTo(path: string): void {
    if (this.#size === 0) this.#fileSystem.write(this.#path, new Uint8Array());
    else this.sync();
    this.#fileSystem.rename(this.#path, path);
    this.#fileSystem.remove(this.#path + JOURNAL_SUFFIX);
  }

  discard(): void {
    this.#fileSystem.remove(this.#path);
    this.#fileSystem.remove(this.#path + JOURNAL_SUFFIX);
    this.#blocks = 0;
  }

  #countGoodBlocks(): number {
    const journal = this.#fileSystem.read(this.#path + JOURNAL_SUFFIX) ?? new Uint8Array();
    const data = this.#fileSystem.read(this.#path) ?? new Uint8Array();
    const limit = Math.min(Math.floor(journal.length / DIGEST_BYTES), blockCount(this.#size));
    let good = 0;
    while (good < limit && isGoodBlock(data, journal, this.#size, good)) good++;
    this.#cut(data.length, Math.min(good * BLOCK_BYTES, this.#size));
    return good;
  }

  /** What lies behind the good blocks is cut off, so that a shorter rest cannot leave bytes of it behind. */
  #cut(length: number, good: number): void {
    if (length > good) this.#fileSystem.truncate(this.#path, good);
  }
}

function isGoodBlock(data: Uint8Array, journal: Uint8Array, size: number, index: number): boolean {
  const length = blockLength(size, index);
  const block = data.subarray(index * BLOCK_BYTES, index * BLOCK_BYTES + length);
  const digest = journal.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES);
  return block.length === length && sha256Hex(block) === digest.toHex();
}
