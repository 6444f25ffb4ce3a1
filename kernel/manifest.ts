/** The manifest: what a module says of itself in its custom section, read strictly and believed in nothing. */
import { ABI_VERSION, RESERVED_PREFIX } from "./abi.ts";
import type { CborMap, CborValue } from "./cbor/index.ts";
import { decodeCbor, expectArray, expectBoolean, expectBytes, expectKeys } from "./cbor/index.ts";
import { expectMap, expectText, expectUnsigned } from "./cbor/index.ts";
import { type Contract, readContract } from "./contract.ts";
import { Refusal } from "./errors.ts";
import { interfaceDefinition, type InterfaceName, isInterfaceName } from "./interfaces.ts";
import { LIMITS } from "./limits.ts";

export interface ManifestPort {
  readonly name: string;
  /** Name of the contract in CDDL, or null for bytes that nobody checks. */
  readonly contract: string | null;
  /** What that contract says, where the manifest carries it. */
  readonly rules?: Contract | undefined;
  /** Fuel that one activation on this port may use when it is called through a gate. */
  readonly fuel: number;
  /** Abstract stack bytes of such an activation. */
  readonly stack: number;
}

export interface ManifestSlot {
  readonly interface: InterfaceName;
  readonly rights: readonly string[];
  /** The port to which the slot's events and replies come, or null. */
  readonly port: string | null;
  /** Of an endpoint: the contract of what the module sends, and what it says. */
  readonly contract?: string | null;
  readonly rules?: Contract | undefined;
}

export interface Manifest {
  readonly abi: number;
  readonly name: string;
  readonly version: string;
  readonly kind: "driver" | "service";
  readonly ports: readonly ManifestPort[];
  readonly slots: ReadonlyMap<string, ManifestSlot>;
  /** Pages of 64 KiB that the module needs at most. */
  readonly memory: number;
  /** Bytes of the inbox, header included. */
  readonly inbox: number;
  /** Most bytes of a saved state. */
  readonly state: number;
  /** Fuel of one activation at most. */
  readonly fuel: number;
  /** Version of the state's schema. */
  readonly schema: number;
  /** What settings it takes, for whoever reads the configuration; null for none. The kernel looks no further. */
  readonly settings: Uint8Array | null;
  /** Each NaN that it computes is to have the same bits on every processor. */
  readonly canonicalNans: boolean;
}

const KEYS = "abi name version kind ports slots memory inbox state fuel schema settings nans contracts".split(" ");
type Contracts = ReadonlyMap<string, Contract>;
const NAME = /^[a-z][a-z0-9-]{0,47}$/;
// Semantic Versioning 2.0.0, without its unbounded lengths.
const VERSION = /^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,32})?$/;
const CBOR_LIMITS = { maxBytes: LIMITS.manifestBytes, maxDepth: 6, maxItems: 2048, tags: [], deterministic: true };

/** True for a name that a module, port or slot may have: lower case, digits and hyphens, at most 48 characters. */
export function isName(text: string): boolean {
  return NAME.test(text);
}

