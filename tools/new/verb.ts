/** `bulkhead new`: makes the folder of a module that builds and passes its test at once. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { isName, Refusal } from "../../kernel/index.ts";
import { buildModule } from "../build/build.ts";
import { requireCompiler } from "../build/compile.ts";
import type { Command, Io } from "../command.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { BUSES, driverFiles, serviceFiles, TAKEN_NAMES } from "./templates.ts";
import type { Bus, Files } from "./templates.ts";

const HELP = `bulkhead new driver <name> [--bus i2c|spi|gpio|uart|onewire]
bulkhead new service <name>

Makes a folder of that name with a module in AssemblyScript, its module.yaml, a test and a gateway for the desk, and builds it.

  --bus <bus>   what the driver talks over (i2c)
  --json        one JSON object: name, folder
  --help        this text

Next: npx bulkhead test <name>, then npx bulkhead dev <name>
`;

export const newCommand: Command = {
  name: "new",
  summary: "make a driver or a service with a passing test",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { positionals, values } = parseArgs({
      args,
      allowPositionals: true,
      options: { bus: { type: "string", default: "i2c" }, json: { type: "boolean", default: false } },
    });
    const [kind, name, ...rest] = positionals;
    if ((kind !== "driver" && kind !== "service") || name === undefined || rest.length > 0) {
      io.stderr(`say what to make:\n${HELP.split("\n\n")[0] ?? ""}\n`);
      return 2;
    }
    const folder = await make(kind, name, values.bus);
    const written = relative(process.cwd(), folder);
    io.stdout(
      values.json
        ? `${JSON.stringify({ name, folder })}\n`
        : `${name} is in ${written}/ and builds\nnext: npx bulkhead test ${written}, then npx bulkhead dev ${written}\n`,
    );
    return 0;
  },
};

/** @throws Refusal E_CONFIG where the name or the bus is wrong, or the folder is there */
async function make(kind: "driver" | "service", name: string, bus: string): Promise<string> {
  if (!isName(name) || name.endsWith("-") || name.includes("--")) {
    throw new Refusal("E_CONFIG", `${name} cannot be a module's name`, { expected: "lower-case words joined by `-`" });
  }
  if (TAKEN_NAMES.includes(name)) {
    throw new Refusal("E_CONFIG", `${name} is another module on your desk's gateway, or the folder of what is built`, {
      hint: "take another name",
    });
  }
  if (!isBus(bus)) {
    throw new Refusal("E_CONFIG", `there is no bus ${bus}`, { expected: BUSES.join(", ") });
  }
  const folder = resolve(name);
  requireCompiler();
  await makeFolder(folder, name);
  const assembly = createRequire(import.meta.url).resolve("assemblyscript/std/assembly.json");
  const paths = { bulkhead: relative(folder, PACKAGE_ROOT), assembly: relative(folder, assembly) };
  try {
    await writeFiles(folder, kind === "driver" ? driverFiles(name, bus, paths) : serviceFiles(name, paths));
    await buildModule(folder);
  } catch (error) {
    // Half a module would be in the way of the next attempt.
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return folder;
}

/** Fails where anything of that name is there, a link that leads nowhere included. */
async function makeFolder(folder: string, name: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new Refusal("E_CONFIG", `${name} is there already`, { hint: "take another name, or remove the folder" });
  }
}

function isBus(bus: string): bus is Bus {
  return (BUSES as readonly string[]).includes(bus);
}

async function writeFiles(folder: string, files: Files): Promise<void> {
  for (const [name, text] of files) await writeFile(join(folder, name), text);
}
