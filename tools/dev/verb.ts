/** `bulkhead dev`: the author's loop from an edit to a running module. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { Reporter } from "./report.ts";
import { Session } from "./session.ts";

const HELP = `usage: bulkhead dev [folder] [--gateway <gateway.yaml>] [--json]

Watches a module's folder (the working folder where none is named). Each change is built, signed with a development key, and
swapped into a gateway of this machine, with the module's state. It shows the module's log, its messages decoded by their
contracts, and its fuel. What does not compile, or is refused, is shown, and the version that runs goes on. Ctrl-C ends it.

Where no gateway runs with that configuration, it starts one, and a broker where none answers: simulated devices turn with
\`bulkhead sim\`. A gateway trusts development keys only where its trust root is the one beside them.

  --gateway <file>   the gateway's configuration (gateway.yaml in the folder)
  --json             one JSON object a line: built, not-built, gateway, swapped, not-swapped, log, message, fuel, ...
  --help             this text
`;

export const devVerb: Command = {
  name: "dev",
  summary: "watch, build and swap a module into a gateway on this machine",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { positionals, values } = parseArgs({
      args,
      allowPositionals: true,
      options: { gateway: { type: "string" }, json: { type: "boolean", default: false } },
    });
    const [folder = ".", ...others] = positionals;
    if (others.length > 0) {
      io.stderr(`bulkhead dev: name one folder\n${HELP.split("\n\n")[0] ?? ""}\n`);
      return 2;
    }
    checkFolder(folder);
    const file = values.gateway ?? join(folder, "gateway.yaml");
    const session = await Session.open({
      folder: resolve(folder),
      file,
      reporter: new Reporter(io, values.json),
      signal: io.signal,
    });
    try {
      await session.run();
    } finally {
      await session.close();
    }
    return 0;
  },
};

/** @throws Refusal E_CONFIG */
function checkFolder(folder: string): void {
  if (existsSync(join(folder, "module.yaml"))) return;
  throw new Refusal("E_CONFIG", `there is no module in ${folder}`, {
    expected: "a folder with a module.yaml",
    hint: "`bulkhead new driver <name>` makes one",
  });
}
