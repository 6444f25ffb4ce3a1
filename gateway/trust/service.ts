/** What the trust worker does with the core's messages; separate from the worker's entry so that tests can run it anywhere. */

import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { admitModule, Refusal } from "../../kernel/index.ts";
import type { AdmittedModule, RecordedFailure, SavedState } from "../../kernel/index.ts";
import type { AuditPage } from "../wire/operator.ts";
import { answerOf, Questions, refusalData, refusalFrom, toRefusal } from "../wire/trust-protocol.ts";
import type {
  AuditPageQuery,
  BootReply,
  CoreToTrust,
  MessageChannelEnd,
  RefusalData,
  StoreReply,
  TrustQuestion,
  TrustSettings,
  TrustToCore,
} from "../wire/trust-protocol.ts";
import { CAPSULE_FOLDER } from "../wire/capsule.ts";
import { UpdateAgent } from "./agent.ts";
import { AUDIT_FILE, AuditLog } from "./audit.ts";
import { AUDIT_HEAD_TYPE } from "./audit-chain.ts";
import { AuditWatch } from "./audit-verify.ts";
import { bootVerify } from "./boot.ts";
import { CapsuleStore } from "./capsules.ts";
import { configurationsOf } from "./configurations.ts";
import type { BootResult } from "./boot.ts";
import { systemClock } from "./effects.ts";
import type { Clock, Runtime, Transport } from "./effects.ts";
import { nodeFileSystem } from "./file-system.ts";
import type { GatewayKey } from "./gateway-key.ts";
import { openGatewayKey } from "./gateway-key.ts";
import { KeyValueStore } from "./key-value.ts";
import { UPDATE_TIMES } from "./limits.ts";
import { ModuleStateStore } from "./module-states.ts";
import { Store } from "./store.ts";

/** What exists once the core has sent `boot`. */
interface Booted {
  readonly agent: UpdateAgent;
  readonly keyValues: KeyValueStore | undefined;
  readonly states: ModuleStateStore | undefined;
  readonly audit: AuditLog | undefined;
  readonly watch: AuditWatch;
  readonly capsules: CapsuleStore;
}

export class TrustService {
  readonly #core: MessageChannelEnd;
  readonly #questions = new Questions();
  readonly #clock: Clock;
  #booted: Booted | undefined;
  #started = false;

  constructor(core: MessageChannelEnd, clock: Clock = systemClock) {
    this.#core = core;
    this.#clock = clock;
    core.on("message", (message) => {
      // SAFETY: the other end is the core's main thread.
      this.#receive(message as CoreToTrust);
    });
  }

