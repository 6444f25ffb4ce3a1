/** What the gateway runs after a start: everything is verified again, and the newest set that is whole and good is chosen. */

import type { TrustState } from "../envelopes/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { decodeTrustState, initialTrust, underRoot, verifyPlan } from "../envelopes/index.ts";
import { BUILD_DATE } from "./build-date.ts";
import type { Configurations } from "./configurations.ts";
import { installedAs, loadConfiguration, loadDelivered, loadStored } from "./library.ts";
import type { Identity, LoadedModule } from "./library.ts";
import { UPDATE_LIMITS } from "./limits.ts";
import { REJECTED_KEPT } from "./store-state.ts";
import type { Candidate, LastResult, ModuleSet, StoreState } from "./store-state.ts";
import type { Store } from "./store.ts";

/** A module that gateway.yaml names, with the contents of its file, or why it could not be read. */
export interface DeliveredModule {
  readonly name: string;
  readonly bytes: Uint8Array | Refusal;
}

export interface BootOptions {
  readonly store: Store;
  readonly identity: Identity;
  /** The root that was put on the gateway by hand, or why it could not be read. */
  readonly rootEnvelope: Uint8Array | Refusal;
  readonly delivered: readonly DeliveredModule[];
  readonly configurations: Configurations;
  /** Seconds since 1970 below which no clock is believed; that of this software where it is not given. */
  readonly buildDate?: number;
}

/** Where the chosen set comes from. `mixed`: no set was whole, so each module is the newest good one of its name. */
export type BootSource = "candidate" | "installed" | "previous" | "delivered" | "mixed";

export interface BootResult {
  readonly trust: TrustState;
  readonly source: BootSource;
  readonly set: ModuleSet;
  readonly modules: ReadonlyMap<string, LoadedModule>;
  /** The good ones of those that came with the gateway, running or not. */
  readonly delivered: ReadonlyMap<string, LoadedModule>;
  /** The operator's signed configuration that belongs to the set; undefined where the local file rules alone. */
  readonly configuration: GatewayConfiguration | undefined;
  /** Modules of which no version could be verified, with the reason. */
  readonly refused: ReadonlyMap<string, Refusal>;
  /** Sentences for the log and the audit: what was found damaged, what was given up. */
  readonly findings: readonly string[];
}

/** @throws Refusal where there is no root to verify anything with; everything else ends with something running */
export function bootVerify(options: BootOptions): BootResult {
  return new Boot(options).run();
}

interface LoadedSet {
  readonly set: ModuleSet;
  readonly modules: ReadonlyMap<string, LoadedModule>;
  readonly configuration: GatewayConfiguration | undefined;
}

/** Said at each start, so that nobody takes a desk's gateway for one in the field. */
const DEVELOPMENT_ROOT = "the trust root is a development root: whoever has the keys beside it signs for this gateway";

class Boot {
  readonly #options: BootOptions;
  readonly #store: Store;
  readonly #findings: string[] = [];
  readonly #trust: TrustState;
  readonly #delivered = new Map<string, LoadedModule>();
  readonly #refused = new Map<string, Refusal>();

  constructor(options: BootOptions) {
    this.#options = options;
    this.#store = options.store;
    options.store.slots.forEach((condition, index) => {
      if (condition === "corrupt") this.#findings.push(`state slot ${index} is damaged: the other one is used`);
    });
    const trust = this.#openTrust();
    const { buildDate = BUILD_DATE } = options;
    this.#trust = { ...trust, clockFloor: Math.max(trust.clockFloor, buildDate) };
    for (const module of options.delivered) this.#loadDelivered(module);
  }

