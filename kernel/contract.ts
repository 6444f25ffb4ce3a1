/** Contracts as data: read from a manifest, compared between the ends of a route, compiled into checks of encoded messages. */
import type { CborMap, CborValue } from "./cbor/index.ts";
import { checkCbor, expectArray, expectBoolean, expectKeys, expectMap, expectText } from "./cbor/index.ts";
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

/** A field that a route requires of each message: names joined by dots descend into maps. All that is present must hold. */
export interface Requirement {
  readonly field: string;
  readonly test: {
    readonly oneOf?: readonly (string | number | boolean)[];
    /** A text that this MQTT filter matches. */
    readonly below?: string;
    readonly minimum?: number;
    readonly maximum?: number;
    readonly type?: "text" | "bytes" | "integer" | "number" | "boolean";
  };
}

/** Says what is wrong with an encoded message, or nothing. */
export type MessageCheck = (bytes: Uint8Array) => string | undefined;

const MAXIMUM_FIELDS = 32;
const MESSAGE_LIMITS = { maxBytes: LIMITS.payloadBytes, maxDepth: 16, maxItems: 8192, tags: [], deterministic: false };

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

const MAJOR = Object.freeze({ negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Walks an item that `checkCbor` has accepted: heads, lengths and texts are right. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  major = 0;
  /** Elements of an array, entries of a map, bytes of a string; else the number itself. */
  size = 0;
  value: string | number | boolean | null | undefined;
  /** True where an integer has the 64th bit, which no i64 holds. */
  isLarge = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Reads one head, and a string's content. */
  read(): void {
    const initial = this.#bytes[this.#at++] ?? 0;
    this.major = initial >> 5;
    const information = initial & 31;
    const width = information < 24 ? 0 : 1 << (information - 24);
    this.isLarge = false;
    this.size = width === 0 ? information : this.#argument(width);
    this.#at += width;
    this.value = undefined;
    if (this.major <= MAJOR.negative) this.value = this.major === 0 ? this.size : -1 - this.size;
    else if (this.major === MAJOR.simple) this.value = width === 0 ? [false, true, null][information - 20] : this.size;
    else if (this.major <= MAJOR.text) {
      const content = this.#bytes.subarray(this.#at, (this.#at += this.size));
      if (this.major === MAJOR.text) this.value = utf8.decode(content);
    }
  }

  /** Moves past what the item just read holds. */
  skip(): void {
    for (let left = this.#inner(); left > 0; left--) {
      this.read();
      left += this.#inner();
    }
  }

  #inner(): number {
    return this.major === MAJOR.array ? this.size : this.major === MAJOR.map ? this.size * 2 : 0;
  }

  #argument(width: number): number {
    const isFloat = this.major === MAJOR.simple;
    if (width === 1) return this.#view.getUint8(this.#at);
    if (width === 2) return isFloat ? this.#view.getFloat16(this.#at) : this.#view.getUint16(this.#at);
    if (width === 4) return isFloat ? this.#view.getFloat32(this.#at) : this.#view.getUint32(this.#at);
    this.isLarge = this.#view.getUint8(this.#at) > 127;
    return isFloat ? this.#view.getFloat64(this.#at) : Number(this.#view.getBigUint64(this.#at));
  }
}

/** The check of a message against these fields: a map with text keys, no others, each value as its field says. */
export function compileFields(fields: readonly ContractField[]): MessageCheck {
  const known = new Map(fields.map((field, index) => [field.name, { bit: 1 << index, test: compileField(field) }]));
  const required = fields.reduce((mask, { isOptional }, index) => (isOptional ? mask : mask | (1 << index)), 0);
  return (bytes) => {
    const verdict = checkCbor(bytes, MESSAGE_LIMITS);
    if (!verdict.ok) return `${verdict.reason} at byte ${verdict.at}`;
    const cursor = new Cursor(bytes);
    cursor.read();
    if (cursor.major !== MAJOR.map) return "it is not a map";
    let seen = 0;
    for (let left = cursor.size; left > 0; left--) {
      cursor.read();
      const field = typeof cursor.value === "string" ? known.get(cursor.value) : undefined;
      if (field === undefined) return "a field that the contract does not have";
      const name = cursor.value;
      cursor.read();
      if (!field.test(cursor)) return `the field ${name}`;
      seen |= field.bit;
    }
    if ((seen & required) === required) return undefined;
    return `no field ${fields.find(({ isOptional }, index) => !isOptional && (seen & (1 << index)) === 0)?.name}`;
  };
}

function compileField({ kind, arguments: args }: ContractField): (cursor: Cursor) => boolean {
  const [least = 0, most = 0] = args as number[];
  const isInteger = ({ major }: Cursor): boolean => major <= MAJOR.negative;
  switch (kind) {
    case "text":
    case "bytes":
      return ({ major, size }) => major === MAJOR[kind] && size >= least && size <= most;
    case "choice":
      return ({ value }) => typeof value === "string" && args.includes(value);
    case "unsigned":
      return ({ major, size }) => major === 0 && (least === 64 || size < 2 ** least);
    case "range":
      return (cursor) => isInteger(cursor) && Number(cursor.value) >= least && Number(cursor.value) <= most;
    case "integer":
      return (cursor) => isInteger(cursor) && !cursor.isLarge;
    case "number":
      return ({ value }) => typeof value === "number";
    case "boolean":
      return ({ value }) => typeof value === "boolean";
  }
}

/** The check of a message against what a route requires: each field is there and passes its test. */
export function compileRequirements(list: readonly Requirement[]): MessageCheck {
  return (bytes) => {
    const verdict = checkCbor(bytes, MESSAGE_LIMITS);
    if (!verdict.ok) return `${verdict.reason} at byte ${verdict.at}`;
    const unmet = list.find(({ field, test }) => {
      const cursor = new Cursor(bytes);
      cursor.read();
      return !field.split(".").every((name) => descend(cursor, name)) || !passes(cursor, test);
    });
    return unmet && `the field ${unmet.field}, which the route requires`;
  };
}

/** Moves to the value of this key of the map just read. */
function descend(cursor: Cursor, name: string): boolean {
  if (cursor.major !== MAJOR.map) return false;
  for (let left = cursor.size; left > 0; left--) {
    cursor.read();
    const isFound = cursor.value === name;
    cursor.read();
    if (isFound) return true;
    cursor.skip();
  }
  return false;
}

function passes({ major, value }: Cursor, { oneOf, below, minimum, maximum, type }: Requirement["test"]): boolean {
  const isOfType = {
    text: major === MAJOR.text,
    bytes: major === MAJOR.bytes,
    boolean: typeof value === "boolean",
    integer: major <= MAJOR.negative,
    number: typeof value === "number",
  };
  if (type !== undefined && !isOfType[type]) return false;
  if (oneOf !== undefined && !oneOf.some((candidate) => candidate === value)) return false;
  if (below !== undefined && (typeof value !== "string" || !filterMatches(below, value))) return false;
  if (minimum === undefined && maximum === undefined) return true;
  return typeof value === "number" && value >= (minimum ?? -Infinity) && value <= (maximum ?? Infinity);
}

/** True where the MQTT topic filter matches the name (MQTT 5.0 section 4.7). */
export function filterMatches(filter: string, topic: string): boolean {
  if (topic.startsWith("$") && (filter.startsWith("#") || filter.startsWith("+"))) return false;
  const [levels, names] = [filter.split("/"), topic.split("/")];
  for (const [index, level] of levels.entries()) {
    if (level === "#") return true;
    if (index >= names.length || (level !== "+" && level !== names[index])) return false;
  }
  return levels.length === names.length;
}
