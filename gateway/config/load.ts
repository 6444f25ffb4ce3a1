/** Reads `gateway.yaml` and the files of `gateway.d/`, and checks everything that can be known without the modules. */
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import type { ModuleSpec } from "../../kernel/index.ts";
import {
  buildBroker,
  buildConsole,
  buildDevices,
  buildLocalOnly,
  buildModules,
  buildPartitions,
  type ModuleInProgress,
  type PartitionInProgress,
} from "./build.ts";
import {
  checkCallGraph,
  checkExclusive,
  checkFiles,
  checkStores,
  checkTotals,
  findCallCycle,
  type GatewayLimits,
  type Places,
  settleFuel,
  settlePriorities,
} from "./checks.ts";
import type { ConfigurationFile, GatewayConfiguration, Withdrawal } from "./configuration.ts";
import { DEFAULTS } from "./defaults.ts";
import { CONFIGURATION_BYTES, type ConfigurationNode, parseYaml } from "./document.ts";
import { mergeLayers } from "./layers.ts";
import { ConfigurationError, describePosition, type Position, type Problem, Problems } from "./problem.ts";
import { applyRules, checkAssertions, readPolicy } from "./rules.ts";
import { type GatewayDraft, gatewayShape } from "./schema.ts";

export interface ParseOptions {
  /** The folder that relative paths start at; the file's own where nothing is said. */
  readonly folder?: string;
}

/** Reads one file's text. Throws `ConfigurationError` and nothing else. */
export function parseConfiguration(text: string, fileName: string, options: ParseOptions = {}): GatewayConfiguration {
  return parseLayers([{ name: fileName, text }], options.folder ?? dirname(resolve(fileName)));
}

/** Reads several files as one, the first to decide first. Throws `ConfigurationError` and nothing else. */
export function parseLayers(files: readonly ConfigurationFile[], folder: string): GatewayConfiguration {
  return readTree(parseTree(files), { sources: files, folder });
}

/** The files' trees as one; all of their faults are told at once. */
function parseTree(files: readonly ConfigurationFile[]): ConfigurationNode | undefined {
  const faults: Problem[] = [];
  const nodes = files.flatMap(({ name, text }) => {
    try {
      return [parseYaml(text, name)];
    } catch (error) {
      if (!(error instanceof ConfigurationError)) throw error;
      faults.push(...error.problems);
      return [];
    }
  });
  if (faults.length > 0) throw new ConfigurationError(faults);
  return mergeLayers(nodes);
}

/** What describes the gateway and not what runs on it: a received document leaves it out, or says the same. */
const OWN_SECTIONS = ["gateway", "data", "trust", "broker", "console", "limits", "capsules", "devices"];

/**
 * Reads a document that came over MQTT as the gateway's own file is read. What it does not say about the gateway itself is
 * taken from there; what runs is what the document says, and nothing else. `checkReceived` tells what it may not do.
 * @throws ConfigurationError
 */
export function parseReceived(document: ConfigurationFile, own: GatewayConfiguration): GatewayConfiguration {
  const tree = parseYaml(document.text, document.name);
  const base = parseTree(own.sources);
  const around = { sources: [document], folder: own.folder };
  if (tree.kind !== "map" || base?.kind !== "map") return readTree(tree, around);
  const inherited = [...base.entries].filter(([key]) => OWN_SECTIONS.includes(key) && !tree.entries.has(key));
  return readTree({ ...tree, entries: new Map([...tree.entries, ...inherited]) }, around);
}

/** What is known of a configuration beside its text. */
interface Surroundings {
  readonly sources: readonly ConfigurationFile[];
  readonly folder: string;
}

function readTree(node: ConfigurationNode | undefined, around: Surroundings): GatewayConfiguration {
  const problems = new Problems();
  const start: Position = { file: around.sources[0]?.name ?? "gateway.yaml", line: 1, column: 1 };
  const root = node ?? ({ kind: "scalar", at: start, value: null, source: "" } as const);
  const draft = gatewayShape.read(root, "", problems);
  problems.settle();
  if (draft === undefined)
    throw new ConfigurationError([{ code: "E_CONFIG", at: start, message: "the file is not valid" }]);
  const configuration = assemble(draft, around, problems);
  problems.settle();
  return configuration;
}

