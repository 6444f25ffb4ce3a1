/** Contracts as data: read from a manifest, and compared between the ends of a route. */
import type { CborMap, CborValue } from "./cbor/index.ts";
import { expectArray, expectBoolean, expectKeys, expectMap, expectText } from "./cbor/index.ts";
import { Refusal } from "./errors.ts";
import { LIMITS } from "./limits.ts";

/** The kinds of a field's value, each with the number of its arguments; a choice has one or more texts. */
const KINDS = Object.freeze({
  /** `[least, most]` bytes of UTF-8. */
  text: 2,
  bytes: 2,
  choice: undefined,
  /** `[32]` or `[64]` bits. */
  unsigned: 1,
  /** `[least, most]` of an integer. */
  range: 2,
  integer: 0,
  number: 0,
  boolean: 0,
} as const);

export type FieldKind = keyof typeof KINDS;

export interface ContractField {
  readonly name: string;
  readonly isOptional: boolean;
  readonly kind: FieldKind;
  readonly arguments: readonly (number | string)[];
}

/** What a port takes, and what it answers; null where it answers nothing that anybody relies on. */
export interface Contract {
  readonly message: readonly ContractField[];
  readonly reply: readonly ContractField[] | null;
}

const MAXIMUM_FIELDS = 32;

/** Reads one contract of a manifest: `{ message: [[name, optional, kind, ...arguments], ...], ? reply: [...] }`. */
export function readContract(value: CborValue | undefined, where: string): Contract {
  const map: CborMap = expectKeys(expectMap(value, where), ["message", "reply"], where);
  const reply = map.get("reply");
  const message = readFields(map.get("message"), `${where}.message`);
  return { message, reply: reply === undefined ? null : readFields(reply, `${where}.reply`) };
}

function readFields(value: CborValue | undefined, where: string): ContractField[] {
  const fields = expectArray(value, where).map((entry, index) => readField(entry, `${where}[${index}]`));
  const names = new Set(fields.map(({ name }) => name));
  if (names.size !== fields.length || names.size > MAXIMUM_FIELDS) {
    throw new Refusal("E_CBOR", `${where} has a field twice, or more than ${MAXIMUM_FIELDS}`);
  }
  return fields;
}

function readField(value: CborValue, where: string): ContractField {
  const [name, isOptional, kind, ...rest] = expectArray(value, where);
  const known = expectText(kind, `${where}.kind`, 16);
  // SAFETY: an own key of the table is a kind.
  const count = Object.hasOwn(KINDS, known) ? KINDS[known as FieldKind] : -1;
  const type = known === "choice" ? "string" : "number";
  if (!(count === undefined ? rest.length > 0 : rest.length === count) || rest.some((item) => typeof item !== type)) {
    throw new Refusal("E_CBOR", `${where} is of no kind that a contract has`);
  }
  return {
    name: expectText(name, where, LIMITS.nameLength),
    isOptional: expectBoolean(isOptional, where),
    // SAFETY: the kind is one of the table's and the arguments have been looked at.
    kind: known as FieldKind,
    arguments: rest as (number | string)[],
  };
}

/** @returns the first field in which what `sends` may carry is not what `takes` allows, in words, or undefined. */
export function contractConflict(sends: Contract, takes: Contract): string | undefined {
  if (sends.reply === null || takes.reply === null) return conflict(sends.message, takes.message, "message");
  return conflict(sends.message, takes.message, "message") ?? conflict(takes.reply, sends.reply, "reply");
}

function conflict(given: readonly ContractField[], wanted: readonly ContractField[], what: string): string | undefined {
  for (const field of wanted) {
    const same = given.find(({ name }) => name === field.name);
    if (same === undefined && field.isOptional) continue;
    const found = same === undefined ? "absent" : describeField(same);
    const isWithin = same !== undefined && (field.isOptional || !same.isOptional) && accepts(field, same);
    if (!isWithin) return `${what}.${field.name} is ${found} where ${describeField(field)} is taken`;
  }
  const unknown = given.find(({ name }) => !wanted.some((field) => field.name === name));
  return unknown && `${what}.${unknown.name} is ${describeField(unknown)} where there is no such field`;
}

export function describeField({ isOptional, kind, arguments: args }: ContractField): string {
  const bounds = args.length === 0 ? "" : ` (${args.map((item) => JSON.stringify(item)).join(" ")})`;
  return `${isOptional ? "optional " : ""}${kind}${bounds}`;
}

/** True where every value of `given` is one of `wanted`. */
function accepts(wanted: ContractField, given: ContractField): boolean {
  // SAFETY: only a choice has texts, and of a choice neither is looked at; here and below.
  const [least = 0, most = 0] = wanted.arguments as number[];
  if (given.kind === "choice" || wanted.kind === "choice") {
    if (given.kind !== "choice") return false;
    const sizes = given.arguments.map((text) => Buffer.byteLength(String(text)));
    if (wanted.kind === "choice") return given.arguments.every((text) => wanted.arguments.includes(text));
    return wanted.kind === "text" && sizes.every((size) => size >= least && size <= most);
  }
  const [outer, inner] = [integers(wanted), integers(given)];
  if (inner !== undefined && wanted.kind === "number") return true;
  if (outer !== undefined) return inner !== undefined && inner[0] >= outer[0] && inner[1] <= outer[1];
  if (wanted.kind !== given.kind) return false;
  const [from = 0, to = 0] = given.arguments as number[];
  return wanted.arguments.length === 0 || (from >= least && to <= most);
}

function integers({ kind, arguments: [least, most] }: ContractField): readonly [number, number] | undefined {
  if (kind === "unsigned") return [0, 2 ** Number(least) - 1];
  if (kind === "integer") return [-(2 ** 63), 2 ** 63];
  return kind === "range" ? [Number(least), Number(most)] : undefined;
}
