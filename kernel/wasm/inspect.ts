/** What admission asks of a binary: its imports and exports with types as text, and its custom sections by name. */

import { type CustomSection, type ExternalKind, type FunctionType, type ModuleShape, VALUE_TYPES } from "./reader.ts";

export { readModule } from "./reader.ts";

/** One import: `("<slot>", "<operation>")`. `type` is "(i32,i32)->i64" for a function, undefined for other kinds. */
export interface ImportDescription {
  readonly slot: string;
  readonly operation: string;
  readonly kind: ExternalKind;
  readonly type: string | undefined;
  /** Byte offset of the import in the binary. */
  readonly at: number;
}

/** One export. `type` is "(i32,i32)->i64" for a function, undefined for other kinds. */
export interface ExportDescription {
  readonly name: string;
  readonly kind: ExternalKind;
  readonly type: string | undefined;
}

/** "(i32,i32)->i64"; several results in parentheses, none as "()". */
export function describeType(type: FunctionType): string {
  const names = (types: Uint8Array): string => [...types].map((byte) => VALUE_TYPES.get(byte) ?? "?").join(",");
  const results = type.results.length === 1 ? names(type.results) : `(${names(type.results)})`;
  return `(${names(type.parameters)})->${results}`;
}

function functionType(shape: ModuleShape, typeIndex: number | undefined): string | undefined {
  const type = shape.types[typeIndex ?? -1];
  return type === undefined ? undefined : describeType(type);
}

export function listImports(shape: ModuleShape): ImportDescription[] {
  return shape.imports.map((item) => ({
    slot: item.module,
    operation: item.name,
    kind: item.kind,
    type: item.kind === "function" ? functionType(shape, item.type) : undefined,
    at: item.at,
  }));
}

export function listExports(shape: ModuleShape): ExportDescription[] {
  return shape.exports.map(({ name, kind, index }) => ({
    name,
    kind,
    type: kind === "function" ? functionType(shape, shape.functions[index]) : undefined,
  }));
}

/** All custom sections of that name, in order; their bytes alias the binary. */
export function findCustomSections(shape: ModuleShape, name: string): CustomSection[] {
  return shape.customSections.filter((section) => section.name === name);
}
