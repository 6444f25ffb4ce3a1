/** `bulkhead gen`: code from contracts in CDDL, for modules (AssemblyScript) and for what tests and watches them (TypeScript). */
import { globSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { assemblyScriptOf } from "../build/contracts/assembly-script.ts";
import { contractData, contractDigest } from "../build/contracts/describe.ts";
import { type Contract, readContract } from "../build/contracts/model.ts";
import { typescriptOf } from "../build/contracts/typescript.ts";
import type { Command, Io } from "../command.ts";

const HELP = `usage: bulkhead gen [<contract.cddl> ...] [--out <folder>] [--check] [--json]

Makes the code of contracts: for each an AssemblyScript class that encodes and decodes its messages without the heap, and
one TypeScript file with the types of all messages and the checks that the kernel compiles from them.
Without names it takes every .cddl file here and in interfaces/.

A contract is one CDDL file (RFC 8610): its first rule is the message of a port, a rule of the same name with '-reply'
is its answer. A rule is a map of texts, byte strings, numbers, booleans and choices of texts. module.yaml names it:
'ports: { valve: { contract: valve } }', 'slots: { out: { interface: endpoint, rights: [send], contract: valve } }'.

  --out <folder>   where the code goes (default generated): <contract>.ts, and contracts.ts in host/
  --check          write nothing; exit code 1 where a file is not what it would be made
  --json           print one JSON object

  bulkhead gen interfaces/valve.cddl --out generated
`;

export const genCommand: Command = {
  name: "gen",
  summary: "make code from contracts in CDDL",
  help: HELP,
  run,
};

interface Made {
  readonly path: string;
  readonly text: string;
}

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { out: { type: "string" }, check: { type: "boolean" }, json: { type: "boolean" } },
    allowPositionals: true,
  });
  const files = positionals.length > 0 ? positionals : globSync(["*.cddl", "interfaces/*.cddl"]).toSorted();
  if (files.length === 0) {
    io.stderr(`bulkhead gen: there is no contract here; name one\n${HELP}`);
    return 2;
  }
  const contracts = await Promise.all(files.map(readContract));
  const made = codeOf(contracts, files, values.out ?? "generated");
  const stale: string[] = [];
  for (const file of made) if ((await current(file.path)) !== file.text) stale.push(file.path);
  if (values.check !== true) await write(made.filter(({ path }) => stale.includes(path)));
  const isWrong = values.check === true && stale.length > 0;
  if (values.json === true) io.stdout(`${JSON.stringify(asData(contracts, made, stale, !isWrong))}\n`);
  else
    for (const { path } of made)
      io.stdout(`${path}${stale.includes(path) ? (isWrong ? ": stale" : ": written") : ""}\n`);
  return isWrong ? 1 : 0;
}

function codeOf(contracts: readonly Contract[], files: readonly string[], out: string): Made[] {
  const host = join(out, "host", "contracts.ts");
  const source = files.map((file) => relative(dirname(host), file)).join(", ");
  return [
    ...contracts.map((contract) => ({ path: join(out, `${contract.name}.ts`), text: assemblyScriptOf(contract) })),
    { path: host, text: typescriptOf(contracts, source, "bulkhead/testkit") },
  ];
}

async function current(path: string): Promise<string | undefined> {
  return await readFile(path, "utf8").catch(() => undefined);
}

async function write(files: readonly Made[]): Promise<void> {
  for (const { path, text } of files) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  }
}

function asData(contracts: readonly Contract[], made: readonly Made[], stale: readonly string[], ok: boolean): object {
  return {
    ok,
    contracts: contracts.map((contract) => {
      const { name, rule } = contract;
      return { name, rule, sha256: contractDigest(contractData(contract)), ...contractData(contract) };
    }),
    files: made.map(({ path }) => path),
    stale,
  };
}
