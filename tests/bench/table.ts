/** Rows for people, as a table of at most 120 columns with the baselines beside each figure; and for programs. */
import type { Machine } from "./machine.ts";
import type { Row } from "./meter.ts";
import type { BenchRow } from "./statistics.ts";

const WIDTH = 120;
const NAME = 30;
const FIGURE = 11;

/** Four digits, with a prefix for rates; times in the row's unit. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const [size, suffix] = value >= 1e6 ? [1e6, " M"] : value >= 1e5 ? [1e3, " k"] : [1, ""];
  return `${Number((value / size).toPrecision(4))}${suffix}`;
}

export function header(): string {
  const columns = ["value", "p50", "p99", "ratio"].map((text) => text.padStart(FIGURE)).join("");
  return `${"row".padEnd(NAME)}${"unit".padStart(5)}${columns}   beside it\n${"-".repeat(WIDTH)}\n`;
}

/** One row: its figures in one line, and further baselines under the first. */
export function line(row: BenchRow): string {
  const figures = [row.value, row.p50, row.p99].map((value) => figure(value).padStart(FIGURE)).join("");
  const ratio = figure(row.ratio).padStart(FIGURE);
  const start = `${row.name.padEnd(NAME)}${row.unit.padStart(5)}${figures}${ratio}   `;
  const beside = row.baseline.map(({ name, value }) => `${figure(value)} ${name}`);
  const measured = `${row.clock === "cpu" ? "processor time" : "wall time"}, ${row.placement}`;
  const texts = [...beside, row.note === undefined ? measured : `${measured}; ${row.note}`];
  const indent = " ".repeat(start.length);
  return `${start}${texts.flatMap((text) => fold(text, WIDTH - start.length)).join(`\n${indent}`)}\n`;
}

/** Breaks a text between words, so that each piece fits. */
function fold(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines.length - 1;
    const longer = lines[last] === "" ? word : `${lines[last] ?? ""} ${word}`;
    if (longer.length <= width || lines[last] === "") lines[last] = longer;
    else lines.push(word);
  }
  return lines;
}

/** How each row was measured, by its name: needed to read it, not to compare it with itself. */
type Conditions = Readonly<Record<string, Pick<BenchRow, "clock" | "placement" | "note">>>;

interface JsonResult {
  readonly machine: Machine & { readonly quick: boolean; readonly conditions: Conditions };
  readonly rows: readonly Row[];
}

/** The object that `--json` prints. */
export function jsonResult(machine: Machine, quick: boolean, rows: readonly BenchRow[]): JsonResult {
  const conditions: Record<string, Conditions[string]> = {};
  const plain = rows.map(({ clock, placement, note, ...row }) => {
    conditions[row.name] = note === undefined ? { clock, placement } : { clock, placement, note };
    return row;
  });
  return { machine: { ...machine, quick, conditions }, rows: plain };
}

export function machineText(machine: Machine): string {
  const { processor, cores, memoryGiB, platform, kernel, governor, node, v8, commit, load, noise } = machine;
  return [
    `${processor}, ${cores} cores, ${memoryGiB} GiB; ${platform}, kernel ${kernel}, governor ${governor}`,
    `Node ${node}, V8 ${v8}; commit ${commit}`,
    `load average ${load.before.toFixed(1)} before and ${load.after.toFixed(1)} after; noise: the slowest hundredth of`,
    `equal pieces of work took ${noise.p99OverP50} times the median (${noise.samples} pieces)`,
    "",
  ].join("\n");
}
