/** Finds in a valid Wasm binary where function bodies lie and what functions are called: for messages, not for trust. */

const CUSTOM = 0;
const IMPORT = 2;
const CODE = 10;
const FUNCTION_NAMES = 1;
const [FUNCTION, TABLE, MEMORY, GLOBAL] = [0, 1, 2, 3];

/** A function body at [at, end), without the size before it. */
export interface BodySpan {
  readonly at: number;
  readonly end: number;
}

export interface BinaryOutline {
  readonly importedFunctions: number;
  readonly bodies: readonly BodySpan[];
  /** By function index, imported ones first; empty where the binary has no name section. */
  readonly names: ReadonlyMap<number, string>;
}

const utf8 = new TextDecoder();

class Cursor {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const next = this.bytes[this.at++];
      if (next === undefined) throw new RangeError("the binary ends in the middle of something");
      value += (next & 0x7f) * 2 ** shift;
      if (next < 0x80) return value;
    }
  }

  text(): string {
    const length = this.number();
    this.at += length;
    return utf8.decode(this.bytes.subarray(this.at - length, this.at));
  }
}

/** Spans of the sections with this id, without id and size. */
function sections(bytes: Uint8Array, wanted: number): BodySpan[] {
  const found: BodySpan[] = [];
  const cursor = new Cursor(bytes, 8);
  while (cursor.at < bytes.length) {
    const id = cursor.number();
    const size = cursor.number();
    if (id === wanted) found.push({ at: cursor.at, end: cursor.at + size });
    cursor.at += size;
  }
  return found;
}

function readBodies(bytes: Uint8Array): BodySpan[] {
  const [section] = sections(bytes, CODE);
  if (section === undefined) return [];
  const cursor = new Cursor(bytes, section.at);
  return Array.from({ length: cursor.number() }, () => {
    const size = cursor.number();
    const at = cursor.at;
    cursor.at += size;
    return { at, end: cursor.at };
  });
}

function readNames(bytes: Uint8Array): Map<number, string> {
  const names = new Map<number, string>();
  for (const section of sections(bytes, CUSTOM)) {
    const cursor = new Cursor(bytes, section.at);
    if (cursor.text() !== "name") continue;
    while (cursor.at < section.end) {
      const id = cursor.number();
      const size = cursor.number();
      const end = cursor.at + size;
      if (id === FUNCTION_NAMES)
        for (let left = cursor.number(); left > 0; left -= 1) names.set(cursor.number(), cursor.text());
      cursor.at = end;
    }
  }
  return names;
}

function countImportedFunctions(bytes: Uint8Array): number {
  const [section] = sections(bytes, IMPORT);
  if (section === undefined) return 0;
  const cursor = new Cursor(bytes, section.at);
  let functions = 0;
  for (let left = cursor.number(); left > 0; left -= 1) {
    cursor.text();
    cursor.text();
    const kind = cursor.number();
    if (kind === FUNCTION) functions += 1;
    // A function has a type index; a table an element type before its limits; a global a type and its mutability.
    cursor.number();
    if (kind === GLOBAL) cursor.number();
    const flags = kind === TABLE ? cursor.number() : kind === MEMORY ? bytes[cursor.at - 1] : undefined;
    if (flags === undefined) continue;
    cursor.number();
    if (flags === 1) cursor.number();
  }
  return functions;
}

/** @throws RangeError on a binary that ends too early; otherwise it is trusted to be one that was admitted. */
export function outline(bytes: Uint8Array): BinaryOutline {
  return { importedFunctions: countImportedFunctions(bytes), bodies: readBodies(bytes), names: readNames(bytes) };
}
