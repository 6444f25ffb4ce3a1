/** Tables of fields: what is in a document is said once, and read, written and compared by that. */

import type { CborInput, CborKey, CborValue } from "../../../kernel/index.ts";
import {
  LIMITS,
  Refusal,
  compareBytes,
  decodeCbor,
  describeCbor,
  encodeCbor,
  expectArray,
  expectBytes,
  expectMap,
  expectText,
  expectUnsigned,
  isName,
} from "../../../kernel/index.ts";
import { TRUST_LIMITS } from "../limits.ts";

/** The first field of every document: the version of its format. In a module it is SUIT's manifest version. */
export const FORMAT: ReadonlyMap<number, CborInput> = new Map([[1, 1]]);

/** How a value is read from CBOR, or refused with its name, and how it is written. */
export interface Field<T> {
  readonly read: (value: CborValue | undefined, name: string) => T;
  /** Undefined leaves an optional field out. */
  readonly write: (value: T) => CborInput | undefined;
}

/** The bytes of a whole document and what they say; `decode` takes only what `encode` makes. */
export interface Codec<T> {
  readonly encode: (document: T) => Uint8Array;
  /** @throws Refusal E_CBOR with the offset of the first byte that should be another, E_SIZE */
  readonly decode: (bytes: Uint8Array) => T;
}

const limits = {
  maxBytes: TRUST_LIMITS.payloadBytes,
  maxDepth: 8,
  maxItems: TRUST_LIMITS.payloadItems,
  tags: [],
  deterministic: true,
};

function plain<T extends CborInput>(read: Field<T>["read"]): Field<T> {
  return { read, write: (value) => value };
}

export function unsigned(max: number): Field<number> {
  return plain((value, name) => expectUnsigned(value, name, max));
}

/** A version or sequence number: below 2^32, so that a thief's maximal one is still a plain number. */
export const counter = unsigned(0xffff_ffff);

/** Seconds since 1970-01-01T00:00:00Z, up to the year 9999. */
export const date = unsigned(253_402_300_799);

/** There, as true, or not there at all. */
export const mark: Field<true> = plain((value, name) => {
  if (value === true) return true;
  throw new Refusal("E_CBOR", `${name} is not valid`, { expected: "true, or nothing", found: describeCbor(value) });
});

export function bytes(length: number): Field<Uint8Array> {
  return plain((value, name) => expectBytes(value, name, length));
}

/** A text of at most `maxLength` characters that `accepts` takes. */
export function text(accepts: (text: string) => boolean, maxLength: number, expected: string): Field<string> {
  return plain((value, name) => {
    const found = expectText(value, name, maxLength);
    if (accepts(found)) return found;
    throw new Refusal("E_CBOR", `${name} is not valid`, { expected, found: describeCbor(found) });
  });
}

/** A name as a manifest has it: safe as a file name, a topic level and a map key. */
export const kernelName = text(isName, LIMITS.nameLength, "lower case letters, digits and hyphens, a letter first");

/** A gateway's id, a rollout's id: one topic level. */
export const identifier = text(
  (found) => /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(found),
  LIMITS.nameLength,
  "letters, digits, dot, underscore and hyphen, a letter or digit first",
);

export function optional<T>(field: Field<T>): Field<T | undefined> {
  return {
    read: (value, name) => (value === undefined ? undefined : field.read(value, name)),
    write: (value) => (value === undefined ? undefined : field.write(value)),
  };
}

export function listOf<T>(field: Field<T>, maxLength: number): Field<readonly T[]> {
  return {
    read: (value, name) => {
      const list = expectArray(value, name);
      if (list.length > maxLength) throw new Refusal("E_CBOR", `${name} has more than ${maxLength} entries`);
      return list.map((item) => field.read(item, name));
    },
    write: (list) => list.map((item) => present(field.write(item))),
  };
}

