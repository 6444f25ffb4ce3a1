/** A whole gateway in the field: the core with its processes at a real broker, and everything that its attacker has in hand. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfiguration } from "../../../gateway/config/index.ts";
import { Gateway } from "../../../gateway/core/index.ts";
import type { GatewayEvent } from "../../../gateway/core/index.ts";
import type { ModuleClaims, ModuleDocument, PlanDocument, RootDocument } from "../../../gateway/envelopes/index.ts";
import { PUBLIC_KEY_FILE } from "../../../gateway/trust/index.ts";
import { sha256Hex } from "../../../gateway/wire/digest.ts";
import type { UpdateEvent } from "../../../gateway/wire/update-report.ts";
import { BLOCK_BYTES, blockCount, topics } from "../../../gateway/wire/update-topics.ts";
import type { SigningKey } from "../../../tools/keys/index.ts";
import { describeModule, signModule, signPlan, signRoot, withoutWasm } from "../../../tools/keys/index.ts";
import type { BrokerOptions } from "../../../tools/push/broker.ts";
import { BrokerSession } from "../../../tools/push/broker.ts";
import { readGatewayKey } from "../../../tools/push/options.ts";
import { watchGateway } from "../../../tools/push/push.ts";
import { GatewayWatch } from "../../../tools/push/watch.ts";
import { Subscriber } from "../../../tools/demo/readings.ts";
import { ECHO, manifestFields, moduleBinary, watModule, withSection } from "../../support/modules.ts";
import { LOG_IMPORT, LOG_SLOT } from "../../support/probe.ts";
import { DAY, deploy, release, rootDocument, rootKeys } from "../../trust/fixture.ts";
import { findBroker, startMosquitto } from "../../updates/brokers.ts";
import type { TestBroker } from "../../updates/mqtt.ts";
import { startAedes } from "../../updates/mqtt.ts";

export const FIELD_GATEWAY = "gw-field";
const TARGET = { vendor: "bulkhead.example", class: "raspberry-pi" };
const MODULES = fileURLToPath(new URL("../../../build/modules/", import.meta.url));
/** Long enough for a loaded machine, short enough for a slow trickle to be a test. */
const TIMES = {
  documentMs: 3_000,
  stallMs: 3_000,
  downloadMs: 5_000,
  perBlockMs: 100,
  probationMs: 50,
  probationMessages: 0,
  retryMs: 60_000,
  retryMaximumMs: 60_000,
};
const PLACES = `devices: { i2c: { 1: { backend: simulator, simulate: [{ chip: bme280, address: 0x76 }] } } }
partitions: { drivers: {}, services: {} }
modules:
  bme280:
    envelope: bme280.envelope
    partition: drivers
    grants:
      tick: { timer: {} }
      clock: { clock: {} }
      log: { log: {} }
      sensor: { i2c-device: { bus: 1, address: 0x76 } }
      readings: { endpoint: { to: uplink.readings, badge: 2 } }
  uplink:
    envelope: uplink.envelope
    partition: services
    memory: 1MiB
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: ["site/7/#"] } }
  worker:
    envelope: worker.envelope
    partition: services
    grants:
      log: { log: {} }
`;

/** A release as its engineer, or somebody with his key, makes it. */
export interface Release {
  readonly name: string;
  readonly sequence: number;
  readonly wasm: Uint8Array;
  readonly whole: Uint8Array;
  readonly envelope: Uint8Array;
  readonly digest: string;
  readonly blob: string;
}

export interface ReleaseOptions {
  readonly keys?: readonly SigningKey[];
  readonly document?: Partial<ModuleDocument>;
  readonly claims?: Partial<ModuleClaims>;
  readonly wasm?: Uint8Array;
}

export const seconds = (): number => Math.floor(Date.now() / 1000);

/** A module that logs nothing and echoes, of three blocks; each number gives another binary. */
export function workerWasm(number: number): Uint8Array {
  const wat = watModule(LOG_IMPORT, ECHO);
  const manifest = manifestFields("worker", { slots: { log: LOG_SLOT }, version: `${number}.0.0` });
  return withSection(moduleBinary(wat, manifest), "filler", new Uint8Array(70_000).fill(number & 0xff));
}

let nextRelease = seconds() - 3600;

/** No two have the same envelope: what one attack has left in the gateway's store is of no use to the next. */
export function releaseOf(wasm: Uint8Array, sequence: number, options: ReleaseOptions = {}): Release {
  const released = --nextRelease;
  const described = describeModule(wasm, { ...TARGET, sequence, released, expires: released + 90 * DAY });
  const document = { ...described, ...options.document, claims: { ...described.claims, ...options.claims } };
  const whole = signModule(document, options.keys ?? [release], wasm);
  const envelope = withoutWasm(whole);
  const { name } = document;
  return { name, sequence, wasm, whole, envelope, digest: sha256Hex(envelope), blob: document.wasmDigest.toHex() };
}

