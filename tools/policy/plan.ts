/** `bulkhead plan`: what a changed configuration or an update would grant, revoke, restart and use, before it happens. */
import { parseArgs } from "node:util";
import { type ChangePlan, describeChange, planChange } from "../../gateway/config/change.ts";
import { type GatewayConfiguration, loadConfiguration, type ManifestView } from "../../gateway/config/index.ts";
import { checkAgainstManifests } from "../../gateway/config/manifests.ts";
import { describeProblem, type Problem } from "../../gateway/config/problem.ts";
import { checkReceived } from "../../gateway/config/received.ts";
import type { Command, Io } from "../command.ts";
import { linesText } from "../printing.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";
import { type Proposal, readManifests, readProposal } from "./source.ts";

const HELP = `usage: bulkhead plan <new gateway.yaml | envelope> [--config gateway.yaml] [--json]

Compares what is proposed with the configuration in force: grants gained and lost, rules, restarts, contracts, totals of
memory and fuel. The assertions under 'tests:' of the proposal are checked. Nothing is changed.

A proposal is a gateway.yaml (with its gateway.d/), the envelope of a configuration, or a module (its envelope or its
.wasm) that would take the place of the one that runs. Signatures are not checked here: 'bulkhead verify' does that.

  --config <file>   the configuration in force (${WHERE_NONE_IS_NAMED})
  --json            print one JSON object

Exit codes: 0 it can be applied, 1 it would be refused, 2 wrong usage or a configuration that is not valid.
`;

export const planCommand: Command = {
  name: "plan",
  summary: "what a changed configuration or an update would grant, revoke and restart",
  help: HELP,
  run,
};

interface Outcome {
  readonly plan: ChangePlan;
  readonly errors: readonly Problem[];
  readonly warnings: readonly Problem[];
  readonly unknown: readonly string[];
}

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { config: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  const [file, ...others] = positionals;
  if (values.help === true) {
    io.stdout(HELP);
    return 0;
  }
  if (file === undefined || others.length > 0) {
    io.stderr(`bulkhead plan: name one configuration or envelope\n${HELP}`);
    return 2;
  }
  const inForce = configurationFile(values.config, file);
  const before = await loadConfiguration(inForce);
  const proposal = await readProposal(file, inForce);
  const outcome =
    proposal.kind === "module" ? await planModule(before, proposal.manifest) : await plan(before, proposal);
  report(outcome, values.json === true, io);
  return outcome.errors.length === 0 ? 0 : 1;
}

async function plan(
  before: GatewayConfiguration,
  { configuration, isReceived }: Extract<Proposal, { kind: "configuration" }>,
): Promise<Outcome> {
  const [old, now] = [await readManifests(before), await readManifests(configuration)];
  const { errors, warnings } = checkAgainstManifests(configuration, now.manifests);
  return {
    plan: planChange(before, configuration, { before: old.manifests, after: now.manifests }),
    errors: [...(isReceived ? checkReceived(before, configuration) : []), ...errors],
    warnings: [...configuration.warnings, ...warnings],
    unknown: now.unknown,
  };
}

/** An update of one module: the grants stay, so what it asks for beyond them would have it refused. */
async function planModule(before: GatewayConfiguration, manifest: ManifestView): Promise<Outcome> {
  const { manifests, unknown } = await readManifests(before);
  const after = new Map(manifests).set(manifest.name, manifest);
  const { errors, warnings } = checkAgainstManifests(before, after);
  const same = planChange(before, before, { before: manifests, after });
  const earlier = manifests.get(manifest.name)?.version ?? "none";
  const isPlaced = before.system.modules.some(({ name }) => name === manifest.name);
  const changes = [`version ${earlier} -> ${manifest.version}`];
  return {
    plan: { ...same, modules: isPlaced ? [{ module: manifest.name, kind: "swapped", changes }] : [] },
    errors: isPlaced ? errors : [notPlaced(before, manifest.name), ...errors],
    warnings,
    unknown: unknown.filter((line) => !line.startsWith(`${manifest.name}:`)),
  };
}

function notPlaced({ files, positions }: GatewayConfiguration, name: string): Problem {
  const at = [...positions.modules.values()][0] ?? { file: files[0] ?? "gateway.yaml", line: 1, column: 1 };
  const hint = `add '${name}: { … }' under modules, with its grants`;
  return { code: "E_UNKNOWN", at, message: `the configuration has no place for the module '${name}'`, hint };
}

function report({ plan: change, errors, warnings, unknown }: Outcome, isJson: boolean, io: Io): void {
  if (isJson) {
    io.stdout(
      `${JSON.stringify({ ok: errors.length === 0, ...change, errors, warnings, unknownManifests: unknown })}\n`,
    );
    return;
  }
  io.stdout(`${describeChange(change)}\n`);
  io.stdout(linesText(warnings.map((warning) => `! ${describeProblem(warning)}`)));
  io.stderr(linesText(unknown.map((line) => `manifest not known: ${line}`)));
  io.stderr(linesText(errors.map(describeProblem)));
}
