/** Pushes released modules to one gateway and follows it, by its signed reports, to the end. */

import type { PlanDocument, PlannedModule } from "../../gateway/envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import type { GatewayReport, ResultCode, UpdateEvent, UpdateState } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { SigningKey } from "../keys/key.ts";
import { signPlan } from "../keys/sign.ts";
import { BrokerSession } from "./broker.ts";
import type { BrokerOptions } from "./broker.ts";
import { clearBlocks, publishModule } from "./release.ts";
import type { ReleasedModule } from "./release.ts";
import { GatewayWatch } from "./watch.ts";

export interface PushOptions {
  readonly broker: BrokerOptions;
  readonly gatewayId: string;
  /** The gateway's own public key of 32 bytes, as it was enrolled. */
  readonly gatewayKey: Uint8Array;
  /** As `readRelease` reads them from envelopes. They are published as they are: it is the gateway that must check. */
  readonly modules: readonly ReleasedModule[];
  /** A configuration envelope that takes effect with this plan. */
  readonly configuration?: Uint8Array | undefined;
  /** Modules that the plan leaves out; the gateway takes that from a plan with a configuration only. */
  readonly without?: readonly string[];
  readonly deployKey: SigningKey;
  /** How long the gateway may take; the plan stays at the broker after that. */
  readonly timeoutMs: number;
  /** Seconds for which a gateway that was off may still take the plan. */
  readonly validSeconds?: number;
  /** Above all earlier ones; by default the seconds since 1970, or one more than the plan in force. */
  readonly planVersion?: number | undefined;
  /** Leaves the blocks at the broker, for other gateways. */
  readonly keepBlocks?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export type PushProgress =
  | { readonly kind: "block"; readonly module: string; readonly done: number; readonly of: number }
  | { readonly kind: "planned"; readonly plan: string; readonly version: number }
  | { readonly kind: "state"; readonly state: UpdateState; readonly percent: number; readonly event: UpdateEvent }
  | { readonly kind: "presence"; readonly presence: string };

export interface PushResult {
  readonly plan: string;
  readonly version: number;
  /** The gateway's own word; E_TIMEOUT where it said nothing final in time. */
  readonly code: ResultCode;
  readonly reason: string;
  readonly state: UpdateState;
  readonly pauseMs: number | undefined;
  readonly seconds: number;
  /** Reports that the gateway's key did not sign. */
  readonly forged: number;
}

const VALID_SECONDS = 7 * 86_400;
/** How long the last event may take after the report that says the same. */
const EVENT_MS = 2_000;
/** A gateway that was ever online has left a report at the broker. */
const REPORTED_MS = 10_000;

/** The gateway's last word, from its event or from its report. */
type End = Pick<UpdateEvent, "state" | "code" | "reason"> & Partial<Pick<UpdateEvent, "pauseMs">>;

/** @throws Refusal where it could not even be published; what the gateway decided is in the result */
export async function pushUpdate(
  options: PushOptions,
  onProgress: (progress: PushProgress) => void = () => undefined,
): Promise<PushResult> {
  const session = await BrokerSession.connect(options.broker);
  try {
    return await new Push(options, session, onProgress).run();
  } finally {
    await session.close();
  }
}

class Push {
  readonly #options: PushOptions;
  readonly #session: BrokerSession;
  readonly #onProgress: (progress: PushProgress) => void;
  readonly #watch: GatewayWatch;
  readonly #begun = performance.now();
  #last: UpdateEvent | undefined;

  constructor(options: PushOptions, session: BrokerSession, onProgress: (progress: PushProgress) => void) {
    this.#options = options;
    this.#session = session;
    this.#onProgress = onProgress;
    this.#watch = new GatewayWatch(options.gatewayId, options.gatewayKey);
  }

