/** What must hold between a configuration and the modules that it runs, as their manifests describe them. */
import {
  type Contract,
  contractConflict,
  type EndpointGrant,
  type Grant,
  type InterfaceName,
  interfaceDefinition,
  isInterfaceName,
  type ModuleInspection,
  type ModuleSpec,
  type PortAddress,
  Refusal,
} from "../../kernel/index.ts";
import type { GatewayConfiguration, PolicyStatement } from "./configuration.ts";
import { PAGE_BYTES } from "./defaults.ts";
import { listNames, nearestName } from "./names.ts";
import { type Position, type Problem, Problems } from "./problem.ts";
import { checkNoSettings, checkSettings, decodeSettingsContract } from "./settings-contract.ts";
import { formatSize } from "./units.ts";

/** What is needed of a manifest; the kernel's `Manifest` has all of it. */
export interface ManifestView {
  readonly name: string;
  readonly version: string;
  readonly ports: readonly PortView[];
  readonly slots: ReadonlyMap<string, SlotView>;
  /** Pages of 64 KiB. */
  readonly memory: number;
  readonly fuel: number;
  /** Its contract of settings, as the manifest has it; null, or absent, where it takes none. */
  readonly settings?: Uint8Array | null;
  /** Slots that it asks for and its binary never imports, where the binary was looked at. */
  readonly unused?: readonly string[];
}

export interface PortView {
  readonly name: string;
  readonly contract: string | null;
  readonly fuel: number;
  readonly rules?: Contract | undefined;
}

export interface SlotView {
  readonly interface: InterfaceName;
  readonly rights: readonly string[];
  readonly port: string | null;
  readonly rules?: Contract | undefined;
}

export interface ManifestFindings {
  /** With any of these nothing may start: throw them as one `ConfigurationError`. */
  readonly errors: readonly Problem[];
  /** Excess privilege, and what rules withdrew from under a module. */
  readonly warnings: readonly Problem[];
}

/** The line that grants the slot, as one would write it in `gateway.yaml`. */
export function grantLine(slot: string, { interface: name, rights }: SlotView): string {
  const keys = interfaceDefinition(name).binding.map((key) => `${key}: …`);
  const written =
    name === "endpoint" && rights.some((right) => right !== "send") ? [`rights: [${rights.join(", ")}]`] : [];
  const all = [...keys, ...written];
  return `${slot}: { ${name}: ${all.length === 0 ? "{}" : `{ ${all.join(", ")} }`} }`;
}

class ManifestCheck {
  readonly #configuration: GatewayConfiguration;
  readonly #manifests: ReadonlyMap<string, ManifestView>;
  readonly #errors = new Problems();
  readonly #warnings = new Problems();

  constructor(configuration: GatewayConfiguration, manifests: ReadonlyMap<string, ManifestView>) {
    this.#configuration = configuration;
    this.#manifests = manifests;
  }