/** Byte strings of one length in ascending bytewise order, each once. */
export function sortedBytes(length: number, maxLength: number): Field<readonly Uint8Array[]> {
  const list = listOf(bytes(length), maxLength);
  return {
    ...list,
    read: (value, name) => {
      const items = list.read(value, name);
      for (const [index, item] of items.entries()) {
        const previous = items[index - 1];
        if (previous === undefined || compareBytes(previous, item) < 0) continue;
        throw new Refusal("E_CBOR", `${name} are not in ascending order, each once`);
      }
      return items;
    },
  };
}

export function mapOf<T>(key: Field<string>, field: Field<T>): Field<ReadonlyMap<string, T>> {
  const readKey = (found: CborKey, name: string) => key.read(typeof found === "string" ? found : null, name);
  return {
    read: (value, name) =>
      new Map(Array.from(expectMap(value, name), ([found, item]) => [readKey(found, name), field.read(item, name)])),
    write: (map) => new Map(Array.from(map, ([name, item]) => [name, present(field.write(item))])),
  };
}

/** A byte string that holds CBOR, bounded and checked as what it is in. */
export function nested<T>(field: Field<T>): Field<T> {
  return {
    read: (value, name) => field.read(decodeCbor(expectBytes(value, name), limits), name),
    write: (value) => encodeCbor(present(field.write(value))),
  };
}

type Table<T> = { readonly [Name in keyof T]-?: readonly [key: number, field: Field<T[Name]>] };
type Row = readonly [property: string, key: number, field: Field<unknown>];

/** A map with integer keys, one for each property, and `fixed` entries that are always the same. */
export function record<T extends object>(table: Table<T>, fixed: ReadonlyMap<number, CborInput> = new Map()): Field<T> {
  const rows = rowsOf(table);
  return {
    read: (value, name) => {
      const map = expectMap(value, name);
      // SAFETY: each property of T has a row, whose field reads that property's type.
      return readRows(rows, (key) => map.get(key)) as T;
    },
    write: (document) => {
      const written = rows.map(([property, key, field]) => [key, field.write(valueOf(document, property))] as const);
      return new Map([...fixed, ...written.filter((entry): entry is [number, CborInput] => entry[1] !== undefined)]);
    },
  };
}

/** An array with one position for each property. */
export function tuple<T extends object>(table: Table<T>): Field<T> {
  const rows = rowsOf(table);
  return {
    read: (value, name) => {
      const list = expectArray(value, name, rows.length);
      // SAFETY: as in `record`.
      return readRows(rows, (key) => list[key]) as T;
    },
    write: (document) => rows.map(([property, , field]) => present(field.write(valueOf(document, property)))),
  };
}

export function codec<T>(what: string, field: Field<T>): Codec<T> {
  const encode = (document: T) => encodeCbor(present(field.write(document)));
  return {
    encode,
    decode: (found) => {
      const document = field.read(decodeCbor(found, limits), what);
      const template = encode(document);
      const length = Math.max(template.length, found.length);
      for (let at = 0; at < length; at++) {
        if (template[at] !== found[at]) throw new Refusal("E_CBOR", `the ${what} is not of the accepted form`, { at });
      }
      return document;
    },
  };
}

function rowsOf<T extends object>(table: Table<T>): readonly Row[] {
  // SAFETY: a row's field is only ever given values of its own property.
  return Object.entries(table).map(([property, row]) => [property, ...(row as readonly [number, Field<unknown>])]);
}

function readRows(rows: readonly Row[], valueAt: (key: number) => CborValue | undefined): object {
  return Object.fromEntries(rows.map(([property, key, field]) => [property, field.read(valueAt(key), property)]));
}

function valueOf(document: object, property: string): unknown {
  // SAFETY: `property` comes from a table of this document's properties.
  return (document as Readonly<Record<string, unknown>>)[property];
}

function present(value: CborInput | undefined): CborInput {
  if (value === undefined) throw new Refusal("E_CBOR", "a field that must be there is missing");
  return value;
}
