/** Reads `module.yaml`: what an author says about a module, turned into the manifest of its binary. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isMap, isScalar, LineCounter, parseDocument } from "yaml";
import type { Document, Node, ParsedNode } from "yaml";
import {
  ABI_VERSION,
  HANDLES_SLOT,
  interfaceDefinition,
  isInterfaceName,
  LIMITS,
  Refusal,
} from "../../kernel/index.ts";
import type { InterfaceName } from "../../kernel/index.ts";
import { encodeSettingsContract } from "../../gateway/config/settings-contract.ts";
import { readSettingsFile } from "./settings-file.ts";
import { settingsSource } from "./settings-source.ts";
import { type ContractData, withContracts } from "./contracts/describe.ts";

export type ModuleKind = "driver" | "service";

export interface PortManifest {
  readonly name: string;
  readonly contract: string | null;
  readonly fuel: number;
  readonly stack: number;
}

export interface SlotManifest {
  readonly interface: InterfaceName;
  readonly rights: readonly string[];
  readonly port: string | null;
  /** Of an endpoint: the contract of what the module sends there. */
  readonly contract?: string;
}

/** The manifest as it stands in the custom section `bulkhead`: these keys and no others. */
export interface ManifestDocument {
  readonly abi: number;
  readonly name: string;
  readonly version: string;
  readonly kind: ModuleKind;
  readonly ports: readonly PortManifest[];
  readonly slots: Readonly<Record<string, SlotManifest>>;
  readonly memory: number;
  readonly inbox: number;
  readonly state: number;
  readonly fuel: number;
  readonly schema: number;
  /** The contract of its settings, CBOR; absent where it takes none. */
  readonly settings?: Uint8Array;
  /** Asks for canonical NaNs; absent where it does not. */
  readonly nans?: true;
  /** What the contracts of ports and slots say, by name. */
  readonly contracts?: Readonly<Record<string, ContractData>>;
}

/** A module's folder, read: one manifest for each name under which it is built. */
export interface ModuleFile {
  readonly folder: string;
  /** The AssemblyScript file that registers the driver. */
  readonly entry: string;
  readonly builds: readonly ModuleBuild[];
  /** Source of `generated/settings.ts`, where it takes settings. */
  readonly settings: string | undefined;
}

export interface ModuleBuild {
  /** The base name of the files in the output folder. */
  readonly output: string;
  readonly manifest: ManifestDocument;
}

const TOP_KEYS = [
  "name",
  "names",
  "output",
  "version",
  "kind",
  "entry",
  "ports",
  "slots",
  "memory",
  "inbox",
  "state",
  "fuel",
  "schema",
  "settings",
  "nans",
] as const;
const PORT_KEYS = ["contract", "fuel", "stack"] as const;
const SLOT_KEYS = ["interface", "rights", "port", "contract"] as const;
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const SEMANTIC_VERSION = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$/;
const DEFAULT_FUEL = 5_000_000;
const DEFAULT_INBOX_BYTES = 4096;
const DEFAULT_STACK = 8 * 1024;

/**
 * Reads a module's folder.
 * @throws Refusal E_MANIFEST with file, line and column.
 */
export async function readModuleFile(folder: string): Promise<ModuleFile> {
  const path = join(folder, "module.yaml");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch {
    throw new Refusal("E_MANIFEST", `${path} cannot be read`, { hint: "a module's folder holds a module.yaml" });
  }
  const parser = new Parser(path, text);
  const settings = parser.settingsFile();
  const rule = settings === undefined ? undefined : await readSettingsFile(join(folder, settings));
  const read = await withContracts(parser.module(folder));
  if (rule === undefined) return { ...read, settings: undefined };
  const contract = encodeSettingsContract(rule);
  const builds = read.builds.map((build) => ({ ...build, manifest: { ...build.manifest, settings: contract } }));
  return { ...read, builds, settings: settingsSource(rule) };
}

/** Walks the YAML tree so that each error knows its line and column. */
class Parser {
  readonly #path: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;

