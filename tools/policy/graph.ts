/** `bulkhead graph`: the modules, routes, authority and trust zones of a configuration as a picture. */
import { parseArgs } from "node:util";
import { systemGraph, toDot, toMermaid } from "../../gateway/config/graph.ts";
import { loadConfiguration } from "../../gateway/config/index.ts";
import type { Command, Io } from "../command.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";

const HELP = `usage: bulkhead graph [gateway.yaml] [--format mermaid | dot] [--json]

Draws modules by partition, the routes between them, what they reach, and the process (trust zone) that answers. A thick
line is a call: the caller waits.

The configuration is ${WHERE_NONE_IS_NAMED}, where none is named.

  --format <name>   mermaid (default) or dot
  --json            print groups, nodes and edges as one JSON object

  bulkhead graph gateway.yaml --format dot | dot -Tsvg > gateway.svg
`;

export const graphCommand: Command = {
  name: "graph",
  summary: "draw modules, routes and authority as Mermaid or DOT",
  help: HELP,
  run,
};

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { format: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  if (values.help === true) {
    io.stdout(HELP);
    return 0;
  }
  const [named, ...others] = positionals;
  const format = values.format ?? "mermaid";
  if (others.length > 0 || (format !== "mermaid" && format !== "dot")) {
    io.stderr(`bulkhead graph: name one configuration; the format is mermaid or dot\n${HELP}`);
    return 2;
  }
  const graph = systemGraph(await loadConfiguration(configurationFile(named)));
  if (values.json === true) io.stdout(`${JSON.stringify(graph)}\n`);
  else io.stdout(format === "dot" ? toDot(graph) : toMermaid(graph));
  return 0;
}
