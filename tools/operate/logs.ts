/** `bulkhead logs`: what a running gateway has said lately, and says from now on. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LEVELS, type History, type HistoryEntry } from "../../gateway/wire/operator.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { linesText } from "../printing.ts";
import type { ControlClient } from "../dev/control-client.ts";
import { connectGateway, WHERE_NONE_RUNS } from "../dev/find-gateway.ts";

const HELP = `usage: bulkhead logs [--follow] [--module <name>] [--level <level>] [--gateway <gateway.yaml>] [--json]

Shows the newest 2,000 events of the gateway that runs here: lines of modules, faults, restarts, updates, connections.

  --follow, -f       go on until Ctrl-C
  --module <name>    of this module only
  --level <level>    this and worse: ${LEVELS.join(", ")} (default: debug)
  --gateway <file>   the gateway's configuration (${WHERE_NONE_RUNS})
  --json             one JSON object a line: sequence, time, type, module, level, text
`;

const FOLLOW_MS = 300;

export const logsVerb: Command = {
  name: "logs",
  summary: "show what a running gateway says",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { values } = parseArgs({
      args,
      options: {
        follow: { type: "boolean", short: "f", default: false },
        module: { type: "string" },
        level: { type: "string", default: "debug" },
        gateway: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const level = LEVELS.findIndex((name) => name === values.level);
    if (level < 0) {
      throw new Refusal("E_CONFIG", "there is no such level", { expected: LEVELS.join(", "), found: values.level });
    }
    const client = await connectGateway(values.gateway);
    const isWanted = (entry: HistoryEntry): boolean =>
      entry.level <= level && (values.module === undefined || entry.module === values.module);
    const show = (entry: HistoryEntry): void => {
      if (isWanted(entry)) io.stdout(values.json ? `${JSON.stringify(entry)}\n` : line(entry));
    };
    try {
      await read(client, values.follow, io, show);
    } finally {
      client.close();
    }
    return 0;
  },
};

async function read(
  client: ControlClient,
  follow: boolean,
  io: Io,
  show: (entry: HistoryEntry) => void,
): Promise<void> {
  let since = 0;
  while (!io.signal.aborted) {
    const { entries, next, missed } = (await client.operate({ kind: "history", since })) as History;
    if (missed > 0) io.stderr(`bulkhead logs: ${missed} events were gone before they could be read\n`);
    entries.forEach(show);
    since = next;
    // A page that was full has more behind it.
    if (entries.length > 0) continue;
    if (!follow) return;
    await sleep(FOLLOW_MS, undefined, { signal: io.signal }).catch(() => undefined);
  }
}

function line({ time, level, text }: HistoryEntry): string {
  return linesText([`${new Date(time).toISOString()} ${(LEVELS[level] ?? "").padEnd(11)} ${text}`]);
}
