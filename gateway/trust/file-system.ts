/** The few file-system operations that the store is built on, so that a fault layer can stand in for the disk. */

import * as fs from "node:fs";
import { dirname } from "node:path";
import { Refusal } from "../../kernel/index.ts";

/**
 * Each operation is one step of a power cut. Only what was followed by `syncFile` (contents) or `syncFolder` (names)
 * is sure to be there afterwards. Every failure is a Refusal E_STORE.
 */
export interface FileSystem {
  makeFolder(path: string): void;
  /** Names in a folder; none where it does not exist. */
  list(path: string): string[];
  /** The contents, or undefined where there is no such file. */
  read(path: string): Uint8Array | undefined;
  /** Bytes of a file, or undefined where there is none. */
  size(path: string): number | undefined;
  /** Creates or replaces a file; a link that stands in its place is not followed, for root may be the one who writes. */
  write(path: string, bytes: Uint8Array, mode?: number): void;
  /** Writes at an offset of a file, which is created if need be. */
  writeAt(path: string, offset: number, bytes: Uint8Array): void;
  truncate(path: string, length: number): void;
  syncFile(path: string): void;
  syncFolder(path: string): void;
  rename(from: string, to: string): void;
  /** Removes a file; not an error where there is none. */
  remove(path: string): void;
  /** Bytes that may still be written to the disk that holds this path. */
  freeBytes(path: string): number;
}

/** The disk of this machine. */
export const nodeFileSystem: FileSystem = Object.freeze({
  makeFolder: (path: string) => attempt(path, () => void fs.mkdirSync(path, { recursive: true, mode: 0o700 })),
  list: (path: string) => attempt(path, () => absentAs([], () => fs.readdirSync(path).sort())),
  read: (path: string) => attempt(path, () => absentAs(undefined, () => new Uint8Array(fs.readFileSync(path)))),
  size: (path: string) => attempt(path, () => fs.statSync(path, { throwIfNoEntry: false })?.size),
  write: (path: string, bytes: Uint8Array, mode = 0o600) =>
    attempt(path, () => {
      const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = fs.constants;
      withFile(
        path,
        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
        (file) => {
          fs.writeFileSync(file, bytes);
        },
        mode,
      );
    }),
  writeAt: (path: string, offset: number, bytes: Uint8Array) =>
    attempt(path, () => {
      withFile(path, fs.constants.O_CREAT | fs.constants.O_WRONLY, (file) => {
        writeAll(file, bytes, offset);
      });
    }),
  truncate: (path: string, length: number) =>
    attempt(path, () => {
      fs.truncateSync(path, length);
    }),
  syncFile: (path: string) =>
    attempt(path, () => {
      withFile(path, fs.constants.O_RDONLY, fs.fsyncSync);
    }),
  syncFolder: (path: string) =>
    attempt(path, () => {
      withFile(path, fs.constants.O_RDONLY, fs.fsyncSync);
    }),
  rename: (from: string, to: string) =>
    attempt(to, () => {
      fs.renameSync(from, to);
    }),
  remove: (path: string) =>
    attempt(path, () => {
      fs.rmSync(path, { force: true });
    }),
  freeBytes: (path: string) =>
    attempt(path, () => {
      const { bavail, bsize } = fs.statfsSync(path);
      return bavail * bsize;
    }),
});

/** Write, fsync, rename, fsync the folder: the file is there with all its bytes, or what was there before is. */
export function replaceFile(fileSystem: FileSystem, path: string, bytes: Uint8Array, mode?: number): void {
  const temporary = `${path}${TEMPORARY_SUFFIX}`;
  fileSystem.write(temporary, bytes, mode);
  fileSystem.syncFile(temporary);
  fileSystem.rename(temporary, path);
  fileSystem.syncFolder(dirname(path));
}

/** Files that end so were being written when the power went. */
export const TEMPORARY_SUFFIX = ".new";

function withFile(path: string, flags: number, use: (file: number) => void, mode = 0o600): void {
  const file = fs.openSync(path, flags, mode);
  try {
    use(file);
  } finally {
    fs.closeSync(file);
  }
}

function writeAll(file: number, bytes: Uint8Array, offset: number): void {
  let written = 0;
  while (written < bytes.length) {
    written += fs.writeSync(file, bytes, written, bytes.length - written, offset + written);
  }
}

function absentAs<Value>(absent: Value, operation: () => Value): Value {
  try {
    return operation();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return absent;
    throw error;
  }
}

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "free some space on the gateway's disk",
  EDQUOT: "raise the quota of the gateway's user",
  EROFS: "the disk is mounted read-only: look for disk errors in the system log, then remount it",
  EACCES: "let the gateway's user write to its data folder",
  EPERM: "let the gateway's user write to its data folder",
  EIO: "the disk is failing: replace it",
};

function attempt<Value>(path: string, operation: () => Value): Value {
  try {
    return operation();
  } catch (error) {
    throw storeRefusal(path, errorCode(error));
  }
}

/** What the store throws when the disk refuses; `errno` is a name such as ENOSPC. */
export function storeRefusal(path: string, errno: string): Refusal {
  const hint = HINTS[errno];
  return new Refusal("E_STORE", `the disk refused ${path}`, {
    found: errno,
    ...(hint === undefined ? {} : { hint }),
  });
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
}
