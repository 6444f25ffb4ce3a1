/** Gateways of twenty modules: real modules under names of their own, signed, with a configuration in a folder. */
import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeCbor } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { developmentKeys, signForDevelopment } from "../../tools/build/development.ts";
import { readModuleFile } from "../../tools/build/module-file.ts";
import { PACKAGE_ROOT } from "../../tools/root.ts";
import { manifestFields, moduleBinary, watModule, withSection } from "../support/modules.ts";

const CUSTOM = 0;
const PREAMBLE = 8;
const MODULES = 20;

/** Reads a LEB128 number. @returns the number and the offset behind it. */
function readLeb(bytes: Uint8Array, offset: number): [number, number] {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[offset++] ?? 0;
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return [value, offset];
  }
}

/** The binary without its manifest. */
function withoutManifest(binary: Uint8Array): Uint8Array {
  const kept = [binary.subarray(0, PREAMBLE)];
  for (let at = PREAMBLE; at < binary.length; ) {
    const [size, content] = readLeb(binary, at + 1);
    const [nameLength, name] = readLeb(binary, content);
    const isManifest =
      binary[at] === CUSTOM && new TextDecoder().decode(binary.subarray(name, name + nameLength)) === "bulkhead";
    if (!isManifest) kept.push(binary.subarray(at, content + size));
    at = content + size;
  }
  return Buffer.concat(kept);
}

/** Builds one of the product's modules, and gives it out under many names. */
async function builtAs(folder: string, names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const source = join(PACKAGE_ROOT, "modules", folder);
  await buildModule(source);
  const { builds } = await readModuleFile(source);
  const [build] = builds;
  if (build === undefined) throw new Error(`${folder} builds nothing`);
  const bare = withoutManifest(await readFile(join(PACKAGE_ROOT, "build/modules", `${build.output}.wasm`)));
  const { manifest } = build;
  return new Map(
    names.map((name) => [name, withSection(bare, "bulkhead", encodeCbor({ ...manifest, name } as never))]),
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
  const folder = await mkdtemp(join(tmpdir(), "bulkhead-bench-"));
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
const SINK = moduleBinary(
  watModule("", `(func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 0))`),
  manifestFields("sink", { ports: [{ name: "windows", contract: "windows", fuel: 10_000, stack: 4096 }] }),
);

/** Nineteen services that need neither a device nor the network, and one that takes what they send. */
export async function coreGateway(): Promise<GatewayFolder> {
  const modules = await builtAs("services/aggregate", numbered("service", MODULES - 1));
  modules.set("sink", SINK);
  const grants = (name: string): Grants =>
    name === "sink" ? {} : { tick: { timer: {} }, log: { log: {} }, windows: { endpoint: { to: "sink.windows" } } };
  return await write(modules, grants, {});
}

/** Eighteen drivers that read this machine's load, a service that watches them, and the uplink to the broker. */
export async function wholeGateway(brokerUrl: string): Promise<GatewayFolder> {
  const modules = new Map([
    ...(await builtAs("drivers/system-monitor", numbered("driver", MODULES - 2))),
    ...(await builtAs("services/threshold", ["threshold"])),
    ...(await builtAs("services/uplink", ["uplink"])),
  ]);
  const file = (path: string): Grants => ({ file: { path, rights: ["read"] } });
  const grants = (name: string): Grants => {
    const log = { log: { log: {} } };
    if (name === "uplink") return { ...log, north: { mqtt: { publish: ["site/7/#"] } } };
    if (name === "threshold") return { ...log, alarms: { endpoint: { to: "uplink.alarms" } } };
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
