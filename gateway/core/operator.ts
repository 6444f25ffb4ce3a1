/** What an operator sees of the gateway and does to it: the one answer to the page in the link process and to the command line. */
import type { Grant, ModuleRow, RouteRow } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import type {
  AuditPage,
  Authority,
  Failure,
  Health,
  History,
  HistoryEntry,
  HostView,
  ModuleView,
  OperatorRequest,
  RouteView,
  Snapshot,
  UpdateView,
} from "../wire/operator.ts";
import type { UpdateState } from "../wire/update-report.ts";
import type { GatewayEvent } from "./events.ts";
import { eventText } from "./events.ts";
import { Readings } from "./readings.ts";

/** One look serves everybody who asks within this. */
const FRESH_MS = 400;
/** Rates are counted from the last look that is at least so old. */
const RATE_MS = 800;
/** Characters of one page's modules and routes as JSON: the page fits in a frame. */
const PAGE_CHARACTERS = 300_000;
const HISTORY_ENTRIES = 2000;
const UPDATES = 20;
/** Actions in a second, the owner's and all others' apart; whoever needs more is no person. */
const ACTIONS_PER_SECOND = 5;

/** What it sees of the gateway. */
export interface Operated {
  readonly kernel: {
    inspect(): Promise<{
      readonly partitions: readonly { readonly name: string; readonly heapMiB: number; readonly answers: boolean }[];
      readonly modules: readonly ModuleRow[];
      readonly routes: readonly RouteRow[];
    }>;
    authority(name: string): { readonly spec: Specification; readonly grants: readonly Grant[] };
    restart(name: string): void;
    hold(name: string, reason: string): void;
  };
  configuration(): GatewayConfiguration;
  audit(query: { readonly limit: number; readonly about: string }): Promise<AuditPage>;
  emit(event: GatewayEvent): void;
}

type Specification = GatewayConfiguration["system"]["modules"][number];

interface Known {
  faults: number;
  denials: number;
  lastFault: Failure | null;
  reason: string;
  isRefused: boolean;
}

interface Look {
  /** Of the monotonic clock. */
  readonly at: number;
  readonly modules: ReadonlyMap<string, ModuleRow>;
  readonly routes: ReadonlyMap<string, RouteRow>;
}

interface View extends Omit<Snapshot, "modules" | "routes" | "next"> {
  readonly modules: readonly ModuleView[];
  readonly routes: readonly RouteView[];
}

export class Operator {
  readonly #gateway: Operated;
  readonly #readings = new Readings();
  readonly #known = new Map<string, Known>();
  readonly #hosts = new Map<string, HostView>();
  readonly #partitionsLost = new Map<string, number>();
  readonly #updates: UpdateView[] = [];
  readonly #history: HistoryEntry[] = [];
  /** The newest last. */
  #looks: Look[] = [];
  #view: Promise<View> | undefined;
  #viewedAt = Number.NEGATIVE_INFINITY;
  #sequence = 0;
  #state = "starting";
  #startedAt = Date.now();
  #boot = { source: "", rootVersion: 0 };
  /** When there were actions of the owner, and of others: these leave the owner's alone, whatever they do. */
  readonly #actions = new Map<boolean, readonly number[]>();

  constructor(gateway: Operated) {
    this.#gateway = gateway;
  }

  booted({ source, rootVersion }: { readonly source: string; readonly rootVersion: number }): void {
    this.#boot = { source, rootVersion };
  }

