/** What the core does for the update agent: policy, staging, swap, probation, commit and rollback of a set of modules. */
import type { AdmittedModule, Kernel, ModuleRow, ModuleSpec, PartitionSpec } from "../../kernel/index.ts";
import { findOperation, Refusal } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import type { ModuleDocument } from "../envelopes/index.ts";
import type { TrustHandlers } from "../wire/trust-client.ts";
import type { OfferedBinary, OfferedSet } from "../wire/trust-protocol.ts";
import type { GatewayEvent } from "./events.ts";
import { FailureWatch } from "./failure-watch.ts";

type RuntimeHandlers = Pick<TrustHandlers, "policy" | "stage" | "swap" | "probation" | "commit" | "rollback">;

/** How often a set on probation is asked whether it has handled enough messages. */
const PROBATION_POLL_MS = 50;
/** So many times the least time on probation prove a module that nobody sends anything. */
const QUIET_FACTOR = 6;

export interface UpdateEnvironment {
  readonly kernel: Kernel;
  readonly admit: (binary: Uint8Array, spec: ModuleSpec) => Promise<AdmittedModule>;
  /** Makes the processes around the kernel able to serve these modules, under this configuration. @throws Refusal */
  readonly prepareHosts: (configuration: GatewayConfiguration, modules: readonly ModuleSpec[]) => Promise<void>;
  readonly emit: (event: GatewayEvent) => void;
}

/** A module that runs. */
export interface RunningModule {
  readonly spec: ModuleSpec;
  readonly admitted: AdmittedModule;
  /** Digest of its envelope, in hexadecimal. */
  readonly envelope: string;
}

/** From what runs to what a plan asks for. */
interface Change {
  readonly configuration: GatewayConfiguration;
  readonly added: ReadonlyMap<string, RunningModule>;
  readonly changed: ReadonlyMap<string, RunningModule>;
  readonly removed: ReadonlyMap<string, RunningModule>;
}

/** A change that has begun to take effect; what has not been reached needs no way back. */
interface Trial extends Change {
  readonly loaded: string[];
  isSwapped: boolean;
}

export class UpdateRuntime implements RuntimeHandlers {
  readonly #environment: UpdateEnvironment;
  readonly #failures = new FailureWatch();
  readonly #partitions = new Map<string, number>();
  #running = new Map<string, RunningModule>();
  #configuration: GatewayConfiguration;
  #staged: Change | undefined;
  #trial: Trial | undefined;

  constructor(environment: UpdateEnvironment, configuration: GatewayConfiguration) {
    this.#environment = environment;
    this.#configuration = configuration;
  }

  /** The one in force. */
  get configuration(): GatewayConfiguration {
    return this.#configuration;
  }

  /** What the boot has loaded, before it runs. */
  begin(configuration: GatewayConfiguration, modules: readonly RunningModule[]): void {
    this.#configuration = configuration;
    this.#running = new Map(modules.map((module) => [module.spec.name, module]));
    for (const { name, heapMiB } of configuration.system.partitions) this.#partitions.set(name, heapMiB);
  }

  /** Events of the kernel: failures are what a set that no swap keeps warm is judged by. */
  observe(event: GatewayEvent): void {
    this.#failures.observe(event);
  }

