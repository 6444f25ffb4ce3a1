/** Several files as one: the first file that says a thing decides; rules and assertions of all files follow one another. */
import type { ConfigurationNode, MapEntry, MapNode } from "./document.ts";

/** Lists at the top that are joined, in the order of the files. */
const JOINED: ReadonlySet<string> = new Set(["rules", "tests"]);

/** Maps that are taken whole: half of one grant and half of another would be a third that nobody wrote. */
function isWhole(path: readonly string[]): boolean {
  return (path.length === 4 && path[0] === "modules" && path[2] === "grants") || path.at(-1) === "fuel";
}

/** The keys keep the order of the later file: `gateway.yaml` comes last, and its first partition stays the first. */
function mergeMaps(first: MapNode, second: MapNode, path: readonly string[]): MapNode {
  const entries = new Map<string, MapEntry>();
  for (const [key, later] of second.entries) {
    const earlier = first.entries.get(key);
    if (earlier === undefined) entries.set(key, later);
    else entries.set(key, { keyAt: earlier.keyAt, value: mergeNodes(earlier.value, later.value, [...path, key]) });
  }
  for (const [key, entry] of first.entries) if (!entries.has(key)) entries.set(key, entry);
  return { ...first, entries };
}

function isNothing(node: ConfigurationNode): boolean {
  return node.kind === "scalar" && node.value === null;
}

function mergeNodes(first: ConfigurationNode, second: ConfigurationNode, path: readonly string[]): ConfigurationNode {
  if (isNothing(first)) return second;
  const [top = ""] = path;
  if (path.length === 1 && JOINED.has(top) && first.kind === "list" && second.kind === "list") {
    return { ...first, items: [...first.items, ...second.items] };
  }
  if (first.kind === "map" && second.kind === "map" && !isWhole(path)) return mergeMaps(first, second, path);
  return first;
}

/** `nodes` are the files' trees, the first to decide first. */
export function mergeLayers(nodes: readonly ConfigurationNode[]): ConfigurationNode | undefined {
  const [first, ...others] = nodes.filter((node) => !isNothing(node));
  return others.reduce<ConfigurationNode | undefined>(
    (merged, node) => (merged === undefined ? node : mergeNodes(merged, node, [])),
    first ?? nodes[0],
  );
}
