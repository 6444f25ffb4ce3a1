/** What Linux tells of running processes: memory, processor time, files, threads, what they wrote to disks. */
import { readdirSync, readFileSync } from "node:fs";

/** PSS in kB: the memory that a process would give back, shared pages shared out. @throws where the process is gone. */
export function proportionalSetKilobytes(processId: number): number {
  return rollup(processId, "Pss");
}

/** The part of the PSS that is no file's: heaps, stacks, WebAssembly memories and code made at run time, in kB. */
export function anonymousKilobytes(processId: number): number {
  return rollup(processId, "Pss_Anon");
}

function rollup(processId: number, field: string): number {
  return numberAfter(readFileSync(`/proc/${processId}/smaps_rollup`, "utf8"), field, processId);
}

function numberAfter(text: string, field: string, processId: number): number {
  const found = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(text)?.[1];
  if (found === undefined) throw new Error(`the kernel does not tell ${field} of process ${processId}`);
  return Number(found);
}

/** The processes that a process has started, in order of their start, theirs included. */
export function descendants(processId: number): number[] {
  const children = readdirSync(`/proc/${processId}/task`).flatMap((thread) =>
    readFileSync(`/proc/${processId}/task/${thread}/children`, "utf8")
      .split(" ")
      .filter((text) => text !== "")
      .map(Number),
  );
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** The command line of a process, its parts joined by spaces. */
export function commandLine(processId: number): string {
  return readFileSync(`/proc/${processId}/cmdline`, "utf8").replaceAll("\0", " ").trim();
}

export function fileDescriptors(processId: number): number {
  return readdirSync(`/proc/${processId}/fd`).length;
}

export function threads(processId: number): number {
  return readdirSync(`/proc/${processId}/task`).length;
}

/** Mapped regions: what leaks of memories, workers or libraries shows in first. */
export function mappings(processId: number): number {
  return readFileSync(`/proc/${processId}/maps`, "utf8").split("\n").length - 1;
}

/** Linux counts processor time in hundredths of a second for programs, whatever the kernel's own tick. */
const TICKS_A_SECOND = 100;

/** Seconds of processor time, of all threads, in user and kernel mode. */
export function processorSeconds(processId: number): number {
  const stat = readFileSync(`/proc/${processId}/stat`, "utf8");
  // The second field is a name in parentheses that may hold anything; utime and stime are the 14th and 15th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
}

/** Bytes that the process has caused to be written to a disk, so far. */
export function bytesWritten(processId: number): number {
  return numberAfter(readFileSync(`/proc/${processId}/io`, "utf8"), "write_bytes", processId);
}
