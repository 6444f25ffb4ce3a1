/** What `bulkhead dev` adds to the author's configuration: its own broker, and a tap on the module's messages. */
import { readFile } from "node:fs/promises";
import { parse as parseYaml } from "yaml";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import type { EndpointGrant } from "../../kernel/index.ts";

/** One route from or to the module, shown under its number. */
export interface Edge {
  readonly from: string;
  readonly slot: string;
  /** The first of its targets, as `module.port`. */
  readonly to: string;
}

export const TAP = "tap";
/** Ports of the module `tap`. */
const MOST_EDGES = 8;
export const TAP_TOPICS = "bulkhead-dev/";

/** The routes that only send; one that calls has one target only, and is not shown. */
export function edgesOf({ system }: GatewayConfiguration, module: string): Edge[] {
  const edges = system.modules.flatMap(({ name, grants }) =>
    grants
      .filter((grant): grant is EndpointGrant => grant.interface === "endpoint" && !grant.rights.includes("call"))
      .filter(({ to }) => name === module || to.some((target) => target.module === module))
      .map(({ slot, to }) => ({
        from: name,
        slot,
        to: portName(name === module ? to[0] : to.find((target) => target.module === module)),
      })),
  );
  return edges.slice(0, MOST_EDGES);
}

function portName(address: { readonly module: string; readonly port: string } | undefined): string {
  return address === undefined ? "" : `${address.module}.${address.port}`;
}

/**
 * The layer, as JSON, which is YAML: it comes before `gateway.yaml`, so it decides. A grant is taken whole, so each one that
 * is tapped is repeated as it stands in the file, with one target more.
 */
export async function overlay(
  file: string,
  edges: readonly Edge[],
  brokerUrl: string,
  tapEnvelope: string,
): Promise<string> {
  const written: unknown = parseYaml(await readFile(file, "utf8"));
  const modules: Record<string, unknown> = {};
  for (const [index, { from, slot }] of edges.entries()) {
    const grant = lookUp(written, ["modules", from, "grants", slot, "endpoint"]);
    if (typeof grant !== "object" || grant === null || !("to" in grant)) continue;
    const targets: unknown[] = Array.isArray(grant.to) ? grant.to : [grant.to];
    const own = (modules[from] ??= { grants: {} }) as { grants: Record<string, unknown> };
    own.grants[slot] = { endpoint: { ...grant, to: [...targets, `${TAP}.edge-${index}`] } };
  }
  const tap = {
    envelope: tapEnvelope,
    partition: TAP,
    grants: { north: { mqtt: { publish: [`${TAP_TOPICS}#`] } } },
  };
  return JSON.stringify({
    broker: { url: brokerUrl },
    ...(edges.length === 0 ? {} : { partitions: { [TAP]: {} }, modules: { ...modules, [TAP]: tap } }),
  });
}

function lookUp(tree: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (node, key) => (typeof node === "object" && node !== null ? (node as Record<string, unknown>)[key] : undefined),
    tree,
  );
}