  /** Takes note of what happened. Nothing of it is a secret: the message of a fault is left out. */
  observe(event: GatewayEvent): void {
    this.#remember(event);
    const entry = {
      sequence: ++this.#sequence,
      time: Date.now(),
      type: event.type,
      module: "module" in event ? event.module : "",
      level: levelOf(event),
      text: eventText(event),
    };
    this.#history.push(entry);
    if (this.#history.length > HISTORY_ENTRIES) this.#history.shift();
  }

  /** A message that a module publishes, on its way out. */
  published(module: string, topic: Uint8Array, payload: Uint8Array): void {
    this.#readings.published(module, topic, payload);
  }

  /** @throws Refusal as the answer */
  async answer(request: OperatorRequest): Promise<Snapshot | History | AuditPage | Health | null> {
    switch (request.kind) {
      case "snapshot":
        return page(await this.#look(), request.from);
      case "history":
        return this.#since(request.since);
      case "audit":
        return await this.#gateway.audit(request);
      case "health":
        return await this.#health();
      case "act":
        await this.#act(request);
        return null;
    }
  }

  #remember(event: GatewayEvent): void {
    switch (event.type) {
      case "fault":
        return this.#failed(event);
      case "capsule":
        this.#kept(event);
        return;
      case "held":
        this.#module(event.module).reason = event.reason;
        return;
      case "loaded":
        Object.assign(this.#module(event.module), { reason: "", isRefused: false });
        return;
      case "refused":
        Object.assign(this.#module(event.module), { reason: event.text, isRefused: true });
        return;
      case "denied":
        this.#module(event.module).denials += 1 + event.untold;
        return;
      case "host":
        this.#hosts.set(event.process, { process: event.process, state: event.state, text: event.text });
        return;
      case "partition-lost":
        this.#partitionsLost.set(event.partition, (this.#partitionsLost.get(event.partition) ?? 0) + 1);
        return;
      case "gateway":
        this.#state = event.state;
        return;
      case "update":
        this.#updates.unshift({ ...event, state: event.state as UpdateState, time: Date.now() });
        if (this.#updates.length > UPDATES) this.#updates.pop();
        return;
      default:
    }
  }

  #failed(event: Extract<GatewayEvent, { type: "fault" }>): void {
    const known = this.#module(event.module);
    const { generation, cause, text } = event;
    known.faults++;
    known.lastFault = { time: Date.now(), generation, cause, text, capsule: null };
  }

  /** A capsule is written some time after its fault was told. */
  #kept({ module, path }: Extract<GatewayEvent, { type: "capsule" }>): void {
    const known = this.#module(module);
    if (known.lastFault !== null) known.lastFault = { ...known.lastFault, capsule: path };
  }

  #module(name: string): Known {
    let known = this.#known.get(name);
    if (known === undefined) {
      known = { faults: 0, denials: 0, lastFault: null, reason: "", isRefused: false };
      this.#known.set(name, known);
    }
    return known;
  }

  #since(since: number): History {
    const first = this.#sequence - this.#history.length + 1;
    // A cursor of an earlier process is of no use here.
    const from = since > this.#sequence ? 0 : since;
    const entries: HistoryEntry[] = [];
    let size = 0;
    for (const entry of this.#history.slice(Math.max(0, from + 1 - first))) {
      size += entry.text.length + ENTRY_CHARACTERS;
      if (size > PAGE_CHARACTERS) break;
      entries.push(entry);
    }
    const missed = from === 0 ? 0 : Math.max(0, first - from - 1);
    return { entries, next: entries.at(-1)?.sequence ?? Math.max(from, first - 1), missed };
  }

  async #health(): Promise<Health> {
    const { partitions, modules, hosts, gateway } = await this.#look();
    const stuck = partitions.filter(({ answers }) => !answers).map(({ name }) => `partition ${name} does not answer`);
    const reasons = [...stuck];
    if (gateway.state !== "running") reasons.push(`the gateway is ${gateway.state}`);
    for (const { name, state } of modules) {
      if (!RUNNING.has(state)) reasons.push(`module ${name} is ${state}`);
    }
    const link = hosts.find((host) => host.process === "link")?.state;
    if (this.#gateway.configuration().broker !== null && link !== "online") reasons.push("the broker is not connected");
    return { live: stuck.length === 0, ready: reasons.length === 0, reasons: reasons.slice(0, REASONS) };
  }

  /** @throws Refusal E_UNKNOWN, E_BUSY; then nothing was done */
  async #act({ action, module, by }: Extract<OperatorRequest, { kind: "act" }>): Promise<void> {
    const now = performance.now();
    const isOwner = by === "owner";
    const actions = (this.#actions.get(isOwner) ?? []).filter((at) => now - at < 1000);
    if (actions.length >= ACTIONS_PER_SECOND) {
      throw new Refusal("E_BUSY", "too many actions at once", { hint: "wait a second" });
    }
    this.#actions.set(isOwner, [...actions, now]);
    const { kernel } = this.#gateway;
    if (action === "resume") {
      const { modules } = await kernel.inspect();
      const state = modules.find(({ name }) => name === module)?.state;
      // The name is checked first: nobody is told of a state that nothing has.
      kernel.authority(module);
      if (state !== "held") throw new Refusal("E_BUSY", `${module} is not held`, { found: state ?? "no answer" });
    }
    if (action === "hold") kernel.hold(module, `held by ${by}`);
    else kernel.restart(module);
    this.#gateway.emit({ type: "operator", action, module, by });
    this.#viewedAt = Number.NEGATIVE_INFINITY;
  }

  #look(): Promise<View> {
    const now = performance.now();
    if (this.#view !== undefined && now - this.#viewedAt < FRESH_MS) return this.#view;
    this.#viewedAt = now;
    this.#view = this.#lookAnew();
    return this.#view;
  }

