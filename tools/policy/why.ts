/** `bulkhead why`: the rule, or the broken hop, that decided about a slot or a route. */
import { parseArgs } from "node:util";
import { describeExplanation, why } from "../../gateway/config/explain.ts";
import { loadConfiguration } from "../../gateway/config/index.ts";
import type { Command, Io } from "../command.ts";
import { linesText } from "../printing.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";
import { readManifests } from "./source.ts";

const HELP = `usage: bulkhead why <module> <slot | target> [--config gateway.yaml] [--json]

Tells why a module may, or may not, use a slot or reach a target: each condition with its place in the configuration,
and the one that decided.

  bulkhead why bme280 sensor                    a slot
  bulkhead why uplink bme280.control            a port of another module
  bulkhead why uplink mqtt:site/7/alarms        a resource: interface:resource

  --config <file>   the configuration (${WHERE_NONE_IS_NAMED})
  --json            print one JSON object

Exit codes: 0 allowed, 1 denied, 2 wrong usage or a configuration that is not valid.
`;

export const whyCommand: Command = {
  name: "why",
  summary: "why a module may, or may not, use a slot or reach a target",
  help: HELP,
  run,
};

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { config: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  const [module, asked, ...others] = positionals;
  if (values.help === true) {
    io.stdout(HELP);
    return 0;
  }
  if (module === undefined || asked === undefined || others.length > 0) {
    io.stderr(`bulkhead why: name a module, and a slot or target\n${HELP}`);
    return 2;
  }
  const configuration = await loadConfiguration(configurationFile(values.config));
  const { manifests, unknown } = await readManifests(configuration);
  const explanation = why(configuration, manifests, module, asked);
  if (values.json === true) io.stdout(`${JSON.stringify({ ...explanation, unknownManifests: unknown })}\n`);
  else {
    io.stdout(`${describeExplanation(explanation)}\n`);
    io.stderr(linesText(unknown.map((line) => `manifest not known: ${line}`)));
  }
  return explanation.allowed ? 0 : 1;
}
