/** Binaries held to the configuration that is to run them, each as its own manifest describes it. */
import { inspectModule, Refusal } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import type { ManifestFindings, ManifestView } from "./manifests.ts";
import { checkAgainstManifests } from "./manifests.ts";

export interface NamedBinary {
  readonly name: string;
  readonly binary: Uint8Array;
}

export interface Fit extends ManifestFindings {
  /** Those that cannot be read, or have no place: the others start without them. */
  readonly refused: ReadonlyMap<string, Refusal>;
}

export function fitBinaries(configuration: GatewayConfiguration, binaries: readonly NamedBinary[]): Fit {
  const places = new Set(configuration.system.modules.map(({ name }) => name));
  const manifests = new Map<string, ManifestView>();
  const refused = new Map<string, Refusal>();
  for (const { name, binary } of binaries) {
    try {
      if (!places.has(name)) throw new Refusal("E_CAP", "the configuration has no place for it");
      manifests.set(name, inspectModule(binary).manifest);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refused.set(name, error);
    }
  }
  return { ...checkAgainstManifests(configuration, manifests), refused };
}
