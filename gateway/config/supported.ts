/** What the file may say and this release does not carry out yet: it is refused, for a promise that nobody keeps opens a door. */
import type { Position, Problems } from "./problem.ts";
import type { GatewayDraft } from "./schema.ts";

const FEATURES = {
  console: "the console",
} as const;

export type Feature = keyof typeof FEATURES;

export const ALL_FEATURES: ReadonlySet<Feature> = new Set(Object.keys(FEATURES) as Feature[]);

/** What the processes of this release carry out of `FEATURES`. A name is added here by whoever builds the thing. */
export const SUPPORTED: ReadonlySet<Feature> = new Set(["console"]);

interface Use {
  readonly feature: Feature;
  readonly at: Position;
}

export function checkSupported(draft: GatewayDraft, supported: ReadonlySet<Feature>, problems: Problems): void {
  const uses: Use[] = [];
  if (draft.console !== undefined) uses.push({ feature: "console", at: draft.console.keyAt });
  for (const { feature, at } of uses) {
    if (supported.has(feature)) continue;
    problems.add(at, `${FEATURES[feature]} is not carried out by this release`, { hint: "remove it" });
  }
}
