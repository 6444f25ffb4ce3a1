/** A session of `bulkhead dev`: builds, signs with a development key, swaps into a local gateway, and shows what happens there. */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { basename, dirname, join, resolve } from "node:path";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { ConfigurationError, loadConfiguration } from "../../gateway/config/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import type { KernelEvent } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { buildAll, buildModule } from "../build/build.ts";
import type { BuiltModule } from "../build/build.ts";
import { findContract } from "../build/contracts/describe.ts";
import { readContract } from "../build/contracts/model.ts";
import type { Contract } from "../build/contracts/model.ts";
import { developmentKeys, signForDevelopment, writeEnvelope } from "../build/development.ts";
import type { DevelopmentKeys } from "../build/development.ts";
import type { ManifestDocument } from "../build/module-file.ts";
import type { Broker } from "../demo/broker.ts";
import { startBroker } from "../demo/broker.ts";
import { BrokerSession } from "../push/broker.ts";
import { readGatewayKey } from "../push/options.ts";
import { pushUpdate } from "../push/push.ts";
import { readRelease } from "../push/release.ts";
import { ControlClient } from "./control-client.ts";
import type { ControlEvents } from "./control-client.ts";
import { decodeMessage } from "./decode.ts";
import { LocalGateway } from "./local-gateway.ts";
import { edgesOf, overlay, TAP, TAP_TOPICS } from "./overlay.ts";
import type { Edge } from "./overlay.ts";
import type { Reporter } from "./report.ts";
import { trapPlaces } from "./trap.ts";
import type { TrapSource } from "./trap.ts";
import { SourceWatch } from "./watch.ts";
import { QuotingRefusal } from "../printing.ts";

export interface SessionOptions {
  /** The module's folder. */
  readonly folder: string;
  /** The gateway's configuration. */
  readonly file: string;
  readonly reporter: Reporter;
  readonly signal: AbortSignal;
}

const PUSH_MS = 60_000;
/** A desk is watched by its author: the next edit need not wait for a long probation. */
const PROBATION_MS = 200;
const FUEL_MS = 5000;
const PROBE_MS = 500;
const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

export class Session {
  readonly #options: SessionOptions;
  /** Where what `dev` makes lies, beside the configuration. */
  readonly #work: string;
  #configuration: GatewayConfiguration;
  readonly #keys: DevelopmentKeys;
  #module: BuiltModule | undefined;
  /** The version that was handed to the gateway last and not refused: the one that traps. */
  #binary: TrapSource | undefined;
  #sequence = 0;
  #control: ControlClient | undefined;
  #gateway: LocalGateway | undefined;
  #broker: Broker | undefined;
  #brokerUrl = "";
  #outside: BrokerSession | undefined;
  #watch: SourceWatch | undefined;
  #fuelTimer: NodeJS.Timeout | undefined;
  #counted = { generation: 0, activations: 0, fuel: 0 };
  #edges: readonly Edge[] = [];
  readonly #contracts = new Map<string, Contract | undefined>();
  /** One thing after the other: builds, swaps, restarts. */
  #doing: Promise<void> = Promise.resolve();
  #waiting = new Set<"source" | "gateway">();
  readonly #failed = Promise.withResolvers<never>();

  private constructor(options: SessionOptions, configuration: GatewayConfiguration, keys: DevelopmentKeys) {
    this.#options = options;
    this.#configuration = configuration;
    this.#keys = keys;
    this.#work = join(dirname(resolve(options.file)), ".bulkhead");
    this.#failed.promise.catch(() => undefined);
  }

  /** @throws ConfigurationError; Refusal where the gateway does not trust development keys */
  static async open(options: SessionOptions): Promise<Session> {
    const configuration = await loadConfiguration(options.file);
    return new Session(options, configuration, await keysOf(configuration));
  }

