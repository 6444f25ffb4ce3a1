/** A gateway: the core's composition root. It starts the trust worker, the kernel and the host processes, and joins them. */
import { accessSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { CborInput, ModuleSpec, SavedState } from "../../kernel/index.ts";
import { Kernel, LIMITS, Refusal } from "../../kernel/index.ts";
import type { ConsoleSettings, GatewayConfiguration, Problem } from "../config/index.ts";
import { ConfigurationError, describeProblem, excessGrants, fitBinaries } from "../config/index.ts";
import { HostProcess } from "../wire/child.ts";
import type { HostPermissions } from "../wire/permissions.ts";
import { hostEntry } from "../wire/entry.ts";
import { coversPermissions, devicePermissions, linkPermissions } from "../wire/permissions.ts";
import type { OperatorRequest } from "../wire/operator.ts";
import { TrustClient } from "../wire/trust-client.ts";
import type { BootedModule, BootReply } from "../wire/trust-protocol.ts";
import { refusalFrom } from "../wire/trust-protocol.ts";
import { auditNote, useNote } from "./audited.ts";
import { Control } from "./control.ts";
import { deviceNeeds } from "./device-needs.ts";
import { eventText, type GatewayEvent } from "./events.ts";
import { Hosts, type StoreService, type Watchers } from "./hosts.ts";
import { watchForUnkillable } from "./last-resort.ts";
import { consoleToken } from "./console-token.ts";
import { consoleSettings, linkSettings, linkSettingsAlone } from "./link-settings.ts";
import { ModuleStates } from "./module-states.ts";
import { Operator } from "./operator.ts";
import { ServiceManager } from "./service-manager.ts";
import { Tracer } from "./tracer.ts";
import { UpdateLink } from "./update-link.ts";
import type { RunningModule } from "./updates.ts";
import { UpdateRuntime } from "./updates.ts";

export interface GatewayOptions {
  readonly onEvent: (event: GatewayEvent) => void;
  /** Shorter times for the update agent: the demo and the tests. */
  readonly updateTimes?: Readonly<Record<string, number>>;
  /** Times as long before a host process or a partition is taken for dead: 1 where absent, more on an emulated machine. */
  readonly patience?: number;
}

const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."));
const TRUST_WORKER = new URL(`../trust/worker${extension}`, import.meta.url);
const HOST_HEAP_MIB = 96;
/** One arena of malloc for all threads of a host process: an arena for each would keep what that thread once needed. */
const HOST_ENVIRONMENT = Object.freeze({ MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "65536" });

export class Gateway {
  /** Of the file on the gateway. */
  readonly #own: GatewayConfiguration;
  readonly #options: GatewayOptions;
  readonly #emit: (event: GatewayEvent) => void;
  readonly #worker: Worker;
  readonly #trust: TrustClient;
  readonly #hosts: Hosts;
  readonly #states: ModuleStates;
  readonly #updateLink: UpdateLink;
  readonly #updates: UpdateRuntime;
  readonly #control: Control;
  readonly #operator: Operator;
  readonly kernel: Kernel;
  /** The simulators that the device process has been told of. */
  #devices: GatewayConfiguration["devices"] = {};
  #device: HostProcess | undefined = undefined;
  #link: HostProcess | undefined = undefined;
  #manager: ServiceManager | undefined = undefined;
  #stopping = false;

  constructor(configuration: GatewayConfiguration, options: GatewayOptions) {
    this.#own = configuration;
    this.#options = options;
    this.#emit = (event) => {
      this.#updates.observe(event);
      const note = auditNote(event);
      if (note !== undefined) this.#trust.audit(note);
      options.onEvent(event);
      this.#operator.observe(event);
      this.#control.tell(event);
      watchForUnkillable(event);
      if (event.type === "held" || event.type === "update") this.#manager?.status(eventText(event));
    };
    // Eager compilation: a lazy one would happen inside a partition, at a first call, for as long as V8 likes.
    setFlagsFromString("--no-wasm-lazy-compilation");
    this.#worker = new Worker(TRUST_WORKER, { name: "trust" });
    const store: StoreService = {
      request: async (_owner, { parameters }, operation, [key = NOTHING, value = NOTHING]) => {
        if (operation !== "get" && operation !== "set" && operation !== "delete")
          throw new Refusal("E_UNKNOWN", operation);
        const binding = { prefix: String(parameters["prefix"]), quota: Number(parameters["quota"]) };
        return await this.#trust.store(operation, binding, key, value);
      },
    };
    const watchers: Watchers = {
      used: (binding, operation, result) => {
        this.#trust.audit(useNote(binding, operation, result));
      },
      published: (module, topic, payload) => {
        this.#operator.published(module, topic, payload);
      },
    };
    this.#hosts = new Hosts(store, watchers);
    this.#states = new ModuleStates((module, state) => {
      this.#trust.keepState(module, state);
    });
    this.kernel = new Kernel({
      host: this.#hosts,
      onEvent: this.#emit,
      spare: configuration.limits.spare,
      patience: options.patience ?? 1,
      onFailure: (failure) => {
        this.#trust.keepFailure(failure);
      },
      onState: (module, state) => {
        this.#states.keep(module, state);
      },
    });
    this.#operator = new Operator({
      kernel: this.kernel,
      configuration: () => this.#updates.configuration,
      audit: (query) => this.#trust.auditPage(query),
      emit: this.#emit,
    });
    const tracer = new Tracer((isWanted) => this.kernel.inspect(isWanted));
    this.#control = new Control({
      top: () => this.kernel.top(),
      trace: (isWanted) => tracer.take(isWanted),
      operate: (request) => this.#operator.answer(request.kind === "act" ? { ...request, by: "owner" } : request),
      simulators: async () => (await this.#device?.simulators())?.bytes,
      simulate: async (device, quantity, script) => await this.#device?.simulate(device, quantity, script),
      simulated: (device, quantity, script) => {
        this.#emit({ type: "simulated", device, quantity, script: JSON.stringify(script).slice(0, LIMITS.logBytes) });
      },
    });
    this.#updateLink = new UpdateLink(() => this.#link);
    const environment = {
      kernel: this.kernel,
      admit: (binary: Uint8Array, spec: ModuleSpec) => this.#trust.admit(binary, spec),
      prepareHosts: (system: GatewayConfiguration, modules: readonly ModuleSpec[]) =>
        this.#prepareDevice(system, modules),
      emit: this.#emit,
    };
    this.#updates = new UpdateRuntime(environment, configuration);
    const updates = this.#updates;
    this.#trust = new TrustClient(this.#worker, {
      policy: (set) => updates.policy(set),
      stage: (changed, set) => updates.stage(changed, set),
      swap: () => updates.swap(),
      probation: (milliseconds, messages, modules) => updates.probation(milliseconds, messages, modules),
      commit: () => updates.commit(),
      rollback: () => updates.rollback(),
      subscribe: (topic) => {
        this.#updateLink.subscribe(topic);
      },
      unsubscribe: (topic) => {
        this.#updateLink.unsubscribe(topic);
      },
      publish: (topic, payload, retain, qos) => {
        this.#updateLink.publish(topic, payload, retain, qos);
      },
      caughtUp: () => {
        this.#updateLink.renew();
      },
      finding: (text) => {
        this.#emit({ type: "finding", text });
      },
      capsule: (capsule) => {
        this.#emit({ type: "capsule", ...capsule });
      },
      notice: (notice) => {
        this.#emit({ type: "update", ...notice, code: notice.code ?? "" });
      },
    });
    this.#worker.on("error", (error: unknown) => {
      this.#trust.lost();
      if (!this.#stopping) throw error;
    });
  }

  /**
   * Starts everything, in dependency order; on an error nothing is left running.
   * @throws ConfigurationError where the modules do not fit the configuration; Refusal for what the host refuses.
   */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { gateway, dataFolder } = this.#own;
    this.#manager = this.#findManager();
    this.#emit({ type: "gateway", state: "starting", text: `${gateway.id} (${gateway.vendor}, ${gateway.class})` });
    prepareFolder(dataFolder);
    await this.#control.open(dataFolder);
    const boot = await this.#boot();
    const configuration = boot.configuration ?? this.#own;
    this.#operator.booted(boot);
    for (const problem of configuration.warnings) this.#warn(problem);
    const { system } = configuration;
    const modules = this.#inspect(boot, configuration);
    const admitted = await this.#admit(modules, configuration);
    await this.kernel.start(system.partitions);
    this.#updates.begin(configuration, admitted);
    for (const module of admitted) this.#load(module, boot.states.get(module.spec.name));
    await this.#startHosts(configuration);
    this.kernel.begin();
    this.#trust.start();
    const running = `${admitted.length} of ${system.modules.length} modules in ${system.partitions.length} partitions`;
    this.#emit({ type: "gateway", state: "running", text: running });
    this.#manager?.ready(running);
  }

  /** Stops modules first, then the processes that serve them, then the trust worker. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#emit({ type: "gateway", state: "stopping", text: "" });
    this.#manager?.stopping();
    await this.kernel.stop();
    this.#states.flush();
    await this.#trust.stop().catch(() => undefined);
    await Promise.all([this.#device?.stop(), this.#link?.stop()]);
    await this.#worker.terminate();
    this.#emit({ type: "gateway", state: "stopped", text: "" });
    await this.#control.close();
  }

  async #boot(): Promise<BootReply> {
    const boot = await this.#trust.boot({
      configuration: this.#own,
      ...(this.#options.updateTimes === undefined ? {} : { times: this.#options.updateTimes }),
    });
    for (const text of boot.findings) this.#emit({ type: "finding", text });
    for (const { name, refusal } of boot.refused) this.#refuse(name, refusalFrom(refusal));
    for (const source of boot.configuration?.files ?? []) {
      this.#emit({ type: "finding", text: `${source} is in force, in place of the gateway's own file` });
    }
    return boot;
  }

  /** One that cannot be told of anything is no reason not to serve. */
  #findManager(): ServiceManager | undefined {
    try {
      return ServiceManager.find();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#emit({ type: "warning", text: error.describe() });
      return undefined;
    }
  }

  /** The configuration must fit the modules that are there; a module that cannot be read is refused and the rest starts. */
  #inspect({ modules }: BootReply, configuration: GatewayConfiguration): BootedModule[] {
    const { errors, warnings, refused } = fitBinaries(configuration, modules);
    for (const [name, refusal] of refused) this.#refuse(name, refusal);
    if (errors.length > 0) throw new ConfigurationError(errors);
    for (const warning of warnings) this.#warn(warning);
    return modules.filter(({ name }) => !refused.has(name));
  }

  async #admit(modules: readonly BootedModule[], configuration: GatewayConfiguration): Promise<RunningModule[]> {
    const admitted: RunningModule[] = [];
    for (const { name, binary, envelope } of modules) {
      const spec = specOf(configuration, name);
      if (spec === undefined) continue;
      try {
        admitted.push({ spec, admitted: await this.#trust.admit(binary, spec), envelope });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#refuse(name, error);
      }
    }
    return admitted;
  }

  #load({ spec, admitted }: RunningModule, state: SavedState | undefined): void {
    this.kernel.load(spec, admitted, state);
    for (const slot of excessGrants(spec, admitted)) {
      this.#emit({ type: "warning", text: `${spec.name}.${slot} is granted and never used: excess privilege` });
    }
  }

  /** A process is started only where the configuration needs it. */
  async #startHosts(configuration: GatewayConfiguration): Promise<void> {
    const starting: Promise<void>[] = [];
    const deviceBindings = this.#hosts.bindingsOf("device");
    if (deviceBindings.length > 0) {
      starting.push(this.#startDevice(configuration, devicePermissions(deviceBindings)));
    }
    const { broker, console } = this.#own;
    const isLinkNeeded = broker !== null || console !== null || this.#hosts.bindingsOf("link").length > 0;
    if (isLinkNeeded) starting.push(this.#startLink(this.#own));
    await Promise.all(starting);
  }

  async #startDevice({ devices }: GatewayConfiguration, permissions: HostPermissions): Promise<void> {
    const process = this.#process("device", { devices }, permissions);
    this.#device = process;
    this.#devices = devices;
    this.#hosts.attach("device", process);
    await process.start(this.#hosts.bindingsOf("device"));
  }

  async #startLink({ broker, console, dataFolder, gateway }: GatewayConfiguration): Promise<void> {
    // The link's own folder: it must not be able to touch the trust state beside it.
    const folder = join(dataFolder, "link");
    prepareFolder(folder);
    const settings =
      broker === null
        ? linkSettingsAlone(gateway.id)
        : linkSettings(broker, this.#updateLink.will(gateway.id), join(folder, "outbox.sqlite"));
    const page = console === null ? {} : { console: this.#consoleSettings(console) };
    this.#link = this.#process("link", { ...settings, ...page }, linkPermissions(folder, []));
    this.#hosts.attach("link", this.#link);
    await this.#link.start([...this.#hosts.bindingsOf("link"), ...this.#updateLink.bindings()]);
  }

  #consoleSettings(settings: ConsoleSettings): CborInput {
    const { digest, file, shown } = consoleToken(settings.tokenFile, this.#own.dataFolder);
    // Not an event like others: those are kept, and seen by whoever looks.
    if (shown !== undefined) this.#options.onEvent({ type: "token", token: shown, file });
    return consoleSettings(settings, digest);
  }

  /** An update may bring the first device, a file that the process may not open yet, or other simulators. */
  async #prepareDevice(configuration: GatewayConfiguration, modules: readonly ModuleSpec[]): Promise<void> {
    const needed = deviceNeeds(modules);
    if (needed === undefined) return;
    if (this.#device === undefined) {
      await this.#startDevice(configuration, needed);
      return;
    }
    const { devices } = configuration;
    const isSame = JSON.stringify(devices) === JSON.stringify(this.#devices);
    if (isSame && !this.#device.isStopped && coversPermissions(this.#device.permissions, needed)) return;
    this.#devices = devices;
    await this.#device.replace({ permissions: needed, settings: { devices } });
  }

  #process(name: "device" | "link", settings: CborInput, permissions: HostPermissions): HostProcess {
    return new HostProcess({
      name,
      ...hostEntry(name),
      settings,
      permissions,
      heapMiB: HOST_HEAP_MIB,
      patience: this.#options.patience ?? 1,
      environment: HOST_ENVIRONMENT,
      onEvent: (binding, payload) => {
        if (!this.#updateLink.event(binding, payload, (topic, bytes) => this.#trust.message(topic, bytes))) {
          this.kernel.event(binding, payload);
        }
      },
      onStatus: (state, text) => {
        this.#emit({ type: "host", process: name, state, text });
        if (name === "link" && state === "online") this.#trust.connected();
      },
      onLog: (level, text) => {
        this.#emit({ type: "log", module: name, level, text });
      },
      ...(name === "link" && { onAsk: this.#asked }),
    });
  }

  /** The link parses the network and may have been taken over: it can look and act, and what it says of who asks is its word. */
  readonly #asked = (request: OperatorRequest): Promise<unknown> =>
    this.#operator.answer(request.kind === "act" ? { ...request, by: `console (${request.by})` } : request);

  #refuse(module: string, refusal: Refusal): void {
    this.#emit({ type: "refused", module, code: refusal.code, text: refusal.describe() });
  }

  #warn(problem: Problem): void {
    this.#emit({ type: "warning", text: describeProblem(problem) });
  }
}

const NOTHING = new Uint8Array(0);

function specOf({ system }: GatewayConfiguration, name: string): ModuleSpec | undefined {
  return system.modules.find((module) => module.name === name);
}

/** @throws Refusal E_STORE with what to do. */
function prepareFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new Refusal("E_STORE", `the data folder ${path} cannot be written`, {
      found: error instanceof Error ? error.message : "",
      hint: "make it writable for this user, or name another one as `data:` in the configuration",
    });
  }
}
