/** Proportional set sizes of processes: the memory that each would give back, shared pages shared out. */
import { readdirSync, readFileSync } from "node:fs";

/** PSS in kB. @throws where the process is gone, or the kernel does not tell. */
export function proportionalSetKilobytes(processId: number): number {
  const text = readFileSync(`/proc/${processId}/smaps_rollup`, "utf8");
  const found = /^Pss:\s+(\d+) kB/m.exec(text)?.[1];
  if (found === undefined) throw new Error(`the kernel does not tell the PSS of process ${processId}`);
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
