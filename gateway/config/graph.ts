/** The modules, their routes, their authority and the trust zones as a picture, in Mermaid or DOT. */
import { type AnsweredBy, interfaceDefinition } from "../../kernel/index.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import { grantTargets } from "./resource.ts";

export interface GraphNode {
  readonly id: string;
  readonly label: string;
  readonly kind: "module" | "resource";
}

export interface GraphGroup {
  readonly id: string;
  readonly label: string;
  readonly nodes: readonly GraphNode[];
}

export interface GraphEdge {
  readonly from: string;
  readonly to: string;
  readonly label: string;
  /** A caller waits for its callee. */
  readonly waits: boolean;
}

export interface SystemGraph {
  readonly groups: readonly GraphGroup[];
  readonly edges: readonly GraphEdge[];
}

/** Resources of the partition itself (timers, clocks, log) are in every module and would only hide the rest. */
const ZONES: Readonly<Record<Exclude<AnsweredBy, "partition">, string>> = {
  trust: "trust worker (zone 1)",
  device: "device process (zone 2)",
  link: "link process (zone 3)",
};

function numbered(prefix: string): (key: string) => string {
  const ids = new Map<string, string>();
  return (key) => {
    const known = ids.get(key) ?? `${prefix}${ids.size}`;
    ids.set(key, known);
    return known;
  };
}

/** Nodes grouped by partition and by the process that answers, and an edge for each thing that a grant reaches. */
export function systemGraph({ system }: GatewayConfiguration): SystemGraph {
  const [moduleId, resourceId] = [numbered("m"), numbered("r")];
  const partitions = system.partitions.map(({ name }, index) => ({
    id: `p${index}`,
    label: `partition ${name} (zone 4)`,
    nodes: system.modules
      .filter((module) => module.partition === name)
      .map((module) => ({ id: moduleId(module.name), label: module.name, kind: "module" as const })),
  }));
  const resources = new Map<string, Map<string, GraphNode>>();
  const edges: GraphEdge[] = [];
  for (const module of system.modules) {
    for (const grant of module.grants) {
      const { answeredBy } = interfaceDefinition(grant.interface);
      if (grant.interface !== "endpoint" && answeredBy === "partition") continue;
      for (const { text, rights } of grantTargets(grant)) {
        const to = grant.interface === "endpoint" ? moduleId(text.slice(0, text.indexOf("."))) : resourceId(text);
        if (grant.interface !== "endpoint") {
          const zone = resources.get(answeredBy) ?? new Map<string, GraphNode>();
          resources.set(answeredBy, zone.set(to, { id: to, label: text, kind: "resource" }));
        }
        const port = grant.interface === "endpoint" ? text.slice(text.indexOf(".") + 1) : "";
        const label = `${grant.slot}: ${rights.join(", ")}${port === "" ? "" : ` ${port}`}`;
        edges.push({ from: moduleId(module.name), to, label, waits: rights.includes("call") });
      }
    }
  }
  const zones = (["trust", "device", "link"] as const).flatMap((zone) => {
    const nodes = [...(resources.get(zone)?.values() ?? [])];
    return nodes.length === 0 ? [] : [{ id: zone, label: ZONES[zone], nodes }];
  });
  return { groups: [...partitions, ...zones], edges };
}

/** Mermaid has entities in place of escapes. */
function mermaidText(text: string): string {
  return `"${text.replaceAll("#", "#35;").replaceAll('"', "#quot;")}"`;
}

export function toMermaid({ groups, edges }: SystemGraph): string {
  const boxes = groups.flatMap(({ id, label, nodes }) => [
    `  subgraph ${id}[${mermaidText(label)}]`,
    ...nodes.map((node) =>
      node.kind === "module"
        ? `    ${node.id}[${mermaidText(node.label)}]`
        : `    ${node.id}([${mermaidText(node.label)}])`,
    ),
    "  end",
  ]);
  const arrows = edges.map(
    ({ from, to, label, waits }) => `  ${from} ${waits ? "==>" : "-->"}|${mermaidText(label)}| ${to}`,
  );
  return `${["flowchart LR", ...boxes, ...arrows].join("\n")}\n`;
}

function dotText(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

export function toDot({ groups, edges }: SystemGraph): string {
  const boxes = groups.flatMap(({ id, label, nodes }) => [
    `  subgraph cluster_${id} {`,
    `    label=${dotText(label)};`,
    ...nodes.map(
      (node) => `    ${node.id} [label=${dotText(node.label)}, shape=${node.kind === "module" ? "box" : "ellipse"}];`,
    ),
    "  }",
  ]);
  const arrows = edges.map(
    ({ from, to, label, waits }) => `  ${from} -> ${to} [label=${dotText(label)}${waits ? ", penwidth=2" : ""}];`,
  );
  return `${["digraph bulkhead {", "  rankdir=LR;", ...boxes, ...arrows, "}"].join("\n")}\n`;
}
