/** `bulkhead restart`, `hold` and `resume`: stop and start modules of a gateway that runs here. */
import { parseArgs } from "node:util";
import { ACTIONS, type Action } from "../../gateway/wire/operator.ts";
import type { Command, Io } from "../command.ts";
import { connectGateway, WHERE_NONE_RUNS } from "../dev/find-gateway.ts";

const SUMMARIES: Readonly<Record<Action, string>> = {
  restart: "run a module of a running gateway afresh, held or not",
  hold: "stop a module until it is resumed or restarted",
  resume: "run a module that is held",
};

const SAYS: Readonly<Record<Action, string>> = {
  restart: "starts afresh, from its last good state",
  hold: "is held",
  resume: "runs again",
};

function help(action: Action): string {
  return `usage: bulkhead ${action} <module> [--gateway <gateway.yaml>] [--json]

To ${SUMMARIES[action]}. The audit log keeps it. Only the user that runs the gateway can.

  --gateway <file>   the gateway's configuration (${WHERE_NONE_RUNS})
  --json             one JSON object: action, module
`;
}

async function act(action: Action, args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { gateway: { type: "string" }, json: { type: "boolean", default: false } },
  });
  const [module, ...others] = positionals;
  if (module === undefined || others.length > 0) {
    io.stderr(`bulkhead ${action}: name one module\n${help(action)}`);
    return 2;
  }
  const client = await connectGateway(values.gateway);
  try {
    await client.operate({ kind: "act", action, module, by: "owner" });
  } finally {
    client.close();
  }
  io.stdout(values.json ? `${JSON.stringify({ action, module })}\n` : `${module} ${SAYS[action]}\n`);
  return 0;
}

export const actionVerbs: readonly Command[] = ACTIONS.map((action) => ({
  name: action,
  summary: SUMMARIES[action],
  help: help(action),
  run: (args, io) => act(action, args, io),
}));
