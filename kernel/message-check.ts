/** Compiles what contracts and routes ask of a message into checks of its encoded bytes. */
import { checkCbor } from "./cbor/index.ts";
import { MAJOR } from "./cbor/major.ts";
import type { ContractField } from "./contract.ts";
import { LIMITS } from "./limits.ts";

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

const MESSAGE_LIMITS = { maxBytes: LIMITS.payloadBytes, maxDepth: 16, maxItems: 8192, tags: [], deterministic: false };
const SIMPLE = Object.freeze([false, true, null] as const);
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();
/** Fuel for one item of a message: for checking it, and for passing it by in search of what a route requires. */
const ITEM_FUEL = 100;
const WALK_FUEL = 20;

/**
 * Fuel of checking a message: about what it takes in nanoseconds. A map of short keys and an array of empty ones take a hundred
 * times as long for their bytes as a long text, so its items are counted first, which is soon done and works for any bytes.
 */
export function checkFuel(bytes: Uint8Array, requirements: number): number {
  let items = 0;
  for (let at = 0; at < bytes.length && items < MESSAGE_LIMITS.maxItems; items++) {
    const initial = bytes[at++] ?? 0;
    const information = initial & 31;
    const width = information < 24 ? 0 : 1 << (information - 24);
    let size = width === 0 ? information : 0;
    for (const end = at + width; at < end; at++) size = size * 256 + (bytes[at] ?? 0);
    const major = initial >> 5;
    if (major === MAJOR.bytes || major === MAJOR.text) at += size;
  }
  return items * (ITEM_FUEL + WALK_FUEL * requirements) + (bytes.length >>> 1) * (1 + requirements);
}

/** Walks an item that `checkCbor` has accepted: heads, lengths and texts are right. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  major = 0;
  /** Elements of an array, entries of a map, bytes of a string; else the number itself. */
  size = 0;
  #scalar: number | boolean | null | undefined;
  /** True where an integer has the 64th bit, which no i64 holds. */
  isLarge = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** What has been read, undefined for bytes, an array or a map. A text is decoded only where somebody wants it. */
  get value(): string | number | boolean | null | undefined {
    return this.major === MAJOR.text ? utf8.decode(this.#bytes.subarray(this.#at - this.size, this.#at)) : this.#scalar;
  }

  /** True where what has been read is this text. */
  isText(text: Uint8Array): boolean {
    if (this.major !== MAJOR.text || this.size !== text.length) return false;
    const start = this.#at - this.size;
    return text.every((byte, index) => byte === this.#bytes[start + index]);
  }

  /** Reads one head, and moves past a string's content. */
  read(): void {
    const initial = this.#bytes[this.#at++] ?? 0;
    this.major = initial >> 5;
    const information = initial & 31;
    const width = information < 24 ? 0 : 1 << (information - 24);
    this.isLarge = false;
    this.size = width === 0 ? information : this.#argument(width);
    this.#at += width;
    this.#scalar = undefined;
    if (this.major <= MAJOR.negative) this.#scalar = this.major === MAJOR.unsigned ? this.size : -1 - this.size;
    else if (this.major === MAJOR.simple) this.#scalar = width === 0 ? SIMPLE[information - 20] : this.size;
    else if (this.major <= MAJOR.text) this.#at += this.size;
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
      const name = cursor.value;
      const field = typeof name === "string" ? known.get(name) : undefined;
      if (field === undefined) return "a field that the contract does not have";
      cursor.read();
      if (!field.test(cursor)) return `the field ${name}`;
      seen |= field.bit;
    }
    if ((seen & required) === required) return undefined;
    return `no field ${fields.find(({ isOptional }, index) => !isOptional && (seen & (1 << index)) === 0)?.name}`;
  };
}

function compileField({ kind, arguments: args }: ContractField): (cursor: Cursor) => boolean {
  // SAFETY: only a choice has texts, and of a choice neither is looked at.
  const [least = 0, most = 0] = args as number[];
  const isInteger = ({ major }: Cursor): boolean => major <= MAJOR.negative;
  switch (kind) {
    case "text":
    case "bytes":
      return ({ major, size }) => major === MAJOR[kind] && size >= least && size <= most;
    case "choice":
      return ({ value }) => typeof value === "string" && args.includes(value);
    case "unsigned":
      return ({ major, size }) => major === MAJOR.unsigned && (least === 64 || size < 2 ** least);
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
  const asked = list.map((each) => ({ ...each, path: each.field.split(".").map((name) => encoder.encode(name)) }));
  return (bytes) => {
    const verdict = checkCbor(bytes, MESSAGE_LIMITS);
    if (!verdict.ok) return `${verdict.reason} at byte ${verdict.at}`;
    const unmet = asked.find(({ path, test }) => {
      const cursor = new Cursor(bytes);
      cursor.read();
      return !path.every((name) => descend(cursor, name)) || !passes(cursor, test);
    });
    return unmet && `the field ${unmet.field}, which the route requires`;
  };
}

/** Moves to the value of this key of the map just read. */
function descend(cursor: Cursor, name: Uint8Array): boolean {
  if (cursor.major !== MAJOR.map) return false;
  for (let left = cursor.size; left > 0; left--) {
    cursor.read();
    const isFound = cursor.isText(name);
    cursor.read();
    if (isFound) return true;
    cursor.skip();
  }
  return false;
}

function passes(cursor: Cursor, { oneOf, below, minimum, maximum, type }: Requirement["test"]): boolean {
  const { major, value } = cursor;
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
  const levels = filter.split("/");
  // One more than can match: a topic may be nothing but slashes.
  const names = topic.split("/", levels.length + 1);
  for (const [index, level] of levels.entries()) {
    if (level === "#") return true;
    if (index >= names.length || (level !== "+" && level !== names[index])) return false;
  }
  return levels.length === names.length;
}
