/** `npm run powercut`: power cuts during updates, by killing a process and by a disk that forgets. */

import { parseArgs } from "node:util";
import type { CutCounts } from "./disk-cuts.ts";
import { cutEveryOperation } from "./disk-cuts.ts";
import { killAtRandom } from "./kill-cuts.ts";

const help = `Usage: npm run powercut -- [--count <n>] [--seed <n>] [--repeat <n>] [--json]

Kills a gateway's update agent at random instants of random updates, then cuts the power at every disk operation of an
update on a simulated disk that loses, tears and reorders what was not synced. After each cut the gateway must boot a
complete set, old or new, and then finish the update by itself.

  --count <n>    kills of a real process on a real disk (default 50; 0 leaves them out)
  --repeat <n>   rounds over all disk operations, with other survivors each (default 1; 0 leaves them out)
  --seed <n>     the same cuts again (default: the time)
  --json         one JSON object: cuts, bootable, completeSets, finished, seed, kills, operations, failures

Exit code 0 only where every cut ended well.
`;

interface Settings {
  readonly count: number;
  readonly repeat: number;
  readonly seed: number;
  readonly json: boolean;
}

function readSettings(args: readonly string[]): Settings | undefined {
  try {
    const text = { type: "string" } as const;
    const { values } = parseArgs({
      args: [...args],
      options: { count: text, repeat: text, seed: text, json: { type: "boolean" }, help: { type: "boolean" } },
    });
    if (values.help === true) return undefined;
    const number = (value: string | undefined, otherwise: number): number => {
      if (value !== undefined && !/^\d{1,9}$/.test(value)) throw new Error(`${value} is not a whole number`);
      return value === undefined ? otherwise : Number(value);
    };
    return {
      count: number(values.count, 50),
      repeat: number(values.repeat, 1),
      seed: number(values.seed, Date.now() % 1_000_000_000),
      json: values.json === true,
    };
  } catch (error) {
    process.stderr.write(`powercut: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 2;
    return undefined;
  }
}

function progressOf(what: string): (done: number, of: number) => void {
  if (!process.stderr.isTTY) return () => undefined;
  return (done, of) => process.stderr.write(`\r${what}: ${done} of ${of}${done === of ? "\n" : ""}`);
}

function sum(a: CutCounts, b: CutCounts): CutCounts {
  return {
    cuts: a.cuts + b.cuts,
    bootable: a.bootable + b.bootable,
    completeSets: a.completeSets + b.completeSets,
    finished: a.finished + b.finished,
    failures: [...a.failures, ...b.failures],
  };
}

async function run({ count, repeat, seed, json }: Settings): Promise<void> {
  const begun = performance.now();
  const kills = await killAtRandom(count, seed, progressOf("kills"));
  const operations = await cutEveryOperation(seed, repeat, progressOf("disk operations"));
  const all = sum(kills, operations);
  const { cuts, bootable, completeSets, finished, failures } = all;
  const isGood = bootable === cuts && completeSets === cuts && finished === cuts;
  const seconds = (performance.now() - begun) / 1000;
  process.exitCode = isGood ? 0 : 1;
  if (json) {
    const parts = { kills: kills.cuts, operations: operations.cuts };
    process.stdout.write(
      `${JSON.stringify({ cuts, bootable, completeSets, finished, seed, ...parts, seconds: Math.round(seconds), failures })}\n`,
    );
    return;
  }
  for (const failure of failures) process.stdout.write(`${failure}\n`);
  process.stdout.write(
    `${cuts} cuts (${kills.cuts} kills, ${operations.cuts} at disk operations): ${bootable} bootable, ` +
      `${completeSets} complete sets, ${finished} finished; seed ${seed}, ${seconds.toFixed(0)} s\n`,
  );
}

const settings = readSettings(process.argv.slice(2));
if (settings !== undefined) await run(settings);
else process.stdout.write(help);