  run(): BootResult {
    const { candidate, installed, previous } = this.#store.state;
    const found =
      this.#tryCandidate(candidate) ??
      this.#trySet("installed", installed) ??
      this.#trySet("previous", previous) ??
      this.#tryDelivered(installed) ??
      this.#mix(installed, previous);
    const { source, loaded } = found;
    const modules = this.#withNewerDelivered(loaded);
    for (const name of modules.keys()) this.#refused.delete(name);
    if (this.#trust.root.development === true) this.#findings.push(DEVELOPMENT_ROOT);
    return {
      trust: this.#trust,
      source,
      set: { ...loaded.set, modules: new Map(Array.from(modules, ([name, module]) => [name, installedAs(module)])) },
      modules,
      delivered: this.#delivered,
      configuration: loaded.configuration,
      refused: this.#refused,
      findings: this.#findings,
    };
  }

  /** The stored trust, under the root file where that is newer: whoever can replace the file owns the gateway anyway. */
  #openTrust(): TrustState {
    const { rootEnvelope } = this.#options;
    const stored = this.#storedTrust();
    try {
      if (rootEnvelope instanceof Refusal) throw rootEnvelope;
      const given = initialTrust(rootEnvelope);
      if (stored === undefined) return given;
      return given.root.version > stored.root.version ? underRoot(stored, given.root, given.rootDigest) : stored;
    } catch (error) {
      if (stored === undefined || !(error instanceof Refusal)) throw error;
      this.#findings.push(`the root file is not used: ${error.describe()}`);
      return stored;
    }
  }

