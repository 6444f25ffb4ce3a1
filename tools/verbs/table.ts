/** Every verb of the command `bulkhead`, in the order of the overview; each is loaded when it is used. */
import type { Command } from "../command.ts";

type Load = () => Promise<Command>;

function keyVerb(name: string): [string, Load] {
  return [
    name,
    async () => {
      const { commands } = await import("../keys/index.ts");
      const command = commands.find((candidate) => candidate.name === name);
      if (command === undefined) throw new Error(`no verb ${name} among the key tools`);
      return command;
    },
  ];
}

export const COMMANDS: ReadonlyMap<string, Load> = new Map<string, Load>([
  ["demo", async () => (await import("../demo/verb.ts")).demoVerb],
  ["run", async () => (await import("./run.ts")).runVerb],
  ["build", async () => (await import("../build/verb.ts")).buildCommand],
  ["inspect", async () => (await import("./inspect.ts")).inspectVerb],
  keyVerb("keygen"),
  keyVerb("sign"),
  keyVerb("verify"),
  keyVerb("root"),
]);