function targetPositions(modules: readonly ModuleInProgress[]): ReadonlyMap<string, Position> {
  return new Map(
    modules.flatMap(({ draft, spec }) =>
      [...(draft.value.grants?.value ?? [])].flatMap(([slot, { value }]) => {
        const grant = value.value;
        if (grant.interface !== "endpoint") return [];
        return grant.to.map((to) => [`${spec.name}.${slot} ${to.value}`, to.at] as const);
      }),
    ),
  );
}

type KnownPlaces = Places & Omit<GatewayConfiguration["positions"], "partitions">;

function placesOf(modules: readonly ModuleInProgress[], start: Position): KnownPlaces {
  const modulePositions = new Map(modules.map(({ draft, spec }) => [spec.name, draft.keyAt]));
  const grants = new Map(
    modules.flatMap(({ draft, spec }) =>
      [...(draft.value.grants?.value ?? [])].map(([slot, { keyAt }]) => [`${spec.name}.${slot}`, keyAt] as const),
    ),
  );
  return {
    modules: modulePositions,
    grants,
    targets: targetPositions(modules),
    settings: new Map(
      modules.flatMap(({ draft, spec }) => {
        const written = draft.value.settings;
        return written === undefined ? [] : [[spec.name, written.value.node] as const];
      }),
    ),
    grant: (module, slot) => grants.get(`${module}.${slot}`) ?? modulePositions.get(module) ?? start,
    module: (module) => modulePositions.get(module) ?? start,
  };
}

interface Settled {
  readonly modules: readonly ModuleSpec[];
  readonly withdrawn: readonly Withdrawal[];
}

function settleModules(
  draft: GatewayDraft,
  modules: readonly ModuleInProgress[],
  partitions: ReadonlyMap<string, PartitionInProgress>,
  policy: ReturnType<typeof readPolicy>,
  places: Places,
  problems: Problems,
): Settled {
  const ruled = modules.map(({ spec }) => ({ spec, ...applyRules(policy.rules, spec.name, spec.grants) }));
  const withdrawn = ruled.flatMap((entry) => entry.withdrawn);
  const granted = ruled.map(({ spec, grants }) => ({ ...spec, grants }));
  const naming = (key: "priority" | "fuel"): ReadonlySet<string> =>
    new Set(modules.filter((module) => module.draft.value[key] !== undefined).map(({ spec }) => spec.name));
  checkCallGraph(granted, places, problems);
  const acyclic = findCallCycle(granted) === undefined;
  const ranked = acyclic ? settlePriorities(granted, naming("priority"), places, problems) : granted;
  const fuelled = settleFuel(ranked, naming("fuel"), partitions, places, problems);
  checkExclusive(fuelled, places, problems);
  checkStores(fuelled, places, problems);
  checkTotals(fuelled, partitions, { ...limitsOf(draft), at: draft.limits?.keyAt ?? draft.gateway.keyAt }, problems);
  return { modules: fuelled, withdrawn };
}

function limitsOf(draft: GatewayDraft): GatewayLimits {
  return {
    memoryBytes: draft.limits?.value.memory?.value ?? DEFAULTS.gatewayMemoryBytes,
    cores: draft.limits?.value.cores?.value ?? DEFAULTS.cores,
    spare: draft.limits?.value.spare?.value ?? true,
  };
}

function warnings(withdrawn: readonly Withdrawal[], places: Places): readonly Problem[] {
  return withdrawn.map(({ module, slot, target, rights, rule }) => ({
    code: "E_CAP",
    at: places.grant(module, slot),
    message: `${module}.${slot} loses ${rights.join(", ")} on ${target} to the rule at ${describePosition(rule.at)}`,
    ...(rule.reason === null ? {} : { hint: rule.reason }),
  }));
}

