/** Shapes: each reads one part of a configuration tree, with exact errors, and gives the JSON Schema of the same thing. */
import type { ConfigurationNode, MapNode } from "./document.ts";
import { listNames, NAME_PATTERN, NAME_WHAT, nearestName } from "./names.ts";
import type { Position, Problems } from "./problem.ts";
import { DURATION_PATTERN, formatDuration, formatSize, parseDuration, parseSize, SIZE_PATTERN } from "./units.ts";

export type JsonSchema = { readonly [key: string]: unknown };

export interface Shape<T> {
  /** What is expected here, for messages: "a whole number from 0 to 7". */
  readonly what: string;
  /** The value, or undefined after the problem was added. `path` names the place in messages: `modules.uplink.priority`. */
  read(node: ConfigurationNode, path: string, problems: Problems): T | undefined;
  schema(): JsonSchema;
}

/** A value and where it is written. */
export interface Located<T> {
  readonly value: T;
  readonly at: Position;
  /** Of the key, where the value has one; else as `at`. */
  readonly keyAt: Position;
}

export interface Key<T, Required extends boolean> {
  readonly shape: Shape<T>;
  readonly required: Required;
  /** One sentence for editors and the documentation. */
  readonly meaning: string;
}

export type Keys = Readonly<Record<string, Key<unknown, boolean>>>;

export type RecordOf<K extends Keys> = {
  readonly [Name in keyof K]: K[Name] extends Key<infer T, infer Required>
    ? Required extends true
      ? Located<T>
      : Located<T> | undefined
    : never;
};

export function required<T>(shape: Shape<T>, meaning: string): Key<T, true> {
  return { shape, required: true, meaning };
}

export function optional<T>(shape: Shape<T>, meaning: string): Key<T, false> {
  return { shape, required: false, meaning };
}

