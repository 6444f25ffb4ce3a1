/** `npm run package -- --arch arm64|amd64`: makes the Debian package of one architecture. */
import { parseArgs } from "node:util";
import { Refusal } from "../../kernel/index.ts";
import { makePackage } from "./deb.ts";
import type { Architecture } from "./runtime.ts";
import { ARCHITECTURES } from "./runtime.ts";

const HELP = `usage: npm run package -- --arch arm64|amd64 [--out <folder>] [--json]

Makes bulkhead_<version>_<arch>.deb: the Node runtime of that architecture, the compiled product, its production
dependencies. The same sources give the same bytes; the date in it is that of the last commit, or SOURCE_DATE_EPOCH.

  --arch <name>   arm64 (Raspberry Pi) or amd64
  --out <folder>  where it goes (default: here)
  --json          one JSON object: file, bytes, installedBytes, sha256
`;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  try {
    const { values } = parseArgs({
      args,
      options: {
        arch: { type: "string" },
        out: { type: "string", default: "." },
        json: { type: "boolean" },
        help: { type: "boolean" },
      },
    });
    if (values.help === true) {
      process.stdout.write(HELP);
      return 0;
    }
    if (!isArchitecture(values.arch)) {
      process.stderr.write(`${HELP}\n--arch takes ${Object.keys(ARCHITECTURES).join(" or ")}\n`);
      return 2;
    }
    const made = await makePackage({ architecture: values.arch, output: values.out, compression: "xz" });
    const { file, bytes, installedBytes, sha256 } = made;
    const text = `${file}\n${inMegabytes(bytes)} MB, ${inMegabytes(installedBytes)} MB installed, sha256 ${sha256}`;
    process.stdout.write(`${values.json === true ? JSON.stringify(made) : text}\n`);
    return 0;
  } catch (error) {
    if (error instanceof Refusal) process.stderr.write(`package: ${error.describe()}\n`);
    else if (error instanceof TypeError && "code" in error) process.stderr.write(`package: ${error.message}\n${HELP}`);
    else throw error;
    return error instanceof Refusal ? 1 : 2;
  }
}

function isArchitecture(name: string | undefined): name is Architecture {
  return name !== undefined && Object.hasOwn(ARCHITECTURES, name);
}

function inMegabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
