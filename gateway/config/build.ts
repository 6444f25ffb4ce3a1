/** From what the file says to what the kernel is told: defaults filled in, names looked up, paths made absolute. */
import { resolve } from "node:path";
import type { Grant, ModuleSpec, PartitionSpec, PortAddress } from "../../kernel/index.ts";
import { HANDLES_SLOT, RESERVED_PREFIX } from "../../kernel/index.ts";
import type { BrokerSettings, ConsoleSettings } from "./configuration.ts";
import { DEFAULTS, PAGE_BYTES } from "./defaults.ts";
import type { EndpointDraft, GrantDraft } from "./grants.ts";
import { listNames, nearestName } from "./names.ts";
import type { Position, Problems } from "./problem.ts";
import type { DevicesDraft, GatewayDraft, ModuleDraft, PartitionDraft } from "./schema.ts";
import type { Located, PlainData, Variant } from "./shape.ts";

/** A module on its way to a `ModuleSpec`; fuel and priority depend on the others. */
export interface ModuleInProgress {
  readonly draft: Located<ModuleDraft>;
  readonly spec: ModuleSpec;
}

export interface PartitionInProgress {
  readonly spec: PartitionSpec;
  readonly draft: PartitionDraft | undefined;
  readonly at: Position;
}

const MiB = 1024 * 1024;

export function buildPartitions(draft: GatewayDraft, problems: Problems): ReadonlyMap<string, PartitionInProgress> {
  const written = draft.partitions?.value;
  if (written === undefined || written.size === 0) {
    const spec = { name: DEFAULTS.partition, heapMiB: DEFAULTS.heapBytes / MiB };
    return new Map([[spec.name, { spec, draft: undefined, at: draft.partitions?.at ?? draft.gateway.at }]]);
  }
  return new Map(
    [...written].map(([name, { value, keyAt }]) => {
      const heap = value.heap?.value ?? DEFAULTS.heapBytes;
      if (heap % MiB !== 0)
        problems.add(value.heap?.at ?? keyAt, `partitions.${name}.heap is not valid`, { expected: "whole MiB" });
      return [name, { spec: { name, heapMiB: Math.ceil(heap / MiB) }, draft: value, at: keyAt }] as const;
    }),
  );
}

function unknown(what: string, name: string, at: Position, names: Iterable<string>, problems: Problems): undefined {
  const all = [...names];
  const detail = { code: "E_UNKNOWN", nearest: nearestName(name, all), expected: listNames(all) } as const;
  problems.add(at, `unknown ${what}`, detail);
}

interface Surroundings {
  readonly modules: ReadonlySet<string>;
  readonly partitions: ReadonlyMap<string, PartitionInProgress>;
  readonly problems: Problems;
}

function endpointTargets(
  grant: string,
  draft: EndpointDraft,
  { modules, problems }: Surroundings,
): readonly PortAddress[] {
  const seen = new Set<string>();
  return draft.to.flatMap(({ value, at }) => {
    const [module = "", port = ""] = value.split(".");
    if (seen.has(value)) {
      problems.add(at, `${grant} names the target '${value}' twice`, { hint: "remove one" });
      return [];
    }
    seen.add(value);
    if (modules.has(module)) return [{ module, port }];
    const nearest = nearestName(module, modules);
    const detail = {
      nearest: nearest === undefined ? undefined : `${nearest}.${port}`,
      expected: `a port of ${listNames(modules)}`,
    };
    problems.add(at, `unknown module '${module}' in ${grant}`, { code: "E_UNKNOWN", ...detail });
    return [];
  });
}

function buildGrant(module: string, slot: string, grant: Variant<GrantDraft>, around: Surroundings): Grant {
  const { value } = grant;
  if (value.interface !== "endpoint") {
    return { slot, interface: value.interface, rights: value.rights, parameters: value.parameters };
  }
  const rights = value.rights?.value ?? DEFAULTS.endpointRights;
  if (rights.includes("call") && value.to.length > 1) {
    const hint = "a call has one answer: give each target a slot of its own, or leave `call` out";
    const detail = { expected: "one target", found: `${value.to.length} targets`, hint };
    around.problems.add(value.rights?.at ?? grant.at, `${module}.${slot} calls several targets`, detail);
  }
  const to = endpointTargets(`modules.${module}.grants.${slot}`, value, around);
  const badge = value.badge?.value ?? DEFAULTS.badge;
  const { depth, overflow, check, require, notify } = value;
  const asked = { ...(check === "always" && { check: true }), ...(notify && { notify }) };
  const rules = { ...asked, ...(require.length === 0 ? {} : { require }) };
  return { slot, interface: "endpoint", to, rights, badge, depth, overflow, ...rules };
}

