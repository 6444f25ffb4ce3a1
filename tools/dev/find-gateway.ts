/** Which gateway of this machine a tool means: the configuration that is named, or the one that runs from here. */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ConfigurationError, loadConfiguration } from "../../gateway/config/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { ControlClient } from "./control-client.ts";
import type { ControlEvents } from "./control-client.ts";

const FILE = "gateway.yaml";

/**
 * Connects to the gateway of that configuration; where none is named, to the one that runs from `gateway.yaml` here, or one
 * folder further down.
 * @throws ConfigurationError; Refusal E_UNKNOWN where none runs, or several do
 */
export async function connectGateway(file: string | undefined, events: ControlEvents = {}): Promise<ControlClient> {
  const candidates = file === undefined ? await nearby() : [file];
  const running: { readonly candidate: string; readonly client: ControlClient }[] = [];
  for (const candidate of candidates) {
    const dataFolder = await dataFolderOf(candidate, file !== undefined);
    const client = dataFolder === undefined ? undefined : await ControlClient.connect(dataFolder, events);
    if (client !== undefined) running.push({ candidate, client });
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
  throw new Refusal("E_UNKNOWN", `no gateway runs from ${candidates.join(", ") || `a ${FILE} here`}`, {
    hint: "start one with `bulkhead dev <folder>` or `bulkhead run <gateway.yaml>`",
  });
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

async function nearby(): Promise<string[]> {
  if (existsSync(FILE)) return [FILE];
  const entries = await readdir(".", { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
  return folders.map(({ name }) => join(name, FILE)).filter((path) => existsSync(path));
}
