/** The layer table of CONTRIBUTING.md, as rules: who may import whom. `npm run check` enforces them. */

/** Folders of gateway/ that every process may import: the configuration, the signed documents, the frames. */
const SHARED_BY_PROCESSES = "(config|envelopes|wire)";

/** What every module may import, by path or by the name under which the build mounts it. */
const SHARED_BY_MODULES = ["^modules/(sdk|interfaces)/", "^bulkhead/sdk$", "^bulkhead/(sdk|interfaces)/[a-z0-9-]+$"];

module.exports = {
  forbidden: [
    {
      name: "kernel-imports-itself-only",
      comment: "kernel/ is pure: itself, cbor-x, and of Node worker_threads, crypto and perf_hooks.",
      severity: "error",
      from: { path: "^kernel/" },
      to: {
        pathNot: ["^kernel/", "(^|/)node_modules/cbor-x/", "^(node:)?(worker_threads|crypto|perf_hooks)$"],
      },
    },
    {
      name: "kernel-through-its-index",
      comment: "The kernel's public API is kernel/index.ts; its inside is nobody else's business.",
      severity: "error",
      from: { pathNot: "^(kernel|tests)/" },
      to: { path: "^kernel/", pathNot: "^kernel/index\\.ts$" },
    },
    {
      name: "cbor-x-behind-its-check",
      comment:
        "cbor-x sees nothing that checkCbor has not accepted: by whatever kind of import, only the codec uses it.",
      severity: "error",
      from: { pathNot: "^(kernel/cbor/codec\\.ts$|tests/)" },
      to: { path: "(^|/)node_modules/cbor-x/" },
    },
    {
      name: "gateway-process-is-alone",
      comment: "A process's folder may be imported by no other process: they run in different trust zones.",
      severity: "error",
      from: { path: "^gateway/([^/]+)/" },
      to: { path: "^gateway/([^/]+)/", pathNot: `^gateway/($1|${SHARED_BY_PROCESSES})/` },
    },
    {
      name: "gateway-knows-no-tools-or-modules",
      comment:
        "gateway/ may import kernel/index.ts, its own process, gateway/config, envelopes and wire, packages and Node.",
      severity: "error",
      from: { path: "^gateway/" },
      to: { path: "^(tools|modules|build|dist)/" },
    },
    {
      name: "module-is-alone",
      comment: "A module may import its own folder, the SDK and the contracts' code; never another module or the host.",
      severity: "error",
      from: { path: "^modules/(drivers|services|examples)/([^/]+)/" },
      to: { pathNot: ["^modules/$1/$2/", ...SHARED_BY_MODULES] },
    },
    {
      name: "sdk-knows-no-module",
      comment: "The SDK and the contracts' code know each other, and neither a module nor the host.",
      severity: "error",
      from: { path: "^modules/(sdk|interfaces)/" },
      to: { pathNot: SHARED_BY_MODULES },
    },
    {
      name: "modules-are-not-imported-by-the-host",
      comment: "Modules are AssemblyScript: the host knows them as Wasm binaries only.",
      severity: "error",
      from: { pathNot: "^(modules|tests)/" },
      to: { path: "^modules/" },
    },
    {
      name: "tools-enter-gateway-by-its-entry-points",
      comment: "tools/ may import gateway/<folder>/index.ts or main.ts, and gateway/config, envelopes and wire.",
      severity: "error",
      from: { path: "^tools/" },
      to: { path: "^gateway/", pathNot: `^gateway/([^/]+/(index|main)\\.ts$|${SHARED_BY_PROCESSES}/)` },
    },
    {
      name: "nothing-imports-tests",
      comment: "What a test needs and a program too belongs to the program.",
      severity: "error",
      from: { pathNot: "^tests/" },
      to: { path: "^tests/" },
    },
    {
      name: "no-development-packages-at-run-time",
      comment:
        "A package that only the authors of Bulkhead install may be used by checks, tests and configuration only.",
      severity: "error",
      from: { path: "^(kernel|gateway|tools)/", pathNot: "^tools/(check|launch|fuzz|powercut|footprint)/" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "no-cycles",
      comment: "Two files that import each other are one file, or share a third.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "every-import-resolves",
      severity: "error",
      from: { pathNot: "^(modules|tests/sdk/fixtures)/" },
      // The console's page gets it from the link process by this address.
      to: { couldNotResolve: true, pathNot: "^/uplot\\.js$" },
    },
  ],
  options: {
    doNotFollow: { path: "(^|/)node_modules/" },
    exclude: { path: "^(build|dist|coverage)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".js", ".mjs", ".cjs", ".d.ts", ".json"],
    },
    builtInModules: { add: ["ffi", "sqlite"] },
  },
};
