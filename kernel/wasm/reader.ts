/** Reads the structure of a Wasm binary into a `ModuleShape`: strict, in linear time, WebAssembly 2.0 and tail calls only. */

import { refuseSize } from "../errors.ts";
import { LIMITS } from "../limits.ts";
import { ByteReader, refuseWasm } from "./bytes.ts";
import { refuseKind, refuseLimits, refuseOpcode, refuseProposal, refuseSection, refuseType } from "./proposals.ts";

export type ExternalKind = "function" | "table" | "memory" | "global";
/** By their byte. */
export const KINDS: readonly ExternalKind[] = ["function", "table", "memory", "global"];

/** Value types by their byte in the binary format (5.3). */
export const VALUE_TYPES: ReadonlyMap<number, string> = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x7b, "v128"],
  [0x70, "funcref"],
  [0x6f, "externref"],
]);

/** One value type, as its byte. */
export function readValueType(reader: ByteReader): number {
  const at = reader.at;
  const type = reader.byte();
  if (!VALUE_TYPES.has(type)) refuseType(type, at);
  return type;
}

/** Parameter and result types, as their bytes. */
export interface FunctionType {
  readonly parameters: Uint8Array;
  readonly results: Uint8Array;
}

/** Pages or table entries; `maximum` is undefined where the binary declares none. */
export interface Limits {
  readonly minimum: number;
  readonly maximum: number | undefined;
}

interface TableType extends Limits {
  readonly element: number;
}

interface GlobalType {
  readonly type: number;
  readonly mutable: boolean;
}

/** What an import or export is: its index in the space of its kind. */
interface External {
  readonly name: string;
  readonly kind: ExternalKind;
  readonly index: number;
  readonly at: number;
}

export interface ImportShape extends External {
  readonly module: string;
}

/** A function index at `bytes[at, end)`: what has to change when functions are renumbered. */
export interface FunctionReference {
  readonly at: number;
  readonly end: number;
  readonly index: number;
}

/** `bytes[at, end)`: of a body its locals and instructions, of a section its content; without id and size. */
export interface Span {
  readonly at: number;
  readonly end: number;
}

/** Magic number and version 1 (5.5.16). */
export const WASM_HEADER: readonly number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];

export const SECTION = Object.freeze({
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
} as const);

/** Known sections in the order in which they must come (5.5.16). */
export const SECTION_ORDER: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

/** What a binary declares. Index spaces hold imports first, as in the specification. */
export type ModuleShape = Readonly<Omit<ModuleReader, "read">>;