  #receive(message: CoreToTrust): void {
    switch (message.kind) {
      case "boot":
        return this.#answer(message.id, () => this.#boot(message.settings));
      case "start":
        this.#started = true;
        return this.#booted?.agent.start();
      case "connected":
        return this.#started ? this.#booted?.agent.connected() : undefined;
      case "message":
        this.#booted?.agent.message(message.topic, message.payload);
        return this.#send({ kind: "taken", bytes: message.payload.length });
      case "answer":
        return this.#questions.answered(message.id, message.answer);
      case "admit":
        return this.#answer(message.id, () => admitted(message.binary, message.spec));
      case "store":
        return this.#answer(message.id, () => this.#store(message));
      case "state":
        return this.#keepState(message.module, message.state);
      case "failure":
        return this.#keepFailure(message.failure);
      case "audit":
        return this.#booted?.audit?.record(message.note);
      case "audit-page":
        return this.#answer(message.id, () => this.#auditPage(message.query));
      case "stop":
        return this.#answer(message.id, () => this.#stop());
    }
  }

  #answer(id: number, work: () => unknown): void {
    const settling = Promise.try(work);
    void answerOf(settling).then((answer) => {
      this.#send({ kind: "answer", id, answer });
    });
  }

  #send(message: TrustToCore): void {
    this.#core.postMessage(message);
  }

  #boot(settings: TrustSettings): BootReply {
    const { gateway, dataFolder, trust, envelopes } = settings.configuration;
    const identity = { gatewayId: gateway.id, vendor: gateway.vendor, class: gateway.class };
    const configurations = configurationsOf(settings.configuration);
    makeFolder(dataFolder);
    const store = new Store(nodeFileSystem, join(dataFolder, "trust"));
    const key = openGatewayKey(nodeFileSystem, dataFolder);
    const boot = bootVerify({
      store,
      identity,
      rootEnvelope: readOrRefuse(trust.root),
      delivered: Array.from(envelopes, ([name, path]) => ({ name, bytes: readOrRefuse(path) })),
      configurations,
    });
    const agent = new UpdateAgent({
      identity,
      store,
      boot,
      configurations,
      key,
      clock: this.#clock,
      times: { ...UPDATE_TIMES, ...settings.times },
      transport: this.#transport(),
      runtime: this.#runtime(),
      onNotice: (notice) => {
        this.#send({ kind: "notice", notice });
      },
    });
    const keyValues = openDatabase(() => new KeyValueStore(join(dataFolder, "store.sqlite")));
    const audit = openDatabase(() =>
      openAudit(join(dataFolder, AUDIT_FILE), key, (text) => this.#send({ kind: "finding", text })),
    );
    const states = openDatabase(() => new ModuleStateStore(join(dataFolder, "states.sqlite")));
    const found = states.database?.load();
    const watch = new AuditWatch(join(dataFolder, AUDIT_FILE), key.publicKey, () => this.#clock.now());
    const { recipient } = settings.configuration.capsules;
    const sealing = recipient === null ? undefined : Uint8Array.fromHex(recipient);
    const capsules = new CapsuleStore(nodeFileSystem, join(dataFolder, CAPSULE_FOLDER), sealing, Date.now);
    const databases = { keyValues: keyValues.database, states: states.database, audit: audit.database };
    this.#booted = { agent, ...databases, watch, capsules };
    const findings = [...keyValues.findings, ...audit.findings, ...states.findings, ...(found?.findings ?? [])];
    return { ...bootReply(boot, key.publicKey, findings), states: found?.states ?? new Map() };
  }

  #store(message: Extract<CoreToTrust, { kind: "store" }>): StoreReply {
    const keyValues = this.#booted?.keyValues;
    if (keyValues === undefined) throw new Refusal("E_STORE", "there is no database for the modules' stores");
    return keyValues.carryOut(message);
  }

  #auditPage(query: AuditPageQuery): AuditPage {
    const watch = this.#booted?.watch;
    if (watch === undefined) throw new Refusal("E_STORE", "there is no audit log");
    this.#booted?.audit?.flush();
    return watch.page(query);
  }

  #keepState(module: string, state: SavedState | undefined): void {
    try {
      this.#booted?.states?.keep(module, state);
    } catch (error) {
      this.#send({ kind: "finding", text: `the state of ${module} could not be kept: ${toRefusal(error).describe()}` });
    }
  }

  #keepFailure(failure: RecordedFailure): void {
    try {
      const capsule = this.#booted?.capsules.keep(failure);
      if (capsule !== undefined) this.#send({ kind: "capsule", capsule });
    } catch (error) {
      const reason = toRefusal(error).describe();
      this.#send({ kind: "finding", text: `the failure of ${failure.name} could not be kept: ${reason}` });
    }
  }

  async #stop(): Promise<void> {
    this.#questions.abandon(new Refusal("E_ABORTED", "the gateway stops"));
    await this.#booted?.agent.stop();
    this.#booted?.keyValues?.close();
    this.#booted?.states?.close();
    this.#booted?.audit?.close();
  }

  #ask(ask: TrustQuestion): Promise<unknown> {
    return this.#questions.ask((id) => {
      this.#send({ kind: "ask", id, ask });
    });
  }

  #transport(): Transport {
    return {
      subscribe: (topic) => {
        this.#send({ kind: "subscribe", topic });
      },
      unsubscribe: (topic) => {
        this.#send({ kind: "unsubscribe", topic });
      },
      publish: (topic, payload, { retain, qos }) => {
        this.#send({ kind: "publish", topic, payload, retain, qos });
      },
    };
  }

  #runtime(): Runtime {
    return {
      policy: async (set) => ((await this.#ask({ question: "policy", set })) as RefusalData[]).map(refusalFrom),
      stage: async (changed, set) => {
        await this.#ask({ question: "stage", changed, set });
      },
      swap: async () => (await this.#ask({ question: "swap" })) as { pauseMs: number },
      probation: async (milliseconds, messages, modules) => {
        await this.#ask({ question: "probation", milliseconds, messages, modules });
      },
      commit: async () => {
        await this.#ask({ question: "commit" });
      },
      rollback: async () => {
        await this.#ask({ question: "rollback" });
      },
    };
  }
}

function admitted(...[binary, spec]: Parameters<typeof admitModule>): Promise<AdmittedModule> {
  return admitModule(binary, spec);
}

function bootReply(boot: BootResult, gatewayKey: Uint8Array, found: readonly string[]): Omit<BootReply, "states"> {
  const { source, configuration, findings, trust } = boot;
  return {
    modules: Array.from(boot.modules, ([name, { document, envelope, binary }]) => ({
      name,
      document,
      envelope,
      binary,
    })),
    refused: Array.from(boot.refused, ([name, refusal]) => ({ name, refusal: refusalData(refusal) })),
    source,
    configuration,
    findings: [...findings, ...found],
    gatewayKey,
    rootVersion: trust.root.version,
  };
}

/** A database that cannot be opened is no reason not to run: what needs it gets an error of its own, and people are told. */
function openDatabase<Database>(open: () => Database): { database: Database | undefined; findings: readonly string[] } {
  try {
    return { database: open(), findings: [] };
  } catch (error) {
    return { database: undefined, findings: [toRefusal(error).describe()] };
  }
}

function openAudit(path: string, key: GatewayKey, onFault: (text: string) => void): AuditLog {
  return new AuditLog(path, {
    signHead: (payload) => key.sign(AUDIT_HEAD_TYPE, payload),
    publicKey: key.publicKey,
    onFault: (refusal) => {
      onFault(refusal.describe());
    },
  });
}

function readOrRefuse(path: string): Uint8Array | Refusal {
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    const found = error instanceof Error ? error.message : String(error);
    return new Refusal("E_STORE", `${path} cannot be read`, { found, hint: "check the path in gateway.yaml" });
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch {
    // Where it matters the store says what is wrong; a gateway on a read-only disk still runs.
  }
}
