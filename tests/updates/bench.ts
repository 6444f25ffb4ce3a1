/** A gateway's update agent on a bench: real store and agent, an in-memory broker, and a runtime that records what it is told. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UpdateAgent } from "../../gateway/trust/agent.ts";
import { bootVerify } from "../../gateway/trust/boot.ts";
import type { BootResult, DeliveredModule } from "../../gateway/trust/boot.ts";
import { parseConfiguration } from "../../gateway/config/index.ts";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { configurationsOf } from "../../gateway/trust/configurations.ts";
import type { Configurations } from "../../gateway/trust/configurations.ts";
import type { Clock, NewModule, Proposal, Runtime, Transport } from "../../gateway/trust/effects.ts";
import { systemClock } from "../../gateway/trust/effects.ts";
import type { FileSystem } from "../../gateway/trust/file-system.ts";
import { nodeFileSystem } from "../../gateway/trust/file-system.ts";
import { openGatewayKey } from "../../gateway/trust/gateway-key.ts";
import type { GatewayKey } from "../../gateway/trust/gateway-key.ts";
import type { UpdateTimes } from "../../gateway/trust/limits.ts";
import { Store } from "../../gateway/trust/store.ts";
import type { UpdateNotice } from "../../gateway/wire/trust-protocol.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { decodeEvent, decodeReport } from "../../gateway/wire/update-report.ts";
import type { GatewayReport, ResultCode, UpdateEvent, UpdateState } from "../../gateway/wire/update-report.ts";
import { BLOCK_BYTES, blockCount, topics } from "../../gateway/wire/update-topics.ts";
import { decodeSign1, sha256 } from "../../gateway/envelopes/index.ts";
import type { Refusal } from "../../kernel/index.ts";
import type { ModuleClaims, ModuleDocument, PlanDocument } from "../../gateway/envelopes/index.ts";
import { MemoryBroker } from "../../tools/powercut/memory-broker.ts";
import type { SigningKey } from "../../tools/keys/key.ts";
import { signModule, signPlan } from "../../tools/keys/sign.ts";
import { deploy, GATEWAY, moduleDocument, NOW, planDocument, release, rootBytes } from "../trust/fixture.ts";

export const IDENTITY = { gatewayId: GATEWAY, vendor: "bulkhead.example", class: "pi-gateway" };

/** A gateway.yaml with a place for each of these modules; `place` is what it says of one. */
export function gatewayText(modules: readonly string[] = ["threshold", "uplink"], place = (_: string) => "{}"): string {
  const places = modules.map((name) => `  ${name}: ${place(name)}\n`).join("");
  return [
    `gateway: { id: ${GATEWAY}, vendor: bulkhead.example, class: pi-gateway }`,
    "data: data",
    "trust: { root: root.envelope }",
    `partitions:\n  main: {}\nmodules:${places === "" ? " {}" : `\n${places}`}`,
  ].join("\n");
}

/** What the gateway's own file says, read where it lies. */
export function ownConfigurations(text = gatewayText(), folder = "/etc/bulkhead"): Configurations {
  return configurationsOf(parseConfiguration(text, join(folder, "gateway.yaml"), { folder }));
}

/** Short enough for a test, long enough for a loaded machine. */
export const TEST_TIMES: UpdateTimes = {
  documentMs: 1_000,
  stallMs: 1_000,
  downloadMs: 5_000,
  perBlockMs: 20,
  stageMs: 2_000,
  swapMs: 2_000,
  probationMs: 5,
  probationMessages: 0,
  probationLimitMs: 5_000,
  retryMs: 20,
  retryMaximumMs: 200,
  deferMs: 20,
};

/** A module ready to be published: its envelope with and without wasm. */
export interface Made {
  readonly name: string;
  readonly sequence: number;
  readonly wasm: Uint8Array;
  readonly whole: Uint8Array;
  readonly envelope: Uint8Array;
  readonly digest: string;
  readonly blob: string;
}