/** A release of `worker`. */
export function worker(sequence: number, options: ReleaseOptions = {}): Release {
  return releaseOf(options.wasm ?? workerWasm(sequence), sequence, options);
}

export function fieldRoot(changes: Partial<RootDocument> = {}, signers: readonly SigningKey[] = rootKeys.slice(0, 2)) {
  const issued = seconds() - DAY;
  return signRoot(rootDocument({ issued, expires: issued + 365 * DAY, ...changes }), signers);
}

export class Field {
  readonly folder: string;
  readonly broker: TestBroker;
  readonly session: BrokerSession;
  readonly #readings: Subscriber | undefined;
  readonly events: GatewayEvent[] = [];
  /** What the plans that were committed name. */
  readonly set = new Map<string, Release>();
  #life: { readonly gateway: Gateway; readonly watch: GatewayWatch } | undefined;
  readonly #heard: UpdateEvent[] = [];
  #version = 0;

  private constructor(folder: string, broker: TestBroker, session: BrokerSession, readings: Subscriber | undefined) {
    this.folder = folder;
    this.broker = broker;
    this.session = session;
    this.#readings = readings;
  }

  /** At Mosquitto, or where that is not installed at aedes. */
  static async start(): Promise<Field> {
    const mosquitto = findBroker("mosquitto");
    if (mosquitto === undefined) console.warn("mosquitto is not installed: the attacks run at aedes");
    const broker = mosquitto === undefined ? await startAedes() : await startMosquitto(mosquitto);
    return Field.startAt(broker, { url: broker.url });
  }

  /** `options` are those of who deploys; `credentials` are more lines of the gateway's `broker`. */
  static async startAt(broker: TestBroker, options: BrokerOptions, credentials = ""): Promise<Field> {
    const folder = mkdtempSync(join(tmpdir(), "bulkhead-field-"));
    // Who deploys may not hear telemetry where an access list says who hears what.
    const readings = credentials === "" ? await Subscriber.connect(broker.url) : undefined;
    const field = new Field(folder, broker, await BrokerSession.connect(options), readings);
    writeFileSync(join(folder, "root.envelope"), fieldRoot());
    for (const name of ["bme280", "uplink", "worker"]) {
      const wasm = name === "worker" ? workerWasm(1) : new Uint8Array(readFileSync(join(MODULES, `${name}.wasm`)));
      const made = releaseOf(wasm, 1);
      field.set.set(name, made);
      writeFileSync(join(folder, `${name}.envelope`), made.whole);
    }
    const gateway = `gateway: { id: ${FIELD_GATEWAY}, vendor: ${TARGET.vendor}, class: ${TARGET.class} }`;
    const own = `data: data\ntrust: { root: root.envelope }\nbroker: { url: "${broker.url}"${credentials} }\n`;
    writeFileSync(join(folder, "gateway.yaml"), `${gateway}\n${own}${PLACES}`);
    await field.#begin();
    return field;
  }

  get readings(): Subscriber {
    if (this.#readings === undefined) throw new Error("nobody hears the readings at this broker");
    return this.#readings;
  }

  get gateway(): Gateway {
    return this.#now.gateway;
  }

  get publicKey(): Promise<Uint8Array> {
    return readGatewayKey(join(this.folder, "data", PUBLIC_KEY_FILE));
  }

  /** Messages on the gateway's topics that it did not sign. */
  get forged(): number {
    return this.#watch.forged;
  }

  get #watch(): GatewayWatch {
    return this.#now.watch;
  }

  get #now(): { readonly gateway: Gateway; readonly watch: GatewayWatch } {
    if (this.#life === undefined) throw new Error("the gateway has not been started");
    return this.#life;
  }

  async restart(): Promise<void> {
    await this.gateway.stop();
    await this.#begin();
  }

