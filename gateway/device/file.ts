/** The interface host of `file`: each binding is one path, opened so that nothing can be slipped in its place. */
import { constants } from "node:fs";
import { open, realpath, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { posix } from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { replacementPath } from "../wire/permissions.ts";

/** Files of /proc and /sys have no size and change while they are read: one reading takes in all of it, up to this. */
const PSEUDO_FILE_BYTES = 1024 * 1024;
/** What a first piece of a pseudo file may be; most are far smaller. A buffer of the whole bound for each reading would
 * keep tens of MiB in use between two collections. */
const FIRST_PIECE_BYTES = 8192;

/** O_NONBLOCK: opening a FIFO that nobody writes to would otherwise hang a thread of the pool for ever. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const OVERWRITE_FLAGS = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** O_SYNC in place of fsync, which Node's permission model does not allow: a write returns when it is on the disk. */
const CREATE_FLAGS =
  constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW | constants.O_SYNC;

const RESULT_OF_ERRNO: Readonly<Record<string, "not-found" | "denied" | "quota" | "invalid">> = {
  ENOENT: "not-found",
  ENOTDIR: "not-found",
  EACCES: "denied",
  EPERM: "denied",
  ELOOP: "denied",
  EISDIR: "denied",
  ENXIO: "denied",
  ERR_ACCESS_DENIED: "denied",
  ENOSPC: "quota",
  EDQUOT: "quota",
  EINVAL: "invalid",
};

export class FileHost implements InterfaceHost {
  /** The content of a pseudo file as it was when its reading began, by binding. */
  readonly #snapshots = new Map<number, Uint8Array>();
  /** Writes of one path go one after the other. */
  readonly #writes = new Map<string, Promise<unknown>>();

  bind({ parameters }: HostBinding): void {
    const { path } = parameters;
    if (typeof path === "string" && path.startsWith("/") && posix.normalize(path) === path && !path.endsWith("/"))
      return;
    throw new Refusal("E_CONFIG", "not a plain absolute path", { found: String(path) });
  }

  unbind({ id }: HostBinding): void {
    this.#snapshots.delete(id);
  }

  async request({ binding, operation, numbers, bytes, capacity }: HostRequest): Promise<HostAnswer> {
    const path = String(binding.parameters["path"]);
    try {
      if (operation === "read") return await this.#read(binding.id, path, numbers[0] ?? 0, capacity);
      return await this.#write(path, bytes[0] ?? new Uint8Array());
    } catch (error) {
      const name = RESULT_OF_ERRNO[(error as NodeJS.ErrnoException).code ?? ""];
      if (name !== undefined) return failed(name);
      throw error;
    }
  }

  async #read(id: number, path: string, offset: number, capacity: number): Promise<HostAnswer> {
    if (offset < 0) return failed("invalid");
    const bytes = isPseudo(path)
      ? await this.#readPseudo(id, path, offset, capacity)
      : await readRegular(path, offset, capacity);
    return bytes === undefined ? failed("denied") : { result: bytes.length, bytes };
  }

  async #readPseudo(id: number, path: string, offset: number, capacity: number): Promise<Uint8Array | undefined> {
    const kept = offset === 0 ? undefined : this.#snapshots.get(id);
    const content = kept ?? (await readWhole(path, PSEUDO_FILE_BYTES));
    if (content === undefined) return undefined;
    const end = offset + capacity;
    if (end >= content.length) this.#snapshots.delete(id);
    else this.#snapshots.set(id, content);
    return content.subarray(offset, end);
  }

  async #write(path: string, bytes: Uint8Array): Promise<HostAnswer> {
    const before = this.#writes.get(path) ?? Promise.resolve();
    const writing = before
      .catch(() => undefined)
      .then(() => (isPseudo(path) ? overwrite(path, bytes) : replace(path, bytes)));
    this.#writes.set(path, writing);
    try {
      return (await writing) ? { result: bytes.length } : failed("denied");
    } finally {
      if (this.#writes.get(path) === writing) this.#writes.delete(path);
    }
  }
}

function isPseudo(path: string): boolean {
  return path.startsWith("/proc/") || path.startsWith("/sys/");
}

/**
 * That no folder on the way is a symbolic link: the grant then says where the bytes really go. /proc and /sys are full of
 * the kernel's own links, which must not lead out of them (`/proc/self/root`).
 * @throws Refusal E_CAP
 */
async function expectStraight(path: string): Promise<void> {
  const real = await realpath(path);
  if (real === path || (isPseudo(path) && isPseudo(real))) return;
  throw new Refusal("E_CAP", `${path} leads through a symbolic link`, { found: real, hint: "grant that path itself" });
}

/** Up to `length` bytes from `offset`; undefined where the path is no regular file. */
async function readRegular(path: string, offset: number, length: number): Promise<Uint8Array | undefined> {
  const file = await open(path, READ_FLAGS);
  try {
    await expectStraight(path);
    if (!(await file.stat()).isFile()) return undefined;
    return await readFully(file, offset, length);
  } finally {
    await file.close();
  }
}

/** A file from its beginning to its end, up to `limit` bytes; undefined where the path is no regular file. */
async function readWhole(path: string, limit: number): Promise<Uint8Array | undefined> {
  const file = await open(path, READ_FLAGS);
  try {
    await expectStraight(path);
    if (!(await file.stat()).isFile()) return undefined;
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (let room = FIRST_PIECE_BYTES; length < limit; room = Math.min(room * 2, limit - length)) {
      const piece = await readFully(file, length, room);
      pieces.push(piece);
      length += piece.length;
      if (piece.length < room) break;
    }
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces);
  } finally {
    await file.close();
  }
}

async function readFully(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}

/** Writes to a file of /proc or /sys: each write is a command there, so it is one call and nothing is renamed. */
async function overwrite(path: string, bytes: Uint8Array): Promise<boolean> {
  const file = await open(path, OVERWRITE_FLAGS);
  try {
    await expectStraight(path);
    if (!(await file.stat()).isFile()) return false;
    const { bytesWritten } = await file.write(bytes);
    if (bytesWritten !== bytes.length) throw new Error(`${path} took ${bytesWritten} of ${bytes.length} bytes`);
    return true;
  } finally {
    await file.close();
  }
}

/** Replaces a regular file so that after a power cut it has the old content or the new, never a part. */
async function replace(path: string, bytes: Uint8Array): Promise<boolean> {
  if (!(await isReplaceable(path))) return false;
  const temporary = replacementPath(path);
  await unlink(temporary).catch(() => undefined);
  const file = await open(temporary, CREATE_FLAGS, 0o600);
  try {
    await expectStraight(temporary);
    await file.writeFile(bytes);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  return true;
}

/** True for a regular file and for nothing at all; not for a symbolic link, a folder or a device. */
async function isReplaceable(path: string): Promise<boolean> {
  try {
    const file = await open(path, OVERWRITE_FLAGS);
    const isFile = (await file.stat()).isFile();
    await file.close();
    return isFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
}
