/** YAML text to a tree of maps, lists and scalars that know their place; the only file that knows the YAML library. */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  type YAMLError,
} from "yaml";
import { type Position, type ProblemDetail, Problems } from "./problem.ts";

export interface MapEntry {
  readonly keyAt: Position;
  readonly value: ConfigurationNode;
}

export interface MapNode {
  readonly kind: "map";
  readonly at: Position;
  readonly entries: ReadonlyMap<string, MapEntry>;
}

export interface ListNode {
  readonly kind: "list";
  readonly at: Position;
  readonly items: readonly ConfigurationNode[];
}

export interface ScalarNode {
  readonly kind: "scalar";
  readonly at: Position;
  readonly value: string | number | boolean | null;
  /** As it is written, for messages. */
  readonly source: string;
}

export type ConfigurationNode = MapNode | ListNode | ScalarNode;

/** A configuration of a thousand modules has about half of this; it bounds the time that parsing can take. */
export const CONFIGURATION_BYTES = 1024 * 1024;

/** Levels of maps and lists; the deepest key that the schema has is at level 8. */
const DEPTH = 32;

class Reader {
  readonly #lines = new LineCounter();
  readonly #file: string;
  readonly #problems: Problems;

  constructor(file: string, problems: Problems) {
    this.#file = file;
    this.#problems = problems;
  }

  read(text: string): ConfigurationNode | undefined {
    const document = parseDocument(text, {
      lineCounter: this.#lines,
      version: "1.2",
      schema: "core",
      merge: false,
      // Compared here, in linear time and with the place of the first one.
      uniqueKeys: false,
      stringKeys: true,
      prettyErrors: false,
      resolveKnownTags: false,
      logLevel: "error",
    });
    const fault = [...document.errors, ...document.warnings].toSorted((left, right) => left.pos[0] - right.pos[0])[0];
    if (fault !== undefined) {
      // Only the first: those that follow are mostly its echoes.
      this.#problems.add(this.#at(fault.pos[0]), yamlFault(fault), yamlHint(fault));
      return undefined;
    }
    if (document.directives.yaml.explicit === true) {
      this.#problems.add(this.#at(0), "a %YAML directive is not accepted", {
        hint: "remove it: YAML 1.2 is read",
      });
      return undefined;
    }
    return this.#convert(document.contents, this.#at(0), 0);
  }

  #at(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return { file: this.#file, line: Math.max(1, line), column: Math.max(1, col) };
  }

  #convert(node: Node | null, fallback: Position, depth: number): ConfigurationNode | undefined {
    if (node === null) return { kind: "scalar", at: fallback, value: null, source: "" };
    const at = node.range ? this.#at(node.range[0]) : fallback;
    if (isAlias(node)) {
      this.#problems.add(at, `the alias *${node.source} is not accepted`, {
        hint: "write the value out; put text that starts with '*' in quotes",
      });
      return undefined;
    }
    const { anchor } = node as { readonly anchor?: string };
    if (anchor !== undefined) {
      this.#problems.add(at, `the anchor &${anchor} is not accepted`, { hint: "remove it" });
      return undefined;
    }
    if (node.tag !== undefined) {
      this.#problems.add(at, `the tag ${node.tag} is not accepted`, { hint: "remove it" });
      return undefined;
    }
    if (depth >= DEPTH) {
      this.#problems.add(at, "nested too deeply", { expected: `at most ${DEPTH} levels` });
      return undefined;
    }
    if (isScalar(node)) return this.#scalar(node.value, node.source ?? "", at);
    if (isSeq(node)) return { kind: "list", at, items: this.#items(node.items, at, depth) };
    if (isMap(node)) return { kind: "map", at, entries: this.#entries(node.items, at, depth) };
    this.#problems.add(at, "this is not a map, a list or a scalar");
    return undefined;
  }

  #scalar(value: unknown, source: string, at: Position): ScalarNode | undefined {
    if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "string") {
      return { kind: "scalar", at, value, source };
    }
    this.#problems.add(at, "this value is not text, a number, true, false or null");
    return undefined;
  }

  #items(items: readonly unknown[], at: Position, depth: number): ConfigurationNode[] {
    return items.map((item) => this.#convert(item as Node | null, at, depth + 1)).filter((item) => item !== undefined);
  }

  #entries(pairs: readonly Pair[], at: Position, depth: number): Map<string, MapEntry> {
    const entries = new Map<string, MapEntry>();
    for (const { key, value } of pairs) {
      if (!isScalar(key) || typeof key.value !== "string") {
        this.#problems.add(at, "a key of this map is not text");
        continue;
      }
      const keyAt = key.range ? this.#at(key.range[0]) : at;
      const first = entries.get(key.value);
      if (first !== undefined) {
        const hint = `the first is at line ${first.keyAt.line}; remove one`;
        this.#problems.add(keyAt, `duplicate key '${key.value}'`, { hint });
        continue;
      }
      const node = this.#convert(value as Node | null, keyAt, depth + 1);
      if (node !== undefined) entries.set(key.value, { keyAt, value: node });
    }
    return entries;
  }
}

function yamlFault({ code, message }: YAMLError): string {
  if (code === "RESOURCE_EXHAUSTION") return "nested too deeply";
  if (code === "MULTIPLE_DOCS") return "the file has more than one YAML document";
  return `not valid YAML: ${firstLine(message)}`;
}

function yamlHint({ code }: YAMLError): ProblemDetail {
  if (code === "MULTIPLE_DOCS") return { hint: "remove the line '---', or put the rest into a file of gateway.d/" };
  return code === "BAD_ALIAS" ? { hint: "put text that starts with '*' in quotes" } : {};
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? text;
}

/** Reads one YAML document. Throws `ConfigurationError` and nothing else; aliases, anchors and tags are refused. */
export function parseYaml(text: string, file: string): ConfigurationNode {
  const problems = new Problems();
  const start: Position = { file, line: 1, column: 1 };
  const size = Buffer.byteLength(text);
  if (size > CONFIGURATION_BYTES) {
    problems.add(start, "the file is too large", {
      expected: `at most ${CONFIGURATION_BYTES} bytes`,
      found: `${size}`,
    });
    problems.settle();
  }
  const node = readSafely(text, file, problems);
  problems.settle();
  return node ?? { kind: "scalar", at: start, value: null, source: "" };
}

/** The library reports faults of the text; what it throws all the same is a fault of the text too. */
function readSafely(text: string, file: string, problems: Problems): ConfigurationNode | undefined {
  try {
    return new Reader(file, problems).read(text);
  } catch (error) {
    const reason = error instanceof Error ? firstLine(error.message) : "unknown fault";
    problems.add({ file, line: 1, column: 1 }, `not valid YAML: ${reason}`);
    return undefined;
  }
}
