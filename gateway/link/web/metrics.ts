/** The gateway in numbers, as Prometheus reads them (text format 0.0.4). `docs/metrics.md` is held against this table. */
import type { ChainStatus, Health, ModuleView, RouteView, Snapshot } from "../../wire/operator.ts";

/** What the link process knows of itself. */
export interface LinkNumbers {
  readonly outboxMessages: number;
  readonly outboxBytes: number;
  readonly outboxDropped: number;
  readonly streams: number;
  readonly loginFailures: number;
}

export interface Measured {
  readonly snapshot: Snapshot;
  readonly health: Health;
  readonly chain: ChainStatus;
  readonly link: LinkNumbers;
}

type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly samples: (measured: Measured) => readonly Sample[];
}

function one(value: (measured: Measured) => number): Metric["samples"] {
  return (measured) => [[{}, value(measured)]];
}

function perModule(value: (module: ModuleView) => number): Metric["samples"] {
  return ({ snapshot }) =>
    snapshot.modules.map((module) => [{ module: module.name, partition: module.partition }, value(module)]);
}

function perRoute(value: (route: RouteView) => number): Metric["samples"] {
  return ({ snapshot }) =>
    snapshot.routes.map((route) => [{ from: route.from, slot: route.slot, to: route.to }, value(route)]);
}

const RUNNING: ReadonlySet<string> = new Set(["idle", "running", "suspended"]);

