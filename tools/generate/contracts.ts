/** Makes the code of the contracts that ship: AssemblyScript for the modules, TypeScript types and checks for tests and tools. */
import { globSync } from "node:fs";
import path from "node:path";
import { assemblyScriptOf } from "../build/contracts/assembly-script.ts";
import { readContract } from "../build/contracts/model.ts";
import { typescriptOf } from "../build/contracts/typescript.ts";
import { PACKAGE_ROOT } from "../root.ts";

interface GeneratedFile {
  readonly path: string;
  generate(): string;
}

const FOLDER = "modules/interfaces";

export async function files(): Promise<readonly GeneratedFile[]> {
  const sources = globSync(`${FOLDER}/*.cddl`, { cwd: PACKAGE_ROOT }).sort();
  const contracts = await Promise.all(sources.map((source) => readContract(path.join(PACKAGE_ROOT, source))));
  return [
    ...contracts.map((contract) => ({
      path: `${FOLDER}/generated/${contract.name}.ts`,
      generate: () => assemblyScriptOf(contract),
    })),
    {
      path: "tools/testkit/contracts.ts",
      generate: () => typescriptOf(contracts, `${FOLDER}/*.cddl`, "../../kernel/index.ts"),
    },
  ];
}
