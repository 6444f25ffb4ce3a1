/** What the core does for the update agent: policy, staging, swap, probation, commit and rollback of a set of modules. */
import type { AdmittedModule, Kernel, ModuleSpec, SwapRequest } from "../../kernel/index.ts";
import type { ModuleDocument } from "../envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { TrustHandlers } from "../wire/trust-client.ts";
import type { OfferedBinary, OfferedSet } from "../wire/trust-protocol.ts";

type RuntimeHandlers = Pick<TrustHandlers, "policy" | "stage" | "swap" | "probation" | "commit" | "rollback">;

/** How often a set on probation is asked whether it has handled enough messages. */
const PROBATION_POLL_MS = 50;

export interface UpdateEnvironment {
  readonly kernel: Kernel;
  /** Specification of a module in the configuration in force, or undefined where it has no place. */
  readonly spec: (name: string) => ModuleSpec | undefined;
  readonly admit: (binary: Uint8Array, spec: ModuleSpec) => Promise<AdmittedModule>;
}

export class UpdateRuntime implements RuntimeHandlers {
  readonly #environment: UpdateEnvironment;
  #staged: readonly SwapRequest[] = [];
  #swapped: readonly string[] = [];

  constructor(environment: UpdateEnvironment) {
    this.#environment = environment;
  }

  /** Signing never grants: what a module asks for must be within what the operator's configuration gives it. */
  policy({ modules, configuration }: OfferedSet): Promise<readonly Refusal[]> {
    const refusals = modules.flatMap(({ document }) => this.#checkClaims(document));
    if (configuration !== undefined) {
      refusals.push(
        new Refusal("E_CAP", "this gateway takes its configuration from its own file", {
          hint: "plan the modules without a configuration",
        }),
      );
    }
    return Promise.resolve(refusals);
  }

  async stage(changed: readonly OfferedBinary[]): Promise<void> {
    const staged: SwapRequest[] = [];
    for (const { document, binary } of changed) {
      const spec = this.#spec(document.name);
      const admitted = await this.#environment.admit(binary, spec);
      checkImportsClaimed(document, admitted);
      staged.push({ name: document.name, admitted });
    }
    this.#staged = staged;
  }

  async swap(): Promise<{ readonly pauseMs: number }> {
    const staged = this.#staged;
    if (staged.length === 0) return { pauseMs: 0 };
    this.#staged = [];
    const { pauseMs } = await this.#environment.kernel.swap(staged);
    this.#swapped = staged.map(({ name }) => name);
    return { pauseMs };
  }

  /** Proven when the time has passed without a fault and every module of the set has handled enough messages. */
  async probation(milliseconds: number, messages: number, modules: readonly string[]): Promise<void> {
    const names = this.#swapped;
    if (names.length === 0) return this.#watchStarted(modules, milliseconds);
    const { kernel } = this.#environment;
    const before = await this.#activations(names);
    await kernel.probation(names, milliseconds);
    for (;;) {
      const now = await this.#activations(names);
      // The start notice is one activation, so a module that only waits still needs one message more.
      if (names.every((name) => (now.get(name) ?? 0) - (before.get(name) ?? 0) >= messages)) return;
      await kernel.probation(names, PROBATION_POLL_MS);
    }
  }

  /** A set that the boot started: nothing was swapped, so a restart of any of its modules is what tells a failure. */
  async #watchStarted(names: readonly string[], milliseconds: number): Promise<void> {
    const { kernel } = this.#environment;
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, PROBATION_POLL_MS));
      const failed = (await kernel.top()).find(({ name, restarts }) => names.includes(name) && restarts > 0);
      if (failed !== undefined) {
        throw new Refusal("E_PROBATION", `${failed.name} failed after the start`, {
          found: `${failed.restarts} restarts`,
        });
      }
    }
  }

  commit(): Promise<void> {
    const names = this.#swapped;
    this.#swapped = [];
    if (names.length > 0) this.#environment.kernel.settle(names, true);
    return Promise.resolve();
  }

  rollback(): Promise<void> {
    const names = this.#swapped;
    this.#staged = [];
    this.#swapped = [];
    if (names.length > 0) this.#environment.kernel.settle(names, false);
    return Promise.resolve();
  }

  #spec(name: string): ModuleSpec {
    const spec = this.#environment.spec(name);
    if (spec !== undefined) return spec;
    throw new Refusal("E_CAP", `the configuration has no place for a module ${name}`, {
      hint: `add modules.${name} with its partition and grants to gateway.yaml`,
    });
  }

  #checkClaims({ name, claims }: ModuleDocument): Refusal[] {
    try {
      const spec = this.#spec(name);
      if (claims.memoryPages > spec.memoryPages) {
        throw new Refusal("E_SIZE", `${name} needs more memory than it is granted`, {
          expected: `at most ${spec.memoryPages} pages of 64 KiB`,
          found: `${claims.memoryPages}`,
        });
      }
      for (const { slot, interface: interfaceName, rights } of claims.capabilities) {
        checkAsked(spec, slot, interfaceName, rights);
      }
      return [];
    } catch (error) {
      if (error instanceof Refusal) return [error];
      throw error;
    }
  }

  async #activations(names: readonly string[]): Promise<Map<string, number>> {
    const rows = await this.#environment.kernel.top();
    return new Map(rows.filter(({ name }) => names.includes(name)).map(({ name, activations }) => [name, activations]));
  }
}

function checkAsked(spec: ModuleSpec, slot: string, interfaceName: string, rights: readonly string[]): void {
  const grant = spec.grants.find((candidate) => candidate.slot === slot);
  const what = `${spec.name}.${slot}`;
  if (grant === undefined) {
    throw new Refusal("E_CAP", `${what} is asked for but not granted`, {
      hint: `grant it under modules.${spec.name}.grants in gateway.yaml, or sign a module that does without`,
    });
  }
  if (grant.interface !== interfaceName) {
    throw new Refusal("E_CAP", `${what} is granted as another interface`, {
      expected: grant.interface,
      found: interfaceName,
    });
  }
  const granted: readonly string[] = grant.rights;
  const beyond = rights.filter((right) => !granted.includes(right));
  if (beyond.length > 0) {
    throw new Refusal("E_CAP", `${what} asks for more than is granted`, {
      expected: granted.join(", "),
      found: rights.join(", "),
    });
  }
}

/** Actual imports must lie within what the signed document asks for. */
function checkImportsClaimed({ name, claims }: ModuleDocument, { imports, manifest }: AdmittedModule): void {
  const asked = new Map(claims.capabilities.map((capability) => [capability.slot, capability]));
  for (const { slot, operation } of imports) {
    const capability = asked.get(slot);
    if (capability === undefined || capability.interface !== manifest.slots.get(slot)?.interface) {
      throw new Refusal("E_CAP", `${name} imports ${slot}.${operation}, which its signed document does not ask for`, {
        expected: [...asked.keys()].join(", ") || "no imports",
        found: slot,
      });
    }
  }
}
