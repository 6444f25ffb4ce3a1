/** Which gateway of this machine a tool means: the configuration that is named, or the one that runs from here. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ConfigurationError, loadConfiguration } from "../../gateway/config/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { ControlClient } from "./control-client.ts";
import type { ControlEvents } from "./control-client.ts";

const HERE = "gateway.yaml";
/** The Debian package's. */
const INSTALLED = "/etc/bulkhead/gateway.yaml";

/** What a help says of the option that names a configuration. */
export const WHERE_NONE_IS_NAMED = `${HERE} here, else ${INSTALLED}`;
export const WHERE_NONE_RUNS = `${HERE} here or one folder down, else ${INSTALLED}`;

/**
 * The configuration that is meant where none is named: the one here, or else the one of the Debian package. `besides` is a
 * file that is compared with it, and so is not meant itself.
 */
export function configurationFile(named: string | undefined, besides?: string, installed = INSTALLED): string {
  if (named !== undefined) return named;
  const isHere = existsSync(HERE) && (besides === undefined || resolve(besides) !== resolve(HERE));
  return !isHere && existsSync(installed) ? installed : HERE;
}

/**
 * Connects to the gateway of that configuration; where none is named, to the one that runs from `gateway.yaml` here or one
 * folder further down, or else to the one of the Debian package.
 * @throws ConfigurationError; Refusal E_UNKNOWN where none runs, or several do; E_CAP where it is another user's
 */
export async function connectGateway(
  file: string | undefined,
  events: ControlEvents = {},
  installed = INSTALLED,
): Promise<ControlClient> {
  const candidates = file === undefined ? await nearby() : [file];
  const running: Running[] = [];
  for (const candidate of candidates) running.push(...(await connect(candidate, file !== undefined, events)));
  if (file === undefined && running.length === 0 && existsSync(installed)) {
    candidates.push(installed);
    running.push(...(await connect(installed, true, events)));
  }
  const [only, ...others] = running;
  if (only !== undefined && others.length === 0) return only.client;
  for (const { client } of running) client.close();
  if (only !== undefined) {
    throw new Refusal("E_UNKNOWN", "several gateways run here", {
      found: running.map(({ candidate }) => candidate).join(", "),
      hint: "say which with --gateway <gateway.yaml>",
    });
  }
  throw new Refusal("E_UNKNOWN", `no gateway runs from ${candidates.join(", ") || `a ${HERE} here`}`, {
    hint: "start one with `bulkhead dev <folder>` or `bulkhead run <gateway.yaml>`",
  });
}

interface Running {
  readonly candidate: string;
  readonly client: ControlClient;
}

async function connect(candidate: string, isNamed: boolean, events: ControlEvents): Promise<Running[]> {
  const dataFolder = await dataFolderOf(candidate, isNamed);
  const client = dataFolder === undefined ? undefined : await ControlClient.connect(dataFolder, events);
  return client === undefined ? [] : [{ candidate, client }];
}

/** A file that is not valid is told of only where it was named. */
async function dataFolderOf(candidate: string, isNamed: boolean): Promise<string | undefined> {
  try {
    return (await loadConfiguration(candidate)).dataFolder;
  } catch (error) {
    if (isNamed || !(error instanceof ConfigurationError)) throw error;
    return undefined;
  }
}

/** None where this folder may not be looked into, as a home is to the user that a gateway runs as. */
async function nearby(): Promise<string[]> {
  if (existsSync(HERE)) return [HERE];
  const entries = await readdir(".", { withFileTypes: true }).catch(() => []);
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
  return folders.map(({ name }) => join(name, HERE)).filter((path) => existsSync(path));
}
