/** The configuration: reading it, checking it, explaining it. */
export type * from "./configuration.ts";
export { firstUnmet, type Requirement } from "./content.ts";
export { loadConfiguration, parseConfiguration, parseLayers } from "./load.ts";
export { checkAgainstManifests, type ManifestView } from "./manifests.ts";
export { ConfigurationError, describeProblem, type Problem } from "./problem.ts";