  run(): ManifestFindings {
    for (const spec of this.#configuration.system.modules) {
      const manifest = this.#manifests.get(spec.name);
      if (manifest !== undefined) this.#module(spec, manifest);
      for (const grant of spec.grants) this.#targets(spec, grant);
      this.#finalMessage(spec);
    }
    for (const statement of [...this.#configuration.rules, ...this.#configuration.tests]) this.#statement(statement);
    return { errors: this.#errors.sorted(), warnings: this.#warnings.sorted() };
  }

  #modulePosition(module: string): Position {
    const { positions, files } = this.#configuration;
    return positions.modules.get(module) ?? { file: files[0] ?? "gateway.yaml", line: 1, column: 1 };
  }

  #grantPosition(module: string, slot: string): Position {
    return this.#configuration.positions.grants.get(`${module}.${slot}`) ?? this.#modulePosition(module);
  }

  #module(spec: ModuleSpec, manifest: ManifestView): void {
    if (manifest.name !== spec.name) {
      const detail = { code: "E_MANIFEST", expected: spec.name, hint: "name the module as its manifest does" } as const;
      this.#errors.add(
        this.#modulePosition(spec.name),
        `the envelope of '${spec.name}' holds '${manifest.name}'`,
        detail,
      );
      return;
    }
    if (manifest.memory > spec.memoryPages) {
      const needed = formatSize(manifest.memory * PAGE_BYTES);
      const found = formatSize(spec.memoryPages * PAGE_BYTES);
      const detail = {
        code: "E_SIZE",
        found,
        expected: `at least ${needed}`,
        hint: `write 'memory: ${needed}'`,
      } as const;
      this.#errors.add(this.#modulePosition(spec.name), `${spec.name} needs more memory than it is given`, detail);
    }
    this.#settings(spec.name, manifest.settings ?? null);
    const grants = new Map(spec.grants.map((grant) => [grant.slot, grant]));
    for (const [slot, wanted] of manifest.slots) this.#slot(spec.name, slot, wanted, grants);
    for (const grant of spec.grants) {
      if (!manifest.slots.has(grant.slot)) this.#excess(spec.name, grant, manifest);
      else if (manifest.unused?.includes(grant.slot) === true) this.#unused(spec.name, grant);
    }
  }

  /** What the operator set, by the contract of the module. */
  #settings(module: string, bytes: Uint8Array | null): void {
    const node = this.#configuration.positions.settings.get(module);
    const path = `modules.${module}.settings`;
    if (bytes === null) {
      if (node !== undefined) this.#errors.add(node.at, `${module} takes no settings`, { hint: `remove '${path}'` });
      return;
    }
    const at = node?.at ?? this.#modulePosition(module);
    try {
      const contract = decodeSettingsContract(bytes);
      if (node === undefined) checkNoSettings(contract, path, at, this.#errors);
      else checkSettings(node, contract, path, this.#errors);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#errors.add(at, `${module}: ${error.message}`, { ...error.detail, code: error.code });
    }
  }

  #slot(module: string, slot: string, wanted: SlotView, grants: ReadonlyMap<string, Grant>): void {
    const grant = grants.get(slot);
    if (grant === undefined) {
      this.#missing(module, slot, wanted);
      return;
    }
    const at = this.#grantPosition(module, slot);
    if (grant.interface !== wanted.interface) {
      const detail = { code: "E_CAP", expected: wanted.interface, found: grant.interface } as const;
      const hint = `write '${grantLine(slot, wanted)}'`;
      this.#errors.add(at, `${module}.${slot} is granted as another interface`, { ...detail, hint });
      return;
    }
    const rights: readonly string[] = grant.rights;
    const lacking = wanted.rights.filter((right) => !rights.includes(right));
    if (lacking.length === 0 || this.#withdrawn(module, slot)) return;
    const detail = { code: "E_CAP", expected: wanted.rights.join(", "), found: rights.join(", ") || "none" } as const;
    const hint = this.#rightsHint(grant, lacking);
    this.#errors.add(at, `${module}.${slot} lacks the right ${lacking.join(", ")}`, { ...detail, hint });
  }

  /** Rights of an mqtt grant follow from its filters; all others are listed. */
  #rightsHint(grant: Grant, lacking: readonly string[]): string {
    if (grant.interface === "mqtt") return `add '${lacking[0] ?? "publish"}: […]' to the grant`;
    if (grant.interface === "gpio-line" && lacking.includes("edges")) return "add 'edges: both' to the grant";
    return `add 'rights: [${[...grant.rights, ...lacking].join(", ")}]' to the grant`;
  }

  #withdrawn(module: string, slot: string): boolean {
    return this.#configuration.withdrawn.some((entry) => entry.module === module && entry.slot === slot);
  }

  #missing(module: string, slot: string, wanted: SlotView): void {
    const written = this.#configuration.positions.grants.get(`${module}.${slot}`);
    if (written !== undefined || this.#withdrawn(module, slot)) {
      const message = `${module} asks for '${slot}', which a rule withdraws: it will not start`;
      this.#warnings.add(this.#grantPosition(module, slot), message, { code: "E_CAP" });
      return;
    }
    const granted = [...this.#configuration.positions.grants.keys()]
      .filter((key) => key.startsWith(`${module}.`))
      .map((key) => key.slice(module.length + 1))
      .filter((name) => this.#manifests.get(module)?.slots.has(name) !== true);
    const misspelt = nearestName(slot, granted);
    const instead = misspelt === undefined ? "" : ` in place of '${misspelt}'`;
    const hint = `add under modules.${module}.grants${instead}:  ${grantLine(slot, wanted)}`;
    const expected = `a grant of ${wanted.interface} to ${module}.${slot}`;
    const at = misspelt === undefined ? this.#modulePosition(module) : this.#grantPosition(module, misspelt);
    this.#errors.add(at, `${module} asks for '${slot}', which is not granted`, { code: "E_CAP", expected, hint });
  }

  #excess(module: string, { slot, interface: name }: Grant, manifest: ManifestView): void {
    const nearest = nearestName(slot, manifest.slots.keys());
    const hint = "remove the grant";
    const message = `excess privilege: ${module} has no slot '${slot}' (${name})`;
    this.#warnings.add(this.#grantPosition(module, slot), message, { code: "E_CAP", nearest, hint });
  }

  #unused(module: string, { slot, interface: name }: Grant): void {
    const hint = "build the module without the slot, then remove the grant";
    const message = `excess privilege: ${module} asks for '${slot}' (${name}) and never uses it`;
    this.#warnings.add(this.#grantPosition(module, slot), message, { code: "E_CAP", hint });
  }

  #targets(spec: ModuleSpec, grant: Grant): void {
    if (grant.interface !== "endpoint") return;
    for (const to of grant.to) {
      const manifest = this.#manifests.get(to.module);
      if (manifest === undefined) continue;
      const key = `${spec.name}.${grant.slot} ${to.module}.${to.port}`;
      const at = this.#configuration.positions.targets.get(key) ?? this.#grantPosition(spec.name, grant.slot);
      const port = manifest.ports.find(({ name }) => name === to.port);
      if (port !== undefined) this.#contract(spec.name, grant, to, port, at);
      else this.#unknownPort(to, manifest, at, `modules.${spec.name}.grants.${grant.slot}`);
    }
  }

  /** The two ends of a route must fit, and what is to be checked needs a contract to be checked against. */
  #contract(module: string, grant: EndpointGrant, to: PortAddress, { rules }: PortView, at: Position): void {
    const route = `${module}.${grant.slot} -> ${to.module}.${to.port}`;
    if (rules === undefined) {
      if (grant.check !== true) return;
      const hint = "remove `check: always`, or build the module with a contract for this port";
      this.#errors.add(at, `${route} is to be checked, and its port has no contract`, { hint });
      return;
    }
    const sends = this.#manifests.get(module)?.slots.get(grant.slot)?.rules;
    const found = sends && contractConflict(sends, rules);
    if (found === undefined) return;
    const hint = "build both modules with the same contract, and replace them together";
    this.#errors.add(at, `the contracts of ${route} do not fit`, { code: "E_CONTRACT", found, hint });
  }

  #finalMessage({ name, restart }: ModuleSpec): void {
    const to = restart.final?.to;
    const manifest = to && this.#manifests.get(to.module);
    if (to === undefined || manifest === undefined || manifest.ports.some((port) => port.name === to.port)) return;
    this.#unknownPort(to, manifest, this.#modulePosition(name), `modules.${name}.restart`);
  }

  #unknownPort(to: PortAddress, manifest: ManifestView, at: Position, where: string): void {
    const ports = manifest.ports.map(({ name }) => name);
    const nearest = nearestName(to.port, ports);
    const detail = {
      code: "E_UNKNOWN",
      nearest: nearest === undefined ? undefined : `${to.module}.${nearest}`,
      expected:
        ports.length === 0
          ? `another module: ${to.module} has no ports`
          : `a port of ${to.module}: ${listNames(ports)}`,
    } as const;
    this.#errors.add(at, `unknown port '${to.port}' of '${to.module}' in ${where}`, detail);
  }

  /** A rule about a slot or port that does not exist would hold about nothing. */
  #statement({ from, to, at, decision }: PolicyStatement): void {
    const where = `the ${decision} '${from} -> ${to}'`;
    const [source = "", slot] = from.split(".");
    const slots = this.#manifests.get(source)?.slots;
    const written = this.#configuration.positions.grants.has(from);
    if (slots !== undefined && slot !== undefined && slot !== "*" && !slots.has(slot) && !written) {
      const detail = {
        code: "E_UNKNOWN",
        nearest: nearestName(slot, slots.keys()),
        expected: listNames(slots.keys()),
      } as const;
      this.#errors.add(at, `unknown slot '${slot}' of '${source}' in ${where}`, detail);
    }
    if (to.includes(":") || isInterfaceName(to)) return;
    const [module = "", port] = to.split(".");
    const manifest = this.#manifests.get(module);
    if (manifest === undefined || port === undefined || port === "*") return;
    if (!manifest.ports.some(({ name }) => name === port)) this.#unknownPort({ module, port }, manifest, at, where);
  }
}

/**
 * Compares each module's grants with what its manifest asks for, each target with the ports of its module, and each rule
 * with both. Modules without a manifest (they come with an update) are left to admission.
 */
export function checkAgainstManifests(
  configuration: GatewayConfiguration,
  manifests: ReadonlyMap<string, ManifestView>,
): ManifestFindings {
  return new ManifestCheck(configuration, manifests).run();
}

/** Slots that are granted and never imported: excess privilege, to be reported. An event port counts as use. */
export function excessGrants(spec: ModuleSpec, { imports, manifest }: ModuleInspection): string[] {
  const used = new Set(imports.map(({ slot }) => slot));
  for (const [slot, { port }] of manifest.slots) if (port !== null) used.add(slot);
  return spec.grants.map(({ slot }) => slot).filter((slot) => !used.has(slot));
}
