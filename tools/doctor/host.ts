/** Checks of the machine itself: clock, address space, versions, disk. Each takes what it looks at, so that tests can break it. */
import { statfsSync, statSync } from "node:fs";
import { release } from "node:os";
import { dirname } from "node:path";
import type { Finding } from "./finding.ts";
import { failure, ok, warning } from "./finding.ts";

const YEAR_SECONDS = 365 * 24 * 3600;
/** Below this an update that brings the largest module, twice, may not fit any more. */
const LOW_DISK_BYTES = 200 * 2 ** 20;
const NO_DISK_BYTES = 20 * 2 ** 20;
const LOW_SHARE = 0.05;
const NEEDED_MAJOR = 26;

/** `floor`: seconds since 1970 that it must be later than. `isSynchronized` is undefined where nobody knows. */
export function checkClock(now: number, floor: number, isSynchronized: boolean | undefined): Finding[] {
  const date = new Date(now * 1000).toISOString().slice(0, 19);
  if (now < floor) {
    const least = new Date(floor * 1000).toISOString().slice(0, 10);
    const remedy = "let it reach a time server (timedatectl, systemd-timesyncd), or give it a clock battery";
    return [failure("clock", `it is ${date} here, earlier than the root envelope of ${least}`, remedy)];
  }
  if (isSynchronized === false) {
    const remedy = "see `timedatectl timesync-status`; a Pi has no clock battery, and dates guard updates";
    return [warning("clock", `${date} UTC, not synchronized with a time server`, remedy)];
  }
  return [ok("clock", `${date} UTC${isSynchronized === true ? ", synchronized" : ""}`)];
}

/** As `tools/launch/address-space.js` measures it. */
export function checkAddressSpace(space: { readonly limitBytes: number; readonly text: string }): Finding[] {
  if (space.limitBytes === Infinity) return [ok("address-space", space.text)];
  return [
    warning(
      "address-space",
      space.text,
      "take the limit away (ulimit -v, LimitAS=): modules reserve, and do not use, address space",
    ),
  ];
}

export function checkVersions(version: string, node: string, architecture: string): Finding[] {
  const text = `bulkhead ${version}, Node ${node}, Linux ${release()} on ${architecture}`;
  if (Number.parseInt(node, 10) < NEEDED_MAJOR) {
    return [failure("versions", text, `Node ${NEEDED_MAJOR} is needed: start it by the command bulkhead`)];
  }
  if (architecture === "x64" || architecture === "arm64") return [ok("versions", text)];
  return [failure("versions", text, "a 64-bit system is needed: Raspberry Pi OS 64-bit, or Debian amd64")];
}

export interface DiskState {
  readonly freeBytes: number;
  readonly bytes: number;
  readonly freeFiles: number;
  readonly files: number;
}

/** Of the disk that holds a folder, or the nearest one above it that is there. */
export function diskState(folder: string): DiskState {
  if (statSync(folder, { throwIfNoEntry: false }) === undefined && dirname(folder) !== folder)
    return diskState(dirname(folder));
  const { bavail, bsize, blocks, ffree, files } = statfsSync(folder);
  return { freeBytes: bavail * bsize, bytes: blocks * bsize, freeFiles: ffree, files };
}

export function checkDisk(folder: string, { freeBytes, bytes, freeFiles, files }: DiskState): Finding[] {
  const text = `${mebibytes(freeBytes)} MiB of ${mebibytes(bytes)} are free where ${folder} is`;
  const remedy = "see `du -xh / | sort -h | tail` for what fills it; journalctl --vacuum-size=50M often helps";
  if (freeBytes < NO_DISK_BYTES || (files > 0 && freeFiles === 0)) {
    return [failure("disk", freeFiles === 0 && files > 0 ? `${text}, and no room for one more file` : text, remedy)];
  }
  const isLow = freeBytes < LOW_DISK_BYTES || freeBytes < bytes * LOW_SHARE;
  return [isLow && freeBytes < 10 * LOW_DISK_BYTES ? warning("disk", text, remedy) : ok("disk", text)];
}

/** Seconds since 1970. A root that ends soon must be followed while the old one still counts. */
export function checkExpiry(expires: number, now: number): Finding[] {
  const date = new Date(expires * 1000).toISOString().slice(0, 10);
  const remedy = "sign the next root with `bulkhead root rotate`, and bring it here with `bulkhead root publish`";
  if (now > expires)
    return [failure("trust", `the root has expired on ${date}: no update is taken, modules go on`, remedy)];
  return now > expires - YEAR_SECONDS / 12 ? [warning("trust", `the root expires on ${date}`, remedy)] : [];
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
