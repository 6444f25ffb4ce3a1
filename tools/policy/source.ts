/** Where the policy verbs get configurations and manifests from: files, folders and envelopes. */
import { readFile } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import type { GatewayConfiguration, ManifestView } from "../../gateway/config/index.ts";
import { loadConfiguration, parseConfiguration } from "../../gateway/config/index.ts";
import { inspectModule, Refusal } from "../../kernel/index.ts";
import { decodeConfiguration, type UnverifiedEnvelope } from "../../gateway/envelopes/index.ts";
import { decodeAnyEnvelope } from "../keys/files.ts";

/** The manifests that could be read, and a line for each module whose could not. */
export interface ManifestSource {
  readonly manifests: ReadonlyMap<string, ManifestView>;
  readonly unknown: readonly string[];
}

async function readBytes(file: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(file));
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_UNKNOWN", `cannot read ${file}`, { found, hint: "`bulkhead build` makes build/modules/" });
  }
}

const WASM_MAGIC = [0x00, 0x61, 0x73, 0x6d];

function manifestOf(wasm: Uint8Array): ManifestView {
  const { manifest, imports } = inspectModule(wasm);
  const imported = new Set(imports.map(({ slot }) => slot));
  const unused = [...manifest.slots].filter(([slot, { port }]) => port === null && !imported.has(slot));
  return { ...manifest, unused: unused.map(([slot]) => slot) };
}

function manifestIn({ kind, wasm }: UnverifiedEnvelope, file: string): ManifestView {
  if (kind === "module" && wasm !== undefined) return manifestOf(wasm);
  throw new Refusal("E_UNKNOWN", `${file} holds no module`, {
    expected: "a module envelope with its wasm",
    found: kind,
  });
}

/** Reads the modules' envelopes. What cannot be read is told and left out: explaining goes on with what is known. */
export async function readManifests({ system, envelopes }: GatewayConfiguration): Promise<ManifestSource> {
  const manifests = new Map<string, ManifestView>();
  const unknown: string[] = [];
  for (const { name } of system.modules) {
    const file = envelopes.get(name);
    if (file === undefined) {
      unknown.push(`${name}: it comes with an update`);
      continue;
    }
    try {
      manifests.set(name, manifestIn(decodeAnyEnvelope(await readBytes(file)), file));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      unknown.push(`${name}: ${error.describe()}`);
    }
  }
  return { manifests, unknown };
}

/** What is planned: a configuration, or a module that would take another's place. */
export type Proposal =
  | { readonly kind: "configuration"; readonly configuration: GatewayConfiguration; readonly isReceived: boolean }
  | { readonly kind: "module"; readonly manifest: ManifestView };

/**
 * Reads a `gateway.yaml`, a module's binary, or an envelope of a configuration or module. Signatures are not checked here: `bulkhead verify`
 * does. Paths in a received configuration start at the folder of the one in force.
 */
export async function readProposal(file: string, inForce: string): Promise<Proposal> {
  if ([".yaml", ".yml"].includes(extname(file))) {
    return { kind: "configuration", configuration: await loadConfiguration(file), isReceived: false };
  }
  const bytes = await readBytes(file);
  if (WASM_MAGIC.every((byte, index) => bytes[index] === byte)) return { kind: "module", manifest: manifestOf(bytes) };
  const envelope = decodeAnyEnvelope(bytes);
  if (envelope.kind !== "configuration") return { kind: "module", manifest: manifestIn(envelope, file) };
  const { content } = decodeConfiguration(envelope.payload);
  const configuration = parseConfiguration(content, file, { folder: dirname(resolve(inForce)) });
  return { kind: "configuration", configuration, isReceived: true };
}