  constructor(path: string, text: string) {
    this.#path = path;
    this.#document = parseDocument(text, { lineCounter: this.#lines, uniqueKeys: true });
    const error = this.#document.errors[0];
    if (error !== undefined) this.#refuse(error.pos[0], error.message.split("\n")[0] ?? "not YAML");
  }

  /** The file of the settings, relative to the folder. */
  settingsFile(): string | undefined {
    const top = this.#map(this.#document.contents, "the file", TOP_KEYS);
    return top.has("settings") ? this.#text(top, "settings") : undefined;
  }

  module(folder: string): Omit<ModuleFile, "settings"> {
    const top = this.#map(this.#document.contents, "the file", TOP_KEYS);
    const names = this.#names(top);
    const shared = this.#shared(top);
    const output = top.has("output") ? this.#name(top, "output") : undefined;
    const builds = names.map((name) => ({ output: output ?? name, manifest: { ...shared, name } }));
    const entry = top.has("entry") ? this.#text(top, "entry") : "index.ts";
    return { folder, entry, builds };
  }

  #names(top: Fields): string[] {
    if (!top.has("names")) return [this.#name(top, "name")];
    const value: unknown = top.get("names")?.toJS(this.#document);
    if (top.has("name") || !Array.isArray(value) || value.length === 0 || !value.every(isModuleName)) {
      this.#refuseField(top, "names", "either `name`, or `names`: a list of names like `my-driver`");
    }
    return value;
  }

  #shared(top: Fields): Omit<ManifestDocument, "name"> {
    const version = this.#text(top, "version");
    if (!SEMANTIC_VERSION.test(version)) this.#refuseField(top, "version", "a semantic version like 1.0.0");
    const kind = this.#text(top, "kind");
    if (kind !== "driver" && kind !== "service") this.#refuseField(top, "kind", "`driver` or `service`");
    const fuel = this.#number(top, "fuel", DEFAULT_FUEL, 1, LIMITS.activationFuelMaximum);
    const ports = this.#ports(top, fuel);
    return {
      abi: ABI_VERSION,
      version,
      kind,
      ports,
      slots: this.#slots(top, new Set(ports.map(({ name }) => name))),
      memory: this.#number(top, "memory", 2, 1, LIMITS.memoryPages),
      inbox: this.#number(top, "inbox", DEFAULT_INBOX_BYTES, LIMITS.inboxBytesMinimum, LIMITS.payloadBytes + 64),
      state: this.#number(top, "state", 0, 0, LIMITS.stateBytes),
      fuel,
      schema: this.#number(top, "schema", 1, 0, 0xffff_ffff),
      ...this.#nans(top),
    };
  }

  #nans(top: Fields): Pick<ManifestDocument, "nans"> {
    if (!top.has("nans")) return {};
    if (this.#text(top, "nans") !== "canonical") this.#refuseField(top, "nans", "`canonical`, or no such key");
    return { nans: true };
  }

