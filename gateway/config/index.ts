/** The configuration: reading it, checking it, explaining it. */
export type * from "./configuration.ts";
export { fitBinaries } from "./fit.ts";
export { loadConfiguration, parseConfiguration, parseLayers, parseReceived } from "./load.ts";
export { checkAgainstManifests, excessGrants, type ManifestView } from "./manifests.ts";
export { ConfigurationError, describePosition, describeProblem, type Problem } from "./problem.ts";
export { checkReceived } from "./received.ts";
