/** The configuration: reading it, checking it, explaining it. */
export type * from "./configuration.ts";
export { firstUnmet, type Requirement } from "./content.ts";
export { loadConfiguration, parseConfiguration, parseLayers } from "./load.ts";
export { checkAgainstManifests, type ManifestFindings, type ManifestView } from "./manifests.ts";
export { ConfigurationError, describePosition, describeProblem, type Position, type Problem } from "./problem.ts";
