/** `bulkhead doctor`: looks at everything a gateway needs of its host, and says what to do about what is wrong. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { ConfigurationError, describeProblem, loadConfiguration } from "../../gateway/config/index.ts";
import { scanI2c } from "../../gateway/device/index.ts";
import type { RootDocument } from "../../gateway/envelopes/index.ts";
import { decodeTrustState, initialTrust, keyIdOf, toHex } from "../../gateway/envelopes/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { ControlClient } from "../dev/control-client.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";
import { measureAddressSpace } from "../launch/address-space.js";
import { lookAt } from "../looked-at.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { checkConfigurationFile, checkDataFolder, checkSecrets } from "./access.ts";
import { checkBroker } from "./broker.ts";
import { boardModel, checkDevices, clockIsSynchronized } from "./devices.ts";
import type { DeviceSurroundings } from "./devices.ts";
import type { Finding } from "./finding.ts";
import { exitCode, failure, findingsText, ok, warning } from "./finding.ts";
import { checkAddressSpace, checkClock, checkDisk, checkExpiry, checkVersions, diskState } from "./host.ts";

const HELP = `usage: bulkhead doctor [gateway.yaml] [--json] [--no-scan]

Looks at what a gateway needs of its host: versions, clock, address space, disk, permissions, buses and who answers on them,
the root of trust, the broker. Each finding that is not well says what to do. Nothing is changed.

  --json      one JSON object: status, findings [{subject, severity, text, remedy}]
  --no-scan   ask no I2C address; while the gateway runs none is asked anyway

The configuration is ${WHERE_NONE_IS_NAMED}, where none is named.
Exit codes: 0 all is well, 3 something should be looked at, 1 something does not work, 2 wrong usage.
`;

export const doctorVerb: Command = {
  name: "doctor",
  summary: "say what this host has, and what is wrong",
  help: HELP,
  run,
};

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: { json: { type: "boolean" }, "no-scan": { type: "boolean" } },
    allowPositionals: true,
  });
  const [named, ...others] = positionals;
  if (others.length > 0) {
    io.stderr(`bulkhead doctor: name one configuration\n${HELP}`);
    return 2;
  }
  const file = resolve(configurationFile(named));
  const findings = await examine(file, values["no-scan"] !== true);
  const code = exitCode(findings);
  const status = code === 0 ? "ok" : code === 3 ? "warning" : "error";
  if (values.json === true) io.stdout(`${JSON.stringify({ status, findings })}\n`);
  else io.control(findingsText(findings, io.isTerminal));
  return code;
}

async function examine(file: string, mayScan: boolean): Promise<Finding[]> {
  const { findings, configuration } = await readConfiguration(file);
  const trust = configuration === undefined ? { findings: [], floor: 0 } : readTrust(configuration);
  const now = Math.floor(Date.now() / 1000);
  const around = { dev: "/dev", sys: "/sys", scan: await scanner(configuration, mayScan) };
  return [
    ...checkVersions(ownVersion(), process.versions.node, process.arch),
    ...boardFinding(),
    ...checkClock(now, trust.floor, clockIsSynchronized()),
    ...checkAddressSpace(measureAddressSpace()),
    ...findings,
    ...trust.findings,
    ...(configuration === undefined ? [] : checkDisk(configuration.dataFolder, diskState(configuration.dataFolder))),
    ...(configuration === undefined
      ? []
      : [...checkDataFolder(configuration.dataFolder), ...checkSecrets(configuration)]),
    ...checkDevices(configuration, around),
    ...(configuration === undefined ? [] : await checkBroker(configuration)),
  ];
}

interface Read {
  readonly findings: readonly Finding[];
  readonly configuration: GatewayConfiguration | undefined;
}

async function readConfiguration(file: string): Promise<Read> {
  if (!existsSync(file)) {
    const finding = failure(
      "configuration",
      `${file} is not there`,
      "run `sudo bulkhead setup`, or name the configuration",
    );
    return { findings: [finding], configuration: undefined };
  }
  try {
    const configuration = await loadConfiguration(file);
    const warnings = configuration.warnings.map((problem) =>
      warning("configuration", describeProblem(problem), "`bulkhead plan` shows what a change of it would do"),
    );
    return {
      findings: [ok("configuration", `${file} is valid`), ...checkConfigurationFile(file), ...warnings],
      configuration,
    };
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    const findings = error.problems.map((problem) =>
      failure("configuration", describeProblem(problem), "mend this place; `bulkhead run --check` reads it again"),
    );
    return { findings, configuration: undefined };
  }
}

/** `floor`: the date of the root, which no right clock is before. */
function readTrust(configuration: GatewayConfiguration): { readonly findings: Finding[]; readonly floor: number } {
  const { trust, dataFolder } = configuration;
  const remedy = "carry the root envelope here by hand, and run `sudo bulkhead setup`";
  if (!existsSync(trust.root)) return { findings: [failure("trust", `${trust.root} is not there`, remedy)], floor: 0 };
  try {
    const given = initialTrust(new Uint8Array(readFileSync(trust.root))).root;
    const { taken, isOpen } = rootTaken(dataFolder);
    const root = taken !== undefined && taken.version > given.version ? taken : given;
    const ids = root.roles.root.keys.map((key) => toHex(keyIdOf(key)).slice(0, 16)).join(", ");
    const source = isOpen ? "" : `; whether a newer one was taken, only the user that runs the gateway can see`;
    const text = `root version ${root.version} of ${root.roles.root.threshold} among ${ids}${source}`;
    const development = warning(
      "trust",
      `${text}: development keys`,
      "make real ones with `bulkhead keygen` and `bulkhead root init`",
    );
    const first = root.development === true ? development : ok("trust", text);
    return { findings: [first, ...checkExpiry(root.expires, Math.floor(Date.now() / 1000))], floor: root.issued };
  } catch (error) {
    const text = error instanceof Refusal ? error.describe() : error instanceof Error ? error.message : String(error);
    return { findings: [failure("trust", `${trust.root}: ${text}`, remedy)], floor: 0 };
  }
}

/** The root that came over the network last, in place of the one in the file. */
function rootTaken(dataFolder: string): { readonly taken: RootDocument | undefined; readonly isOpen: boolean } {
  const { store, isOpen } = lookAt(dataFolder);
  const { trust } = store.state;
  try {
    return { taken: trust === undefined ? undefined : decodeTrustState(trust).root, isOpen };
  } catch (error) {
    // A start does not use it either.
    if (!(error instanceof Refusal)) throw error;
    return { taken: undefined, isOpen };
  }
}

/** Each bus is asked once. While the gateway runs its drivers have the buses. */
async function scanner(
  configuration: GatewayConfiguration | undefined,
  mayScan: boolean,
): Promise<DeviceSurroundings["scan"]> {
  if (!mayScan) return () => "not asked who answers";
  if (configuration !== undefined && (await isRunning(configuration.dataFolder))) {
    return () => "not asked who answers, because the gateway runs";
  }
  const known = new Map<string, readonly number[]>();
  return (path) => {
    const found = known.get(path) ?? scanI2c(path);
    known.set(path, found);
    return found;
  };
}

async function isRunning(dataFolder: string): Promise<boolean> {
  try {
    const client = await ControlClient.connect(dataFolder);
    client?.close();
    return client !== undefined;
  } catch {
    // A socket that may not be used belongs to somebody who runs.
    return existsSync(dataFolder);
  }
}

function boardFinding(): Finding[] {
  const model = boardModel();
  return model === undefined ? [] : [ok("board", model)];
}

function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(`${PACKAGE_ROOT}/package.json`, "utf8")) as { version: string };
  return version;
}
