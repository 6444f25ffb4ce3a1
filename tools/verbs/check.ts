/** All that a start compares, without starting or writing anything: `bulkhead run --check`. */
import type { GatewayConfiguration, Problem } from "../../gateway/config/index.ts";
import {
  checkAgainstManifests,
  ConfigurationError,
  describeProblem,
  excessGrants,
  fitBinaries,
} from "../../gateway/config/index.ts";
import { checkLinkFiles } from "../../gateway/core/index.ts";
import { checkSimulators } from "../../gateway/device/index.ts";
import type { BootResult, Store } from "../../gateway/trust/index.ts";
import { bootVerify, configurationsOf } from "../../gateway/trust/index.ts";
import { admitModule, Refusal } from "../../kernel/index.ts";
import { notYours } from "../dev/control-client.ts";
import { lookAt, readOrRefuse } from "../looked-at.ts";
import { readManifests } from "../policy/source.ts";

export interface StartCheck {
  /** With any of these a start fails. */
  readonly errors: readonly (ConfigurationError | Refusal)[];
  /** What a start would say and go on, and what could not be compared here. */
  readonly warnings: readonly string[];
}

export async function checkStart(configuration: GatewayConfiguration): Promise<StartCheck> {
  const check = new Check();
  const inForce = await check.modules(configuration);
  for (const problem of inForce.warnings) check.warnings.push(describeProblem(problem));
  await check.attempt(() => checkSimulators(inForce.devices));
  await check.attempt(() => {
    checkLinkFiles(configuration);
  });
  return check;
}

class Check implements StartCheck {
  readonly errors: (ConfigurationError | Refusal)[] = [];
  readonly warnings: string[] = [];

  async attempt(work: () => Promise<void> | void): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.errors.push(error);
    }
  }

  /** @returns the configuration that a start would put in force */
  async modules(own: GatewayConfiguration): Promise<GatewayConfiguration> {
    const boot = this.#boot(own);
    if (boot === undefined) {
      await this.#unverified(own);
      return own;
    }
    const inForce = boot.configuration ?? own;
    for (const file of boot.configuration?.files ?? []) {
      this.warnings.push(`${file} is in force, in place of the gateway's own file`);
    }
    this.warnings.push(...boot.findings);
    const binaries = Array.from(boot.modules, ([name, { binary }]) => ({ name, binary }));
    const { errors, warnings, refused } = fitBinaries(inForce, binaries);
    this.#found(errors, warnings);
    for (const [name, refusal] of [...boot.refused, ...refused]) this.#refuse(name, refusal);
    // What does not fit the configuration is told once.
    if (errors.length > 0) return inForce;
    for (const { name, binary } of binaries) if (!refused.has(name)) await this.#admit(inForce, name, binary);
    return inForce;
  }

  /** The choice of a start; undefined where there is no root to make it by. */
  #boot(own: GatewayConfiguration): BootResult | undefined {
    const { gateway, trust, envelopes, dataFolder } = own;
    const identity = { gatewayId: gateway.id, vendor: gateway.vendor, class: gateway.class };
    try {
      return bootVerify({
        store: this.#store(dataFolder),
        identity,
        rootEnvelope: readOrRefuse(trust.root),
        delivered: Array.from(envelopes, ([name, path]) => ({ name, bytes: readOrRefuse(path) })),
        configurations: configurationsOf(own),
      });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.warnings.push(`no start without the root of trust, so no signature is checked: ${error.describe()}`);
      return undefined;
    }
  }

  /** With manifests as the files' authors wrote them. */
  async #unverified(own: GatewayConfiguration): Promise<void> {
    const { manifests, unknown } = await readManifests(own);
    const { errors, warnings } = checkAgainstManifests(own, manifests);
    this.#found(errors, warnings);
    for (const line of unknown) this.warnings.push(`not compared: ${line}`);
  }

  async #admit({ system }: GatewayConfiguration, name: string, binary: Uint8Array): Promise<void> {
    const spec = system.modules.find((module) => module.name === name);
    if (spec === undefined) return;
    try {
      for (const slot of excessGrants(spec, await admitModule(binary, spec))) {
        this.warnings.push(`${name}.${slot} is granted and never used: excess privilege`);
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#refuse(name, error);
    }
  }

  #found(errors: readonly Problem[], warnings: readonly Problem[]): void {
    if (errors.length > 0) this.errors.push(new ConfigurationError(errors));
    this.warnings.push(...warnings.map(describeProblem));
  }

  #refuse(name: string, refusal: Refusal): void {
    this.warnings.push(`${name}: refused: ${refusal.describe()}`);
  }

  /** As it is; where this user may not look, as before the first start. */
  #store(dataFolder: string): Store {
    const { store, isOpen } = lookAt(dataFolder);
    if (!isOpen) this.warnings.push(`what is installed is not compared: ${notYours(dataFolder).describe()}`);
    return store;
  }
}