/** What stands there, short and printable. */
export function describeNode(node: ConfigurationNode): string {
  if (node.kind !== "scalar") return `a ${node.kind}`;
  const { value } = node;
  if (value === null) return "nothing";
  if (typeof value !== "string")
    return `${typeof value} ${node.source === "" ? String(value) : node.source.slice(0, 40)}`;
  return `text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
}

/** The path of a key: the file itself has none. */
function below(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function named(path: string): string {
  return path === "" ? "the file" : path;
}

function mismatch(node: ConfigurationNode, path: string, what: string, problems: Problems, hint?: string): void {
  const detail = { expected: what, found: describeNode(node), ...(hint === undefined ? {} : { hint }) };
  problems.add(node.at, `${named(path)} is not valid`, detail);
}

export interface TextOptions {
  readonly pattern?: string;
  readonly maximumLength?: number;
  /** A reason to refuse the text, or undefined. */
  readonly refuse?: (text: string) => string | undefined;
  readonly hint?: string;
  /** The text may hold a secret: messages do not repeat it. */
  readonly secret?: boolean;
}

const CONTROL = /\p{Cc}/u;

export function text(what: string, options: TextOptions = {}): Shape<string> {
  const { pattern, maximumLength = 1024, refuse, hint, secret = false } = options;
  const expression = pattern === undefined ? undefined : new RegExp(pattern, "u");
  return {
    what,
    read(node, path, problems) {
      if (node.kind !== "scalar" || typeof node.value !== "string") {
        const quote = node.kind === "scalar" && node.value !== null ? "put it in quotes" : hint;
        mismatch(node, path, what, problems, quote);
        return undefined;
      }
      const { value } = node;
      const fits = value.length > 0 && value.length <= maximumLength && value.isWellFormed() && !CONTROL.test(value);
      if (!fits || expression?.test(value) === false) {
        mismatch(node, path, what, problems, hint);
        return undefined;
      }
      const reason = refuse?.(value);
      if (reason === undefined) return value;
      problems.add(node.at, `${path}: ${reason}`, { expected: what, ...(secret ? {} : { found: describeNode(node) }) });
      return undefined;
    },
    schema: () => ({
      type: "string",
      minLength: 1,
      maxLength: maximumLength,
      ...(pattern === undefined ? {} : { pattern }),
    }),
  };
}

/** A name by itself, such as a partition's where one is referred to. */
export function name(what: string): Shape<string> {
  return text(`${what}: ${NAME_WHAT}`, { pattern: NAME_PATTERN });
}

export function integer(minimum: number, maximum: number, unit = ""): Shape<number> {
  const what = `a whole number from ${minimum} to ${maximum}${unit === "" ? "" : ` (${unit})`}`;
  return {
    what,
    read(node, path, problems) {
      const value = node.kind === "scalar" ? node.value : undefined;
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= minimum && value <= maximum)
        return value;
      mismatch(node, path, what, problems);
      return undefined;
    },
    schema: () => ({ type: "integer", minimum, maximum }),
  };
}

/** Any finite number: a bound of a content rule. */
export function finiteNumber(): Shape<number> {
  const what = "a number";
  return {
    what,
    read(node, path, problems) {
      const value = node.kind === "scalar" ? node.value : undefined;
      if (typeof value === "number" && Number.isFinite(value)) return value;
      mismatch(node, path, what, problems);
      return undefined;
    },
    schema: () => ({ type: "number" }),
  };
}

export function boolean(): Shape<boolean> {
  const what = "true or false";
  return {
    what,
    read(node, path, problems) {
      const value = node.kind === "scalar" ? node.value : undefined;
      if (typeof value === "boolean") return value;
      mismatch(node, path, what, problems);
      return undefined;
    },
    schema: () => ({ type: "boolean" }),
  };
}

function measured(
  what: string,
  pattern: string,
  parse: (text: string) => number | undefined,
  bounds: readonly [number, number],
): Shape<number> {
  return {
    what,
    read(node, path, problems) {
      const value = node.kind === "scalar" && typeof node.value === "string" ? parse(node.value) : undefined;
      if (value !== undefined && value >= bounds[0] && value <= bounds[1]) return value;
      const bare = node.kind === "scalar" && typeof node.value === "number";
      mismatch(node, path, what, problems, bare ? "write the unit" : undefined);
      return undefined;
    },
    schema: () => ({ type: "string", pattern }),
  };
}

/** Bytes, written with their unit. */
export function size(minimum: number, maximum: number): Shape<number> {
  const what = `a size such as 64KiB or 1MiB, from ${formatSize(minimum)} to ${formatSize(maximum)}`;
  return measured(what, SIZE_PATTERN, parseSize, [minimum, maximum]);
}

/** Milliseconds, written with their unit. */
export function duration(minimum: number, maximum: number): Shape<number> {
  const what = `a duration such as 10ms, 5s or 1m, from ${formatDuration(minimum)} to ${formatDuration(maximum)}`;
  return measured(what, DURATION_PATTERN, parseDuration, [minimum, maximum]);
}

export function choice<const T extends string>(choices: readonly T[]): Shape<T> {
  const what = `one of ${listNames(choices)}`;
  return {
    what,
    read(node, path, problems) {
      const value = node.kind === "scalar" && node.value !== null ? String(node.value) : undefined;
      const found = choices.find((candidate) => candidate === value);
      if (found !== undefined) return found;
      const nearest = value === undefined ? undefined : nearestName(value, choices);
      problems.add(node.at, `${path} is not valid`, { expected: what, found: describeNode(node), nearest });
      return undefined;
    },
    schema: () => ({ enum: choices }),
  };
}

export function list<T>(shape: Shape<T>, minimum = 0, maximum = 1024): Shape<readonly Located<T>[]> {
  const what = minimum === 0 ? `a list, each ${shape.what}` : `a list of at least ${minimum}, each ${shape.what}`;
  return {
    what,
    read(node, path, problems) {
      if (node.kind !== "list" || node.items.length < minimum || node.items.length > maximum) {
        mismatch(node, path, what, problems);
        return undefined;
      }
      return node.items.flatMap((item, index) => {
        const value = shape.read(item, `${path}[${index}]`, problems);
        return value === undefined ? [] : [{ value, at: item.at, keyAt: item.at }];
      });
    },
    schema: () => ({ type: "array", minItems: minimum, maxItems: maximum, items: shape.schema() }),
  };
}

/** One, or a list of at least one; read as a list. */
export function oneOrMore<T>(shape: Shape<T>): Shape<readonly Located<T>[]> {
  const many = list(shape, 1);
  return {
    what: `${shape.what}, or a list of them`,
    read(node, path, problems) {
      if (node.kind === "list") return many.read(node, path, problems);
      const value = shape.read(node, path, problems);
      return value === undefined ? undefined : [{ value, at: node.at, keyAt: node.at }];
    },
    schema: () => ({ anyOf: [shape.schema(), many.schema()] }),
  };
}

/** A map is read; nothing at all (`log:` and no more) stands for an empty one. */
function asMap(node: ConfigurationNode): MapNode | undefined {
  if (node.kind === "map") return node;
  if (node.kind === "scalar" && node.value === null) return { kind: "map", at: node.at, entries: new Map() };
  return undefined;
}

/** Reports each key of the map that is not one of `names`; gives the names that were probably meant. */
function unknownKeys(map: MapNode, path: string, names: readonly string[], problems: Problems): ReadonlySet<string> {
  const meant = new Set<string>();
  const absent = names.filter((candidate) => !map.entries.has(candidate));
  for (const [key, { keyAt }] of map.entries) {
    if (names.includes(key)) continue;
    const nearest = nearestName(key, absent) ?? nearestName(key, names);
    if (nearest !== undefined) meant.add(nearest);
    const expected = names.length === 0 ? "no keys here" : listNames(names);
    const message = `unknown key '${printable(key)}' in ${named(path)}`;
    problems.add(keyAt, message, { code: "E_UNKNOWN", nearest, expected });
  }
  return meant;
}

/** A key of the text, short and without control characters. */
export function printable(key: string): string {
  const quoted = JSON.stringify(key).slice(1, -1);
  return quoted.length > 60 ? `${quoted.slice(0, 60)}…` : quoted;
}

function missingKey(key: string, expected: string, at: Position, path: string, problems: Problems): void {
  problems.add(at, `${named(path)} lacks the key '${key}'`, { expected, hint: `add '${key}: …'` });
}

/** A map with these keys and no others. */
export function record<const K extends Keys>(what: string, keys: K): Shape<RecordOf<K>> {
  const names = Object.keys(keys);
  return {
    what,
    read(node, path, problems) {
      const map = asMap(node);
      if (map === undefined) {
        mismatch(node, path, `${what}: a map`, problems);
        return undefined;
      }
      const meant = unknownKeys(map, path, names, problems);
      const values = Object.entries(keys).map(([key, { shape, required: isRequired }]) => {
        const entry = map.entries.get(key);
        const lacking = entry === undefined && isRequired && !meant.has(key);
        if (lacking) missingKey(key, shape.what, map.at, path, problems);
        const value = entry === undefined ? undefined : shape.read(entry.value, below(path, key), problems);
        return [
          key,
          entry && value !== undefined ? { value, at: entry.value.at, keyAt: entry.keyAt } : undefined,
        ] as const;
      });
      if (values.some(([key, value]) => value === undefined && keys[key]?.required === true)) return undefined;
      // The keys are those of `keys`, and each value is what its shape read.
      return Object.fromEntries(values) as RecordOf<K>;
    },
    schema: () => ({
      type: Object.values(keys).some((key) => key.required) ? "object" : ["object", "null"],
      description: what,
      additionalProperties: false,
      required: names.filter((key) => keys[key]?.required === true),
      properties: Object.fromEntries(
        Object.entries(keys).map(([key, { shape, meaning }]) => [key, { ...shape.schema(), description: meaning }]),
      ),
    }),
  };
}

export interface TableKey {
  readonly what: string;
  readonly pattern: string;
}

export const NAME_KEY: TableKey = { what: NAME_WHAT, pattern: NAME_PATTERN };

/** A map from names of the operator's choosing to one shape. */
export function table<T>(
  what: string,
  shape: Shape<T>,
  { key = NAME_KEY, maximum = 4096, minimum = 0 }: { key?: TableKey; maximum?: number; minimum?: number } = {},
): Shape<ReadonlyMap<string, Located<T>>> {
  const expression = new RegExp(key.pattern, "u");
  return {
    what,
    read(node, path, problems) {
      const map = asMap(node);
      if (map === undefined) {
        mismatch(node, path, `${what}: a map`, problems);
        return undefined;
      }
      if (map.entries.size < minimum || map.entries.size > maximum) {
        const expected = `${minimum} to ${maximum} of them`;
        problems.add(map.at, `${path} is not valid`, { expected, found: `${map.entries.size}` });
        return undefined;
      }
      const result = new Map<string, Located<T>>();
      for (const [entryName, { keyAt, value: entry }] of map.entries) {
        if (!expression.test(entryName)) {
          const detail = { expected: key.what, found: `'${printable(entryName)}'` };
          problems.add(keyAt, `the key '${printable(entryName)}' in ${path} is not valid`, detail);
          continue;
        }
        const value = shape.read(entry, `${path}.${entryName}`, problems);
        if (value !== undefined) result.set(entryName, { value, at: entry.at, keyAt });
      }
      return result;
    },
    schema: () => ({
      type: minimum === 0 ? ["object", "null"] : "object",
      description: what,
      propertyNames: { pattern: key.pattern },
      minProperties: minimum,
      maxProperties: maximum,
      additionalProperties: shape.schema(),
    }),
  };
}

export interface Variant<T> {
  readonly name: string;
  readonly value: T;
  readonly at: Position;
}

/** A map with exactly one key, which says what its value is: `{ i2c-device: { … } }`. */
export function variant<T>(what: string, shapes: ReadonlyMap<string, Shape<T>>): Shape<Variant<T>> {
  const names = [...shapes.keys()];
  return {
    what,
    read(node, path, problems) {
      if (node.kind !== "map") {
        mismatch(node, path, `${what}: a map with one of ${listNames(names)}`, problems);
        return undefined;
      }
      const [first, second] = node.entries;
      if (first === undefined) {
        mismatch(node, path, `${what}: one of ${listNames(names)}`, problems);
        return undefined;
      }
      if (second !== undefined) {
        const message = `${path} has more than one key`;
        problems.add(second[1].keyAt, message, {
          expected: `one of ${listNames(names)}`,
          found: `'${printable(second[0])}' too`,
        });
        return undefined;
      }
      const [key, { keyAt, value: entry }] = first;
      const shape = shapes.get(key);
      if (shape === undefined) {
        const nearest = nearestName(key, names);
        const message = `unknown interface '${printable(key)}' in ${path}`;
        problems.add(keyAt, message, { code: "E_UNKNOWN", nearest, expected: listNames(names) });
        return undefined;
      }
      const value = shape.read(entry, `${path}.${key}`, problems);
      return value === undefined ? undefined : { name: key, value, at: keyAt };
    },
    schema: () => ({
      description: what,
      oneOf: [...shapes].map(([key, shape]) => ({
        type: "object",
        additionalProperties: false,
        required: [key],
        properties: { [key]: shape.schema() },
      })),
    }),
  };
}

/** Plain data that is handed on as it is. */
export type PlainData = string | number | boolean | null | readonly PlainData[] | { readonly [key: string]: PlainData };

const PLAIN_KEY = /^[A-Za-z0-9/.-][A-Za-z0-9/._ -]{0,79}$/;

/** Anything, as plain objects and arrays; keys are such that none reaches a prototype. */
export function anything(what: string): Shape<PlainData> {
  function convert(node: ConfigurationNode, path: string, problems: Problems): PlainData {
    if (node.kind === "scalar") return node.value;
    if (node.kind === "list") return node.items.map((item, index) => convert(item, `${path}[${index}]`, problems));
    const pairs: [string, PlainData][] = [];
    for (const [key, { keyAt, value }] of node.entries) {
      if (PLAIN_KEY.test(key)) pairs.push([key, convert(value, `${path}.${key}`, problems)]);
      else problems.add(keyAt, `the key '${printable(key)}' in ${path} is not valid`, { expected: "a plain key" });
    }
    return Object.fromEntries(pairs);
  }
  return { what, read: convert, schema: () => ({}) };
}
