/** Every verb of the command `bulkhead`, in the order of the overview; each is loaded when it is used. */
import type { Command } from "../command.ts";

type Load = () => Promise<Command>;

/** Verbs that come from one file together. */
function among(names: readonly string[], load: () => Promise<readonly Command[]>): [string, Load][] {
  return names.map((name) => [
    name,
    async () => {
      const command = (await load()).find((candidate) => candidate.name === name);
      if (command === undefined) throw new Error(`the verb ${name} is not where the table says`);
      return command;
    },
  ]);
}

const keys = async (): Promise<readonly Command[]> => (await import("../keys/index.ts")).commands;

export const COMMANDS: ReadonlyMap<string, Load> = new Map<string, Load>([
  ["demo", async () => (await import("../demo/verb.ts")).demoVerb],
  ["run", async () => (await import("./run.ts")).runVerb],
  ["setup", async () => (await import("../setup/verb.ts")).setupVerb],
  ["doctor", async () => (await import("../doctor/verb.ts")).doctorVerb],
  ["new", async () => (await import("../new/verb.ts")).newCommand],
  ["test", async () => (await import("../testkit/verb.ts")).testCommand],
  ["dev", async () => (await import("../dev/verb.ts")).devVerb],
  ["sim", async () => (await import("../sim/verb.ts")).simVerb],
  ["build", async () => (await import("../build/verb.ts")).buildCommand],
  ["gen", async () => (await import("../gen/verb.ts")).genCommand],
  ["inspect", async () => (await import("./inspect.ts")).inspectVerb],
  ...among(["keygen", "sign", "verify", "root"], keys),
  ["push", async () => (await import("../push/index.ts")).push],
  ["status", async () => (await import("../push/index.ts")).status],
  ["rollout", async () => (await import("../push/index.ts")).rollout],
  ["plan", async () => (await import("../policy/index.ts")).planCommand],
  ["why", async () => (await import("../policy/index.ts")).whyCommand],
  ["graph", async () => (await import("../policy/index.ts")).graphCommand],
  ["top", async () => (await import("../operate/top.ts")).topVerb],
  ["logs", async () => (await import("../operate/logs.ts")).logsVerb],
  ["trace", async () => (await import("../operate/trace.ts")).traceVerb],
  ...among(["restart", "hold", "resume"], async () => (await import("../operate/actions.ts")).actionVerbs),
  ["audit", async () => (await import("../audit/index.ts")).auditCommand],
  ["replay", async () => (await import("../replay/verb.ts")).replayVerb],
]);
