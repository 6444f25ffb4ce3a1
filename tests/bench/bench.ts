/** `npm run bench`: the product beside what a user would take instead, as a table or as JSON, with the machine it ran on. */
import { parseArgs } from "node:util";
import { NoiseMeter } from "./machine.ts";
import { CAN_PIN, runGroup } from "./run-group.ts";
import type { BenchRow } from "./statistics.ts";
import { isSelected, selectGroups, SUITE } from "./suite.ts";
import { header, jsonResult, line, machineText } from "./table.ts";

const HELP = `usage: npm run bench [-- [--quick] [--json] [--only <name prefix>] [--list]]

Measures the product and, in turns with it in the same run, what would be taken instead. docs/benchmarks.md says how
to read the rows.

  --quick   fewer and shorter samples: within 40 s on an idle machine, for the check of a change
  --json    one object: {machine, rows: [{name, value, unit, p50, p99, baseline: [{name, value}], ratio}]}
  --only    rows whose names begin so, and those that are measured together with them
  --list    the names of the rows; measures nothing

Exit codes: 0 every row was measured, 1 one could not be, 2 a wrong command line.
`;

interface Options {
  readonly quick: boolean;
  readonly json: boolean;
  readonly only: string;
}

/** @returns false where a group could not be measured; the others are. */
async function bench({ quick, json, only }: Options): Promise<boolean> {
  const noise = new NoiseMeter();
  const rows: BenchRow[] = [];
  let complete = true;
  if (!json) process.stdout.write(header());
  if (!CAN_PIN) process.stderr.write("bench: taskset is not here (package util-linux): every row is measured free\n");
  for (const name of selectGroups(only)) {
    try {
      const measured = (await runGroup(name, quick)).filter((row) => isSelected(row.name, only));
      rows.push(...measured);
      if (!json) process.stdout.write(measured.map(line).join(""));
    } catch (error) {
      complete = false;
      process.stderr.write(`bench: ${name} could not be measured: ${error instanceof Error ? error.message : ""}\n`);
    }
  }
  const machine = noise.end();
  process.stdout.write(json ? `${JSON.stringify(jsonResult(machine, quick, rows))}\n` : `\n${machineText(machine)}`);
  return complete;
}

function readCommandLine() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      only: { type: "string", default: "" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (selectGroups(values.only).length > 0) return values;
  throw new TypeError(`no row begins with ${values.only}; --list names them`);
}

/** Undefined where the command line is wrong, which has then been said. */
function readOptions(): ReturnType<typeof readCommandLine> | undefined {
  try {
    return readCommandLine();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`bench: ${error.message}\n${HELP}`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) return 2;
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.list) {
    const names = Object.values(SUITE).flatMap(({ rows }) => rows);
    process.stdout.write(`${names.join("\n")}\n`);
    return 0;
  }
  return (await bench(options)) ? 0 : 1;
}

process.exitCode = await main();
