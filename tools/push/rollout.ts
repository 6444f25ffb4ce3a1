/** Brings releases to a fleet in waves. It keeps nothing: killed and started again, it reads where it was from the gateways' reports. */

import { createHash } from "node:crypto";
import { Refusal } from "../../kernel/index.ts";
import { sha256Hex } from "../../gateway/wire/digest.ts";
import type { GatewayReport } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { SigningKey } from "../keys/key.ts";
import { signPlan } from "../keys/sign.ts";
import type { BrokerSession } from "./broker.ts";
import { planFor } from "./push.ts";
import { clearBlocks, publishModule } from "./release.ts";
import type { ReleasedModule } from "./release.ts";
import { GatewayWatch } from "./watch.ts";

/** The part of a broker session that a rollout needs. */
export type RolloutSession = Pick<BrokerSession, "subscribe" | "retain" | "clear">;

export interface RolloutOptions {
  readonly session: RolloutSession;
  readonly id: string;
  readonly issued: number;
  readonly validSeconds: number;
  readonly version: number;
  readonly modules: readonly ReleasedModule[];
  readonly configuration?: Uint8Array | undefined;
  /** Modules that the plans leave out. */
  readonly without?: readonly string[];
  /** Gateways and their own public keys. */
  readonly gateways: readonly { readonly id: string; readonly key: Uint8Array }[];
  readonly waves: readonly number[];
  readonly soakMs: number;
  readonly timeoutMs: number;
  readonly abortShare: number;
  readonly deployKey: SigningKey;
  readonly signal?: AbortSignal | undefined;
}

/** `late`: online or not, it has not decided in time. `absent`: it has never reported. */
export type GatewayOutcome = "waiting" | "planned" | "committed" | "failed" | "late" | "absent";

export interface RolloutCounts {
  readonly committed: number;
  readonly failed: number;
  readonly late: number;
  readonly absent: number;
  readonly waiting: number;
}

export type RolloutProgress =
  | { readonly kind: "published"; readonly module: string; readonly done: number; readonly of: number }
  | { readonly kind: "wave"; readonly wave: number; readonly of: number; readonly gateways: number }
  | { readonly kind: "counts"; readonly wave: number; readonly counts: RolloutCounts }
  | { readonly kind: "soak"; readonly wave: number; readonly milliseconds: number }
  | { readonly kind: "paused"; readonly isPaused: boolean };

export interface RolloutResult {
  readonly outcome: "done" | "aborted" | "stopped";
  /** Waves that were begun. */
  readonly waves: number;
  readonly counts: RolloutCounts;
  /** How many gateways failed with which code. */
  readonly codes: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** Where an operator's word to pause is kept: retained, so that it outlives this tool. */
export function pauseTopic(id: string): string {
  return `bulkhead/v1/rollout/${id}/pause`;
}

/** How often time-outs and soaks are looked at. */
const TICK_MS = 250;
/** Plans that are signed and sent before the broker's acknowledgements are waited for. */
const PLANS_AT_ONCE = 32;
/** Reports of a fleet need a moment to arrive; a gateway that has none by then is absent. */
const COLLECT_MS = 5_000;

/** Which share of the fleet comes before this gateway: the same for every rollout of this id, and spread evenly. */
export function bucketOf(rollout: string, gateway: string): number {
  return createHash("sha256").update(`${rollout}\n${gateway}`).digest().readUInt32BE(0) / 0x1_0000_0000;
}

export function rollOut(
  options: RolloutOptions,
  onProgress: (progress: RolloutProgress) => void = () => undefined,
): Promise<RolloutResult> {
  return new Rollout(options, onProgress).run();
}

/** What is known of one gateway. */
interface Member {
  readonly id: string;
  readonly bucket: number;
  readonly watch: GatewayWatch;
  /** Digest of the plan that this rollout made for it. */
  plan: string | undefined;
  plannedAt: number;
  outcome: GatewayOutcome;
  /** How it ended; empty until then. */
  code: string;
}

class Rollout {
  readonly #options: RolloutOptions;
  readonly #onProgress: (progress: RolloutProgress) => void;
  readonly #members: readonly Member[];
  readonly #begun = performance.now();
  readonly #configurationDigest: string | undefined;
  #isPaused = false;
  #changed = Promise.withResolvers<undefined>();
  /** Counts as they were last shown. */
  #shown = "";

  constructor(options: RolloutOptions, onProgress: (progress: RolloutProgress) => void) {
    this.#options = options;
    this.#onProgress = onProgress;
    this.#configurationDigest = options.configuration === undefined ? undefined : sha256Hex(options.configuration);
    this.#members = options.gateways
      .map(({ id, key }): Member => {
        const watch = new GatewayWatch(id, key);
        const bucket = bucketOf(options.id, id);
        return { id, bucket, watch, plan: undefined, plannedAt: 0, outcome: "waiting", code: "" };
      })
      .sort((a, b) => a.bucket - b.bucket);
  }

