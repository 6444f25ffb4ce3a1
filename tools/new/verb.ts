/** `bulkhead new`: makes the folder of a module that builds and passes its test at once. */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { isName, Refusal } from "../../kernel/index.ts";
import { buildModule } from "../build/build.ts";
import { requireCompiler } from "../build/compile.ts";
import type { Command, Io } from "../command.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { BUSES, driverFiles, serviceFiles } from "./templates.ts";
import type { Bus, Files } from "./templates.ts";

const HELP = `bulkhead new driver <name> [--bus i2c|spi|gpio|uart|onewire]
bulkhead new service <name>

Makes a folder of that name with a module in AssemblyScript, its module.yaml, a test and a gateway for the desk, and builds it.

  --bus <bus>   what the driver talks over (i2c)
  --json        one JSON object: name, folder, files
  --help        this text

Next: bulkhead test <name>, then bulkhead dev <name>
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
        : `${name} is in ${written}/ and builds\nnext: bulkhead test ${written}, then bulkhead dev ${written}\n`,
    );
    return 0;
  },
};

/** @throws Refusal E_CONFIG where the name or the bus is wrong, or the folder is there */
async function make(kind: "driver" | "service", name: string, bus: string): Promise<string> {
  if (!isName(name) || name.endsWith("-") || name.includes("--")) {
    throw new Refusal("E_CONFIG", `${name} cannot be a module's name`, { expected: "lower-case words joined by `-`" });
  }
  if (!isBus(bus)) {
    throw new Refusal("E_CONFIG", `there is no bus ${bus}`, { expected: BUSES.join(", ") });
  }
  const folder = resolve(name);
  if (existsSync(folder)) {
    throw new Refusal("E_CONFIG", `${name} is there already`, { hint: "take another name, or remove the folder" });
  }
  requireCompiler();
  const assembly = createRequire(import.meta.url).resolve("assemblyscript/std/assembly.json");
  const paths = { bulkhead: relative(folder, PACKAGE_ROOT), assembly: relative(folder, assembly) };
  await writeFiles(folder, kind === "driver" ? driverFiles(name, bus, paths) : serviceFiles(name, paths));
  await buildModule(folder);
  return folder;
}

function isBus(bus: string): bus is Bus {
  return (BUSES as readonly string[]).includes(bus);
}

async function writeFiles(folder: string, files: Files): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [name, text] of files) await writeFile(join(folder, name), text);
}
