/** Reads a contract in CDDL (RFC 8610) into what code can be generated from: a map of fields, each of a simple type. */
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { Refusal } from "../../../kernel/index.ts";

export type FieldType =
  | { readonly kind: "text" | "bytes"; readonly least: number; readonly most: number }
  | { readonly kind: "choice"; readonly values: readonly string[] }
  | { readonly kind: "unsigned"; readonly bits: 32 | 64 }
  | { readonly kind: "range"; readonly least: number; readonly most: number }
  | { readonly kind: "integer" | "number" | "boolean" };

export interface Field {
  readonly name: string;
  readonly isOptional: boolean;
  readonly type: FieldType;
  readonly comment: string | undefined;
}

/** One contract: the first rule of its file, and the reply's. */
export interface Contract {
  /** Name of the file, which is what a port names. */
  readonly name: string;
  /** Name of the rule. */
  readonly rule: string;
  readonly fields: readonly Field[];
  /** Of the rule `<rule>-reply`: what a port of this contract answers. */
  readonly reply?: readonly Field[];
}

/** What is used of the parser's tree; its declared types are looser than what it gives. */
interface Tree {
  readonly Type?: unknown;
  readonly Name?: unknown;
  readonly Properties?: unknown;
  readonly Value?: unknown;
  readonly Min?: unknown;
  readonly Max?: unknown;
  readonly Inclusive?: unknown;
  readonly Operator?: Tree;
  readonly Occurrence?: { readonly n: number; readonly m: number };
  readonly Comments?: readonly { readonly Content: string }[];
}

/** Fields of one contract: each has a bit in the decoder's mask. */
const MAXIMUM_FIELDS = 32;
const LONGEST = 65_536;
const FIELD_NAME = /^[a-z][a-z0-9]*$/;

/**
 * Reads one file.
 * @throws Refusal E_CONFIG naming the rule or field that the generator does not know.
 */
export async function readContract(path: string): Promise<Contract> {
  const name = basename(path, ".cddl");
  const { parse } = await import("cddl");
  if (!existsSync(path)) throw new Refusal("E_CONFIG", `there is no file ${path}`, { hint: "name a contract: *.cddl" });
  let rules: readonly Tree[];
  try {
    rules = parse(path);
  } catch (error) {
    throw unknown(path, error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error));
  }
  const [rule, second, third] = rules;
  if (typeof rule?.Name !== "string") throw unknown(path, "no rule with a name");
  const fields = readFields(path, rule);
  if (second === undefined) return { name, rule: rule.Name, fields };
  if (second.Name !== `${rule.Name}-reply` || third !== undefined) {
    throw unknown(path, `a rule ${String((third ?? second).Name)}, beside ${rule.Name} and ${rule.Name}-reply`);
  }
  return { name, rule: rule.Name, fields, reply: readFields(path, second) };
}

function readFields(path: string, { Name: rule, Type: type, Properties: properties }: Tree): Field[] {
  if (type !== "group" || !Array.isArray(properties)) throw unknown(path, `${String(rule)} is not a map`);
  const fields = (properties as Tree[]).map((property) => readField(path, property));
  if (fields.length > MAXIMUM_FIELDS) throw unknown(path, `more than ${MAXIMUM_FIELDS} fields`);
  return fields;
}

function readField(path: string, property: Tree): Field {
  const { Name: name, Occurrence: occurrence, Type: types, Comments: comments } = property;
  if (typeof name !== "string" || !FIELD_NAME.test(name)) throw unknown(path, `a field named ${String(name)}`);
  if (occurrence?.m !== 1) throw unknown(path, `${name}: a field that may stand more than once`);
  return {
    name,
    isOptional: occurrence.n === 0,
    type: readType(`${path}: ${name}`, Array.isArray(types) ? (types as Tree[]) : [types as Tree]),
    comment: comments?.map(({ Content }) => Content).join(" ") || undefined,
  };
}

function readType(where: string, types: readonly (Tree | string)[]): FieldType {
  if (types.every((type) => typeof type !== "string" && type.Type === "literal" && typeof type.Value === "string")) {
    return { kind: "choice", values: types.map((type) => String((type as Tree).Value)) };
  }
  const [type] = types;
  if (type === undefined || types.length > 1) throw unknown(where, "a choice of other than texts");
  return typeof type === "string" ? plainType(where, type) : treeType(where, type);
}

function treeType(where: string, type: Tree): FieldType {
  if (type.Type === "range") return { kind: "range", ...bounds(where, type.Value as Tree) };
  if (type.Type === "group" && typeof type.Value === "string") return plainType(where, type.Value);
  if (typeof type.Type !== "string") throw unknown(where, "a type that is none of the generator's");
  const base = plainType(where, type.Type);
  if (type.Operator === undefined) return base;
  if (type.Operator.Type !== "size") throw unknown(where, `the control .${String(type.Operator.Type)}`);
  return sizedType(where, base, type.Operator.Value as Tree);
}

function plainType(where: string, name: string): FieldType {
  switch (name) {
    case "text":
    case "tstr":
      return { kind: "text", least: 0, most: LONGEST };
    case "bytes":
    case "bstr":
      return { kind: "bytes", least: 0, most: LONGEST };
    case "uint":
      return { kind: "unsigned", bits: 64 };
    case "int":
      return { kind: "integer" };
    case "number":
    case "float":
      return { kind: "number" };
    case "bool":
      return { kind: "boolean" };
    default:
      throw unknown(where, `the type ${name}`);
  }
}

function sizedType(where: string, base: FieldType, size: Tree): FieldType {
  if (base.kind === "unsigned") {
    if (size.Value !== 4 && size.Value !== 8) throw unknown(where, "a uint of other than 4 or 8 bytes");
    return { kind: "unsigned", bits: size.Value === 4 ? 32 : 64 };
  }
  if (base.kind !== "text" && base.kind !== "bytes") throw unknown(where, "the size of something without one");
  if (size.Type === "range") return { kind: base.kind, ...bounds(where, size.Value as Tree) };
  if (typeof size.Value !== "number") throw unknown(where, "a size that is not a number");
  return { kind: base.kind, least: size.Value, most: size.Value };
}

function bounds(where: string, range: Tree): { readonly least: number; readonly most: number } {
  const [least, most] = [(range.Min as Tree).Value, (range.Max as Tree).Value];
  if (typeof least !== "number" || typeof most !== "number") throw unknown(where, "a range of other than numbers");
  if (!Number.isInteger(least) || !Number.isInteger(most)) throw unknown(where, "a range of other than integers");
  return { least, most: range.Inclusive === false ? most - 1 : most };
}

function unknown(where: string, found: string): Refusal {
  return new Refusal("E_CONFIG", `${where}: the generator of contracts does not know this`, {
    expected: "a map of texts, byte strings, numbers, booleans and choices of texts",
    found,
  });
}