  /** Until Ctrl-C. @throws Refusal where the gateway cannot be had, or goes away */
  async run(): Promise<void> {
    const { signal, folder } = this.#options;
    const stopped = new Promise<void>((done) => {
      signal.addEventListener("abort", () => {
        done();
      });
      if (signal.aborted) done();
    });
    this.#watch = new SourceWatch(folder, (files) => {
      this.#changed(files);
    });
    this.#schedule("source");
    await Promise.race([stopped, this.#failed.promise]);
  }

  async close(): Promise<void> {
    this.#watch?.close();
    clearInterval(this.#fuelTimer);
    this.#control?.close();
    await this.#gateway?.stop();
    await this.#doing.catch(() => undefined);
    // What was being started while it ended.
    await this.#gateway?.stop();
    await this.#outside?.close();
    await this.#broker?.stop();
  }

  #changed(files: ReadonlySet<string>): void {
    const isGateway = files.has("gateway.yaml");
    if (isGateway) this.#schedule("gateway");
    if (!isGateway || files.size > 1) this.#schedule("source");
  }

  /** What is asked for while something runs is done once, afterwards. */
  #schedule(what: "source" | "gateway"): void {
    const isFirst = this.#waiting.size === 0;
    this.#waiting.add(what);
    if (!isFirst) return;
    this.#doing = this.#doing.then(async () => {
      const wanted = this.#waiting;
      this.#waiting = new Set();
      if (this.#isStopping()) return;
      try {
        if (wanted.has("gateway")) await this.#reconfigure();
        if (wanted.has("source")) await this.#renew();
      } catch (error) {
        if (!this.#isStopping()) this.#failed.reject(error);
      }
    });
  }

  #isStopping(): boolean {
    return this.#options.signal.aborted;
  }

  /** Builds, and brings it to the gateway, which is started with the first version that builds. */
  async #renew(): Promise<void> {
    const built = await this.#build();
    if (built === undefined) return;
    const isFirst = this.#control === undefined;
    if (!isFirst && !built.compiled) return;
    this.#module = built;
    const { reporter } = this.#options;
    reporter.tell({ type: "built", module: built.name, bytes: built.bytes, ms: built.milliseconds });
    if (isFirst) await this.#begin(built);
    else await this.#swap(built);
  }

  async #build(): Promise<BuiltModule | undefined> {
    try {
      const [built, ...others] = await buildModule(this.#options.folder, { output: join(this.#work, "modules") });
      if (built === undefined || others.length > 0) {
        throw new Refusal("E_MANIFEST", "`bulkhead dev` works on one module at a time", { hint: "give it one name" });
      }
      return built;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#options.reporter.tell({ type: "not-built", text: error.describe() });
      return undefined;
    }
  }

  async #begin(built: BuiltModule): Promise<void> {
    if (!this.#configuration.envelopes.has(built.name)) {
      throw new Refusal("E_CONFIG", `${this.#options.file} has no place for a module ${built.name}`, {
        hint: `add modules.${built.name} with its envelope, partition and grants; \`bulkhead new\` makes an example`,
      });
    }
    this.#control = await ControlClient.connect(this.#configuration.dataFolder, this.#controlEvents());
    if (this.#control === undefined) await this.#start(built);
    else await this.#attach(built, this.#control);
    this.#fuelTimer = setInterval(() => void this.#showFuel(), FUEL_MS);
    this.#fuelTimer.unref();
  }

  /** A gateway that somebody started: the module is swapped in, messages are shown only by a gateway of our own. */
  async #attach(built: BuiltModule, control: ControlClient): Promise<void> {
    const { reporter, file } = this.#options;
    const { broker, gateway } = this.#configuration;
    if (broker === null || !isLoopback(broker.url)) {
      throw new Refusal("E_CONFIG", `the gateway of ${file} takes updates from no broker of this machine`, {
        hint: "stop it: `bulkhead dev` then starts it with a broker of its own",
      });
    }
    this.#brokerUrl = broker.url;
    await control.follow();
    reporter.tell({ type: "gateway", state: "attached", text: `${gateway.id}; its messages are at ${broker.url}` });
    await this.#swap(built);
  }

  async #start(built: BuiltModule, state: "started" | "restarted" = "started"): Promise<void> {
    const { file, reporter, signal } = this.#options;
    const isFresh = !existsSync(join(this.#configuration.dataFolder, "trust"));
    await this.#startBroker();
    const manifests = await this.#provide(built);
    const before = await this.#overlay(manifests);
    const flags = ["--before", before, "--probation-ms", String(PROBATION_MS), "--probation-messages", "0"];
    const gateway = new LocalGateway(file, flags, (event) => {
      // Until it is followed through its socket, which also tells what a fault was about.
      if (this.#control === undefined) this.#show(event);
    });
    this.#gateway = gateway;
    void gateway.ended.then(() => {
      if (this.#gateway === gateway && !signal.aborted) {
        this.#failed.reject(new QuotingRefusal("E_ABORTED", ["the gateway ended", gateway.errors]));
      }
    });
    await gateway.running();
    const { onEvent, onMissed } = this.#controlEvents();
    this.#control = await ControlClient.connect(this.#configuration.dataFolder, { onEvent, onMissed });
    await this.#control?.follow();
    const text = `${this.#configuration.gateway.id}; any MQTT client sees its messages at ${this.#brokerUrl}`;
    reporter.tell({ type: "gateway", state, text });
    // Where it ran before, the version that it committed last came up again.
    if (!isFresh) await this.#swap(built);
  }

  /** The broker that the configuration names, where it is this machine's: one that answers, or the embedded one. */
  async #startBroker(): Promise<void> {
    if (this.#broker !== undefined) return;
    const url = this.#configuration.broker?.url ?? "";
    const isOurs = isLoopback(url);
    const port = isOurs ? Number(new URL(url).port || 1883) : 0;
    if (isOurs && (await answers(port))) {
      this.#brokerUrl = url;
    } else {
      this.#broker = await startBroker(port);
      this.#brokerUrl = this.#broker.url;
    }
    await this.#outside?.close();
    this.#outside = await BrokerSession.connect({ url: this.#brokerUrl });
    await this.#outside.subscribe(`${TAP_TOPICS}+`, (payload, topic) => {
      this.#showMessage(Number(topic.slice(TAP_TOPICS.length)), payload);
    });
  }

  /** Envelopes of the module, and of those that come with Bulkhead; what else is missing the gateway itself refuses. */
  async #provide(built: BuiltModule): Promise<readonly ManifestDocument[]> {
    const { envelopes } = this.#configuration;
    await writeFile(envelopes.get(built.name) ?? "", await this.#sign(built));
    const missing = [...envelopes].filter(([name, path]) => name !== built.name && this.#isOurs(path));
    const output = join(this.#work, "modules");
    const shipped = await buildAll({ output, only: [TAP, ...missing.map(([name]) => name)] });
    for (const module of shipped) {
      const path = module.name === TAP ? this.#tapEnvelope : envelopes.get(module.name);
      if (path === undefined) continue;
      await writeEnvelope(
        path,
        await readFile(module.wasm),
        module.manifest,
        this.#keys.release,
        this.#configuration.gateway,
      );
    }
    return [built.manifest, ...shipped.map(({ manifest }) => manifest)];
  }

  /** Only below the folder `.bulkhead` is something written over. */
  #isOurs(path: string): boolean {
    return path.startsWith(this.#work) || !existsSync(path);
  }

  get #tapEnvelope(): string {
    return join(this.#work, "modules", `${TAP}.envelope`);
  }

  async #sign(built: BuiltModule): Promise<Uint8Array> {
    const { vendor, class: class_ } = this.#configuration.gateway;
    this.#sequence = Math.max(this.#sequence + 1, Math.floor(Date.now() / 1000));
    const facts = { vendor, class: class_, sequence: this.#sequence };
    const wasm = new Uint8Array(await readFile(built.wasm));
    const map = await readFile(`${built.wasm}.map`, "utf8");
    const isRecorded = this.#configuration.system.modules.find(({ name }) => name === built.name)?.record ?? true;
    this.#binary = { wasm, map, isRecorded, folder: this.#options.folder };
    return signForDevelopment(wasm, built.version, this.#keys.release, facts);
  }

  async #overlay(manifests: readonly ManifestDocument[]): Promise<string> {
    this.#edges = edgesOf(this.#configuration, this.#module?.name ?? "");
    for (const { to } of this.#edges) {
      const [module, port] = to.split(".");
      const contract = manifests.find(({ name }) => name === module)?.ports.find(({ name }) => name === port)?.contract;
      this.#contracts.set(to, await contractOf(this.#options.folder, contract ?? null));
    }
    const path = join(this.#work, "dev.yaml");
    await mkdir(this.#work, { recursive: true, mode: 0o700 });
    await writeFile(path, await overlay(this.#options.file, this.#edges, this.#brokerUrl, this.#tapEnvelope));
    return path;
  }

  async #swap(built: BuiltModule): Promise<void> {
    const { reporter, signal } = this.#options;
    const { gateway, dataFolder } = this.#configuration;
    const before = this.#binary;
    const release = await this.#sign(built);
    const result = await pushUpdate({
      broker: { url: this.#brokerUrl },
      gatewayId: gateway.id,
      gatewayKey: await readGatewayKey(join(dataFolder, "gateway.pub")),
      modules: [readRelease(release)],
      deployKey: this.#keys.deploy,
      timeoutMs: PUSH_MS,
      signal,
    });
    const { code, reason, seconds, pauseMs } = result;
    if (code === "OK") reporter.tell({ type: "swapped", module: built.name, seconds, pauseMs: pauseMs ?? 0 });
    else this.#binary = before;
    if (code !== "OK" && !signal.aborted)
      reporter.tell({ type: "not-swapped", module: built.name, code, text: reason });
    await this.#showFuel();
  }

  /** The configuration was edited: what `dev` started is started again with it. */
  async #reconfigure(): Promise<void> {
    const { reporter, file } = this.#options;
    if (this.#gateway === undefined || this.#module === undefined) {
      reporter.tell({ type: "note", text: `${file} changed; the gateway takes it when it is started again` });
      return;
    }
    try {
      this.#configuration = await loadConfiguration(file);
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      reporter.tell({ type: "note", text: `${error.describe()}\nthe gateway goes on as it was` });
      return;
    }
    const gateway = this.#gateway;
    this.#gateway = undefined;
    this.#control?.close();
    this.#control = undefined;
    await gateway.stop();
    await this.#start(this.#module, "restarted");
  }

  #controlEvents(): Required<ControlEvents> {
    return {
      onEvent: (event) => {
        this.#show(event);
      },
      onMissed: (count) => {
        this.#options.reporter.tell({ type: "note", text: `${count} events came too fast to be shown` });
      },
      onClosed: () => {
        if (!this.#options.signal.aborted) this.#failed.reject(new Refusal("E_ABORTED", "the gateway has gone"));
      },
    };
  }

  #show(event: GatewayEvent): void {
    if (this.#isStopping()) return;
    const { reporter } = this.#options;
    reporter.event(event, this.#module?.name ?? "");
    if (event.type !== "fault" || event.module !== this.#module?.name || this.#binary === undefined) return;
    const places = event.trace === undefined ? [] : trapPlaces(event.trace, this.#binary);
    for (const text of places) reporter.tell({ type: "trap", module: event.module, text: `at ${text}` });
    if (event.input !== undefined) void this.#showCause(event.module, event.input);
  }

  /** The message that was being handled, by its port's contract. */
  async #showCause(module: string, { port, payload }: FaultInput): Promise<void> {
    const { name, contract } = this.#module?.manifest.ports[port] ?? { name: "the kernel's port", contract: null };
    const { text } = decodeMessage(payload, await contractOf(this.#options.folder, contract));
    this.#options.reporter.tell({ type: "trap", module, text: `while it handled a message on ${name}: ${text}` });
  }

  #showMessage(index: number, payload: Uint8Array): void {
    const edge = this.#edges[index];
    if (edge !== undefined) this.#options.reporter.message(edge, decodeMessage(payload, this.#contracts.get(edge.to)));
  }

  /** Fuel of an activation since the last look; nothing where there was none. */
  async #showFuel(): Promise<void> {
    const module = this.#module;
    const rows = await this.#control?.top().catch(() => undefined);
    const row = rows?.find(({ name }) => name === module?.name);
    if (module === undefined || row === undefined) return;
    const last = row.generation === this.#counted.generation ? this.#counted : { activations: 0, fuel: 0 };
    const activations = row.activations - last.activations;
    this.#counted = row;
    if (activations <= 0) return;
    const each = Math.round((row.fuel - last.fuel) / activations);
    const { fuel: limit } = module.manifest;
    this.#options.reporter.tell({
      type: "fuel",
      module: module.name,
      activations,
      each,
      limit,
      memoryBytes: row.memoryBytes,
    });
  }
}

/**
 * The keys beside the root that the gateway trusts; made, with that root, where there is none yet.
 * @throws Refusal E_KEY where the root is one in earnest: `dev` signs with development keys, and nothing else
 */
async function keysOf({ trust }: GatewayConfiguration): Promise<DevelopmentKeys> {
  if (basename(trust.root) === "root.envelope") return await developmentKeys(dirname(trust.root));
  throw new Refusal("E_KEY", `${trust.root} is not a development root`, {
    expected: "a trust root called root.envelope, with its development keys beside it",
  });
}

/** As the build finds it: the module's own, or one that comes with Bulkhead. */
async function contractOf(folder: string, name: string | null): Promise<Contract | undefined> {
  return name === null ? undefined : await readContract(findContract(folder, name));
}

function isLoopback(url: string): boolean {
  return URL.canParse(url) && ["mqtt:", "tcp:"].includes(new URL(url).protocol) && LOOPBACK.has(new URL(url).hostname);
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createConnection({ port, host: "127.0.0.1", timeout: PROBE_MS });
    const end = (isThere: boolean) => {
      probe.destroy();
      done(isThere);
    };
    probe.once("connect", () => {
      end(true);
    });
    for (const event of ["error", "timeout"]) {
      probe.once(event, () => {
        end(false);
      });
    }
  });
}

type FaultInput = NonNullable<Extract<KernelEvent, { type: "fault" }>["input"]>;