  #ports(top: Fields, fuel: number): PortManifest[] {
    const fields = this.#fields(top, "ports");
    return Array.from(fields, ([name, node]) => {
      if (!isModuleName(name)) this.#refuseField(fields, name, "a port name like `my-port`");
      const port = this.#map(node, `port ${name}`, PORT_KEYS);
      return {
        name,
        contract: port.has("contract") ? this.#name(port, "contract") : null,
        fuel: this.#number(port, "fuel", fuel, 1, fuel),
        stack: this.#number(port, "stack", DEFAULT_STACK, 1, LIMITS.stackBytes),
      };
    });
  }

  #slots(top: Fields, ports: ReadonlySet<string>): Record<string, SlotManifest> {
    const slots: Record<string, SlotManifest> = Object.create(null) as Record<string, SlotManifest>;
    const fields = this.#fields(top, "slots");
    for (const [name, node] of fields) {
      if (!isModuleName(name) || name.startsWith("bulkhead"))
        this.#refuseField(fields, name, "a slot name like `my-sensor`");
      slots[name] = this.#slot(name, this.#map(node, `slot ${name}`, SLOT_KEYS), ports);
    }
    return { ...slots };
  }

  #slot(name: string, slot: Fields, ports: ReadonlySet<string>): SlotManifest {
    const interfaceName = this.#text(slot, "interface");
    if (!isInterfaceName(interfaceName) || (interfaceName === "handles") !== (name === HANDLES_SLOT)) {
      this.#refuseField(slot, "interface", "an interface of docs/interfaces.md");
    }
    const known = interfaceDefinition(interfaceName).rights;
    const rights: unknown = slot.get("rights")?.toJS(this.#document) ?? (known.length === 1 ? known : undefined);
    if (!Array.isArray(rights) || !rights.every((right) => known.includes(right as string))) {
      this.#refuseField(slot, slot.has("rights") ? "rights" : "interface", `\`rights\`, some of [${known.join(", ")}]`);
    }
    const port = slot.has("port") ? this.#text(slot, "port") : null;
    if (port !== null && !ports.has(port)) this.#refuseField(slot, "port", "a port of this file");
    const read = { interface: interfaceName, rights: rights as string[], port };
    if (!slot.has("contract")) return read;
    if (interfaceName !== "endpoint") this.#refuseField(slot, "contract", "no contract: only an endpoint has one");
    return { ...read, contract: this.#name(slot, "contract") };
  }

  #fields(parent: Fields, key: string): Fields {
    return parent.has(key) ? this.#map(parent.get(key) ?? null, `\`${key}\``, undefined) : new Fields(0);
  }

  #map(node: Node | null, what: string, keys: readonly string[] | undefined): Fields {
    const fields = new Fields(node?.range?.[0] ?? 0);
    if (node === null || (isScalar(node) && node.value === null)) return fields;
    if (!isMap<ParsedNode, ParsedNode | null>(node)) this.#refuse(fields.offset, `${what} must be a map`);
    for (const { key, value } of node.items) {
      const name = isScalar(key) ? String(key.value) : "";
      if (keys !== undefined && !keys.includes(name)) {
        this.#refuse(key.range[0], `\`${name}\` is not a key of ${what}`, `one of ${keys.join(", ")}`);
      }
      fields.set(name, value);
    }
    return fields;
  }

  #name(fields: Fields, key: string): string {
    const value = this.#text(fields, key);
    if (!isModuleName(value)) this.#refuseField(fields, key, "lower-case words joined by `-`, at most 48 characters");
    return value;
  }

  #text(fields: Fields, key: string): string {
    const node = fields.get(key);
    if (!isScalar(node) || typeof node.value !== "string") this.#refuseField(fields, key, "a text");
    return node.value;
  }

  #number(fields: Fields, key: string, absent: number, least: number, most: number): number {
    if (!fields.has(key)) return absent;
    const node = fields.get(key);
    const value = isScalar(node) ? node.value : undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > most) {
      this.#refuseField(fields, key, `an integer from ${least} to ${most}`);
    }
    return value;
  }

  #refuseField(fields: Fields, key: string, expected: string): never {
    const node = fields.get(key);
    const found = fields.has(key) ? JSON.stringify(node?.toJS(this.#document) ?? null) : "nothing";
    this.#refuse(node?.range?.[0] ?? fields.offset, `\`${key}\` is wrong`, expected, found);
  }

  #refuse(offset: number, message: string, expected?: string, found?: string): never {
    const { line, col } = this.#lines.linePos(offset);
    throw new Refusal("E_MANIFEST", `${this.#path}:${line}:${col}: ${message}`, {
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found }),
    });
  }
}

/** The entries of a YAML map by name, and where it begins. */
class Fields extends Map<string, Node | null> {
  readonly offset: number;

  constructor(offset: number) {
    super();
    this.offset = offset;
  }
}

/** A name that a module, port or slot may have. */
export function isModuleName(value: unknown): value is string {
  return typeof value === "string" && value.length <= LIMITS.nameLength && NAME.test(value);
}
