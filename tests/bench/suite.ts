/** The table of every benchmark: which rows a group gives, who measures them, and where its process runs. */
import type { BenchRow } from "./statistics.ts";

export type Measure = (quick: boolean) => Promise<BenchRow[]>;

/** Where a group's process may run: on one processor, or where the system puts its threads. */
export type Placement = "pinned" | "free";

export interface Group {
  /** Names of its rows; one that ends in `.*` stands for all that begin so. */
  readonly rows: readonly string[];
  readonly placement: Placement;
  /** Loaded only in the process that measures. */
  readonly load: () => Promise<Measure>;
}

/** Each group runs in a process of its own, so that none is slowed by what another has taught the compiler. */
export const SUITE: Readonly<Record<string, Group>> = Object.freeze({
  call: {
    rows: ["ipc.call.direct.64B", "ipc.call.direct.64B.pairs200"],
    placement: "pinned",
    load: async () => (await import("./rows/call.ts")).measureCalls,
  },
  send: {
    rows: ["ipc.send.direct.64B", "ipc.send.blocking.64B"],
    placement: "pinned",
    load: async () => (await import("./rows/send.ts")).measureSends,
  },
  record: {
    rows: ["record.overhead"],
    placement: "pinned",
    load: async () => (await import("./rows/record.ts")).measureRecording,
  },
  partitionPinned: {
    rows: ["ipc.call.partition.64B.pinned"],
    placement: "pinned",
    load: async () => (await import("./rows/partition.ts")).measurePartitionCalls,
  },
  partitionFree: {
    rows: ["ipc.call.partition.64B.free"],
    placement: "free",
    load: async () => (await import("./rows/partition.ts")).measurePartitionCalls,
  },
  switch: {
    rows: ["sched.switch"],
    placement: "pinned",
    load: async () => (await import("./rows/switch.ts")).measureSwitch,
  },
  neighbour: {
    rows: ["sched.neighbour-delay"],
    placement: "free",
    load: async () => (await import("./rows/neighbour.ts")).measureNeighbourDelay,
  },
  meter: {
    rows: ["meter.overhead.*", "meter.overhead.nans.*"],
    placement: "pinned",
    load: async () => (await import("./rows/meter.ts")).measureMeter,
  },
  recover: {
    rows: ["recover.trap", "recover.loop", "recover.partition"],
    placement: "free",
    load: async () => (await import("./rows/recover.ts")).measureRecovery,
  },
  admit: {
    rows: ["admit.100KB"],
    placement: "pinned",
    load: async () => (await import("./rows/admit.ts")).measureAdmission,
  },
  gateway: {
    rows: ["boot.20modules", "footprint.20modules", "footprint.20modules.hosts"],
    placement: "free",
    load: async () => (await import("./rows/gateway.ts")).measureGateway,
  },
  footprint: {
    rows: ["footprint.module"],
    placement: "free",
    load: async () => (await import("./rows/footprint.ts")).measureFootprint,
  },
  scale: {
    rows: [10, 100, 1000].flatMap((size) => [`scale.modules.${size}`, `scale.modules.${size}.together`]),
    placement: "pinned",
    load: async () => (await import("./rows/scale.ts")).measureScale,
  },
  swap: {
    rows: ["swap.pause"],
    placement: "free",
    load: async () => (await import("./rows/swap.ts")).measureSwapPause,
  },
});

/** The groups that have a row whose name begins so; all without a prefix. */
export function selectGroups(prefix: string): string[] {
  return Object.entries(SUITE)
    .filter(([, { rows }]) => rows.some((row) => isSelected(row, prefix)))
    .map(([name]) => name);
}

export function isSelected(row: string, prefix: string): boolean {
  const stem = row.replace(/\*$/, "");
  return stem.startsWith(prefix) || (row.endsWith("*") && prefix.startsWith(stem));
}
