/** A gateway that is updated again and again: real documents, real store, real agent; only modules and broker are simulated. */

import { createHash } from "node:crypto";
import {
  bootVerify,
  configurationsOf,
  openGatewayKey,
  Store,
  systemClock,
  UpdateAgent,
} from "../../gateway/trust/index.ts";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { parseConfiguration } from "../../gateway/config/index.ts";
import type { BootResult, DeliveredModule, FileSystem, Runtime, UpdateTimes } from "../../gateway/trust/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import { BLOCK_BYTES, blockCount, topics } from "../../gateway/wire/update-topics.ts";
import type { Role } from "../../gateway/envelopes/index.ts";
import { ABI_VERSION, compareBytes } from "../../kernel/index.ts";
import { classId, sha256, vendorId } from "../../gateway/envelopes/index.ts";
import type { SigningKey } from "../keys/key.ts";
import { keyFromSeed } from "../keys/key.ts";
import { signConfiguration, signModule, signPlan, signRoot, withoutWasm } from "../keys/sign.ts";
import type { MemoryBroker } from "./memory-broker.ts";

export const IDENTITY = Object.freeze({ gatewayId: "powercut", vendor: "bulkhead.example", class: "simulated" });

/** The modules of every set: each version changes both, and the configuration, so that a mixture shows. */
const MODULE_NAMES = ["driver", "service"] as const;
/** In even versions only: so modules come and go. */
const GUEST = "guest";

function namesOf(sequence: number): readonly string[] {
  return sequence % 2 === 0 ? [...MODULE_NAMES, GUEST] : MODULE_NAMES;
}

const TIMES: UpdateTimes = Object.freeze({
  documentMs: 2_000,
  stallMs: 2_000,
  downloadMs: 20_000,
  perBlockMs: 100,
  stageMs: 2_000,
  swapMs: 2_000,
  probationMs: 1,
  probationMessages: 0,
  probationLimitMs: 2_000,
  retryMs: 5,
  retryMaximumMs: 50,
  deferMs: 5,
});

const ISSUED = Math.floor(Date.UTC(2026, 0, 1) / 1000);
const EXPIRES = Math.floor(Date.UTC(2099, 0, 1) / 1000);
/** Bytes of a simulated wasm: between one block and six. */
const LARGEST_WASM = 6 * BLOCK_BYTES;

const keys: Readonly<Record<Role, SigningKey>> = Object.freeze({
  root: keyOf("root"),
  release: keyOf("release"),
  deploy: keyOf("deploy"),
  operator: keyOf("operator"),
});

function keyOf(role: Role): SigningKey {
  return keyFromSeed(role, sha256(new TextEncoder().encode(`bulkhead power cuts, ${role}`)));
}

const roleOf = (role: Role) => ({ threshold: 1, keys: [keys[role].publicKey].sort(compareBytes) });

export const ROOT = signRoot(
  {
    version: 1,
    issued: ISSUED,
    expires: EXPIRES,
    roles: { root: roleOf("root"), release: roleOf("release"), deploy: roleOf("deploy"), operator: roleOf("operator") },
    floors: new Map(),
    revokedKeys: [],
    revokedDigests: [],
  },
  [keys.root],
);

export interface SimulatedModule {
  readonly name: string;
  readonly whole: Uint8Array;
  readonly envelope: Uint8Array;
  readonly digest: string;
  readonly wasm: Uint8Array;
  readonly blob: string;
}

/** Version `sequence` of a module: the same bytes in every process. */
export function simulatedModule(name: string, sequence: number): SimulatedModule {
  const wasm = bytesOf(`${name} ${sequence}`);
  const vendor = vendorId(IDENTITY.vendor);
  const whole = signModule(
    {
      name,
      sequence,
      vendor,
      class: classId(vendor, IDENTITY.class),
      wasmDigest: sha256(wasm),
      wasmSize: wasm.length,
      claims: {
        abi: ABI_VERSION,
        version: `${sequence}.0.0`,
        capabilities: [],
        memoryPages: 1,
        released: ISSUED,
        expires: EXPIRES,
        stateSchema: 1,
        provenance: undefined,
      },
    },
    [keys.release],
    wasm,
  );
  const envelope = withoutWasm(whole);
  return { name, whole, envelope, digest: sha256Hex(envelope), wasm, blob: sha256Hex(wasm) };
}

function bytesOf(text: string): Uint8Array {
  const seed = createHash("sha256").update(text).digest();
  const bytes = new Uint8Array(1 + (seed.readUInt32LE(0) % LARGEST_WASM));
  for (let at = 0; at < bytes.length; at += seed.length) {
    seed.writeUInt32LE(at, 0);
    bytes.set(seed.subarray(0, Math.min(seed.length, bytes.length - at)), at);
  }
  return bytes;
}

/** The set of this version, as the gateway was delivered with it. */
export function deliveredSet(sequence: number): readonly DeliveredModule[] {
  return MODULE_NAMES.map((name) => ({ name, bytes: simulatedModule(name, sequence).whole }));
}