  async #lookAnew(): Promise<View> {
    const configuration = this.#gateway.configuration();
    const { partitions, modules, routes } = await this.#gateway.kernel.inspect();
    const at = performance.now();
    const look: Look = {
      at,
      modules: new Map(modules.map((row) => [row.name, row])),
      routes: new Map(routes.map((row) => [routeKey(row), row])),
    };
    const before = this.#looks.findLast((candidate) => at - candidate.at >= RATE_MS);
    this.#looks = [
      ...this.#looks.filter((candidate) => candidate === before || candidate.at > (before?.at ?? 0)),
      look,
    ];
    const specified = new Map(configuration.system.modules.map((spec) => [spec.name, spec]));
    const names = new Set([...specified.keys(), ...look.modules.keys()]);
    const { id, vendor, class: kind } = configuration.gateway;
    return {
      time: Date.now(),
      gateway: { id, vendor, class: kind, state: this.#state, startedAt: this.#startedAt, ...this.#boot },
      partitions: partitions.map(({ name, heapMiB, answers }) => {
        return { name, heapMiB, answers, lost: this.#partitionsLost.get(name) ?? 0 };
      }),
      modules: [...names].map((name) => this.#moduleView(name, specified.get(name), look, before)),
      routes: routes.map((row) => routeView(row, look, before)),
      hosts: [...this.#hosts.values()],
      readings: this.#readings.view(),
      updates: [...this.#updates],
    };
  }

  #moduleView(name: string, specified: Specification | undefined, look: Look, before: Look | undefined): ModuleView {
    const row = look.modules.get(name);
    const known = this.#module(name);
    const { spec, grants } = this.#authority(name, specified);
    const earlier = before?.modules.get(name);
    const per = (key: "activations" | "fuel"): number | null => rate(row?.[key], earlier?.[key], look, before);
    const state = row?.state ?? (known.isRefused ? "refused" : "unknown");
    return {
      name,
      version: row?.version ?? "",
      partition: row?.partition ?? spec?.partition ?? "",
      state,
      reason: state === "held" || state === "refused" ? known.reason : "",
      generation: row?.generation ?? 0,
      activations: row?.activations ?? 0,
      fuel: row?.fuel ?? 0,
      activationsPerSecond: per("activations"),
      fuelPerSecond: per("fuel"),
      fuelLimitPerSecond: spec === undefined ? 0 : Math.round((spec.fuelPerPeriod * 1000) / spec.periodMs),
      memoryBytes: row?.memoryBytes ?? 0,
      memoryLimitBytes: (spec?.memoryPages ?? 0) * 65_536,
      queued: row?.queued ?? 0,
      lost: row?.lost ?? 0,
      isThrottled: row?.isThrottled ?? false,
      waitingMs: row?.waitingMs ?? 0,
      longestWaitMs: row?.longestWaitMs ?? 0,
      restarts: row?.restarts ?? 0,
      faults: known.faults,
      denials: known.denials,
      policy: spec?.restart.policy ?? "",
      lastFault: known.lastFault,
      authority: grants.map(authorityOf),
    };
  }

  /** What is in force; of a module that was never loaded, what the configuration would give it. */
  #authority(name: string, specified: Specification | undefined): ReturnType<Lookup> {
    try {
      return this.#gateway.kernel.authority(name);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { spec: specified, grants: [] };
    }
  }
}

type Lookup = () => { readonly spec: Specification | undefined; readonly grants: readonly Grant[] };

const RUNNING: ReadonlySet<string> = new Set(["idle", "running", "suspended"]);
/** Of `Health`; who needs more looks. */
const REASONS = 20;
/** Of an entry beside its text. */
const ENTRY_CHARACTERS = 150;
const RESOURCE_CHARACTERS = 200;

function page(view: View, from: number): Snapshot {
  const modules: ModuleView[] = [];
  const routes: RouteView[] = [];
  let size = 0;
  for (const module of view.modules.slice(from)) {
    const own = view.routes.filter((route) => route.from === module.name);
    size += JSON.stringify(module).length + JSON.stringify(own).length;
    if (size > PAGE_CHARACTERS && modules.length > 0) break;
    modules.push(module);
    routes.push(...own);
  }
  const end = from + modules.length;
  const rest = from === 0 ? {} : { readings: [], updates: [] };
  return { ...view, modules, routes, ...rest, next: end < view.modules.length ? end : null };
}

function authorityOf(grant: Grant): Authority {
  const { slot, interface: name, rights } = grant;
  const resource =
    grant.interface === "endpoint"
      ? grant.to.map(({ module, port }) => `${module}.${port}`).join(", ")
      : Object.entries(grant.parameters)
          .map(([key, value]) => `${key} ${Array.isArray(value) ? value.join(" ") : String(value)}`)
          .join(", ");
  return { slot, interface: name, rights, resource: resource.slice(0, RESOURCE_CHARACTERS).toWellFormed() };
}

function routeKey({ from, slot, to }: RouteRow): string {
  return `${from}.${slot}>${to}`;
}

function routeView(row: RouteRow, look: Look, before: Look | undefined): RouteView {
  const earlier = before?.routes.get(routeKey(row));
  return {
    ...row,
    perSecond: rate(row.sent, earlier?.sent, look, before),
    droppedPerSecond: rate(row.dropped + row.refused, earlier && earlier.dropped + earlier.refused, look, before),
  };
}

/** A count that has begun anew since then says nothing. */
function rate(now: number | undefined, then: number | undefined, look: Look, before: Look | undefined): number | null {
  if (now === undefined || then === undefined || before === undefined || now < then) return null;
  return ((now - then) * 1000) / (look.at - before.at);
}

function levelOf(event: GatewayEvent): number {
  if (event.type === "log") return event.level;
  if (ERRORS.has(event.type)) return 0;
  return WARNINGS.has(event.type) ? 1 : 2;
}

const ERRORS: ReadonlySet<string> = new Set(["fault", "held", "refused", "partition-lost", "partition-unkillable"]);
const WARNINGS: ReadonlySet<string> = new Set(["denied", "warning", "finding", "swap-reverted", "operator"]);