  async close(): Promise<void> {
    await this.gateway.stop();
    await this.session.close();
    await this.#readings?.close();
    await this.broker.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** The modules that run, with the versions in their manifests. */
  async running(): Promise<Record<string, string>> {
    const rows = await this.gateway.kernel.top();
    return Object.fromEntries(rows.map(({ name, version }): [string, string] => [name, version]).sort());
  }

  nextVersion(): number {
    return ++this.#version;
  }

  /** A plan for the committed set with these releases in it. */
  plan(
    releases: readonly Release[],
    changes: Partial<PlanDocument> = {},
    keys: readonly SigningKey[] = [deploy],
  ): Uint8Array {
    const modules = new Map(
      [...this.set.values(), ...releases].map(({ name, sequence, digest }) => {
        return [name, { sequence, digest: Uint8Array.fromHex(digest) }] as const;
      }),
    );
    const now = seconds();
    return signPlan(
      {
        gateway: FIELD_GATEWAY,
        version: changes.version ?? this.nextVersion(),
        issued: now - 60,
        expires: now + DAY,
        rootVersion: 1,
        modules,
        configuration: undefined,
        rollout: undefined,
        ...changes,
      },
      keys,
    );
  }

  async retain(topic: string, payload: Uint8Array): Promise<void> {
    await this.session.retain(topic, payload);
  }

  /** Publishes a release; `change` is what the attacker makes of each block. */
  async publish(made: Release, change: (block: Uint8Array, index: number) => Uint8Array = (it) => it): Promise<void> {
    await this.retain(topics.module(made.digest), made.envelope);
    for (let index = 0; index < blockCount(made.wasm.length); index++) {
      const block = made.wasm.slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      await this.retain(topics.block(made.blob, index), change(block, index));
    }
  }

  /**
   * What the gateway says of a payload at its `desired` topic. It answers only so many forgeries a second, so it is
   * told again where it has said nothing.
   */
  async answer(payload: Uint8Array): Promise<UpdateEvent> {
    const plan = sha256Hex(payload);
    const seen = this.#heard.length;
    for (const deadline = Date.now() + 40_000; Date.now() < deadline; ) {
      await this.retain(topics.gateway(FIELD_GATEWAY, "desired"), payload);
      const found = await this.#heardOf(plan, seen);
      if (found !== undefined) return found;
    }
    const last = this.#heard.at(-1);
    throw new Error(`the gateway said nothing of plan ${plan.slice(0, 8)}; last ${JSON.stringify(last)}`);
  }

  async code(payload: Uint8Array): Promise<string | undefined> {
    return (await this.answer(payload)).code;
  }

  /** The gateway's answer to an honest plan with this release. */
  async install(
    made: Release,
    changes: Partial<PlanDocument> = {},
    keys?: readonly SigningKey[],
  ): Promise<UpdateEvent> {
    await this.publish(made);
    const event = await this.answer(this.plan([made], changes, keys));
    if (event.code === "OK") this.set.set(made.name, made);
    return event;
  }

  /** The code with which the gateway refuses this root; its notices go to the log and the audit. */
  async rootCode(payload: Uint8Array, version: number): Promise<string> {
    const digest = sha256Hex(payload);
    await this.retain(topics.root(version), payload);
    return await this.until(`an answer to root ${version}`, () => {
      const found = this.events.find((event) => event.type === "update" && event.plan === digest && event.code !== "");
      return found?.type === "update" ? found.code : undefined;
    });
  }

  /** Publishes a root that the gateway takes. */
  async rotate(payload: Uint8Array, version: number): Promise<void> {
    await this.retain(topics.root(version), payload);
    await this.until(`root ${version}`, () => (this.#watch.reported?.rootVersion === version ? true : undefined));
  }

  async until<Value>(what: string, look: () => Value | undefined): Promise<Value> {
    const deadline = Date.now() + 30_000;
    while (Date.now() < deadline) {
      const found = look();
      if (found !== undefined) return found;
      await sleep(10);
    }
    throw new Error(`${what} did not come`);
  }

  async #begin(): Promise<void> {
    const configuration = await loadConfiguration(join(this.folder, "gateway.yaml"));
    const gateway = new Gateway(configuration, { onEvent: (event) => this.events.push(event), updateTimes: TIMES });
    await gateway.start();
    this.#life = { gateway, watch: new GatewayWatch(FIELD_GATEWAY, await this.publicKey) };
    await watchGateway(this.session, this.#watch);
    await this.until("the first report", () => this.#watch.reported);
  }

  async #heardOf(plan: string, seen: number): Promise<UpdateEvent | undefined> {
    const deadline = Date.now() + 2_000;
    while (Date.now() < deadline) {
      this.#heard.push(...this.#watch.takeEvents());
      const found = this.#heard.slice(seen).find((event) => event.plan === plan && event.code !== undefined);
      if (found !== undefined) return found;
      const isGoingOn = this.#heard.slice(seen).some((event) => event.plan === plan);
      await (isGoingOn ? this.#watch.changed(20_000) : sleep(5));
    }
    return undefined;
  }
}
