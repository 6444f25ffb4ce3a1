/** One attempt to bring the gateway to the set of a plan: what is known about it, and whether it has been called off. */

import type { VerifiedConfiguration, VerifiedModule, VerifiedPlan } from "../envelopes/index.ts";
import type { GatewayConfiguration } from "../config/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { UpdateState } from "../wire/update-report.ts";
import type { Proposal } from "./effects.ts";
import type { LoadedModule } from "./library.ts";
import type { ModuleSet } from "./store-state.ts";

export class Attempt {
  readonly payload: Uint8Array;
  /** Digest of the plan envelope, in hexadecimal. */
  readonly digest: string;
  plan: VerifiedPlan;
  state: UpdateState = "idle";
  percent = 0;
  pauseMs: number | undefined;
  /** True where a boot started its set, so that no old modules are kept warm. */
  isResumed = false;
  /** True where it is broken off for another try of the same plan: its end is not the plan's. */
  isTriedAgain = false;
  /** Verified documents of the whole set, by module name, once they are. */
  readonly modules = new Map<string, VerifiedModule>();
  configuration: VerifiedConfiguration | undefined;
  /** What the configuration says, once it has been read. */
  system: GatewayConfiguration | undefined;
  /** The bytes of modules that must be started. */
  readonly fresh = new Map<string, LoadedModule>();
  /** Work of the runtime that an abort does not interrupt: it must have ended before anything is undone. */
  inFlight: Promise<unknown> = Promise.resolve();
  readonly #controller = new AbortController();

  constructor(payload: Uint8Array, plan: VerifiedPlan) {
    this.payload = payload;
    this.plan = plan;
    this.digest = plan.digest.toHex();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason: string): void {
    this.#controller.abort(new Refusal("E_ABORTED", reason));
  }

  get proposal(): Proposal {
    return {
      modules: Array.from(this.modules.values(), ({ document, digest }) => ({ document, envelope: digest.toHex() })),
      configuration: this.system,
    };
  }

  /** The set that its commit installs; the configuration in force stays where the plan names none. */
  setAfter(configurationInForce: string | null): ModuleSet {
    const modules = Array.from(this.modules, ([name, { document, digest }]) => {
      const blob = document.wasmDigest.toHex();
      return [name, { sequence: document.sequence, envelope: digest.toHex(), blob }] as const;
    });
    const configuration = this.configuration?.digest.toHex() ?? configurationInForce;
    return { modules: new Map(modules), configuration, plan: this.digest };
  }

  /** Everything that must not be collected while it goes on. */
  get digests(): ReadonlySet<string> {
    const digests = new Set([this.digest]);
    for (const { document, digest } of this.modules.values())
      digests.add(digest.toHex()).add(document.wasmDigest.toHex());
    const configuration = this.plan.document.configuration;
    if (configuration !== undefined) digests.add(configuration.toHex());
    return digests;
  }
}