  async run(): Promise<PushResult> {
    await watchGateway(this.#session, this.#watch);
    const reported = await this.#firstReport();
    for (const release of this.#options.modules) await this.#publish(release);
    const configuration = await this.#publishConfiguration();
    const document = planFor(reported, this.#options.modules, configuration, this.#options);
    const payload = signPlan(document, [this.#options.deployKey]);
    const plan = sha256Hex(payload);
    this.#watch.takeEvents();
    await this.#session.retain(topics.gateway(this.#options.gatewayId, "desired"), payload);
    this.#onProgress({ kind: "planned", plan, version: document.version });
    const end = await this.#follow(plan);
    if (end?.code === "OK" && this.#options.keepBlocks !== true) {
      for (const release of this.#options.modules) await clearBlocks(this.#session, release);
    }
    return this.#result(plan, document.version, end);
  }

  async #firstReport(): Promise<GatewayReport> {
    const deadline = performance.now() + Math.min(REPORTED_MS, this.#options.timeoutMs);
    while (this.#watch.reported === undefined) {
      const left = deadline - performance.now();
      if (left <= 0 || this.#options.signal?.aborted === true) throw neverReported(this.#watch);
      await this.#watch.changed(left, this.#options.signal);
    }
    return this.#watch.reported;
  }

  async #publish(release: ReleasedModule): Promise<void> {
    await publishModule(this.#session, release, (done, of) => {
      this.#onProgress({ kind: "block", module: release.name, done, of });
    });
  }

  async #publishConfiguration(): Promise<string | undefined> {
    const { configuration } = this.#options;
    if (configuration === undefined) return undefined;
    const digest = sha256Hex(configuration);
    await this.#session.retain(topics.configuration(digest), configuration);
    return digest;
  }

  /** Until the gateway's final word on this plan, or until time is up. */
  async #follow(plan: string): Promise<End | undefined> {
    const deadline = this.#begun + this.#options.timeoutMs;
    let presence: string | undefined;
    for (;;) {
      if (this.#watch.presence !== undefined && this.#watch.presence !== presence) {
        presence = this.#watch.presence;
        this.#onProgress({ kind: "presence", presence });
      }
      for (const event of this.#watch.takeEvents()) {
        if (event.plan !== plan) continue;
        this.#last = event;
        this.#onProgress({ kind: "state", state: event.state, percent: event.percent, event });
        if (event.final) return event;
      }
      const left = deadline - performance.now();
      const result = this.#watch.resultOf(plan);
      if (left <= 0 || this.#options.signal?.aborted === true) return undefined;
      if (result === undefined) await this.#watch.changed(left, this.#options.signal);
      // The event follows its report at once, or was lost with the connection.
      else if (!(await this.#watch.changed(EVENT_MS, this.#options.signal)))
        return { ...result, state: this.#endOf(result.code) };
    }
  }

  #endOf(code: ResultCode): UpdateState {
    if (code === "OK") return "committed";
    const wasSwapped = this.#last?.state === "staged" || this.#last?.state === "probation";
    return wasSwapped || code === "E_PROBATION" ? "rolled-back" : "rejected";
  }

  #result(plan: string, version: number, end: End | undefined): PushResult {
    const state = (end ?? this.#last)?.state ?? "idle";
    const seconds = (performance.now() - this.#begun) / 1000;
    const code = end?.code ?? "E_TIMEOUT";
    const reason = end?.reason ?? this.#whyNothing();
    return { plan, version, code, reason, state, pauseMs: end?.pauseMs, seconds, forged: this.#watch.forged };
  }

  #whyNothing(): string {
    if (this.#options.signal?.aborted === true) return "stopped here; the plan stays at the broker";
    if (this.#last?.code !== undefined) return `${this.#last.reason}; the gateway tries again by itself`;
    if (this.#last !== undefined) return `the gateway was still at ${this.#last.state} after the time given`;
    const where = this.#watch.presence === "offline" ? "the gateway is offline" : "the gateway said nothing";
    return `${where}; the plan stays at the broker, and the gateway takes it when it can`;
  }
}

/** Subscribes to everything that a gateway says. */
export async function watchGateway(session: BrokerSession, watch: GatewayWatch): Promise<void> {
  const { gatewayId } = watch;
  await session.subscribe(topics.gateway(gatewayId, "event"), (payload) => {
    watch.takeEvent(payload);
  });
  await session.subscribe(topics.gateway(gatewayId, "online"), (payload) => {
    watch.takePresence(payload);
  });
  await session.subscribe(topics.gateway(gatewayId, "reported"), (payload) => {
    watch.takeReported(payload);
  });
}

/** The whole set of the gateway, with the released modules in their new versions. */
export function planFor(
  reported: GatewayReport,
  releases: readonly ReleasedModule[],
  configuration: string | undefined,
  options: Pick<PushOptions, "planVersion" | "validSeconds" | "without"> & {
    readonly rollout?: string;
    readonly issued?: number;
  },
): PlanDocument {
  const modules = new Map<string, PlannedModule>();
  for (const [name, { sequence, envelope }] of reported.modules) {
    modules.set(name, { sequence, digest: Uint8Array.fromHex(envelope) });
  }
  for (const { name, sequence, digest } of releases)
    modules.set(name, { sequence, digest: Uint8Array.fromHex(digest) });
  for (const name of options.without ?? []) modules.delete(name);
  const issued = options.issued ?? Math.floor(Date.now() / 1000);
  return {
    gateway: reported.gateway,
    version: options.planVersion ?? Math.max(issued, (reported.plan?.version ?? 0) + 1),
    issued,
    expires: issued + (options.validSeconds ?? VALID_SECONDS),
    rootVersion: reported.rootVersion,
    modules,
    configuration: configuration === undefined ? undefined : Uint8Array.fromHex(configuration),
    rollout: options.rollout,
  };
}

function neverReported(watch: GatewayWatch): Refusal {
  const found = watch.forged > 0 ? `${watch.forged} reports that its key did not sign` : "nothing";
  return new Refusal("E_TIMEOUT", `gateway ${watch.gatewayId} has left no report at the broker`, {
    expected: "a report signed by the gateway's key",
    found,
    hint: "start the gateway once with this broker, and give its own gateway.pub as --gateway-key",
  });
}