/** What the gateway's file says, and with other numbers what the operator signs. `checkpoint` tells the versions apart. */
function configurationText(sequence: number): string {
  const places = namesOf(sequence).map((name) => `  ${name}: { checkpoint: { messages: ${sequence} } }`);
  const { gatewayId, vendor } = IDENTITY;
  return [
    `gateway: { id: ${gatewayId}, vendor: ${vendor}, class: ${IDENTITY.class} }`,
    "data: data\ntrust: { root: root.envelope }\npartitions:\n  main: {}\nmodules:",
    ...places,
  ].join("\n");
}

/** The version of the configuration in force: 1 is the gateway's own. */
function configurationVersion({ system }: GatewayConfiguration): number {
  return system.modules[0]?.checkpointMessages ?? 0;
}

const own = parseConfiguration(configurationText(1), "/gateway.yaml", { folder: "/" });
const configurations = configurationsOf(own);

function simulatedConfiguration(sequence: number): Uint8Array {
  const content = configurationText(sequence);
  return signConfiguration({ target: IDENTITY.gatewayId, version: sequence, issued: ISSUED, content }, [keys.operator]);
}

export function simulatedPlan(sequence: number): Uint8Array {
  const modules = namesOf(sequence).map((name) => {
    return [name, { sequence, digest: Uint8Array.fromHex(simulatedModule(name, sequence).digest) }] as const;
  });
  return signPlan(
    {
      gateway: IDENTITY.gatewayId,
      version: sequence,
      issued: ISSUED,
      expires: EXPIRES,
      rootVersion: 1,
      modules: new Map(modules),
      configuration: Uint8Array.fromHex(sha256Hex(simulatedConfiguration(sequence))),
      rollout: undefined,
    },
    [keys.deploy],
  );
}

/** Everything of version `sequence`, retained at the broker; the plan last. */
export function publishSet(broker: MemoryBroker, sequence: number): void {
  const configuration = simulatedConfiguration(sequence);
  broker.retain(topics.configuration(sha256Hex(configuration)), configuration);
  for (const name of namesOf(sequence)) {
    const module = simulatedModule(name, sequence);
    for (let index = 0; index < blockCount(module.wasm.length); index++) {
      const block = module.wasm.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      broker.retain(topics.block(module.blob, index), block);
    }
    broker.retain(topics.module(module.digest), module.envelope);
  }
  broker.retain(topics.gateway(IDENTITY.gatewayId, "desired"), simulatedPlan(sequence));
}

/** Starts what it is told to start, and is always well. */
const runtime: Runtime = Object.freeze({
  policy: () => Promise.resolve([]),
  stage: () => Promise.resolve(),
  swap: () => Promise.resolve({ pauseMs: 0 }),
  probation: () => Promise.resolve(),
  commit: () => Promise.resolve(),
  rollback: () => Promise.resolve(),
});

/** One life of a gateway, from a boot to a cut. */
export class SimulatedGateway {
  readonly store: Store;
  readonly boot: BootResult;
  readonly agent: UpdateAgent;
  readonly broker: MemoryBroker;
  onCommitted: (sequence: number) => void = () => undefined;

  /** @throws Refusal where nothing can be booted */
  constructor(fileSystem: FileSystem, folder: string, broker: MemoryBroker) {
    this.broker = broker;
    this.store = new Store(fileSystem, folder);
    this.boot = bootVerify({
      store: this.store,
      identity: IDENTITY,
      rootEnvelope: ROOT,
      delivered: deliveredSet(1),
      configurations,
    });
    this.agent = new UpdateAgent({
      identity: IDENTITY,
      store: this.store,
      boot: this.boot,
      configurations,
      key: openGatewayKey(fileSystem, folder),
      transport: broker,
      runtime,
      clock: systemClock,
      times: TIMES,
      onNotice: ({ state, code }) => {
        if (state === "committed" && code === "OK") this.onCommitted(this.version ?? 0);
      },
    });
  }

  start(): void {
    this.broker.agent = this.agent;
    this.agent.start();
  }

  async stop(): Promise<void> {
    await this.agent.stop();
    this.broker.agent = undefined;
  }

  /** The version of the set that runs; undefined where modules of several versions are mixed, or one is missing. */
  get version(): number | undefined {
    const { modules, configuration } = this.agent.running;
    return versionOf(modules, configuration);
  }

  /** The version of the set that the boot chose. */
  get bootedVersion(): number | undefined {
    return versionOf(this.boot.modules, this.boot.configuration ?? own);
  }
}

/** The one version of a complete set: all of its modules, none besides, and their configuration. */
function versionOf(
  modules: ReadonlyMap<string, { readonly document: { readonly sequence: number } }>,
  configuration: GatewayConfiguration,
): number | undefined {
  const version = configurationVersion(configuration);
  const names = namesOf(version);
  const isWhole = names.every((name) => modules.get(name)?.document.sequence === version);
  return isWhole && modules.size === names.length ? version : undefined;
}