  /** Signing never grants: what a module asks for must be within what the operator's configuration gives it. */
  policy({ modules, configuration }: OfferedSet): Promise<readonly Refusal[]> {
    const system = configuration ?? this.#configuration;
    const refusals = modules.flatMap(({ document }) => checkClaims(system, document));
    return Promise.resolve(configuration === undefined ? refusals : [...refusals, ...this.#checkPlaces(configuration)]);
  }

  async stage(offered: readonly OfferedBinary[], set: OfferedSet): Promise<void> {
    const configuration = set.configuration ?? this.#configuration;
    const [added, changed] = [new Map<string, RunningModule>(), new Map<string, RunningModule>()];
    for (const { document, envelope, binary } of offered) {
      const spec = specOf(configuration, document.name);
      const running = this.#running.get(document.name);
      if (running?.envelope === envelope && isSame(running.spec, spec)) continue;
      const admitted = await this.#environment.admit(binary, spec);
      checkImportsClaimed(document, admitted);
      (running === undefined ? added : changed).set(document.name, { spec, admitted, envelope });
    }
    this.#staged = { configuration, added, changed, removed: this.#leftOut(set) };
  }

  /** New modules are there before the others learn of them; those that go hold still until the commit. */
  async swap(): Promise<{ readonly pauseMs: number }> {
    const staged = this.#staged;
    if (staged === undefined) return { pauseMs: 0 };
    const { kernel } = this.#environment;
    const trial: Trial = { ...staged, loaded: [], isSwapped: false };
    this.#staged = undefined;
    this.#trial = trial;
    await this.#makePlaces(trial);
    await this.#load(trial);
    const { pauseMs } = await this.#swapChanged(trial);
    for (const name of trial.removed.keys()) kernel.hold(name, "the configuration has no place for it any more");
    for (const name of trial.added.keys()) kernel.begin(name);
    this.#tellGrants(trial, "forth");
    return { pauseMs };
  }

  /**
   * Proven when the time has passed without a fault and every new version has handled enough messages. One to which nobody
   * has sent any is proven by a longer time: an alarm may not go off for years, and must be updated all the same.
   */
  async probation(milliseconds: number, messages: number, modules: readonly string[]): Promise<void> {
    const trial = this.#trial;
    const { kernel } = this.#environment;
    const swapped = trial === undefined ? [] : swappedNames(trial);
    const watched = trial === undefined ? modules : [...trial.added.keys()];
    const proving = trial === undefined ? modules : this.#newVersions(trial);
    const before = await this.#rows(proving);
    // The start notice may be one of them, and is no message.
    const activations = messages === 0 ? 0 : messages + 1;
    const quietAt = performance.now() + milliseconds * QUIET_FACTOR;
    const well = (time: number): Promise<unknown> =>
      Promise.all([
        this.#failures.during(time, watched),
        swapped.length > 0 ? kernel.probation(swapped, time) : Promise.resolve(),
      ]);
    await well(milliseconds);
    for (;;) {
      const now = await this.#rows(proving);
      const hasHandled = (name: string): boolean =>
        (now.get(name)?.activations ?? 0) - (before.get(name)?.activations ?? 0) >= activations;
      const isQuiet = (name: string): boolean => now.get(name)?.queued === 0 && performance.now() >= quietAt;
      if (proving.every((name) => hasHandled(name) || isQuiet(name))) return;
      await well(PROBATION_POLL_MS);
    }
  }

  async commit(): Promise<void> {
    const trial = this.#trial;
    this.#trial = undefined;
    if (trial === undefined) return;
    const { kernel } = this.#environment;
    if (trial.isSwapped) {
      kernel.settle(swappedNames(trial), true);
      await kernel.settled();
    }
    for (const name of trial.removed.keys()) {
      kernel.unload(name);
      this.#running.delete(name);
    }
    for (const [name, module] of [...trial.added, ...trial.changed]) this.#running.set(name, module);
    this.#configuration = trial.configuration;
  }

  /** The new modules go first, so that what they hold is free when the old ones are back. */
  async rollback(): Promise<void> {
    const trial = this.#trial;
    this.#staged = undefined;
    this.#trial = undefined;
    if (trial === undefined) return;
    const { kernel } = this.#environment;
    for (const name of trial.loaded) kernel.unload(name);
    if (trial.isSwapped) {
      kernel.settle(swappedNames(trial), false);
      await kernel.settled();
      this.#tellGrants(trial, "back");
    }
    await this.#environment.prepareHosts(this.#configuration, specsOf(this.#running));
  }

  /** What has to be stopped because the plan leaves it out; without a configuration no plan can take anything away. */
  #leftOut(set: OfferedSet): ReadonlyMap<string, RunningModule> {
    if (set.configuration === undefined) return new Map();
    const planned = new Set(set.modules.map(({ document }) => document.name));
    return new Map([...this.#running].filter(([name]) => !planned.has(name)));
  }

  /** A thread keeps its heap for as long as it runs. */
  #checkPlaces({ system }: GatewayConfiguration): Refusal[] {
    return system.partitions.flatMap(({ name, heapMiB }) => {
      const now = this.#partitions.get(name) ?? heapMiB;
      if (now === heapMiB) return [];
      const detail = { expected: `${now} MiB`, found: `${heapMiB} MiB`, hint: "place new modules in a new partition" };
      return [new Refusal("E_CONFIG", `the heap of partition ${name} can't change while it runs`, detail)];
    });
  }

  async #makePlaces(trial: Trial): Promise<void> {
    const { kernel, prepareHosts } = this.#environment;
    const needed = new Map([...this.#running, ...trial.added, ...trial.changed]);
    await prepareHosts(trial.configuration, [...specsOf(this.#running), ...specsOf(needed)]);
    const isNew = ({ name }: PartitionSpec): boolean => !this.#partitions.has(name);
    for (const partition of trial.configuration.system.partitions.filter(isNew)) {
      await kernel.addPartition(partition);
      // It stays, empty, where the set goes back: the next one may want it.
      this.#partitions.set(partition.name, partition.heapMiB);
    }
  }

  async #load(trial: Trial): Promise<void> {
    const loading = [...trial.added.values()].map(async ({ spec, admitted }) => {
      const loaded = this.#failures.loaded(spec.name);
      this.#environment.kernel.load(spec, admitted);
      trial.loaded.push(spec.name);
      await loaded;
    });
    await Promise.all(loading);
  }

  /** One that goes is swapped for itself: so its state is kept, and it comes back with the set if that goes back. */
  async #swapChanged(trial: Trial): Promise<{ readonly pauseMs: number }> {
    const requests = [...trial.changed, ...trial.removed].map(([name, { admitted, spec }]) => ({
      name,
      admitted,
      spec,
    }));
    if (requests.length === 0) return { pauseMs: 0 };
    const swapped = await this.#environment.kernel.swap(requests);
    trial.isSwapped = true;
    return swapped;
  }

  /** The kernel tells of grants that come and go with their module; these come and go with a configuration. */
  #tellGrants({ changed }: Trial, direction: "forth" | "back"): void {
    for (const [name, { spec }] of changed) {
      const [old, next] = [this.#running.get(name)?.spec.grants ?? [], spec.grants];
      const [before, after] = direction === "forth" ? [old, next] : [next, old];
      this.#tell("revoked", name, without(before, after));
      this.#tell("granted", name, without(after, before));
    }
  }

  #tell(type: "granted" | "revoked", module: string, grants: ModuleSpec["grants"]): void {
    for (const grant of grants) this.#environment.emit({ type, module, slot: grant.slot, grant });
  }

  /** Those with another binary; where only grants have changed there is nothing to prove by messages. */
  #newVersions({ changed }: Trial): string[] {
    return [...changed].flatMap(([name, { envelope }]) =>
      this.#running.get(name)?.envelope === envelope ? [] : [name],
    );
  }

  async #rows(names: readonly string[]): Promise<Map<string, ModuleRow>> {
    const rows = await this.#environment.kernel.top();
    return new Map(rows.filter(({ name }) => names.includes(name)).map((row) => [row.name, row]));
  }
}

function swappedNames({ changed, removed }: Change): string[] {
  return [...changed.keys(), ...removed.keys()];
}

function specsOf(modules: ReadonlyMap<string, RunningModule>): ModuleSpec[] {
  return Array.from(modules.values(), ({ spec }) => spec);
}

/** Both are made of plain data by the same code, so equal ones are equal texts. */
function isSame(first: unknown, second: unknown): boolean {
  return JSON.stringify(first) === JSON.stringify(second);
}

function without(grants: ModuleSpec["grants"], others: ModuleSpec["grants"]): ModuleSpec["grants"] {
  return grants.filter((grant) => !others.some((other) => isSame(grant, other)));
}

/** @throws Refusal E_CAP where the module has no place */
function specOf({ system }: GatewayConfiguration, name: string): ModuleSpec {
  const spec = system.modules.find((module) => module.name === name);
  if (spec !== undefined) return spec;
  throw new Refusal("E_CAP", `the configuration has no place for a module ${name}`, {
    hint: `add modules.${name} with its partition and grants to gateway.yaml, or push a configuration with it`,
  });
}

function checkClaims(configuration: GatewayConfiguration, { name, claims }: ModuleDocument): Refusal[] {
  try {
    const spec = specOf(configuration, name);
    if (claims.memoryPages > spec.memoryPages) {
      throw new Refusal("E_SIZE", `${name} needs more memory than it is granted`, {
        expected: `at most ${spec.memoryPages} pages of 64 KiB`,
        found: `${claims.memoryPages}`,
      });
    }
    for (const { slot, interface: interfaceName, rights } of claims.capabilities) {
      checkAsked(spec, slot, interfaceName, rights);
    }
    return [];
  } catch (error) {
    if (error instanceof Refusal) return [error];
    throw error;
  }
}
function checkAsked(spec: ModuleSpec, slot: string, interfaceName: string, rights: readonly string[]): void {
  const grant = spec.grants.find((candidate) => candidate.slot === slot);
  const what = `${spec.name}.${slot}`;
  if (grant === undefined) {
    throw new Refusal("E_CAP", `${what} is asked for but not granted`, {
      hint: `grant it under modules.${spec.name}.grants in gateway.yaml, or sign a module that does without`,
    });
  }
  if (grant.interface !== interfaceName) {
    throw new Refusal("E_CAP", `${what} is granted as another interface`, {
      expected: grant.interface,
      found: interfaceName,
    });
  }
  const granted: readonly string[] = grant.rights;
  const beyond = rights.filter((right) => !granted.includes(right));
  if (beyond.length > 0) {
    throw new Refusal("E_CAP", `${what} asks for more than is granted`, {
      expected: granted.join(", "),
      found: rights.join(", "),
    });
  }
}

/** Actual imports must lie within what the signed document asks for. */
function checkImportsClaimed({ name, claims }: ModuleDocument, { imports, manifest }: AdmittedModule): void {
  const asked = new Map(claims.capabilities.map((capability) => [capability.slot, capability]));
  for (const { slot, operation } of imports) {
    const capability = asked.get(slot);
    const what = `${name} imports ${slot}.${operation}, which its signed document does not ask for`;
    if (capability === undefined || capability.interface !== manifest.slots.get(slot)?.interface) {
      throw new Refusal("E_CAP", what, { expected: [...asked.keys()].join(", ") || "no imports", found: slot });
    }
    const right = findOperation(capability.interface, operation)?.right ?? "an operation that there is not";
    const rights: readonly string[] = capability.rights;
    if (!rights.includes(right)) {
      throw new Refusal("E_CAP", what, { expected: rights.join(", ") || "no right", found: right });
    }
  }
}