/** In the order of the output. */
export const METRICS: readonly Metric[] = [
  {
    name: "bulkhead_info",
    type: "gauge",
    help: "1, with who the gateway is and the version of its trust root.",
    samples: ({ snapshot: { gateway } }) => [
      [{ gateway: gateway.id, class: gateway.class, root_version: String(gateway.rootVersion) }, 1],
    ],
  },
  {
    name: "bulkhead_start_time_seconds",
    type: "gauge",
    help: "When the gateway's process started, in seconds since 1970.",
    samples: one(({ snapshot }) => snapshot.gateway.startedAt / 1000),
  },
  {
    name: "bulkhead_live",
    type: "gauge",
    help: "1 while every partition answers: what /healthz says.",
    samples: one(({ health }) => Number(health.live)),
  },
  {
    name: "bulkhead_ready",
    type: "gauge",
    help: "1 while every module runs and the broker is as configured: what /readyz says.",
    samples: one(({ health }) => Number(health.ready)),
  },
  {
    name: "bulkhead_partition_up",
    type: "gauge",
    help: "1 while the partition answers.",
    samples: ({ snapshot }) => snapshot.partitions.map(({ name, answers }) => [{ partition: name }, Number(answers)]),
  },
  {
    name: "bulkhead_partition_lost_total",
    type: "counter",
    help: "How often the partition was lost and replaced.",
    samples: ({ snapshot }) => snapshot.partitions.map(({ name, lost }) => [{ partition: name }, lost]),
  },
  {
    name: "bulkhead_module_up",
    type: "gauge",
    help: "1 while the module runs.",
    samples: perModule(({ state }) => Number(RUNNING.has(state))),
  },
  {
    name: "bulkhead_module_held",
    type: "gauge",
    help: "1 while the module is held: it failed too often, or somebody held it.",
    samples: perModule(({ state }) => Number(state === "held")),
  },
  {
    name: "bulkhead_module_activations_total",
    type: "counter",
    help: "Messages, events and calls that the module has handled.",
    samples: perModule(({ activations }) => activations),
  },
  {
    name: "bulkhead_module_fuel_total",
    type: "counter",
    help: "Fuel that the module has used.",
    samples: perModule(({ fuel }) => fuel),
  },
  {
    name: "bulkhead_module_fuel_limit_per_second",
    type: "gauge",
    help: "Fuel that the module may use in a second.",
    samples: perModule(({ fuelLimitPerSecond }) => fuelLimitPerSecond),
  },
  {
    name: "bulkhead_module_memory_bytes",
    type: "gauge",
    help: "Linear memory of the module's instance.",
    samples: perModule(({ memoryBytes }) => memoryBytes),
  },
  {
    name: "bulkhead_module_memory_limit_bytes",
    type: "gauge",
    help: "Linear memory that the module may have.",
    samples: perModule(({ memoryLimitBytes }) => memoryLimitBytes),
  },
  {
    name: "bulkhead_module_queued_messages",
    type: "gauge",
    help: "Messages that wait in the module's mailbox.",
    samples: perModule(({ queued }) => queued),
  },
  {
    name: "bulkhead_module_restarts_total",
    type: "counter",
    help: "How often the module was started again.",
    samples: perModule(({ restarts }) => restarts),
  },
  {
    name: "bulkhead_module_faults_total",
    type: "counter",
    help: "Faults of the module: traps, used-up budgets, broken contracts, failed health checks.",
    samples: perModule(({ faults }) => faults),
  },
  {
    name: "bulkhead_module_denials_total",
    type: "counter",
    help: "Operations that the module was denied.",
    samples: perModule(({ denials }) => denials),
  },
  {
    name: "bulkhead_route_messages_total",
    type: "counter",
    help: "Messages and calls that the route has carried.",
    samples: perRoute(({ sent }) => sent),
  },
  {
    name: "bulkhead_route_refused_total",
    type: "counter",
    help: "Messages that the route has refused to their sender because its depth was used up.",
    samples: perRoute(({ refused }) => refused),
  },
  {
    name: "bulkhead_route_dropped_total",
    type: "counter",
    help: "Messages that the route has dropped by its overflow policy.",
    samples: perRoute(({ dropped }) => dropped),
  },
  {
    name: "bulkhead_route_queued_messages",
    type: "gauge",
    help: "Messages of the route that wait at its receiver.",
    samples: perRoute(({ queued }) => queued),
  },
  {
    name: "bulkhead_broker_connected",
    type: "gauge",
    help: "1 while the link to the broker is up.",
    samples: one(({ snapshot: { hosts } }) =>
      Number(hosts.some(({ process, state }) => process === "link" && state === "online")),
    ),
  },
  {
    name: "bulkhead_outbox_messages",
    type: "gauge",
    help: "Messages that wait for the broker.",
    samples: one(({ link }) => link.outboxMessages),
  },
  {
    name: "bulkhead_outbox_bytes",
    type: "gauge",
    help: "Bytes that wait for the broker.",
    samples: one(({ link }) => link.outboxBytes),
  },
  {
    name: "bulkhead_outbox_dropped_total",
    type: "counter",
    help: "Messages that waited for the broker and were dropped, for want of room or for their age.",
    samples: one(({ link }) => link.outboxDropped),
  },
  {
    name: "bulkhead_update_state",
    type: "gauge",
    help: "1 for the state of the newest update.",
    samples: ({ snapshot: { updates } }) => updates.slice(0, 1).map(({ state, code }) => [{ state, code }, 1]),
  },
  {
    name: "bulkhead_audit_entries",
    type: "gauge",
    help: "Sequence number of the newest entry of the audit log.",
    samples: one(({ chain }) => chain.last),
  },
  {
    name: "bulkhead_audit_chain_broken",
    type: "gauge",
    help: "1 where a link of the audit log's chain was found broken.",
    samples: one(({ chain }) => Number(chain.state === "broken")),
  },
  {
    name: "bulkhead_reading",
    type: "gauge",
    help: "The newest value of each topic and quantity that a module publishes.",
    samples: ({ snapshot }) =>
      snapshot.readings.flatMap(({ topic, quantity, unit, value }): Sample[] =>
        value === null ? [] : [[{ topic, quantity, unit }, value]],
      ),
  },
  {
    name: "bulkhead_console_streams",
    type: "gauge",
    help: "People who look at the console's live view.",
    samples: one(({ link }) => link.streams),
  },
  {
    name: "bulkhead_console_login_failures_total",
    type: "counter",
    help: "Attempts to log in with a wrong token.",
    samples: one(({ link }) => link.loginFailures),
  },
];

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export function metricsText(measured: Measured): string {
  const lines = METRICS.flatMap(({ name, type, help, samples }) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples(measured).map(([labels, value]) => `${name}${labelText(labels)} ${String(value)}`),
  ]);
  return `${lines.join("\n")}\n`;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escape(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
