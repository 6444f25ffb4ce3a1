/** Admission: everything that is checked about a module before a byte of it is compiled or run. */
import { createHash } from "node:crypto";
import { ABI_EXPORTS, HEADER, MANIFEST_SECTION, STATE_EXPORTS } from "./abi.ts";
import { Refusal, refuseSize } from "./errors.ts";
import { argumentCount, findOperation, interfaceDefinition, type InterfaceName, operationType } from "./interfaces.ts";
import { LIMITS } from "./limits.ts";
import { type Manifest, parseManifest } from "./manifest.ts";
import type { Grant, ModuleSpec } from "./system.ts";
import { type CompiledModule, compileModule } from "./wasm/engine.ts";
import { meter, type MeterOptions } from "./wasm/meter.ts";
import { describeExternal, type ImportShape, type ModuleShape, readModule } from "./wasm/reader.ts";
import type { RecordedImport } from "./wasm/recorder.ts";

/** An operation that a binary really imports. */
export interface ImportedOperation {
  readonly slot: string;
  readonly operation: string;
  readonly interface: InterfaceName;
}

/** What a binary is and asks for; made without running it. */
export interface ModuleInspection {
  readonly manifest: Manifest;
  readonly imports: readonly ImportedOperation[];
  /** Names of the optional ABI exports that are present. */
  readonly exports: readonly string[];
  /** Exports that the ABI does not know; harmless, listed for the reader. */
  readonly foreignExports: readonly string[];
  readonly bytes: number;
  /** Digest of the binary, hexadecimal. */
  readonly sha256: string;
}

/** A module ready to instantiate: holding one proves that every check of this file has passed. */
export interface AdmittedModule extends ModuleInspection {
  readonly compiled: CompiledModule;
  /** Digest of the binary as it was rewritten, hexadecimal: a replay must run the same. */
  readonly metered: string;
  /** True where it was rewritten to be recorded. */
  readonly isRecorded: boolean;
}

/**
 * Reads authority and needs of a binary; never runs it.
 * @throws Refusal E_WASM, E_SIZE, E_MANIFEST, E_ABI, or E_CAP for an import that no slot of the manifest explains.
 */
export function inspectModule(binary: Uint8Array): ModuleInspection {
  const { binaryBytes } = LIMITS;
  if (binary.length > binaryBytes) refuseSize("the binary is too large", `${binaryBytes} bytes`, binary.length);
  const shape = readModule(binary);
  const manifest = readManifestSection(shape);
  // A binary may import one operation a hundred thousand times over; it is linked, and recorded, once.
  const imports = new Map<string, ImportedOperation>();
  for (const item of shape.imports) imports.set(`${item.module}.${item.name}`, checkImport(item, shape, manifest));
  const names = shape.exports.map(({ name }) => name);
  return {
    manifest,
    imports: [...imports.values()],
    exports: checkExports(shape),
    foreignExports: names.filter((name) => !ABI_EXPORTS.some((known) => known.name === name)),
    bytes: binary.length,
    sha256: digest(binary),
  };
}

/**
 * The whole admission: inspect, compare with the grants, meter, compile eagerly.
 * Runs outside the partitions, because compilation may take long and cannot be interrupted.
 * @throws Refusal of `inspectModule`, `checkGrants`, `meter` or the compiler.
 */