function checkSlot(module: string, slot: string, grant: Variant<GrantDraft>, at: Position, problems: Problems): void {
  const isHandles = grant.name === HANDLES_SLOT;
  if (slot.startsWith(RESERVED_PREFIX)) {
    problems.add(at, `the slot name '${slot}' in ${module} is the kernel's own`, { hint: "name the slot otherwise" });
  } else if (isHandles !== (slot === HANDLES_SLOT)) {
    const hint = `write '${HANDLES_SLOT}: { ${HANDLES_SLOT}: {} }', or name the slot otherwise`;
    problems.add(at, `the slot '${HANDLES_SLOT}' and the interface '${HANDLES_SLOT}' belong together`, { hint });
  }
}

/** Of the policy safe-state, and of no other: both keys, and a module that is another one. */
function finalMessage(
  name: string,
  { value: { restart } }: Located<ModuleDraft>,
  { modules, problems }: Surroundings,
): Pick<ModuleSpec["restart"], "final"> {
  const { policy, to, message } = restart?.value ?? {};
  const where = `modules.${name}.restart`;
  if (policy?.value !== "safe-state") {
    const extra = to ?? message;
    if (extra !== undefined) problems.add(extra.at, `${where}: 'to' and 'message' belong to the policy safe-state`);
    return {};
  }
  if (to === undefined || message === undefined) {
    const hint = "write `to: module.port` and `message: ...`, or take the policy hold";
    problems.add(policy.at, `${where}: safe-state needs a final message`, { expected: "'to' and 'message'", hint });
    return {};
  }
  const [module = "", port = ""] = to.value.split(".");
  if (module === name) {
    problems.add(to.at, `${where}: the final message of ${name} goes to itself, and it is then held`);
  } else if (!modules.has(module)) {
    const detail = { nearest: nearestName(module, modules), expected: `a port of ${listNames(modules)}` };
    problems.add(to.at, `unknown module '${module}' in ${where}`, { code: "E_UNKNOWN", ...detail });
  }
  return { final: { to: { module, port }, payload: message.value } };
}

function buildModule(name: string, located: Located<ModuleDraft>, around: Surroundings): ModuleInProgress {
  const { value: draft } = located;
  const [first = DEFAULTS.partition] = around.partitions.keys();
  const partition = draft.partition?.value ?? first;
  if (draft.partition !== undefined && !around.partitions.has(partition)) {
    unknown(
      `partition '${partition}' in modules.${name}`,
      partition,
      draft.partition.at,
      around.partitions.keys(),
      around.problems,
    );
  }
  const memory = draft.memory?.value ?? DEFAULTS.memoryBytes;
  if (memory % PAGE_BYTES !== 0) {
    const detail = { expected: "a multiple of 64KiB", found: `${memory} bytes` };
    around.problems.add(draft.memory?.at ?? located.at, `modules.${name}.memory is not valid`, detail);
  }
  const restart = draft.restart?.value;
  const grants = [...(draft.grants?.value ?? [])].map(([slot, { value, keyAt }]) => {
    checkSlot(name, slot, value, keyAt, around.problems);
    return buildGrant(name, slot, value, around);
  });
  const spec: ModuleSpec = {
    name,
    partition,
    priority: draft.priority?.value ?? DEFAULTS.priority,
    memoryPages: Math.ceil(memory / PAGE_BYTES),
    fuelPerPeriod: draft.fuel?.value.limit.value ?? 0,
    periodMs: draft.fuel?.value.period?.value ?? DEFAULTS.periodMs,
    activationMs: draft.activation?.value ?? DEFAULTS.activationMs,
    checkpointMessages: draft.checkpoint?.value.messages?.value ?? DEFAULTS.checkpointMessages,
    ...(draft.checkpoint?.value.every === undefined ? {} : { checkpointMs: draft.checkpoint.value.every.value }),
    restart: {
      policy: restart?.policy?.value ?? DEFAULTS.restart.policy,
      intensity: restart?.intensity?.value ?? DEFAULTS.restart.intensity,
      windowMs: restart?.window?.value ?? DEFAULTS.restart.windowMs,
      backoffMs: restart?.backoff?.value ?? DEFAULTS.restart.backoffMs,
      maximumBackoffMs: restart?.maximum?.value ?? DEFAULTS.restart.maximumBackoffMs,
      ...finalMessage(name, located, around),
    },
    record: draft.record?.value ?? DEFAULTS.record,
    ...(draft.settings === undefined ? {} : { settings: draft.settings.value.bytes }),
    grants,
  };
  if (spec.restart.backoffMs > spec.restart.maximumBackoffMs) {
    const at = restart?.maximum?.at ?? restart?.backoff?.at ?? located.at;
    around.problems.add(at, `modules.${name}.restart: 'backoff' is longer than 'maximum'`);
  }
  return { draft: located, spec };
}

/** Who else speaks in the log and in the audit log: a module of that name could pass for it. */
const SPEAKERS: ReadonlyMap<string, string> = new Map([
  ["audit", "audit log"],
  ["core", "core"],
  ["device", "device process"],
  ["kernel", "kernel"],
  ["link", "link process"],
  ["others", "audit log"],
  ["owner", "owner"],
  ["trust", "trust worker"],
]);

