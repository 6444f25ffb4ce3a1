/** The verb `bulkhead build`. */
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { refusalText } from "../printing.ts";
import { buildAll, buildModule } from "./build.ts";
import type { BuildOptions, BuiltModule } from "./build.ts";

const HELP = `bulkhead build [folder ...]

Compiles modules: AssemblyScript and module.yaml become a binary with its manifest. Without a folder it builds the
modules that come with the package. What has not changed since the last build is left alone.

  --output <folder>     where the binaries go (build/modules)
  --dev-keys <folder>   also sign, with development keys that are kept there, and write root.envelope beside them
  --as <name>           one folder, under another name: the second one of a kind on a gateway
  --force               compile everything again
  --json                one JSON array of what was built
  --help                this text
`;

export const buildCommand: Command = {
  name: "build",
  summary: "compile modules",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    let parsed;
    try {
      parsed = parseArguments(args);
    } catch (error) {
      io.stderr(
        `${error instanceof Error ? error.message : String(error)}\nbulkhead build --help says what there is\n`,
      );
      return 2;
    }
    if (parsed.values.help) {
      io.stdout(HELP);
      return 0;
    }
    if (parsed.values.as !== undefined && parsed.positionals.length !== 1) {
      io.stderr("--as names one module: say its folder\n");
      return 2;
    }
    return build(parsed.positionals, parsed.values, io);
  },
};

function parseArguments(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      output: { type: "string" },
      as: { type: "string" },
      "dev-keys": { type: "string" },
      force: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
}

interface Values {
  readonly output?: string | undefined;
  readonly as?: string | undefined;
  readonly "dev-keys"?: string | undefined;
  readonly force: boolean;
  readonly json: boolean;
}

async function build(folders: readonly string[], values: Values, io: Io): Promise<number> {
  const options: BuildOptions = {
    force: values.force,
    ...(values["dev-keys"] === undefined ? {} : { developmentKeys: values["dev-keys"] }),
    ...(values.output === undefined ? {} : { output: values.output }),
    ...(values.as === undefined ? {} : { as: values.as }),
  };
  const report = values.json
    ? () => undefined
    : (built: BuiltModule) => {
        io.stdout(`${describe(built)}\n`);
      };
  try {
    const built = folders.length === 0 ? await buildAll(options, report) : await buildEach(folders, options, report);
    if (values.json) io.stdout(`${JSON.stringify(built)}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    io.stderr(refusalText(error));
    return error.code === "E_MANIFEST" ? 2 : 1;
  }
}

async function buildEach(
  folders: readonly string[],
  options: BuildOptions,
  report: (built: BuiltModule) => void,
): Promise<BuiltModule[]> {
  const all: BuiltModule[] = [];
  for (const folder of folders) {
    for (const built of await buildModule(folder, options)) {
      all.push(built);
      report(built);
    }
  }
  return all;
}

function describe({ name, version, wasm, bytes, compiled, milliseconds }: BuiltModule): string {
  const what = compiled ? `compiled in ${milliseconds} ms` : "unchanged";
  return `${name} ${version}  ${relative(process.cwd(), wasm)}  ${bytes} bytes  ${what}`;
}
