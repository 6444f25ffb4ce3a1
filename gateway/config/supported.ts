/** What the file may say and this release does not carry out yet: it is refused, for a promise that nobody keeps opens a door. */
import type { ModuleInProgress } from "./build.ts";
import type { Position, Problems } from "./problem.ts";
import type { GatewayDraft } from "./schema.ts";

const FEATURES = {
  "restart-partition": "the restart policy 'restart-partition'",
  "safe-state": "the restart policy 'safe-state'",
  console: "the console",
} as const;

export type Feature = keyof typeof FEATURES;

export const ALL_FEATURES: ReadonlySet<Feature> = new Set(Object.keys(FEATURES) as Feature[]);

/** What the processes of this release carry out of `FEATURES`. A name is added here by whoever builds the thing. */
export const SUPPORTED: ReadonlySet<Feature> = new Set();

interface Use {
  readonly feature: Feature;
  readonly at: Position;
}

function moduleUses({ draft }: ModuleInProgress): readonly Use[] {
  const uses: Use[] = [];
  const policy = draft.value.restart?.value.policy;
  if (policy?.value === "restart-partition" || policy?.value === "safe-state") {
    uses.push({ feature: policy.value, at: policy.at });
  }
  return uses;
}

export function checkSupported(
  draft: GatewayDraft,
  modules: readonly ModuleInProgress[],
  supported: ReadonlySet<Feature>,
  problems: Problems,
): void {
  const uses = modules.flatMap(moduleUses);
  if (draft.console !== undefined) uses.push({ feature: "console", at: draft.console.keyAt });
  for (const { feature, at } of uses) {
    if (supported.has(feature)) continue;
    problems.add(at, `${FEATURES[feature]} is not carried out by this release`, { hint: "remove it" });
  }
}