export async function admitModule(binary: Uint8Array, spec: ModuleSpec): Promise<AdmittedModule> {
  const inspection = inspectModule(binary);
  checkGrants(spec, inspection);
  const isRecorded = spec.record ?? false;
  const metered = meter(binary, meterOptions(inspection, isRecorded));
  return { ...inspection, compiled: await compileModule(metered), metered: digest(metered), isRecorded };
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** How an admitted module is rewritten. Its grant covers its memory: `checkGrants`. */
export function meterOptions({ manifest, imports }: ModuleInspection, isRecorded: boolean): MeterOptions {
  const recorded = isRecorded ? recordedImports(imports) : undefined;
  return {
    memoryMaximumPages: manifest.memory,
    tableMaximumEntries: LIMITS.tableEntries,
    canonicalNans: manifest.canonicalNans,
    recorded,
  };
}

/** What the rewriter is to know of a module's imports where they are recorded. */
function recordedImports(imports: readonly ImportedOperation[]): RecordedImport[] {
  return imports.map(({ slot, operation, interface: name }) => {
    const parameters = findOperation(name, operation)?.parameters ?? [];
    const place = parameters.findIndex(({ kind }) => kind === "buffer");
    return { slot, operation, buffer: place < 0 ? -1 : argumentCount({ parameters: parameters.slice(0, place) }) };
  });
}

/** What a start notice has in front of the settings. */
const START_NOTICE_BYTES = 3;

/**
 * Every import must be granted: slot, interface and right.
 * @throws Refusal E_CAP with module, slot, operation and the line to add.
 */
export function checkGrants(spec: ModuleSpec, { manifest, imports }: ModuleInspection): void {
  if (manifest.name !== spec.name) {
    throw new Refusal("E_MANIFEST", `this binary is the module ${manifest.name}`, { expected: spec.name });
  }
  if (manifest.memory > spec.memoryPages) {
    const [most, hint] = [`${spec.memoryPages} pages of 64 KiB`, `raise modules.${spec.name}.memory in gateway.yaml`];
    refuseSize(`${spec.name} needs more memory than it is granted`, most, manifest.memory, { hint });
  }
  const settingsBytes = spec.settings?.length ?? 0;
  const room = Math.min(LIMITS.settingsBytes, manifest.inbox - HEADER.size - START_NOTICE_BYTES);
  if (settingsBytes > room) {
    refuseSize(`the settings of ${spec.name} do not fit into its inbox`, `${room} bytes`, settingsBytes);
  }
  const grants = new Map(spec.grants.map((grant) => [grant.slot, grant]));
  for (const item of imports) checkGranted(spec.name, item, grants.get(item.slot));
}

function checkGranted(module: string, item: ImportedOperation, grant: Grant | undefined): void {
  const what = `${module}.${item.slot}.${item.operation}`;
  const hint = `add under modules.${module}.grants in gateway.yaml:  ${item.slot}: { ${item.interface}: { ... } }`;
  if (grant === undefined) throw new Refusal("E_CAP", `${what} is imported but not granted`, { hint });
  if (grant.interface !== item.interface) {
    const interfaces = { expected: item.interface, found: grant.interface };
    throw new Refusal("E_CAP", `${what} is granted as another interface`, { ...interfaces, hint });
  }
  const expected = findOperation(item.interface, item.operation)?.right ?? "";
  const rights: readonly string[] = grant.rights;
  if (rights.includes(expected)) return;
  throw new Refusal("E_CAP", `${what} needs a right that the grant lacks`, {
    expected,
    found: rights.join(", ") || "no right",
    hint: `add ${expected} to the rights of modules.${module}.grants.${item.slot}`,
  });
}

function readManifestSection({ customSections }: ModuleShape): Manifest {
  const sections = customSections.filter(({ name }) => name === MANIFEST_SECTION);
  const [section] = sections;
  if (section === undefined || sections.length > 1) {
    throw new Refusal("E_MANIFEST", "the binary does not have one manifest", {
      expected: `one custom section ${MANIFEST_SECTION}`,
      found: `${sections.length}`,
      hint: "build it with `bulkhead build`",
    });
  }
  return parseManifest(section.bytes);
}

function checkExports(shape: ModuleShape): string[] {
  const present: string[] = [];
  for (const wanted of ABI_EXPORTS) {
    const item = shape.exports.find(({ name }) => name === wanted.name);
    if (item === undefined && !wanted.required) continue;
    const [expected, found] = [wanted.type, item === undefined ? "no such export" : describeExternal(shape, item)];
    if (found !== expected) {
      throw new Refusal("E_ABI", `the export ${wanted.name} does not fit the ABI`, { expected, found });
    }
    present.push(wanted.name);
  }
  const states = STATE_EXPORTS.filter((name) => present.includes(name));
  if (states.length !== 0 && states.length !== STATE_EXPORTS.length) {
    throw new Refusal("E_ABI", "the state exports come together or not at all", {
      expected: STATE_EXPORTS.join(", "),
      found: states.join(", "),
    });
  }
  return present;
}

function checkImport(item: ImportShape, shape: ModuleShape, manifest: Manifest): ImportedOperation {
  const what = `${item.module}.${item.name}`;
  function refuse(message: string, expected: string, found = what): never {
    throw new Refusal("E_CAP", message, { expected, found, at: item.at });
  }
  if (item.kind !== "function") refuse(`the import ${what} is a ${item.kind}`, "a function", item.kind);
  const slot = manifest.slots.get(item.module);
  if (slot === undefined) {
    const slots = [...manifest.slots.keys()].join(", ") || "no imports at all";
    return refuse(`the binary imports ${what}, a slot that its manifest does not name`, slots, item.module);
  }
  const operation = findOperation(slot.interface, item.name);
  if (operation === undefined) {
    const known = Object.keys(interfaceDefinition(slot.interface).operations).join(", ");
    return refuse(`${slot.interface} has no operation ${item.name}`, known);
  }
  const [type, found] = [operationType(operation), describeExternal(shape, item)];
  if (found !== type) refuse(`the import ${what} has another signature`, type, found);
  if (!slot.rights.includes(operation.right)) {
    const rights = slot.rights.join(", ") || "no right";
    refuse(`the binary imports ${what}, a right that its manifest does not ask for`, rights, operation.right);
  }
  return { slot: item.module, operation: item.name, interface: slot.interface };
}