class ModuleReader {
  readonly bytes: Uint8Array;
  readonly types: FunctionType[] = [];
  readonly imports: ImportShape[] = [];
  /** Type index of each function, imported ones first. */
  readonly functions: number[] = [];
  /** Tables, memories and globals that the module defines itself; of imported ones the number is all that is asked for. */
  readonly tables: TableType[] = [];
  readonly memories: Limits[] = [];
  readonly globals: GlobalType[] = [];
  readonly exports: External[] = [];
  readonly bodies: Span[] = [];
  /** Known sections by id. */
  readonly sections = new Map<number, Span>();
  readonly customSections: { readonly name: string; readonly bytes: Uint8Array }[] = [];
  /** Function indices outside function bodies (globals, exports, elements), in ascending order of offset. */
  readonly references: FunctionReference[] = [];
  /** How many of each kind are imported. */
  readonly imported: Record<ExternalKind, number> = { function: 0, table: 0, memory: 0, global: 0 };
  start: number | undefined;
  #dataSegments = 0;
  #dataCount: number | undefined;
  #items = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  read(): void {
    const reader = new ByteReader(this.bytes, 0, this.bytes.length);
    if (WASM_HEADER.some((value, index) => this.bytes[index] !== value)) {
      const component = this.bytes[4] === 0x0d || this.bytes[6] === 1;
      const found = component ? "a component or another version" : "other bytes";
      refuseWasm("not a WebAssembly module of version 1", 0, { expected: "00 61 73 6d 01 00 00 00", found });
    }
    reader.skip(WASM_HEADER.length);
    let last = -1;
    while (reader.at < reader.end) {
      const at = reader.at;
      const id = reader.byte();
      const size = reader.count("bytes of a section");
      const section = new ByteReader(this.bytes, reader.at, reader.at + size);
      reader.skip(size);
      if (id === SECTION.custom) {
        this.#custom(section);
        continue;
      }
      const order = SECTION_ORDER.indexOf(id);
      if (order < 0) refuseSection(id, at);
      if (order <= last) refuseWasm("a section comes twice or out of order", at, { found: `section ${id}` });
      last = order;
      this.sections.set(id, { at: section.at, end: section.end });
      this.#section(id, section);
      section.finish(`section ${id}`);
    }
    this.#agree(reader.end);
  }

  #section(id: number, reader: ByteReader): void {
    if (id === SECTION.start) this.start = this.#functionIndex(reader);
    else if (id === SECTION.dataCount) this.#dataCount = reader.u32();
    else if (id === SECTION.type) this.#each(reader, "types", () => this.types.push(this.#functionType(reader)));
    else if (id === SECTION.import) this.#each(reader, "imports", () => this.#import(reader));
    else if (id === SECTION.function)
      this.#each(reader, "functions", () => this.functions.push(this.#typeIndex(reader)));
    else if (id === SECTION.table) this.#each(reader, "tables", () => this.tables.push(this.#tableType(reader)));
    else if (id === SECTION.memory) this.#each(reader, "memories", () => this.memories.push(this.#memoryType(reader)));
    else if (id === SECTION.global) this.#each(reader, "globals", () => this.#global(reader));
    else if (id === SECTION.export) this.#exports(reader);
    else if (id === SECTION.element) this.#each(reader, "element segments", () => this.#element(reader));
    else if (id === SECTION.code) this.#each(reader, "function bodies", () => this.#body(reader));
    else this.#each(reader, "data segments", () => this.#data(reader));
  }

  #each(reader: ByteReader, what: string, read: (at: number) => void): void {
    const count = reader.count(what);
    this.#announce(count, reader.at);
    for (let index = 0; index < count; index += 1) read(reader.at);
  }

  #announce(count: number, at: number): void {
    this.#items += count;
    if (this.#items <= LIMITS.binaryItems) return;
    const most = `${LIMITS.binaryItems} types, functions, elements and so on`;
    refuseSize("a binary declares too many things", most, this.#items, { at });
  }

  /** What two sections say together (5.5.16). */
  #agree(end: number): void {
    const defined = this.functions.length - this.imported.function;
    if (defined !== this.bodies.length) {
      refuseWasm("function and code section disagree", end, {
        expected: `${defined} function bodies`,
        found: `${this.bodies.length}`,
      });
    }
    if (this.#dataCount !== undefined && this.#dataCount !== this.#dataSegments) {
      refuseWasm("data count and data section disagree", end, {
        expected: `${this.#dataCount} data segments`,
        found: `${this.#dataSegments}`,
      });
    }
  }

  #custom(reader: ByteReader): void {
    this.#announce(1, reader.at);
    const name = reader.name();
    this.customSections.push({ name, bytes: this.bytes.subarray(reader.at, reader.end) });
  }

  #referenceType(reader: ByteReader): number {
    const at = reader.at;
    const type = readValueType(reader);
    if (type !== 0x70 && type !== 0x6f) refuseWasm("not a reference type", at, { expected: "funcref or externref" });
    return type;
  }

  #valueTypes(reader: ByteReader): Uint8Array {
    const at = reader.at;
    const count = reader.count("value types");
    if (count > LIMITS.typeArity) {
      refuseSize("a function type has too many parameters or results", `${LIMITS.typeArity}`, count, { at });
    }
    const start = reader.at;
    for (let index = 0; index < count; index += 1) readValueType(reader);
    return this.bytes.subarray(start, reader.at);
  }

  #functionType(reader: ByteReader): FunctionType {
    const at = reader.at;
    const form = reader.byte();
    if (form !== 0x60) refuseType(form, at);
    const parameters = this.#valueTypes(reader);
    return { parameters, results: this.#valueTypes(reader) };
  }

  #typeIndex(reader: ByteReader): number {
    return reader.index(this.types.length, "type");
  }

  #functionIndex(reader: ByteReader): number {
    const at = reader.at;
    const index = reader.index(this.functions.length, "function");
    this.references.push({ at, end: reader.at, index });
    return index;
  }

  #limits(reader: ByteReader): Limits {
    const at = reader.at;
    const flags = reader.byte();
    if (flags > 1) refuseLimits(flags, at);
    const minimum = reader.u32();
    const maximum = flags === 1 ? reader.u32() : undefined;
    if (maximum !== undefined && maximum < minimum) {
      refuseWasm("a maximum is below its minimum", at, { expected: `at least ${minimum}`, found: `${maximum}` });
    }
    return { minimum, maximum };
  }

  #tableType(reader: ByteReader): TableType {
    const at = reader.at;
    if (this.bytes[at] === 0x40) refuseProposal("typed function references", "a table with an initial value", at);
    const element = this.#referenceType(reader);
    return { element, ...this.#limits(reader) };
  }

  #memoryType(reader: ByteReader): Limits {
    const at = reader.at;
    if (this.#count("memory") > 0) refuseProposal("multi-memory", "a second memory", at);
    const limits = this.#limits(reader);
    if (limits.minimum > 65_536 || (limits.maximum ?? 0) > 65_536) {
      refuseWasm("a memory of more than 65,536 pages", at);
    }
    return limits;
  }

  #globalType(reader: ByteReader): GlobalType {
    const type = readValueType(reader);
    const at = reader.at;
    const flags = reader.byte();
    if (flags > 1) {
      if ((flags & 2) !== 0) refuseProposal("shared-everything threads", "a shared global", at);
      refuseWasm("unknown mutability", at, { found: `${flags}` });
    }
    return { type, mutable: flags === 1 };
  }

  #import(reader: ByteReader): void {
    const at = reader.at;
    const module = reader.name();
    const name = reader.name();
    const kind = this.#kind(reader);
    if (kind === "function") this.functions.push(this.#typeIndex(reader));
    else if (kind === "table") this.#tableType(reader);
    else if (kind === "memory") this.#memoryType(reader);
    else this.#globalType(reader);
    this.imports.push({ module, name, at, kind, index: this.imported[kind] });
    this.imported[kind] += 1;
  }

  #kind(reader: ByteReader): ExternalKind {
    const at = reader.at;
    const byte = reader.byte();
    return KINDS[byte] ?? refuseKind(byte, at);
  }

  #count(kind: Exclude<ExternalKind, "function">): number {
    return this.imported[kind] + { table: this.tables, memory: this.memories, global: this.globals }[kind].length;
  }

  #global(reader: ByteReader): void {
    const global = this.#globalType(reader);
    this.#constant(reader);
    this.globals.push(global);
  }

  /** One constant instruction and `end`. WebAssembly 2.0 has none that takes operands, so one is all there can be. */
  #constant(reader: ByteReader): void {
    const at = reader.at;
    const opcode = reader.byte();
    if (opcode === 0x41) reader.signed(32);
    else if (opcode === 0x42) reader.signed(64);
    else if (opcode === 0x43) reader.skip(4);
    else if (opcode === 0x44) reader.skip(8);
    else if (opcode === 0x23) this.#importedGlobal(reader);
    else if (opcode === 0xd0) this.#referenceType(reader);
    else if (opcode === 0xd2) this.#functionIndex(reader);
    else if (opcode === 0xfd) this.#vectorConstant(reader, at);
    else if (opcode < 0xc5) refuseWasm("not a constant expression", at, { found: `opcode 0x${opcode.toString(16)}` });
    else refuseOpcode(0, opcode, at);
    this.#constantEnd(reader);
  }

  #vectorConstant(reader: ByteReader, at: number): void {
    const opcode = reader.u32();
    if (opcode >= 0x100) refuseOpcode(0xfd, opcode, at);
    if (opcode !== 0x0c) refuseWasm("not a constant expression", at, { expected: "v128.const" });
    reader.skip(16);
  }

  #importedGlobal(reader: ByteReader): void {
    const at = reader.at;
    const index = reader.index(this.#count("global"), "global");
    if (index >= this.imported.global) refuseProposal("garbage collection", "reading a defined global as constant", at);
  }

  #constantEnd(reader: ByteReader): void {
    const at = reader.at;
    const opcode = reader.byte();
    if (opcode === 0x0b) return;
    if (opcode === 0x0f || opcode < 0x20) refuseWasm("not a constant expression", at);
    refuseProposal("extended constant expressions", "a constant expression of several instructions", at);
  }

  #exports(reader: ByteReader): void {
    const names = new Set<string>();
    this.#each(reader, "exports", (at) => {
      const name = reader.name();
      if (names.has(name)) refuseWasm("two exports have one name", at, { found: name });
      names.add(name);
      const kind = this.#kind(reader);
      const index = kind === "function" ? this.#functionIndex(reader) : reader.index(this.#count(kind), kind);
      this.exports.push({ name, kind, index, at });
    });
  }

  /** The eight forms of an element segment (5.5.12): bit 0 not active, bit 1 index or declared, bit 2 expressions. */
  #element(reader: ByteReader): void {
    const at = reader.at;
    const flags = reader.u32();
    if (flags > 7) refuseWasm("an unknown form of element segment", at, { found: `${flags}` });
    const active = (flags & 1) === 0;
    const tables = this.#count("table");
    if (active && (flags & 2) !== 0) reader.index(tables, "table");
    else if (active && tables === 0) refuseWasm("an unknown table index", at);
    if (active) this.#constant(reader);
    const expressions = (flags & 4) !== 0;
    if ((flags & 3) !== 0) this.#elementKind(reader, expressions);
    this.#each(reader, "elements", () => {
      if (expressions) this.#constant(reader);
      else this.#functionIndex(reader);
    });
  }

  #elementKind(reader: ByteReader, expressions: boolean): void {
    const at = reader.at;
    if (expressions) this.#referenceType(reader);
    else if (reader.byte() !== 0) refuseWasm("an unknown element kind", at, { expected: "0" });
  }

  #data(reader: ByteReader): void {
    const at = reader.at;
    const flags = reader.u32();
    if (flags > 2) refuseWasm("an unknown form of data segment", at, { found: `${flags}` });
    if (flags === 2 && reader.u32() !== 0) refuseProposal("multi-memory", "a memory index", at);
    if (flags !== 1) {
      if (this.#count("memory") === 0) refuseWasm("a data segment without a memory", at);
      this.#constant(reader);
    }
    reader.skip(reader.count("bytes of data"));
    this.#dataSegments += 1;
  }

  #body(reader: ByteReader): void {
    const size = reader.count("bytes of a function body");
    const at = reader.at;
    reader.skip(size);
    this.bodies.push({ at, end: reader.at });
  }
}

/**
 * The structure of a binary. Function bodies are delimited here and read by `scanBody`. Throws nothing but `Refusal`
 * (E_WASM, with the byte offset; E_SIZE for a type that is too wide). `bytes` is aliased, never copied or changed.
 */
export function readModule(bytes: Uint8Array): ModuleShape {
  const reader = new ModuleReader(bytes);
  reader.read();
  return reader;
}

/** Of a function its type, such as "(i32,i32)->i64": several results in parentheses, none as "()"; of anything else its kind. */
export function describeExternal({ types, functions }: ModuleShape, { kind, index }: External): string {
  const type = types[functions[index] ?? -1];
  if (kind !== "function" || type === undefined) return kind;
  const [parameters = "", results = ""] = [type.parameters, type.results].map((bytes) =>
    Array.from(bytes, (byte) => VALUE_TYPES.get(byte)).join(),
  );
  return `(${parameters})->${type.results.length === 1 ? results : `(${results})`}`;
}
