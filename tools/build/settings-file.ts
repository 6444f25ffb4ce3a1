/** Reads a module's `settings.cddl` (RFC 8610): what an operator may set, as the manifest carries it and code is made from it. */
import { readFile } from "node:fs/promises";
import type { SettingsField, SettingsMap, SettingsType } from "../../gateway/config/settings-contract.ts";
import { LIMITS, Refusal } from "../../kernel/index.ts";

/** A rule of the file: a class of the module. */
export interface SettingsRule extends SettingsMap {
  readonly rule: string;
  readonly fields: readonly SettingsRuleField[];
}

export interface SettingsRuleField extends SettingsField {
  readonly type: SettingsRuleType;
  readonly comment: string | undefined;
}

export type SettingsRuleType =
  | Exclude<SettingsType, { readonly kind: "list" } | SettingsMap>
  | { readonly kind: "list"; readonly least: number; readonly most: number; readonly of: SettingsRuleType }
  | SettingsRule;

/** What is used of the parser's tree; its declared types are looser than what it gives. */
interface Tree {
  readonly Type?: Tree | string;
  readonly Name?: unknown;
  readonly Properties?: unknown;
  readonly Values?: unknown;
  readonly Value?: unknown;
  readonly Min?: Tree;
  readonly Max?: Tree;
  readonly Inclusive?: boolean;
  readonly Operator?: Tree;
  readonly Occurrence?: { readonly n: number; readonly m: number | null };
  readonly Comments?: readonly { readonly Content: string }[];
}

type Scalar = string | number | boolean | null;

/** Fields of one map: each has a bit in the decoder's mask. */
const MAXIMUM_FIELDS = 32;
/** A list without a bound of its own: what the bytes of all settings could hold anyway. */
const MAXIMUM_ITEMS = LIMITS.settingsBytes;
/** Rules within rules: the operator's file has as many levels. */
const MAXIMUM_DEPTH = 8;
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;

/**
 * Reads the file; its first rule is the settings.
 * @throws Refusal E_MANIFEST naming the file, the rule and the field.
 */
export async function readSettingsFile(path: string): Promise<SettingsRule> {
  await readFile(path).catch(() => {
    throw new Refusal("E_MANIFEST", `${path} cannot be read`, { hint: "`settings:` in module.yaml names it" });
  });
  const { parse } = await import("cddl");
  let rules: readonly Tree[];
  try {
    rules = parse(path);
  } catch (error) {
    throw refusal(path, error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error));
  }
  const [first] = rules;
  if (first === undefined) throw refusal(path, "no rule at all");
  return new RuleReader(path, rules).rule(first, 0);
}

class RuleReader {
  readonly #path: string;
  readonly #rules: readonly Tree[];

  constructor(path: string, rules: readonly Tree[]) {
    this.#path = path;
    this.#rules = rules;
  }

  rule(tree: Tree, depth: number): SettingsRule {
    const rule = String(tree.Name);
    if (tree.Type !== "group" || !Array.isArray(tree.Properties) || !NAME.test(rule)) {
      throw refusal(`${this.#path}: ${rule}`, "a rule that is not a map");
    }
    if (depth >= MAXIMUM_DEPTH) throw refusal(`${this.#path}: ${rule}`, `more than ${MAXIMUM_DEPTH} levels`);
    const fields = (tree.Properties as Tree[]).map((property) => this.#field(rule, property, depth));
    if (fields.length > MAXIMUM_FIELDS) throw refusal(`${this.#path}: ${rule}`, `more than ${MAXIMUM_FIELDS} fields`);
    return { kind: "map", rule, fields };
  }

  #field(
    rule: string,
    { Name: name, Occurrence: occurs, Type: types, Comments, Operator }: Tree,
    depth: number,
  ): SettingsRuleField {
    if (typeof name !== "string" || !NAME.test(name))
      throw refusal(`${this.#path}: ${rule}`, `a field named ${String(name)}`);
    const where = `${this.#path}: ${rule}.${name}`;
    if (occurs?.m !== 1) throw refusal(where, "a field that may stand more than once");
    const all = (Array.isArray(types) ? types : [types]) as readonly (Tree | string)[];
    const type = this.#type(where, all, depth);
    const preset = defaultOf(Operator) ?? defaultOf(typeof all[0] === "object" ? all[0].Operator : undefined);
    const isOptional = occurs.n === 0;
    if (preset !== null && !isOptional) throw refusal(where, "a default of a field that is not optional");
    if (preset !== null && !fits(preset, type))
      throw refusal(where, `the default ${String(preset)}, which its type refuses`);
    return {
      name,
      isOptional,
      default: preset,
      type,
      comment: Comments?.map(({ Content }) => Content).join(" ") || undefined,
    };
  }