  async run(): Promise<RolloutResult> {
    await this.#listen();
    await this.#publish();
    await this.#collectReports();
    const { waves } = this.#options;
    let start = 0;
    for (const [index, share] of waves.entries()) {
      const end = Math.max(start, Math.ceil(share * this.#members.length));
      const wave = this.#members.slice(start, end);
      start = end;
      const outcome = await this.#wave(index, wave, this.#members.slice(end));
      if (outcome === "aborted") await this.#takeBack();
      if (outcome !== "done") return this.#result(outcome, index + 1);
    }
    if (this.#counts(this.#members).committed === this.#members.length) {
      for (const module of this.#options.modules) await clearBlocks(this.#options.session, module);
    }
    return this.#result("done", waves.length);
  }

  async #listen(): Promise<void> {
    const { session, id } = this.#options;
    const byId = new Map(this.#members.map((member) => [member.id, member]));
    await session.subscribe(pauseTopic(id), (payload) => {
      this.#pause(new TextDecoder().decode(payload) === "paused");
    });
    await session.subscribe(topics.gateway("+", "reported"), (payload, topic) => {
      const member = byId.get(topic.split("/").at(-2) ?? "");
      if (member === undefined) return;
      member.watch.takeReported(payload);
      this.#judge(member);
      this.#wake();
    });
  }

  #pause(isPaused: boolean): void {
    if (this.#isPaused === isPaused) return;
    this.#isPaused = isPaused;
    this.#onProgress({ kind: "paused", isPaused });
    this.#wake();
  }

  /** Signed reports decide, and nothing else: the retained one tells whatever happened before we looked, too. */
  #judge(member: Member): void {
    const { reported } = member.watch;
    if (reported === undefined) return;
    const result = member.plan === undefined ? undefined : member.watch.resultOf(member.plan);
    if (this.#hasEverything(reported)) this.#decide(member, "OK");
    else if (result !== undefined) this.#decide(member, result.code);
  }

  #decide(member: Member, code: string): void {
    member.outcome = code === "OK" ? "committed" : "failed";
    member.code = code;
  }

  #hasEverything(reported: GatewayReport): boolean {
    const hasModules = this.#options.modules.every(
      ({ name, digest }) => reported.modules.get(name)?.envelope === digest,
    );
    return (
      hasModules && (this.#configurationDigest === undefined || reported.configuration === this.#configurationDigest)
    );
  }

  async #publish(): Promise<void> {
    const { session, modules, configuration } = this.#options;
    for (const module of modules) {
      await publishModule(session, module, (done, of) => {
        this.#onProgress({ kind: "published", module: module.name, done, of });
      });
    }
    if (configuration !== undefined && this.#configurationDigest !== undefined) {
      await session.retain(topics.configuration(this.#configurationDigest), configuration);
    }
  }

  async #collectReports(): Promise<void> {
    const deadline = performance.now() + Math.min(COLLECT_MS, this.#options.timeoutMs);
    const isMissing = () => this.#members.some(({ watch }) => watch.reported === undefined);
    while (isMissing() && performance.now() < deadline && !this.#isStopped) await this.#tick();
    for (const member of this.#members) this.#judge(member);
  }

  /** One wave: plans out, decisions in, then the soak. A share of failures above the threshold ends the rollout. */
  async #wave(index: number, wave: readonly Member[], later: readonly Member[]): Promise<RolloutResult["outcome"]> {
    const news = wave.filter(({ outcome }) => outcome !== "committed");
    this.#onProgress({ kind: "wave", wave: index + 1, of: this.#options.waves.length, gateways: wave.length });
    while (this.#isPaused && !this.#isStopped) await this.#tick();
    await this.#plan(news);
    while (!this.#isStopped) {
      this.#expire(wave);
      this.#show(index, wave);
      if (this.#hasFailed(wave)) return "aborted";
      if (wave.every(({ outcome }) => outcome !== "planned" && outcome !== "waiting")) break;
      await this.#tick();
    }
    // An earlier run has seen it soak where a later wave has begun; one that was killed before that may not have.
    const hasSoaked = news.length === 0 && later.some(({ outcome }) => outcome === "committed");
    if (later.length > 0 && !hasSoaked) await this.#soak(index, wave);
    if (this.#isStopped) return "stopped";
    return this.#hasFailed(wave) || !hasProof(wave) ? "aborted" : "done";
  }

  async #plan(members: readonly Member[]): Promise<void> {
    for (let start = 0; start < members.length && !this.#isStopped; start += PLANS_AT_ONCE) {
      await Promise.all(members.slice(start, start + PLANS_AT_ONCE).map((member) => this.#planOne(member)));
    }
  }

  /** The same bytes for the same gateway in the same state: a resumed rollout repeats itself and does no harm. */
  async #planOne(member: Member): Promise<void> {
    const { reported } = member.watch;
    if (reported === undefined) {
      member.outcome = "absent";
      return;
    }
    const { issued, version, validSeconds, deployKey, id, session, modules, without = [] } = this.#options;
    const document = planFor(reported, modules, this.#configurationDigest, {
      issued,
      validSeconds,
      planVersion: version,
      rollout: id,
      without,
    });
    const payload = signPlan(document, [deployKey]);
    member.plan = sha256Hex(payload);
    member.plannedAt = performance.now();
    member.outcome = "planned";
    this.#judge(member);
    if (member.code === "") await session.retain(topics.gateway(member.id, "desired"), payload);
  }

  /** Whoever was off must not take a release that has failed elsewhere when it is back. */
  async #takeBack(): Promise<void> {
    for (const { id, outcome } of this.#members) {
      if (outcome === "planned" || outcome === "late") await this.#options.session.clear(topics.gateway(id, "desired"));
    }
  }

  #expire(wave: readonly Member[]): void {
    const limit = performance.now() - this.#options.timeoutMs;
    for (const member of wave) {
      if (member.outcome === "planned" && member.plannedAt < limit) member.outcome = "late";
    }
  }

  /** Gateways that are off are not failures: they take the plan when they are back. */
  #hasFailed(wave: readonly Member[]): boolean {
    const { failed } = this.#counts(wave);
    return failed > 0 && failed / wave.length > this.#options.abortShare;
  }

  async #soak(index: number, wave: readonly Member[]): Promise<void> {
    const { soakMs } = this.#options;
    this.#onProgress({ kind: "soak", wave: index + 1, milliseconds: soakMs });
    const end = performance.now() + soakMs;
    while ((performance.now() < end || this.#isPaused) && !this.#isStopped && !this.#hasFailed(wave)) {
      for (const member of wave) this.#noticeRegression(member);
      await this.#tick();
    }
  }

  /** A gateway that runs something else again after its commit has failed, whatever it said before. */
  #noticeRegression(member: Member): void {
    const { reported } = member.watch;
    if (member.outcome === "committed" && reported !== undefined && !this.#hasEverything(reported)) {
      member.outcome = "failed";
      member.code = reported.last?.code ?? "E_ABORTED";
    }
  }

  get #isStopped(): boolean {
    return this.#options.signal?.aborted === true;
  }

