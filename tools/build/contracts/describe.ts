/** Contracts as manifests carry them: plain data, which the kernel compares and compiles into checks. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { encodeCbor, Refusal } from "../../../kernel/index.ts";
import { PACKAGE_ROOT } from "../../root.ts";
import type { ManifestDocument, ModuleFile } from "../module-file.ts";
import type { Contract, Field, FieldType } from "./model.ts";
import { readContract } from "./model.ts";

/** `[name, optional, kind, ...arguments]`: see `readContract` of the kernel. */
export type FieldData = readonly (string | number | boolean)[];

export interface ContractData {
  readonly message: readonly FieldData[];
  readonly reply?: readonly FieldData[];
}

function argumentsOf(type: FieldType): readonly (string | number)[] {
  switch (type.kind) {
    case "text":
    case "bytes":
    case "range":
      return [type.least, type.most];
    case "choice":
      return type.values;
    case "unsigned":
      return [type.bits];
    default:
      return [];
  }
}

function fieldData({ name, isOptional, type }: Field): FieldData {
  return [name, isOptional, type.kind, ...argumentsOf(type)];
}

export function contractData({ fields, reply }: Contract): ContractData {
  const message = fields.map(fieldData);
  return reply === undefined ? { message } : { message, reply: reply.map(fieldData) };
}

/** Two contracts with the same digest are the same, whatever their comments say. */
export function contractDigest(contract: ContractData): string {
  return createHash("sha256")
    .update(encodeCbor({ ...contract }))
    .digest("hex");
}

/** @throws Refusal E_MANIFEST where there is no file of that name */
export function findContract(folder: string, name: string): string {
  const places = [join(folder, "interfaces"), join(PACKAGE_ROOT, "modules/interfaces")];
  const found = places.map((place) => join(place, `${name}.cddl`)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Refusal(
    "E_MANIFEST",
    `${join(folder, "module.yaml")} names the contract ${name}, of which there is no file`,
    {
      expected: `${name}.cddl in ${places.join(", ")}`,
      hint: "write one: `bulkhead gen` makes its code",
    },
  );
}

/**
 * Puts what each contract says into the manifests that name it. A module's own `interfaces/` comes before the package's.
 * @throws Refusal E_MANIFEST for a contract without a file, E_CONFIG for one that cannot be read.
 */
export async function withContracts<File extends Pick<ModuleFile, "folder" | "builds">>(file: File): Promise<File> {
  const manifests = file.builds.map(({ manifest }) => manifest);
  const names = new Set(manifests.flatMap(contractNames));
  const contracts: Record<string, ContractData> = {};
  for (const name of [...names].toSorted()) {
    contracts[name] = contractData(await readContract(findContract(file.folder, name)));
  }
  if (names.size === 0) return file;
  return { ...file, builds: file.builds.map((build) => ({ ...build, manifest: { ...build.manifest, contracts } })) };
}

function contractNames({ ports, slots }: ManifestDocument): string[] {
  const named = [...ports, ...Object.values(slots)].map(({ contract }) => contract);
  return named.filter((name) => name !== null && name !== undefined);
}
