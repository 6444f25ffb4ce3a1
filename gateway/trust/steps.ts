/** The steps of an attempt: documents, policy, room, download, staging, swap, and the way back. */

import type { TrustState, VerifiedModule } from "../envelopes/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { classId, vendorId, verifyConfiguration, verifyModule } from "../envelopes/index.ts";
import { sha256Hex } from "../wire/digest.ts";
import { topics } from "../wire/update-topics.ts";
import type { AgentOptions, Running } from "./agent.ts";
import type { Attempt } from "./attempt.ts";
import type { BootResult } from "./boot.ts";
import type { NewModule } from "./effects.ts";
import { fetchBlob } from "./fetch.ts";
import { bounded } from "./inbox.ts";
import type { Inbox } from "./inbox.ts";
import { installedAs, loadConfiguration, loadStored, moduleOptions } from "./library.ts";
import type { LoadedModule } from "./library.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import type { InstalledModule, ModuleSet } from "./store-state.ts";

export interface StepsOptions extends Omit<AgentOptions, "onNotice" | "key" | "transport"> {
  readonly inbox: Inbox;
}

/** What a step may look at. */
export interface Surroundings {
  readonly trust: TrustState;
  readonly running: Running;
}

export class Steps {
  readonly #options: StepsOptions;
  /** Modules that came with the gateway: their bytes are in files, not at the broker. */
  readonly #delivered: ReadonlyMap<string, LoadedModule>;

  constructor(options: StepsOptions) {
    this.#options = options;
    this.#delivered = new Map(Array.from(options.boot.delivered.values(), (module) => [module.envelope, module]));
  }

  /** The signature was checked when the plan arrived; here it is kept for the next boot. */
  verifyPlan(attempt: Attempt, { running }: Surroundings): void {
    const { plan } = attempt;
    for (const name of running.set.modules.keys()) {
      if (plan.document.modules.has(name) || plan.document.configuration !== undefined) continue;
      throw new Refusal("E_TARGET", `the plan leaves out module ${name}`, {
        expected: "the whole set of the gateway",
        hint: "only a plan that brings a configuration can take a module away",
      });
    }
    this.#options.store.put("envelopes", attempt.digest, attempt.payload);
  }