  /** Until something happens, or for a moment. */
  async #tick(): Promise<void> {
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      late.resolve(undefined);
    }, TICK_MS);
    await Promise.race([this.#changed.promise, late.promise]);
    clearTimeout(timer);
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve(undefined);
  }

  #show(index: number, wave: readonly Member[]): void {
    const counts = this.#counts(wave);
    const text = JSON.stringify(counts);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#onProgress({ kind: "counts", wave: index + 1, counts });
  }

  #counts(members: readonly Member[]): RolloutCounts {
    const count = (...outcomes: readonly GatewayOutcome[]) =>
      members.filter(({ outcome }) => outcomes.includes(outcome)).length;
    return {
      committed: count("committed"),
      failed: count("failed"),
      late: count("late"),
      absent: count("absent"),
      waiting: count("waiting", "planned"),
    };
  }

  #result(outcome: RolloutResult["outcome"], waves: number): RolloutResult {
    const codes: Record<string, number> = {};
    for (const { outcome: end, code } of this.#members) if (end === "failed") codes[code] = (codes[code] ?? 0) + 1;
    const seconds = (performance.now() - this.#begun) / 1000;
    return { outcome, waves, counts: this.#counts(this.#members), codes, seconds };
  }
}

/** A wave of which nobody committed, because all were off, says nothing about the release. */
function hasProof(wave: readonly Member[]): boolean {
  return wave.length === 0 || wave.some(({ outcome }) => outcome === "committed");
}

/** The word of a rollout that did not reach everybody. */
export function rolloutRefusal({ outcome, counts, codes, waves }: RolloutResult): Refusal | undefined {
  const found = Object.entries(codes)
    .map(([code, count]) => `${count} x ${code}`)
    .join(", ");
  if (outcome === "aborted") {
    const hint = "release a better version; the waves that were not begun run on as they were";
    const what =
      counts.failed > 0 ? `too many gateways of wave ${waves} failed` : `no gateway of wave ${waves} answered`;
    return new Refusal("E_ABORTED", what, { ...(found === "" ? {} : { found }), hint });
  }
  if (outcome === "stopped") {
    return new Refusal("E_ABORTED", "the rollout was stopped here", { hint: "run it again to go on" });
  }
  const missing = counts.late + counts.absent;
  if (counts.failed === 0 && missing === 0) return undefined;
  return new Refusal("E_TIMEOUT", `${counts.failed} gateways failed and ${missing} have not answered`, {
    ...(found === "" ? {} : { found }),
    hint: "their plans stay at the broker; run the rollout again to follow them",
  });
}
