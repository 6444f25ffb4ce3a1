/** Typed readers over decoded CBOR: each names the field it reads and refuses with E_CBOR what is not of its type. */

import { Refusal } from "../errors.ts";
import { type CborKey, type CborMap, CborTag, type CborValue } from "./value.ts";

export function expectMap(value: CborValue | undefined, field: string): CborMap {
  return value instanceof Map ? value : refuse(field, "a map", value);
}

/** An array, of exactly `length` elements where that is given. */
export function expectArray(value: CborValue | undefined, field: string, length?: number): readonly CborValue[] {
  if (!Array.isArray(value)) return refuse(field, "an array", value);
  if (length !== undefined && value.length !== length) return refuse(field, `an array of ${length}`, value);
  // SAFETY: `isArray` does not tell TypeScript what is in it; arrays among CBOR values hold such values.
  return value as readonly CborValue[];
}

export function expectText(value: CborValue | undefined, field: string, maxLength = Number.MAX_SAFE_INTEGER): string {
  if (typeof value !== "string") return refuse(field, "a text", value);
  return value.length > maxLength ? refuse(field, `a text of at most ${maxLength} characters`, value) : value;
}

/** A byte string, of exactly `length` bytes where that is given. */
export function expectBytes(value: CborValue | undefined, field: string, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) return refuse(field, "a byte string", value);
  if (length !== undefined && value.length !== length) return refuse(field, `a byte string of ${length}`, value);
  return value;
}

/** An integer that a Number holds exactly. */
export function expectInteger(value: CborValue | undefined, field: string): number {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : refuse(field, "an integer", value);
}

/** An integer from 0 to `max`. */
export function expectUnsigned(value: CborValue | undefined, field: string, max = Number.MAX_SAFE_INTEGER): number {
  const integer = expectInteger(value, field);
  return integer >= 0 && integer <= max ? integer : refuse(field, `an integer from 0 to ${max}`, value);
}

export function expectBoolean(value: CborValue | undefined, field: string): boolean {
  return typeof value === "boolean" ? value : refuse(field, "true or false", value);
}

/** What a tag of exactly this number holds. */
export function expectTag(value: CborValue | undefined, tag: number, field: string): CborValue {
  return value instanceof CborTag && value.tag === tag ? value.value : refuse(field, `tag ${tag}`, value);
}

/** A map with no other keys than these; which of them must be there is for its readers to say. */
export function expectKeys(map: CborMap, allowed: readonly CborKey[], field: string): CborMap {
  for (const key of map.keys()) {
    if (!allowed.includes(key)) return refuse(field, `no keys but ${allowed.join(", ")}`, key);
  }
  return map;
}

function refuse(field: string, expected: string, value: CborValue | undefined): never {
  throw new Refusal("E_CBOR", `${field} is not ${expected}`, { expected, found: describeCbor(value) });
}

/** A short description of a decoded value, for messages: never longer than 60 characters. */
export function describeCbor(value: CborValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (value instanceof Uint8Array) return `a byte string of ${value.length}`;
  if (value instanceof CborTag) return `tag ${value.tag}`;
  if (typeof value === "object") return "size" in value ? `a map of ${value.size}` : `an array of ${value.length}`;
  return typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : value.toString();
}