  async verifyDocuments(attempt: Attempt, { trust }: Surroundings): Promise<void> {
    const { configuration, modules } = attempt.plan.document;
    if (configuration !== undefined) await this.#configuration(attempt, configuration, trust);
    for (const [name, planned] of modules) {
      const digest = planned.digest.toHex();
      const verify = (bytes: Uint8Array): VerifiedModule =>
        verifyModule(bytes, trust, {
          ...moduleOptions(this.#options.identity),
          now: this.#now(),
          planned: { name, ...planned },
          // No limiter: the envelope has the digest that a verified plan names.
        });
      attempt.modules.set(name, await this.#document(topics.module(digest), digest, attempt.signal, verify));
    }
  }

  /** The configuration is held to the gateway's own file, the modules to the configuration. */
  async checkPolicy(attempt: Attempt, { running }: Surroundings): Promise<void> {
    const { runtime, clock, configurations, times } = this.#options;
    const received = attempt.configuration;
    if (received !== undefined) {
      attempt.system = configurations.read(received.document.content, received.digest.toHex());
      checkLeftOut(attempt, attempt.system, running);
    }
    const asked = runtime.policy(attempt.proposal);
    const [first, ...others] = await bounded(asked, clock, times.stageMs, attempt.signal, "the policy check");
    if (first === undefined) return;
    if (others.length === 0) throw first;
    throw new Refusal(first.code, `${first.message} (and ${others.length} more)`, first.detail);
  }

  /** Old blobs go first, then there must be room for what is missing. */
  makeRoom(attempt: Attempt): void {
    const { store } = this.#options;
    store.collect(attempt.digests);
    const missing = Array.from(attempt.modules.values(), ({ document: { wasmDigest, wasmSize } }) =>
      store.missingBytes(wasmDigest.toHex(), wasmSize),
    );
    store.requireRoom(missing.reduce((sum, bytes) => sum + bytes, 0));
  }

  /** What came with the gateway is copied, so that the set is whole in one place; the rest is fetched. */
  async fetchBlobs(attempt: Attempt, _surroundings: Surroundings, onProgress: () => void): Promise<void> {
    const { store } = this.#options;
    for (const { document, digest } of attempt.modules.values()) {
      const blob = document.wasmDigest.toHex();
      const delivered = this.#delivered.get(digest.toHex());
      if (delivered !== undefined) store.put("blobs", blob, delivered.binary);
      else if (store.read("blobs", blob) === undefined) await this.#fetch(attempt, blob, document.wasmSize, onProgress);
    }
    attempt.percent = 100;
  }

  async stage(attempt: Attempt, { trust, running }: Surroundings): Promise<void> {
    const { identity, store } = this.#options;
    for (const [name, { document, digest }] of attempt.modules) {
      const envelope = digest.toHex();
      if (running.modules.get(name)?.envelope === envelope) continue;
      // Read back and hashed again: what is compiled are the bytes that the next boot will find.
      attempt.fresh.set(name, loadStored(store, name, { sequence: document.sequence, envelope }, trust, identity));
    }
    const whole = [...this.modulesAfter(attempt, running).values()];
    this.#options.configurations.fit(attempt.system ?? running.configuration, whole);
    await this.#stage(attempt.system === undefined ? [...attempt.fresh.values()] : whole, attempt);
  }

  async swap(attempt: Attempt, { running }: Surroundings): Promise<void> {
    const { runtime, store, times } = this.#options;
    store.save({ candidate: { set: attempt.setAfter(running.set.configuration), tries: 1 } });
    const swapped = await this.#carryOut(runtime.swap(), attempt, times.swapMs, "the swap");
    attempt.pauseMs = swapped.pauseMs;
  }

  async probation(attempt: Attempt): Promise<void> {
    const { runtime, clock, times } = this.#options;
    const isIdle = attempt.fresh.size === 0 && attempt.configuration === undefined;
    const names = [...(attempt.system === undefined ? attempt.fresh : attempt.modules).keys()];
    const proof = isIdle ? Promise.resolve() : runtime.probation(times.probationMs, times.probationMessages, names);
    try {
      await bounded(proof, clock, times.probationLimitMs, attempt.signal, "the probation");
    } catch (error) {
      // Whatever a new module does wrong while it is watched, slowness included, is a failed probation.
      if (!(error instanceof Refusal) || error.code === "E_ABORTED" || error.code === "E_PROBATION") throw error;
      throw new Refusal("E_PROBATION", error.message, error.detail);
    }
  }

  /** Undoes what the attempt did, as far as it came. Never fails: the next boot would finish it. */
  async undo(attempt: Attempt, running: Running): Promise<void> {
    const { runtime, clock, times } = this.#options;
    if (!["digest-ok", "staged", "probation"].includes(attempt.state)) return;
    const never = new AbortController().signal;
    try {
      await bounded(attempt.inFlight, clock, times.swapMs, never, "the swap");
    } catch (error) {
      // It failed, which is why we are here, or it hangs, and the way back is tried all the same.
      if (!(error instanceof Refusal)) throw error;
    }
    try {
      if (attempt.isResumed) await bounded(this.#putBack(running), clock, times.stageMs, never, "the way back");
      else await bounded(runtime.rollback(), clock, times.swapMs, never, "the rollback");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  /** A candidate that a boot started: there are no warm old modules, so the old set is staged like a new one. */
  async #putBack(running: Running): Promise<void> {
    const { runtime } = this.#options;
    const { configuration } = running;
    const modules = [...running.modules.values()];
    await runtime.rollback();
    await runtime.stage(modules.map(toNewModule), { modules, configuration });
    await runtime.swap();
    await runtime.commit();
  }

  /** Fills in an attempt from what the boot loaded; returns what runs if its probation fails. */
  resume(attempt: Attempt, boot: BootResult, trust: TrustState): Running {
    const { store } = this.#options;
    for (const [name, module] of boot.modules) attempt.modules.set(name, module.verified);
    const planned = attempt.plan.document.configuration;
    if (planned !== undefined) {
      attempt.configuration = loadConfiguration(store, planned.toHex(), trust, this.#options.identity);
      attempt.system = boot.configuration;
    }
    attempt.state = "probation";
    attempt.percent = 100;
    attempt.isResumed = true;
    const { installed } = store.state;
    const old = installed === undefined ? boot.delivered : this.#loadOld(installed, boot, trust);
    for (const [name, module] of boot.modules) {
      if (old.get(name)?.envelope !== module.envelope) attempt.fresh.set(name, module);
    }
    const set = installed ?? { modules: new Map(mapValues(old, installedAs)), configuration: null, plan: null };
    return { set, modules: old, configuration: this.#loadOldConfiguration(set.configuration, trust) };
  }

  /** The gateway's own where the old one can no longer be read: it is what a boot would fall back to. */
  #loadOldConfiguration(digest: string | null, trust: TrustState): GatewayConfiguration {
    const { configurations, identity, store } = this.#options;
    if (digest === null) return configurations.own;
    try {
      return configurations.read(loadConfiguration(store, digest, trust, identity).document.content, digest);
    } catch (error) {
      if (error instanceof Refusal) return configurations.own;
      throw error;
    }
  }

  /** What can still be read of the installed set: it runs again if the candidate fails. */
  #loadOld(installed: ModuleSet, boot: BootResult, trust: TrustState): ReadonlyMap<string, LoadedModule> {
    const old = new Map<string, LoadedModule>();
    for (const [name, planned] of installed.modules) {
      const known = [boot.modules.get(name), boot.delivered.get(name)].find(
        (module) => module?.envelope === planned.envelope,
      );
      const module = known ?? this.#loadQuietly(name, planned, trust);
      if (module !== undefined) old.set(name, module);
    }
    return old;
  }

  #loadQuietly(name: string, planned: InstalledModule, trust: TrustState): LoadedModule | undefined {
    try {
      return loadStored(this.#options.store, name, planned, trust, this.#options.identity);
    } catch (error) {
      if (error instanceof Refusal) return undefined;
      throw error;
    }
  }

  /** Every module of the set, once it is committed. */
  modulesAfter(attempt: Attempt, running: Running): ReadonlyMap<string, LoadedModule> {
    const after = new Map<string, LoadedModule>();
    for (const name of attempt.modules.keys()) {
      const module = attempt.fresh.get(name) ?? running.modules.get(name);
      if (module !== undefined) after.set(name, module);
    }
    return after;
  }

  async #stage(changed: readonly LoadedModule[], attempt: Attempt): Promise<void> {
    const { runtime, times } = this.#options;
    const staged = runtime.stage(changed.map(toNewModule), attempt.proposal);
    await this.#carryOut(staged, attempt, times.stageMs, "staging");
  }

  #carryOut<Value>(work: Promise<Value>, attempt: Attempt, timeoutMs: number, what: string): Promise<Value> {
    attempt.inFlight = work;
    return bounded(work, this.#options.clock, timeoutMs, attempt.signal, what);
  }

  async #configuration(attempt: Attempt, wanted: Uint8Array, trust: TrustState): Promise<void> {
    const { identity } = this.#options;
    const digest = wanted.toHex();
    attempt.configuration = await this.#document(topics.configuration(digest), digest, attempt.signal, (bytes) =>
      verifyConfiguration(bytes, trust, {
        gatewayId: identity.gatewayId,
        class: classId(vendorId(identity.vendor), identity.class),
        digest: wanted,
        now: this.#now(),
      }),
    );
  }

  /** From the store, from what came with the gateway, or from the broker; kept in the store. */
  async #document<Verified>(
    topic: string,
    digest: string,
    signal: AbortSignal,
    verify: (bytes: Uint8Array) => Verified,
  ): Promise<Verified> {
    const { store, inbox, times } = this.#options;
    const known = store.read("envelopes", digest) ?? this.#delivered.get(digest)?.envelopeBytes;
    const bytes = known ?? (await inbox.first(topic, times.documentMs, signal, (payload) => checked(payload, digest)));
    const verified = verify(bytes);
    store.put("envelopes", digest, bytes);
    return verified;
  }