/**
 * Reads the content of the section `bulkhead`.
 * @throws Refusal E_MANIFEST naming the field; E_ABI for another ABI version.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  try {
    return readManifest(expectMap(decodeCbor(bytes, CBOR_LIMITS), "manifest"));
  } catch (error) {
    if (!(error instanceof Refusal) || error.code === "E_ABI") throw error;
    throw new Refusal("E_MANIFEST", `the manifest is not valid: ${error.message}`, error.detail);
  }
}

function readManifest(map: CborMap): Manifest {
  expectKeys(map, KEYS, "manifest");
  const abi = expectUnsigned(map.get("abi"), "abi", 0xffff);
  if (abi !== ABI_VERSION) {
    throw new Refusal("E_ABI", "the module speaks another ABI", {
      expected: `ABI ${ABI_VERSION}`,
      found: `ABI ${abi}`,
      hint: "build it with the SDK of this release",
    });
  }
  const contracts = readContracts(map.get("contracts"));
  const ports = expectArray(map.get("ports"), "ports").map((port, index) => readPort(port, index, contracts));
  bounded(ports.length, 0, LIMITS.ports, "ports");
  if (new Set(ports.map(({ name }) => name)).size !== ports.length) throw invalid("ports", "two ports have one name");
  const slots = readSlots(expectMap(map.get("slots"), "slots"), ports, contracts);
  const kind = expectText(map.get("kind"), "kind");
  const number = (key: string, least: number, most: number): number =>
    bounded(expectUnsigned(map.get(key), key), least, most, key);
  if (kind !== "driver" && kind !== "service") throw invalid("kind", "it is neither driver nor service");
  return {
    abi,
    name: readName(map.get("name"), "name"),
    version: readVersion(map.get("version")),
    kind,
    ports,
    slots,
    memory: number("memory", 1, LIMITS.memoryPages),
    inbox: number("inbox", LIMITS.inboxBytesMinimum, LIMITS.payloadBytes + 64),
    state: number("state", 0, LIMITS.stateBytes),
    fuel: number("fuel", 1, LIMITS.activationFuelMaximum),
    schema: number("schema", 0, 0xffff_ffff),
    settings: map.has("settings") ? expectBytes(map.get("settings"), "settings") : null,
    canonicalNans: map.has("nans") && expectBoolean(map.get("nans"), "nans"),
  };
}

function readContracts(value: CborValue | undefined): Contracts {
  const entries = value === undefined ? [] : [...expectMap(value, "contracts")];
  bounded(entries.length, 0, LIMITS.ports, "contracts");
  return new Map(entries.map(([key, entry]) => [String(key), readContract(entry, `contracts.${key}`)]));
}

function readPort(value: CborValue, index: number, contracts: Contracts): ManifestPort {
  const field = `ports[${index}]`;
  const map = expectKeys(expectMap(value, field), ["name", "contract", "fuel", "stack"], field);
  return {
    name: readName(map.get("name"), `${field}.name`),
    ...named(map.get("contract"), `${field}.contract`, contracts),
    fuel: expectUnsigned(map.get("fuel"), `${field}.fuel`, LIMITS.activationFuelMaximum),
    stack: expectUnsigned(map.get("stack"), `${field}.stack`, LIMITS.stackBytes),
  };
}

function named(
  value: CborValue | undefined,
  field: string,
  contracts: Contracts,
): Pick<ManifestPort, "contract" | "rules"> {
  const contract = value === null ? null : expectText(value, field, LIMITS.nameLength);
  return { contract, rules: contract === null ? undefined : contracts.get(contract) };
}

function readSlots(map: CborMap, ports: readonly ManifestPort[], contracts: Contracts): Map<string, ManifestSlot> {
  bounded(map.size, 0, LIMITS.slots, "slots");
  const slots = new Map<string, ManifestSlot>();
  for (const [key, value] of map) {
    const name = readName(typeof key === "string" ? key : null, "slot name");
    if (name.startsWith(RESERVED_PREFIX))
      throw invalid(name, `slots that start with ${RESERVED_PREFIX} are the kernel's`);
    slots.set(name, readSlot(name, value, ports, contracts));
  }
  return slots;
}

function readSlot(name: string, value: CborValue, ports: readonly ManifestPort[], contracts: Contracts): ManifestSlot {
  const field = `slots.${name}`;
  const map = expectKeys(expectMap(value, field), ["interface", "rights", "port", "contract"], field);
  const interfaceName = expectText(map.get("interface"), `${field}.interface`, LIMITS.nameLength);
  if (!isInterfaceName(interfaceName)) throw invalid(field, `there is no interface ${interfaceName}`);
  if ((name === "handles") !== (interfaceName === "handles")) throw invalid(field, "the slot `handles` is reserved");
  const definition = interfaceDefinition(interfaceName);
  const rights = expectArray(map.get("rights"), `${field}.rights`).map((right) =>
    expectText(right, `${field}.rights`, 16),
  );
  const unknown = rights.find((right) => !definition.rights.includes(right));
  if (unknown !== undefined) throw invalid(field, `${interfaceName} has no right ${unknown}`);
  const sent = map.has("contract") ? named(map.get("contract"), `${field}.contract`, contracts) : {};
  const port = map.get("port");
  if (port === null) return { interface: interfaceName, rights, port, ...sent };
  const portName = expectText(port, `${field}.port`, LIMITS.nameLength);
  const { eventRight: right } = definition;
  if (right === null) throw invalid(field, `${interfaceName} has no events, so it needs no port`);
  if (!rights.includes(right)) throw invalid(field, `events of ${interfaceName} need the right ${right}`);
  if (!ports.some((candidate) => candidate.name === portName)) throw invalid(field, `there is no port ${portName}`);
  return { interface: interfaceName, rights, port: portName, ...sent };
}

function readName(value: CborValue | undefined, field: string): string {
  const name = expectText(value, field, LIMITS.nameLength);
  if (!isName(name))
    throw invalid(field, "a name is lower case letters, digits and hyphens, at most 48, a letter first");
  return name;
}

function readVersion(value: CborValue | undefined): string {
  const version = expectText(value, "version", 64);
  if (!VERSION.test(version)) throw invalid("version", "it is not a semantic version such as 1.4.0");
  return version;
}

function bounded(value: number, least: number, most: number, field: string): number {
  if (value < least || value > most) {
    const detail = { expected: `${least} to ${most}`, found: `${value}` };
    throw new Refusal("E_MANIFEST", `${field} is out of bounds`, detail);
  }
  return value;
}

function invalid(field: string, message: string): Refusal {
  return new Refusal("E_MANIFEST", `${field}: ${message}`);
}