export function buildModules(
  draft: GatewayDraft,
  partitions: ReadonlyMap<string, PartitionInProgress>,
  problems: Problems,
): readonly ModuleInProgress[] {
  const written = draft.modules?.value ?? new Map<string, Located<ModuleDraft>>();
  const around = { modules: new Set(written.keys()), partitions, problems };
  return [...written].map(([name, located]) => {
    if (name.startsWith(RESERVED_PREFIX) || SPEAKERS.has(name)) {
      problems.add(located.keyAt, `the module name '${name}' is the ${SPEAKERS.get(name) ?? "kernel"}'s own`, {
        hint: "name the module otherwise",
      });
    }
    return buildModule(name, located, around);
  });
}

/** Modules and `module.slot`s that are marked `local-only`. */
export function buildLocalOnly(modules: readonly ModuleInProgress[]): ReadonlySet<string> {
  const marked = new Set<string>();
  for (const { draft, spec } of modules) {
    if (draft.value["local-only"]?.value === true) marked.add(spec.name);
    for (const [slot, { value }] of draft.value.grants?.value ?? []) {
      if (value.value.localOnly) marked.add(`${spec.name}.${slot}`);
    }
  }
  return marked;
}

function resolved(folder: string, path: Located<string> | undefined): string | null {
  return path === undefined ? null : resolve(folder, path.value);
}

export function buildBroker(draft: GatewayDraft, folder: string, problems: Problems): BrokerSettings | null {
  const broker = draft.broker?.value;
  if (broker === undefined) return null;
  pairedFiles("broker", broker["certificate-file"], broker["key-file"], problems);
  if (broker["password-file"] !== undefined && broker.username === undefined) {
    problems.add(broker["password-file"].keyAt, "broker has a password-file and no username", {
      hint: "add 'username: …'",
    });
  }
  return {
    url: broker.url.value,
    clientId: broker["client-id"]?.value ?? draft.gateway.value.id.value,
    username: broker.username?.value ?? null,
    passwordFile: resolved(folder, broker["password-file"]),
    caFile: resolved(folder, broker["ca-file"]),
    certificateFile: resolved(folder, broker["certificate-file"]),
    keyFile: resolved(folder, broker["key-file"]),
    keepAliveMs: broker["keep-alive"]?.value ?? DEFAULTS.keepAliveMs,
    bufferBytes: broker.buffer?.value ?? DEFAULTS.bufferBytes,
  };
}

function pairedFiles(
  path: string,
  certificate: Located<string> | undefined,
  key: Located<string> | undefined,
  problems: Problems,
): void {
  const alone = certificate === undefined ? key : key === undefined ? certificate : undefined;
  if (alone !== undefined) problems.add(alone.keyAt, `${path}: certificate-file and key-file come together`);
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^127(\.\d{1,3}){3}$/.test(address);
}

export function buildConsole(draft: GatewayDraft, folder: string, problems: Problems): ConsoleSettings | null {
  const settings = draft.console?.value;
  if (settings === undefined) return null;
  pairedFiles("console", settings["certificate-file"], settings["key-file"], problems);
  const address = settings.address?.value ?? DEFAULTS.consoleAddress;
  if (!isLoopback(address) && settings["certificate-file"] === undefined) {
    const hint = "add certificate-file and key-file, or use 127.0.0.1";
    problems.add(settings.address?.at ?? draft.gateway.at, "console beyond loopback needs TLS", {
      found: address,
      hint,
    });
  }
  return {
    address,
    port: settings.port.value,
    tokenFile: resolved(folder, settings["token-file"]),
    certificateFile: resolved(folder, settings["certificate-file"]),
    keyFile: resolved(folder, settings["key-file"]),
  };
}

type BusDraft = NonNullable<DevicesDraft["onewire"]>["value"];

function bus({ backend, simulate }: BusDraft): PlainData {
  return { backend: backend?.value ?? "auto", simulate: (simulate?.value ?? []).map(({ value }) => value) };
}

/** Plain data by kind and bus: `{ i2c: { "1": { backend, simulate } } }`. */
export function buildDevices(draft: GatewayDraft): Readonly<Record<string, PlainData>> {
  const devices = draft.devices?.value;
  if (devices === undefined) return {};
  const tables = (["i2c", "spi", "gpio", "uart"] as const).flatMap((kind) => {
    const written = devices[kind]?.value;
    if (written === undefined) return [];
    return [[kind, Object.fromEntries([...written].map(([key, { value }]) => [key, bus(value)]))] as const];
  });
  return Object.fromEntries<PlainData>([
    ...tables,
    ...(devices.onewire ? [["onewire", bus(devices.onewire.value)] as const] : []),
  ]);
}