  /** One wrong download is forgiven: somebody may have published wrong blocks for a moment. */
  async #fetch(attempt: Attempt, blob: string, size: number, onProgress: () => void): Promise<void> {
    try {
      await this.#fetchOnce(attempt, blob, size, onProgress);
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== "E_DIGEST") throw error;
      await this.#fetchOnce(attempt, blob, size, onProgress);
    }
  }

  async #fetchOnce(attempt: Attempt, blob: string, size: number, onProgress: () => void): Promise<void> {
    const { store, inbox, clock, times } = this.#options;
    const part = store.part(blob, size);
    const onBlock = () => {
      attempt.percent = Math.min(99, part.percent);
      onProgress();
    };
    try {
      await fetchBlob(blob, size, part, { inbox, clock, times, signal: attempt.signal, onBlock });
    } catch (error) {
      // Blocks of wrong length would be met again at every resume.
      if (error instanceof Refusal && error.code === "E_SIZE") part.discard();
      throw error;
    }
    store.finishPart(blob, part);
  }

  #now(): number {
    return Math.floor(this.#options.clock.now() / 1000);
  }
}

function mapValues<From, To>(map: ReadonlyMap<string, From>, change: (value: From) => To): [string, To][] {
  return Array.from(map, ([key, value]) => [key, change(value)]);
}

function toNewModule({ document, envelope, binary }: LoadedModule): NewModule {
  return { document, envelope, binary };
}

/**
 * What has a place is not taken away: a thief of the deploy key could stop every module under the configuration in force.
 * @throws Refusal E_TARGET
 */
function checkLeftOut({ modules }: Attempt, { system }: GatewayConfiguration, running: Running): void {
  const left = system.modules.find(({ name }) => running.modules.has(name) && !modules.has(name));
  if (left === undefined) return;
  throw new Refusal("E_TARGET", `the plan leaves out module ${left.name}, for which the configuration has a place`, {
    expected: "every module that runs and has a place",
    hint: "sign a configuration without the module, or plan it",
  });
}

/** The cheap checks, before any signature is computed. @throws Refusal E_SIZE, E_DIGEST */
function checked(payload: Uint8Array, digest: string): Uint8Array {
  if (payload.length > UPDATE_LIMITS.documentBytes) {
    throw new Refusal("E_SIZE", "a document is too large", { found: `${payload.length} bytes` });
  }
  const found = sha256Hex(payload);
  if (found === digest) return payload;
  throw new Refusal("E_DIGEST", "the document at this topic is not the one that the plan names", {
    expected: digest,
    found,
  });
}