function assemble(draft: GatewayDraft, around: Surroundings, problems: Problems): GatewayConfiguration {
  const { sources, folder } = around;
  const partitions = buildPartitions(draft, problems);
  const inProgress = buildModules(draft, partitions, problems);
  const places = placesOf(inProgress, draft.gateway.keyAt);
  const policy = readPolicy(draft, new Set(inProgress.map(({ spec }) => spec.name)), problems);
  const { modules, withdrawn } = settleModules(draft, inProgress, partitions, policy, places, problems);
  const dataFolder = resolve(folder, draft.data.value);
  const root = resolve(folder, draft.trust.value.root.value);
  checkFiles(modules, [dataFolder, root], places, problems);
  if (!problems.any) checkAssertions(policy.tests, modules, problems);
  const { id, vendor, class: class_ } = draft.gateway.value;
  return {
    files: sources.map(({ name }) => name),
    sources,
    folder,
    gateway: { id: id.value, vendor: vendor.value, class: class_.value },
    dataFolder,
    trust: { root },
    broker: buildBroker(draft, folder, problems),
    console: buildConsole(draft, folder, problems),
    devices: buildDevices(draft),
    limits: limitsOf(draft),
    capsules: { recipient: draft.capsules?.value.recipient?.value ?? null },
    system: { partitions: [...partitions.values()].map(({ spec }) => spec), modules },
    envelopes: envelopePaths(inProgress, folder),
    ...policy,
    withdrawn,
    localOnly: buildLocalOnly(inProgress),
    positions: {
      modules: places.modules,
      grants: places.grants,
      targets: places.targets,
      settings: places.settings,
      partitions: new Map([...partitions].map(([name, { at }]) => [name, at])),
    },
    warnings: warnings(withdrawn, places),
  };
}

function envelopePaths(modules: readonly ModuleInProgress[], folder: string): ReadonlyMap<string, string> {
  return new Map(
    modules.flatMap(({ draft, spec }) => {
      const path = draft.value.envelope?.value;
      return path === undefined ? [] : [[spec.name, resolve(folder, path)] as const];
    }),
  );
}

const READ_FAULTS: ReadonlyMap<string, string> = new Map([
  ["ENOENT", "there is no such file"],
  ["EACCES", "it may not be read by this user"],
  ["EISDIR", "it is a folder"],
  ["ENOTDIR", "a part of its path is not a folder"],
]);

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "unknown";
}

function unreadable(file: string, reason: string, hint: string): ConfigurationError {
  const at = { file, line: 1, column: 1 };
  return new ConfigurationError([{ code: "E_CONFIG", at, message: `the file cannot be read: ${reason}`, hint }]);
}

async function readText(file: string): Promise<string> {
  const hint = "name the right one, or start from a copy of gateway.example.yaml";
  try {
    const { size } = await stat(file);
    if (size > CONFIGURATION_BYTES) throw unreadable(file, "it is too large", `at most ${CONFIGURATION_BYTES} bytes`);
    const bytes = await readFile(file);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof ConfigurationError) throw error;
    if (error instanceof TypeError) throw unreadable(file, "it is not UTF-8", "save it as UTF-8");
    throw unreadable(file, READ_FAULTS.get(errorCode(error)) ?? errorCode(error), hint);
  }
}

/** The folder of a file's layers: `gateway.d` beside `gateway.yaml`. */
export function layerFolder(path: string): string {
  return join(dirname(path), `${basename(path, extname(path))}.d`);
}

async function layerNames(folder: string): Promise<readonly string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith(".yaml") && !name.startsWith(".")).toSorted();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw unreadable(folder, READ_FAULTS.get(errorCode(error)) ?? errorCode(error), "make it readable, or remove it");
  }
}

/**
 * Reads a configuration from disk: the files of `gateway.d/` in the order of their names, then `gateway.yaml` itself; the
 * first that says a thing decides. Relative paths start at the folder of `gateway.yaml`. Throws `ConfigurationError`.
 * `before` are files that decide before all of these: what `bulkhead dev` adds.
 */
export async function loadConfiguration(path: string, before: readonly string[] = []): Promise<GatewayConfiguration> {
  // The file itself first: of two things that cannot be read, it is the one that was named.
  const own = { name: path, text: await readText(path) };
  const folder = layerFolder(path);
  const names = [...before, ...(await layerNames(folder)).map((name) => join(folder, name))];
  const layers = await Promise.all(names.map(async (name) => ({ name, text: await readText(name) })));
  return parseLayers([...layers, own], dirname(resolve(path)));
}