  #type(where: string, types: readonly (Tree | string)[], depth: number): SettingsRuleType {
    if (types.every((type) => typeof type === "object" && type.Type === "literal" && typeof type.Value === "string")) {
      const values = types.map((type) => String((type as Tree).Value));
      const unfit = values.find((value) => !NAME.test(value));
      if (unfit !== undefined)
        throw refusal(where, `the choice "${unfit}": choices are lower-case words joined by \`-\``);
      return { kind: "choice", values };
    }
    const [type] = types;
    if (type === undefined || types.length > 1) throw refusal(where, "a choice of other than texts");
    return typeof type === "string" ? plainType(where, type) : this.#tree(where, type, depth);
  }

  #tree(where: string, type: Tree, depth: number): SettingsRuleType {
    // A control such as `.default` stands beside the type that it is of.
    if (typeof type.Type === "object") return this.#tree(where, type.Type, depth);
    if (type.Type === "range") return range(where, type.Value as Tree);
    if (type.Type === "array") return this.#list(where, type, depth);
    if (type.Type === "group" && typeof type.Value === "string") {
      const rule = this.#rules.find(({ Name }) => Name === type.Value);
      return rule === undefined ? plainType(where, type.Value) : this.rule(rule, depth + 1);
    }
    const base = plainType(where, String(type.Type));
    const { Operator: control } = type;
    if (control === undefined || control.Type === "default") return base;
    if (control.Type !== "size")
      throw refusal(where, `the control .${typeof control.Type === "string" ? control.Type : ""}`);
    return sized(where, base, control.Value as Tree);
  }

  #list(where: string, { Values: values }: Tree, depth: number): SettingsRuleType {
    const [value, ...others] = Array.isArray(values) ? (values as Tree[]) : [];
    const occurs = value?.Occurrence;
    if (value === undefined || others.length > 0 || occurs === undefined)
      throw refusal(where, "a list of several things");
    const types = (Array.isArray(value.Type) ? value.Type : [value.Type]) as readonly (Tree | string)[];
    const of = this.#type(`${where}[]`, types, depth + 1);
    return { kind: "list", least: occurs.n, most: Math.min(occurs.m ?? MAXIMUM_ITEMS, MAXIMUM_ITEMS), of };
  }
}

function plainType(where: string, name: string): SettingsRuleType {
  switch (name) {
    case "text":
    case "tstr":
      return { kind: "text", least: 0, most: LIMITS.settingsBytes };
    case "uint":
      return { kind: "integer", least: 0, most: Number.MAX_SAFE_INTEGER };
    case "int":
      return { kind: "integer", least: Number.MIN_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER };
    case "number":
    case "float":
      return { kind: "number", least: null, most: null };
    case "bool":
      return { kind: "boolean" };
    default:
      throw refusal(where, `the type ${name}`);
  }
}

function sized(where: string, base: SettingsRuleType, size: Tree): SettingsRuleType {
  if (base.kind === "integer" && base.least === 0 && typeof size.Value === "number" && [1, 2, 4].includes(size.Value)) {
    return { kind: "integer", least: 0, most: 2 ** (8 * size.Value) - 1 };
  }
  if (base.kind !== "text") throw refusal(where, "the size of something without one");
  if (size.Type !== "range") return { kind: "text", least: Number(size.Value), most: Number(size.Value) };
  const { least, most } = bounds(where, size.Value as Tree);
  return { kind: "text", least, most };
}

/** A range of integers, or of numbers where one of its ends is written as such: `0.0..100.0`. */
function range(where: string, tree: Tree): SettingsRuleType {
  const { least, most } = bounds(where, tree);
  const isFloat = [tree.Min, tree.Max].some((end) => (end as { readonly IsFloat?: boolean }).IsFloat === true);
  return isFloat ? { kind: "number", least, most } : { kind: "integer", least, most };
}

function bounds(where: string, { Min, Max, Inclusive }: Tree): { readonly least: number; readonly most: number } {
  const [least, most] = [Min?.Value, Max?.Value];
  if (typeof least !== "number" || typeof most !== "number" || Inclusive === false) {
    throw refusal(where, "a range of other than numbers, or one without its end");
  }
  return { least, most };
}

function defaultOf(control: Tree | undefined): Scalar {
  const value = control?.Type === "default" ? (control.Value as Tree).Value : null;
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : null;
}

function fits(value: Scalar, type: SettingsRuleType): boolean {
  switch (type.kind) {
    case "text":
      return typeof value === "string";
    case "choice":
      return type.values.some((word) => word === value);
    case "integer":
      return Number.isSafeInteger(value) && Number(value) >= type.least && Number(value) <= type.most;
    case "number":
      return typeof value === "number" && value >= (type.least ?? value) && value <= (type.most ?? value);
    case "boolean":
      return typeof value === "boolean";
    default:
      return false;
  }
}

function refusal(where: string, found: string): Refusal {
  return new Refusal("E_MANIFEST", `${where}: settings cannot be made of this`, {
    expected: "maps of texts, numbers, booleans, choices of words, and lists and maps of such",
    found,
  });
}
