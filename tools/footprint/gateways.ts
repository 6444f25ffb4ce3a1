/** Gateways of twenty modules: real modules under names of their own, signed, with a configuration in a folder. */
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import wabtInit from "wabt";
import { encodeCbor } from "../../kernel/index.ts";
import { buildModule } from "../build/build.ts";
import { developmentKeys, signForDevelopment } from "../build/development.ts";
import { readModuleFile } from "../build/module-file.ts";
import { withCustomSection } from "../build/section.ts";
import { splitManifest } from "../demo/manifest.ts";
import { PACKAGE_ROOT } from "../root.ts";

const MODULES = 20;
/** Where the drivers of `wholeGateway` take another period from. */
export const SETTINGS_TOPIC = "site/7/settings";

/** Builds one of the product's modules, and gives it out under many names. */
async function builtAs(folder: string, names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const source = join(PACKAGE_ROOT, "modules", folder);
  await buildModule(source);
  const { builds } = await readModuleFile(source);
  const [build] = builds;
  if (build === undefined) throw new Error(`${folder} builds nothing`);
  const { binary } = splitManifest(await readFile(join(PACKAGE_ROOT, "build/modules", `${build.output}.wasm`)));
  const { manifest } = build;
  return new Map(
    names.map((name) => [name, withCustomSection(binary, "bulkhead", encodeCbor({ ...manifest, name } as never))]),
  );
}

export interface GatewayFolder {
  readonly folder: string;
  readonly configuration: string;
}

type Grants = Readonly<Record<string, unknown>>;

async function write(
  modules: ReadonlyMap<string, Uint8Array>,
  grants: (name: string) => Grants,
  top: Readonly<Record<string, unknown>>,
): Promise<GatewayFolder> {
  if (modules.size !== MODULES) throw new Error(`${modules.size} modules are not ${MODULES}`);
  const folder = await mkdtemp(join(tmpdir(), "bulkhead-footprint-"));
  await mkdir(join(folder, "modules"));
  const keys = await developmentKeys(join(folder, "keys"));
  const configured: Record<string, unknown> = {};
  for (const [name, binary] of modules) {
    await writeFile(join(folder, "modules", `${name}.envelope`), signForDevelopment(binary, "1.0.0", keys.release));
    configured[name] = {
      envelope: `modules/${name}.envelope`,
      partition: name.startsWith("driver") ? "drivers" : "services",
      ...(name === "uplink" ? { settings: { prefix: "site/7" } } : {}),
      grants: grants(name),
    };
  }
  const configuration = join(folder, "gateway.yaml");
  // JSON is YAML.
  const text = JSON.stringify({
    gateway: { id: "gw-bench", vendor: "bulkhead.example", class: "raspberry-pi" },
    data: "data",
    trust: { root: "keys/root.envelope" },
    partitions: { drivers: {}, services: {} },
    modules: configured,
    ...top,
  });
  await writeFile(configuration, text);
  return { folder, configuration };
}

function numbered(stem: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${stem}-${index + 1}`);
}

/** Takes windows and does nothing with them: what stands where the uplink would. */
async function sink(): Promise<Uint8Array> {
  const wat = `(module (memory (export "memory") 1)
    (func (export "bulkhead_inbox") (result i32) i32.const 1024)
    (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0)))`;
  const module = (await wabtInit()).parseWat("sink.wat", wat);
  const ports = [{ name: "windows", contract: "windows", fuel: 10_000, stack: 4096 }];
  const bounds = { memory: 4, inbox: 4096, state: 0, fuel: 100_000, schema: 1 };
  const manifest = { abi: 1, name: "sink", version: "1.0.0", kind: "service", ports, slots: {}, ...bounds };
  return withCustomSection(new Uint8Array(module.toBinary({}).buffer), "bulkhead", encodeCbor(manifest));
}

/** Nineteen services that need neither a device nor the network, and one that takes what they send. */
export async function coreGateway(): Promise<GatewayFolder> {
  const modules = await builtAs("services/aggregate", numbered("service", MODULES - 1));
  modules.set("sink", await sink());
  const grants = (name: string): Grants =>
    name === "sink" ? {} : { tick: { timer: {} }, log: { log: {} }, windows: { endpoint: { to: "sink.windows" } } };
  return await write(modules, grants, {});
}

/** Drivers that read this machine's load each second, a service that watches them, one that sets them, and the uplink. */
export async function wholeGateway(brokerUrl: string): Promise<GatewayFolder> {
  const drivers = numbered("driver", MODULES - 3);
  const modules = new Map([
    ...(await builtAs("drivers/system-monitor", drivers)),
    ...(await builtAs("services/threshold", ["threshold"])),
    ...(await builtAs("services/control", ["control"])),
    ...(await builtAs("services/uplink", ["uplink"])),
  ]);
  const file = (path: string): Grants => ({ file: { path, rights: ["read"] } });
  const grants = (name: string): Grants => {
    const log = { log: { log: {} } };
    if (name === "uplink") return { ...log, north: { mqtt: { publish: ["site/7/#"] } } };
    if (name === "threshold") return { ...log, alarms: { endpoint: { to: "uplink.alarms" } } };
    if (name === "control") {
      const settings = { endpoint: { to: drivers.map((driver) => `${driver}.settings`) } };
      return { ...log, commands: { mqtt: { subscribe: [SETTINGS_TOPIC] } }, settings };
    }
    return {
      ...log,
      tick: { timer: {} },
      clock: { clock: {} },
      loadavg: file("/proc/loadavg"),
      meminfo: file("/proc/meminfo"),
      stat: file("/proc/stat"),
      readings: { endpoint: { to: ["threshold.readings", "uplink.readings"], overflow: "drop-oldest" } },
    };
  };
  return await write(modules, grants, { broker: { url: brokerUrl } });
}