/** Bytes that no two seeds share; the agent does not care whether they are Wasm. */
export function wasmOf(seed: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let state = seed * 2_654_435_761 + 1;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export interface MakeOptions {
  readonly size?: number;
  readonly seed?: number;
  readonly keys?: readonly SigningKey[];
  readonly document?: Partial<ModuleDocument>;
  readonly claims?: Partial<ModuleClaims>;
}

export function makeModule(name: string, sequence: number, options: MakeOptions = {}): Made {
  const wasm = wasmOf(options.seed ?? sequence, options.size ?? 100);
  const version = `${sequence}.0.0`;
  const document = moduleDocument(
    { name, sequence, wasmDigest: sha256(wasm), wasmSize: wasm.length, ...options.document },
    { version, ...options.claims },
  );
  const envelope = signModule(document, options.keys ?? [release]);
  const whole = signModule({ ...document, wasmDigest: sha256(wasm), wasmSize: wasm.length }, [release], wasm);
  return { name, sequence, wasm, whole, envelope, digest: sha256Hex(envelope), blob: sha256Hex(wasm) };
}

export function makePlan(
  version: number,
  modules: readonly Made[],
  changes: Partial<PlanDocument> = {},
  keys: readonly SigningKey[] = [deploy],
): Uint8Array {
  const set = modules.map(
    ({ name, sequence, digest }) => [name, { sequence, digest: Uint8Array.fromHex(digest) }] as const,
  );
  return signPlan(planDocument({ version, modules: new Map(set), rollout: undefined, ...changes }), keys);
}

/** Publishes a module as `bulkhead push` does. */
export function publishModule(broker: MemoryBroker, module: Made): void {
  broker.retain(topics.module(module.digest), module.envelope);
  for (let index = 0; index < blockCount(module.wasm.length); index++) {
    const start = index * BLOCK_BYTES;
    broker.retain(topics.block(module.blob, index), module.wasm.subarray(start, start + BLOCK_BYTES));
  }
}

/** Runs nothing, and remembers which envelope digest "runs" under each name. */
export class RecordingRuntime implements Runtime {
  readonly running = new Map<string, string>();
  readonly calls: string[] = [];
  refusals: readonly Refusal[] = [];
  stageFailure: Refusal | undefined;
  swapFailure: Refusal | undefined;
  probationFailure: Refusal | undefined;
  /** Never ends by itself while true. */
  holdProbation = false;
  /** A swap ends when this does. */
  swapHeld: Promise<void> = Promise.resolve();
  commitFailure: Refusal | undefined;
  lastProposal: Proposal | undefined;
  /** In force, as far as the runtime was told. */
  configuration: GatewayConfiguration | undefined;
  #configuration: GatewayConfiguration | undefined;
  #oldConfiguration: GatewayConfiguration | undefined;
  #set: ReadonlySet<string> = new Set();
  #staged: readonly NewModule[] = [];
  #old: ReadonlyMap<string, string> | undefined;

  policy(proposal: Proposal): Promise<readonly Refusal[]> {
    this.calls.push("policy");
    this.lastProposal = proposal;
    return Promise.resolve(this.refusals);
  }

  stage(changed: readonly NewModule[], proposal: Proposal): Promise<void> {
    const names = changed.map(({ document }) => `${document.name}@${document.sequence}`).join(" ");
    this.calls.push(`stage ${names}${proposal.configuration === undefined ? "" : " configured"}`);
    this.#configuration = proposal.configuration;
    this.#set = new Set(proposal.modules.map(({ document }) => document.name));
    for (const { binary, document } of changed) {
      if (sha256Hex(binary) !== document.wasmDigest.toHex()) throw new Error("the bytes staged were not those hashed");
    }
    if (this.stageFailure !== undefined) return Promise.reject(this.stageFailure);
    this.#staged = changed;
    return Promise.resolve();
  }

  async swap(): Promise<{ pauseMs: number }> {
    this.calls.push("swap");
    if (this.swapFailure !== undefined) throw this.swapFailure;
    await this.swapHeld;
    this.#old = new Map(this.running);
    for (const { document, envelope } of this.#staged) this.running.set(document.name, envelope);
    const set = this.#configuration === undefined ? undefined : this.#set;
    for (const name of [...this.running.keys()]) if (set?.has(name) === false) this.running.delete(name);
    this.#oldConfiguration = this.configuration;
    this.configuration = this.#configuration ?? this.configuration;
    return { pauseMs: 0.25 };
  }

  probation(milliseconds: number): Promise<void> {
    this.calls.push("probation");
    if (this.holdProbation) return new Promise(() => undefined);
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    setTimeout(() => {
      if (this.probationFailure === undefined) resolve(undefined);
      else reject(this.probationFailure);
    }, milliseconds);
    return promise;
  }

  commit(): Promise<void> {
    this.calls.push("commit");
    if (this.commitFailure !== undefined) return Promise.reject(this.commitFailure);
    this.#old = undefined;
    return Promise.resolve();
  }

  rollback(): Promise<void> {
    this.calls.push("rollback");
    if (this.#old !== undefined) {
      this.running.clear();
      for (const [name, envelope] of this.#old) this.running.set(name, envelope);
      this.configuration = this.#oldConfiguration;
    }
    this.#old = undefined;
    return Promise.resolve();
  }
}

/** The clock of the documents: NOW, going on with the real one. */
export function benchClock(offsetMs = 0): Clock & { offsetMs: number } {
  const begun = Date.now();
  return {
    ...systemClock,
    offsetMs,
    now() {
      return NOW * 1000 + (Date.now() - begun) + this.offsetMs;
    },
    random: () => 0.5,
  };
}

export interface BenchOptions {
  readonly folder?: string;
  readonly fileSystem?: FileSystem;
  readonly delivered?: readonly DeliveredModule[];
  readonly times?: Partial<UpdateTimes>;
  readonly broker?: MemoryBroker;
  /** In place of the in-memory broker. */
  readonly transport?: Transport;
  readonly runtime?: RecordingRuntime;
  readonly root?: Uint8Array;
  /** Text of the gateway's own file. */
  readonly own?: string;
  readonly buildDate?: number;
}

/** One life of a gateway; `restart` begins the next on the same folder. */
export class Bench {
  readonly options: BenchOptions;
  readonly folder: string;
  readonly broker: MemoryBroker;
  readonly runtime: RecordingRuntime;
  readonly store: Store;
  readonly boot: BootResult;
  readonly key: GatewayKey;
  readonly agent: UpdateAgent;
  readonly clock = benchClock();
  readonly notices: UpdateNotice[] = [];

  constructor(options: BenchOptions = {}) {
    this.options = options;
    this.folder = options.folder ?? mkdtempSync(join(tmpdir(), "bulkhead-updates-"));
    this.broker = options.broker ?? new MemoryBroker();
    this.runtime = options.runtime ?? new RecordingRuntime();
    const fileSystem = options.fileSystem ?? nodeFileSystem;
    this.store = new Store(fileSystem, this.folder);
    this.key = openGatewayKey(fileSystem, this.folder);
    const configurations = ownConfigurations(options.own);
    this.boot = bootVerify({
      store: this.store,
      configurations,
      identity: IDENTITY,
      rootEnvelope: options.root ?? rootBytes,
      delivered: options.delivered ?? [],
      buildDate: options.buildDate ?? 0,
    });
    for (const [name, { envelope }] of this.boot.modules) this.runtime.running.set(name, envelope);
    this.runtime.configuration = this.boot.configuration;
    this.agent = new UpdateAgent({
      identity: IDENTITY,
      store: this.store,
      boot: this.boot,
      configurations,
      key: this.key,
      transport: options.transport ?? this.broker,
      runtime: this.runtime,
      clock: this.clock,
      times: { ...TEST_TIMES, ...options.times },
      onNotice: (notice) => this.notices.push(notice),
    });
    this.broker.agent = this.agent;
    this.agent.start();
  }

  /** Stops, and starts again on the same folder and the same broker, with a fresh runtime. */
  async restart(changes: BenchOptions = {}): Promise<Bench> {
    await this.agent.stop();
    const { runtime: _old, ...kept } = this.options;
    return new Bench({ ...kept, folder: this.folder, broker: this.broker, ...changes });
  }

  async close(): Promise<void> {
    await this.agent.stop();
    this.broker.agent = undefined;
    rmSync(this.folder, { recursive: true, force: true });
  }

  publishPlan(plan: Uint8Array): string {
    this.broker.retain(topics.gateway(GATEWAY, "desired"), plan);
    return sha256Hex(plan);
  }

  /** Publishes modules and the plan that names them (and `others`, which are there already). */
  push(version: number, modules: readonly Made[], others: readonly Made[] = []): string {
    for (const module of modules) publishModule(this.broker, module);
    return this.publishPlan(makePlan(version, [...modules, ...others]));
  }

  get events(): UpdateEvent[] {
    return this.#payloads("event").map(decodeEvent);
  }

  get reports(): GatewayReport[] {
    return this.#payloads("reported").map(decodeReport);
  }

  statesOf(plan: string): UpdateState[] {
    const states = this.events.filter((event) => event.plan === plan).map(({ state }) => state);
    return states.filter((state, index) => state !== states[index - 1]);
  }

  /** The first event that ends an attempt at this plan, after `skip` earlier ones. */
  async result(plan: string, skip = 0): Promise<UpdateEvent> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const found = this.events.filter((event) => event.plan === plan && event.code !== undefined)[skip];
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`no result; states ${this.statesOf(plan).join(" ")}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async code(plan: string): Promise<ResultCode | undefined> {
    return (await this.result(plan)).code;
  }

  #payloads(topic: "event" | "reported"): Uint8Array[] {
    const wanted = topics.gateway(GATEWAY, topic);
    return this.broker.published
      .filter((message) => message.topic === wanted)
      .map(({ payload }) => decodeSign1(payload).payload ?? new Uint8Array());
  }
}

/** A module as the gateway was delivered with it. */
export function deliveredAs(module: Made): DeliveredModule {
  return { name: module.name, bytes: module.whole };
}

export { deploy, GATEWAY, NOW, release, rootBytes };