  #storedTrust(): TrustState | undefined {
    const { trust } = this.#store.state;
    if (trust === undefined) return undefined;
    try {
      return decodeTrustState(trust);
    } catch (error) {
      this.#note("the stored trust state is not used", error);
      return undefined;
    }
  }

  #loadDelivered({ name, bytes }: DeliveredModule): void {
    try {
      if (bytes instanceof Refusal) throw bytes;
      this.#delivered.set(name, loadDelivered(bytes, name, this.#trust, this.#options.identity));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused.set(name, error);
    }
  }

  /** The tries counter is on disk before the candidate runs; a disk that refuses it decides for the old set. */
  #tryCandidate(candidate: Candidate | undefined): { source: BootSource; loaded: LoadedSet } | undefined {
    if (candidate === undefined) return undefined;
    if (candidate.tries >= UPDATE_LIMITS.tries) {
      const reason = `the new set was started ${candidate.tries} times and never committed`;
      this.#giveUp(withRejected(this.#store.state, candidate, "E_PROBATION", reason), reason);
      return undefined;
    }
    try {
      this.#store.save({ candidate: { ...candidate, tries: candidate.tries + 1 } });
    } catch (error) {
      this.#note("the new set is not started, because its start can't be recorded", error);
      return undefined;
    }
    const found = this.#isVouchedFor(candidate) ? this.#trySet("candidate", candidate.set) : undefined;
    if (found === undefined) this.#giveUp({ candidate: undefined }, "the new set is damaged: it is fetched again");
    return found;
  }

  /** A candidate whose plan no longer verifies must not be committed, so it is not started either. */
  #isVouchedFor({ set }: Candidate): boolean {
    try {
      const plan = set.plan === null ? undefined : this.#store.read("envelopes", set.plan);
      if (plan === undefined) throw new Refusal("E_STORE", "the plan is not on the disk, or is damaged");
      const { gatewayId } = this.#options.identity;
      verifyPlan(plan, this.#trust, { gatewayId, now: 0, purpose: "boot" });
      return true;
    } catch (error) {
      this.#note("the plan of the new set is not used", error);
      return false;
    }
  }

  #giveUp(changes: Partial<StoreState>, finding: string): void {
    this.#findings.push(finding);
    try {
      this.#store.save(changes);
    } catch (error) {
      this.#note("this could not be recorded", error);
    }
  }

  #trySet(source: BootSource, set: ModuleSet | undefined): { source: BootSource; loaded: LoadedSet } | undefined {
    if (set === undefined) return undefined;
    try {
      const modules = new Map(Array.from(set.modules.keys(), (name) => [name, this.#load(name, set)]));
      return { source, loaded: { set, modules, configuration: this.#loadConfiguration(set.configuration, modules) } };
    } catch (error) {
      this.#note(`the ${source} set is not used`, error);
      return undefined;
    }
  }

  #load(name: string, set: ModuleSet): LoadedModule {
    const planned = set.modules.get(name);
    if (planned === undefined) throw new Refusal("E_UNKNOWN", `the set has no module ${name}`);
    const delivered = this.#delivered.get(name);
    if (delivered?.envelope === planned.envelope) return delivered;
    return loadStored(this.#store, name, planned, this.#trust, this.#options.identity);
  }

  /** Held again to the file on the gateway, which may have changed, and to the modules. */
  #loadConfiguration(
    digest: string | null,
    modules: ReadonlyMap<string, LoadedModule>,
  ): GatewayConfiguration | undefined {
    if (digest === null) return undefined;
    const { identity, configurations } = this.#options;
    const { document } = loadConfiguration(this.#store, digest, this.#trust, identity);
    const configuration = configurations.read(document.content, digest);
    configurations.fit(configuration, [...modules.values()]);
    return configuration;
  }

  /** What came with the gateway, where that makes up the whole of what was installed. */
  #tryDelivered(installed: ModuleSet | undefined): { source: BootSource; loaded: LoadedSet } | undefined {
    const names = [...(installed?.modules.keys() ?? [])];
    if (!names.every((name) => this.#delivered.has(name))) return undefined;
    return { source: "delivered", loaded: withoutPlan(this.#delivered) };
  }

  /** Module by module, the first that is good: running something of each comes before running one set. */
  #mix(...sets: readonly (ModuleSet | undefined)[]): { source: BootSource; loaded: LoadedSet } {
    const modules = new Map<string, LoadedModule>();
    for (const set of sets) {
      for (const name of set?.modules.keys() ?? []) if (!modules.has(name)) this.#loadInto(modules, name, set);
    }
    for (const [name, module] of this.#delivered) if (!modules.has(name)) modules.set(name, module);
    return { source: "mixed", loaded: withoutPlan(modules) };
  }

  #loadInto(modules: Map<string, LoadedModule>, name: string, set: ModuleSet | undefined): void {
    if (set === undefined) return;
    try {
      modules.set(name, this.#load(name, set));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refused.set(name, error);
    }
  }

  /** A gateway whose software was renewed by hand brings newer modules than the ones it was sent. */
  #withNewerDelivered({ modules, configuration }: LoadedSet): Map<string, LoadedModule> {
    const merged = new Map(modules);
    for (const [name, delivered] of this.#delivered) {
      const present = merged.get(name);
      // What a signed configuration has taken away does not come back with the gateway's own file.
      if (present === undefined && configuration !== undefined) continue;
      if (present === undefined || delivered.document.sequence > present.document.sequence) merged.set(name, delivered);
    }
    return merged;
  }

  #note(what: string, error: unknown): void {
    if (!(error instanceof Refusal)) throw error;
    this.#findings.push(`${what}: ${error.describe()}`);
  }
}

function withoutPlan(modules: ReadonlyMap<string, LoadedModule>): LoadedSet {
  return { set: { modules: new Map(), configuration: null, plan: null }, modules, configuration: undefined };
}

/** The state with a plan's refusal remembered and its candidate gone. */
export function withRejected(
  state: StoreState,
  candidate: Candidate,
  code: LastResult["code"],
  reason: string,
): Partial<StoreState> {
  const { plan } = candidate.set;
  if (plan === null) return { candidate: undefined };
  const last: LastResult = { code, reason, plan };
  return { candidate: undefined, last, rejected: remember(state.rejected, last) };
}

/** Adds a refused plan, and forgets the oldest beyond the limit. */
export function remember(
  rejected: ReadonlyMap<string, LastResult>,
  result: LastResult,
): ReadonlyMap<string, LastResult> {
  const others = Array.from(rejected).filter(([plan]) => plan !== result.plan);
  return new Map([...others, [result.plan, result] as const].slice(-REJECTED_KEPT));
}
