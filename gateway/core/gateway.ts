/** A gateway: the core's composition root. It starts the trust worker, the kernel and the host processes, and joins them. */
import { accessSync, constants, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { AdmittedModule, CborInput, ModuleSpec } from "../../kernel/index.ts";
import { inspectModule, Kernel, LIMITS, Refusal } from "../../kernel/index.ts";
import type { GatewayConfiguration, Problem } from "../config/index.ts";
import { checkAgainstManifests, ConfigurationError, describeProblem } from "../config/index.ts";
import { hostEntry, HostProcess } from "../wire/child.ts";
import { devicePermissions, linkPermissions } from "../wire/permissions.ts";
import { TrustClient } from "../wire/trust-client.ts";
import type { BootedModule, BootReply } from "../wire/trust-protocol.ts";
import { refusalFrom } from "../wire/trust-protocol.ts";
import { auditNote } from "./audited.ts";
import { Control } from "./control.ts";
import type { GatewayEvent } from "./events.ts";
import { Hosts } from "./hosts.ts";
import { linkSettings } from "./link-settings.ts";
import { UpdateLink } from "./update-link.ts";
import { UpdateRuntime } from "./updates.ts";

export interface GatewayOptions {
  readonly onEvent: (event: GatewayEvent) => void;
  /** Shorter times for the update agent: the demo and the tests. */
  readonly updateTimes?: Readonly<Record<string, number>>;
}

const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."));
const TRUST_WORKER = new URL(`../trust/worker${extension}`, import.meta.url);
const HOST_HEAP_MIB = 96;

export class Gateway {
  readonly #configuration: GatewayConfiguration;
  readonly #options: GatewayOptions;
  readonly #emit: (event: GatewayEvent) => void;
  readonly #worker: Worker;
  readonly #trust: TrustClient;
  readonly #hosts: Hosts;
  readonly #updateLink: UpdateLink;
  readonly #updates: UpdateRuntime;
  readonly #control: Control;
  readonly kernel: Kernel;
  #device: HostProcess | undefined = undefined;
  #link: HostProcess | undefined = undefined;
  #stopping = false;

  constructor(configuration: GatewayConfiguration, options: GatewayOptions) {
    this.#configuration = configuration;
    this.#options = options;
    this.#emit = (event) => {
      const note = auditNote(event);
      if (note !== undefined) this.#trust.audit(note);
      options.onEvent(event);
      this.#control.tell(event);
    };
    // Eager compilation: a lazy one would happen inside a partition, at a first call, for as long as V8 likes.
    setFlagsFromString("--no-wasm-lazy-compilation");
    this.#worker = new Worker(TRUST_WORKER, { name: "trust" });
    this.#hosts = new Hosts({
      request: async (_owner, { parameters }, operation, [key = NOTHING, value = NOTHING]) => {
        if (operation !== "get" && operation !== "set" && operation !== "delete")
          throw new Refusal("E_UNKNOWN", operation);
        const binding = { prefix: String(parameters["prefix"]), quota: Number(parameters["quota"]) };
        return await this.#trust.store(operation, binding, key, value);
      },
    });
    this.kernel = new Kernel({ host: this.#hosts, onEvent: this.#emit });
    this.#control = new Control({
      top: () => this.kernel.top(),
      simulators: async () => (await this.#device?.simulators())?.bytes,
      simulate: async (device, quantity, script) => await this.#device?.simulate(device, quantity, script),
      simulated: (device, quantity, script) => {
        this.#emit({ type: "simulated", device, quantity, script: JSON.stringify(script).slice(0, LIMITS.logBytes) });
      },
    });
    this.#updateLink = new UpdateLink(() => this.#link);
    this.#updates = new UpdateRuntime({
      kernel: this.kernel,
      spec: (name) => this.#spec(name),
      admit: (binary, spec) => this.#trust.admit(binary, spec),
    });
    const updates = this.#updates;
    this.#trust = new TrustClient(this.#worker, {
      policy: (set) => updates.policy(set),
      stage: (changed) => updates.stage(changed),
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
      finding: (text) => {
        this.#emit({ type: "finding", text });
      },
      notice: ({ plan, state, percent, code, reason }) => {
        this.#emit({ type: "update", plan, state, percent, code: code ?? "", reason });
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
    const { gateway, system } = this.#configuration;
    this.#emit({ type: "gateway", state: "starting", text: `${gateway.id} (${gateway.vendor}, ${gateway.class})` });
    for (const problem of this.#configuration.warnings) this.#warn(problem);
    prepareFolder(this.#configuration.dataFolder);
    await this.#control.open(this.#configuration.dataFolder);
    const boot = await this.#boot();
    const modules = this.#inspect(boot);
    const admitted = await this.#admit(modules);
    await this.kernel.start(system.partitions);
    for (const { spec, module } of admitted) this.#load(spec, module);
    await this.#startHosts();
    this.kernel.begin();
    this.#trust.start();
    const running = `${admitted.length} of ${system.modules.length} modules in ${system.partitions.length} partitions`;
    this.#emit({ type: "gateway", state: "running", text: running });
  }

  /** Stops modules first, then the processes that serve them, then the trust worker. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#emit({ type: "gateway", state: "stopping", text: "" });
    await this.kernel.stop();
    await this.#trust.stop().catch(() => undefined);
    await Promise.all([this.#device?.stop(), this.#link?.stop()]);
    await this.#worker.terminate();
    this.#emit({ type: "gateway", state: "stopped", text: "" });
    await this.#control.close();
  }

  async #boot(): Promise<BootReply> {
    const { gateway, dataFolder, trust, envelopes } = this.#configuration;
    const boot = await this.#trust.boot({
      gatewayId: gateway.id,
      vendor: gateway.vendor,
      class: gateway.class,
      dataFolder,
      rootPath: trust.root,
      modules: Array.from(envelopes, ([name, path]) => ({ name, path })),
      ...(this.#options.updateTimes === undefined ? {} : { times: this.#options.updateTimes }),
    });
    for (const text of boot.findings) this.#emit({ type: "finding", text });
    for (const { name, refusal } of boot.refused) this.#refuse(name, refusalFrom(refusal));
    return boot;
  }

  /** The configuration must fit the modules that are there; a module that cannot be read is refused and the rest starts. */
  #inspect({ modules }: BootReply): BootedModule[] {
    const manifests = new Map<string, ReturnType<typeof inspectModule>["manifest"]>();
    const readable = modules.filter(({ name, binary }) => {
      if (this.#spec(name) === undefined) {
        this.#refuse(name, new Refusal("E_CAP", "the configuration has no place for it"));
        return false;
      }
      try {
        manifests.set(name, inspectModule(binary).manifest);
        return true;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#refuse(name, error);
        return false;
      }
    });
    const { errors, warnings } = checkAgainstManifests(this.#configuration, manifests);
    if (errors.length > 0) throw new ConfigurationError(errors);
    for (const warning of warnings) this.#warn(warning);
    return readable;
  }

  async #admit(modules: readonly BootedModule[]): Promise<{ spec: ModuleSpec; module: AdmittedModule }[]> {
    const admitted: { spec: ModuleSpec; module: AdmittedModule }[] = [];
    for (const { name, binary } of modules) {
      const spec = this.#spec(name);
      if (spec === undefined) continue;
      try {
        admitted.push({ spec, module: await this.#trust.admit(binary, spec) });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        this.#refuse(name, error);
      }
    }
    return admitted;
  }

  #load(spec: ModuleSpec, module: AdmittedModule): void {
    for (const slot of this.kernel.load(spec, module)) {
      this.#emit({ type: "warning", text: `${spec.name}.${slot} is granted and never used: excess privilege` });
    }
  }

  /** A process is started only where the configuration needs it. */
  async #startHosts(): Promise<void> {
    const { broker, dataFolder, devices } = this.#configuration;
    const starting: Promise<void>[] = [];
    const deviceBindings = this.#hosts.bindingsOf("device");
    if (deviceBindings.length > 0) {
      this.#device = this.#process("device", { devices }, devicePermissions(deviceBindings));
      this.#hosts.attach("device", this.#device);
      starting.push(this.#device.start(deviceBindings));
    }
    if (broker !== null) {
      const { gateway } = this.#configuration;
      // The link's own folder: it must not be able to touch the trust state beside it.
      const folder = join(dataFolder, "link");
      prepareFolder(folder);
      const settings = linkSettings(broker, this.#updateLink.will(gateway.id), join(folder, "outbox.sqlite"));
      this.#link = this.#process("link", settings, linkPermissions(folder, []));
      this.#hosts.attach("link", this.#link);
      starting.push(this.#link.start([...this.#hosts.bindingsOf("link"), ...this.#updateLink.bindings()]));
    }
    await Promise.all(starting);
  }

  #process(
    name: "device" | "link",
    settings: CborInput,
    permissions: ReturnType<typeof devicePermissions>,
  ): HostProcess {
    return new HostProcess({
      name,
      ...hostEntry(name),
      settings,
      permissions,
      heapMiB: HOST_HEAP_MIB,
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
    });
  }

  #spec(name: string): ModuleSpec | undefined {
    return this.#configuration.system.modules.find((module) => module.name === name);
  }

  #refuse(module: string, refusal: Refusal): void {
    this.#emit({ type: "refused", module, code: refusal.code, text: refusal.describe() });
  }

  #warn(problem: Problem): void {
    this.#emit({ type: "warning", text: describeProblem(problem) });
  }
}

const NOTHING = new Uint8Array(0);

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
