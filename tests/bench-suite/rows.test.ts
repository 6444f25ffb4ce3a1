/** The benchmark suite: its table names every row that is promised, and what it prints is well formed. No timing is judged. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { BenchRow } from "../bench/statistics.ts";
import { durationRow, inTurns, percentile, rateRow } from "../bench/statistics.ts";
import { isSelected, selectGroups, SUITE } from "../bench/suite.ts";
import { header, line } from "../bench/table.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);

/** The rows of the promises; `ipc.call.partition.64B` is measured pinned and free. */
const PROMISED = [
  "ipc.call.direct.64B",
  "ipc.call.direct.64B.pairs200",
  "ipc.send.direct.64B",
  "ipc.send.blocking.64B",
  "ipc.call.partition.64B.pinned",
  "ipc.call.partition.64B.free",
  "sched.switch",
  "sched.neighbour-delay",
  "meter.overhead.crc32",
  "meter.overhead.geomean",
  "meter.overhead.nans.matrix",
  "recover.trap",
  "recover.loop",
  "recover.partition",
  "admit.100KB",
  "boot.20modules",
  "footprint.20modules",
  "footprint.module",
  "scale.modules.10",
  "scale.modules.100",
  "scale.modules.1000",
  "swap.pause",
];

const names = Object.values(SUITE).flatMap(({ rows }) => rows);

test.each(PROMISED)("%s is in the table", (name) => {
  expect(names.some((row) => row === name || (row.endsWith("*") && name.startsWith(row.slice(0, -1))))).toBe(true);
  expect(selectGroups(name)).toHaveLength(1);
});

test("every group's file gives a function that measures, and no name stands twice", async () => {
  for (const { load } of Object.values(SUITE)) expect(await load()).toBeTypeOf("function");
  expect(new Set(names).size).toBe(names.length);
});

test("every row that is measured is documented", () => {
  const page = readFileSync(join(ROOT, "docs/benchmarks.md"), "utf8");
  for (const name of names) expect(page).toContain(`\`${name}\``);
});

test("there is no file of rows that the table does not use", () => {
  const table = readFileSync(join(ROOT, "tests/bench/suite.ts"), "utf8");
  for (const file of readdirSync(join(ROOT, "tests/bench/rows"))) expect(table).toContain(`./rows/${file}`);
});

describe("a name's beginning selects rows", () => {
  test("of one group, of several and of all", () => {
    expect(selectGroups("ipc.send.direct")).toEqual(["send"]);
    expect(selectGroups("ipc.")).toEqual(["call", "send", "partitionPinned", "partitionFree"]);
    expect(selectGroups("")).toEqual(Object.keys(SUITE));
    expect(selectGroups("no.such.row")).toEqual([]);
  });

  test("also where the table names them by a pattern", () => {
    expect(selectGroups("meter.overhead.sha256")).toEqual(["meter"]);
    expect(isSelected("meter.overhead.sha256", "meter")).toBe(true);
    expect(isSelected("meter.overhead.sha256", "meter.overhead.crc")).toBe(false);
  });
});

describe("samples", () => {
  test("are taken in turns, each contestant once a round, in an order that rotates", async () => {
    const order: string[] = [];
    const contestant = (name: string) => ({
      name,
      sample: () => {
        order.push(name);
        return Promise.resolve(order.length);
      },
    });
    const samples = await inTurns([contestant("a"), contestant("b")], 2, 1);
    expect(order.join("")).toBe("abbaab");
    expect(samples).toEqual([
      [4, 5],
      [3, 6],
    ]);
  });

  test("become a row whose ratio compares the samples of the same round", () => {
    const frame = { name: "x", unit: "ns", clock: "cpu" } as const;
    const row = durationRow(
      frame,
      ["", "bare"],
      [
        [10, 20, 90],
        [5, 10, 10],
      ],
    );
    expect(row).toMatchObject({ value: 20, p50: 20, p99: 90, ratio: 2, baseline: [{ name: "bare", value: 10 }] });
    const rate = rateRow(
      frame,
      ["", "bare"],
      [
        [10, 20, 90],
        [5, 10, 10],
      ],
    );
    expect(rate).toMatchObject({ value: 5e7, ratio: 0.5, baseline: [{ name: "bare", value: 1e8 }] });
    expect(rate.p99).toBeCloseTo(1e9 / 90);
  });

  test("of which there are none have no percentile", () => {
    expect(percentile([], 0.5)).toBeNaN();
  });
});

test("the table fits 120 columns, also with long notes", () => {
  const row: BenchRow = {
    name: "ipc.call.direct.64B.pairs200",
    value: 12_345_678.9,
    unit: "1/s",
    p50: 12_345_678.9,
    p99: 1.23456,
    ratio: 0.001234,
    baseline: [{ name: "something that has a rather long name and needs two lines", value: 123_456_789 }],
    clock: "wall",
    placement: "free",
    note: "at 100,000 messages a second; none lost, none overtaken, or the row fails",
  };
  for (const text of `${header()}${line(row)}`.split("\n")) expect(text.length).toBeLessThanOrEqual(120);
});

async function bench(...options: string[]): Promise<{ stdout: string; stderr: string }> {
  return await run(process.execPath, [join(ROOT, "tests/bench/bench.ts"), ...options], { cwd: ROOT });
}

test("one row, quickly, as JSON", { timeout: 120_000 }, async () => {
  const { stdout } = await bench("--quick", "--json", "--only", "ipc.send.direct");
  const result = JSON.parse(stdout) as { machine: Record<string, unknown>; rows: BenchRow[] };
  expect(Object.keys(result)).toEqual(["machine", "rows"]);
  expect(result.machine).toMatchObject({
    quick: true,
    conditions: { "ipc.send.direct.64B": { clock: "cpu" } },
    node: process.versions.node,
    noise: { samples: expect.any(Number) as number },
  });
  expect(result.rows.map(({ name }) => name)).toEqual(["ipc.send.direct.64B"]);
  for (const row of result.rows) {
    expect(Object.keys(row).sort()).toEqual(["baseline", "name", "p50", "p99", "ratio", "unit", "value"]);
    for (const value of [row.value, row.p50, row.p99, row.ratio]) expect(value).toBeGreaterThan(0);
    expect(row.unit).toBe("1/s");
    expect(row.baseline).toHaveLength(2);
    for (const beside of row.baseline) {
      expect(Object.keys(beside)).toEqual(["name", "value"]);
      expect([beside.name.length > 0, beside.value > 0]).toEqual([true, true]);
    }
  }
});

test("an unknown row is exit code 2 and a line that says what to do", async () => {
  await expect(bench("--only", "nothing")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("no row begins with nothing; --list names them") as string,
  });
});

test("--list names the rows and measures nothing", async () => {
  const { stdout } = await bench("--list");
  expect(stdout.trim().split("\n")).toEqual(names);
});
