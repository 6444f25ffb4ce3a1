/** Finds results that a module's source drops: the compiler has no such rule, and a failure must not vanish silently. */
import { SLOT_CLASSES, variable } from "./generate.ts";
import type { ManifestDocument } from "./module-file.ts";

/** A statement whose result nobody looks at. */
export interface DroppedResult {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly call: string;
}

/** What is used of the compiler's syntax tree (`NodeKind` of assemblyscript 0.28). */
const KIND = Object.freeze({ parameter: 6, identifier: 7, call: 10, propertyAccess: 22, this: 25 });
const STATEMENT_KIND = Object.freeze({ expression: 39, function: 56, method: 59 });

interface SyntaxNode {
  readonly kind: number;
  readonly range: { readonly start: number; readonly end: number };
}

/** A source file of the compiler's parser. */
export interface SyntaxSource extends SyntaxNode {
  readonly normalizedPath: string;
  readonly text: string;
  readonly statements: readonly SyntaxNode[];
}

/** Interfaces whose operations cannot fail in a way that matters: log and clock. */
const WITHOUT_RESULT = ["Log", "Clock"];

/**
 * Looks through the module's own sources. A result counts as dropped where a statement is nothing but a call of a slot's
 * operation, on the slot or on a parameter of its class, or of a function of the module that is declared to return one.
 */
export function findDroppedResults(sources: readonly SyntaxSource[], manifest: ManifestDocument): DroppedResult[] {
  const own = sources.filter(({ normalizedPath: file }) => !file.startsWith("~lib/") && !file.startsWith("generated/"));
  const fallible = Object.entries(manifest.slots).filter(([, slot]) => isFallible(SLOT_CLASSES[slot.interface]));
  const objects = new Set(fallible.map(([name]) => variable(name)));
  const functions = new Set<string>();
  for (const source of own) collectNames(source, objects, functions);
  return own.flatMap((source) => findIn(source, objects, functions));
}

function isFallible(slotClass: string | undefined): boolean {
  return slotClass !== undefined && !WITHOUT_RESULT.includes(slotClass);
}

/** Adds the names of functions that return a `Result`, and of parameters that are slots. */
function collectNames(source: SyntaxSource, objects: Set<string>, functions: Set<string>): void {
  walk(source, (node) => {
    if (node.kind === STATEMENT_KIND.function || node.kind === STATEMENT_KIND.method) {
      const name = textAt(node, "name", "text");
      if (name !== undefined && textAt(node, "signature", "returnType", "name", "identifier", "text") === "Result") {
        functions.add(name);
      }
    } else if (node.kind === KIND.parameter) {
      const name = textAt(node, "name", "text");
      const slotClass = textAt(node, "type", "name", "identifier", "text");
      const isSlot = Object.values(SLOT_CLASSES).includes(slotClass ?? "") && isFallible(slotClass);
      if (name !== undefined && isSlot) objects.add(name);
    }
  });
}

function findIn(source: SyntaxSource, objects: ReadonlySet<string>, functions: ReadonlySet<string>): DroppedResult[] {
  const found: DroppedResult[] = [];
  walk(source, (node) => {
    if (node.kind !== STATEMENT_KIND.expression) return;
    const call = child(node, "expression");
    const callee = call?.kind === KIND.call ? child(call, "expression") : undefined;
    if (callee === undefined || !isDropped(callee, objects, functions)) return;
    found.push({ ...placeOf(source, node.range.start), call: source.text.slice(callee.range.start, callee.range.end) });
  });
  return found;
}

function isDropped(callee: SyntaxNode, objects: ReadonlySet<string>, functions: ReadonlySet<string>): boolean {
  if (callee.kind === KIND.identifier) return functions.has(textAt(callee, "text") ?? "");
  if (callee.kind !== KIND.propertyAccess) return false;
  const object = child(callee, "expression");
  if (object?.kind === KIND.this) return functions.has(textAt(callee, "property", "text") ?? "");
  return object?.kind === KIND.identifier && objects.has(textAt(object, "text") ?? "");
}

function placeOf({ normalizedPath, text }: SyntaxSource, offset: number): Omit<DroppedResult, "call"> {
  const before = text.slice(0, offset).split("\n");
  return { file: normalizedPath, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/** Visits every node below one; the tree's links upward (`parent`, `source` and `range`) are not followed. */
function walk(node: SyntaxNode, visit: (node: SyntaxNode) => void): void {
  visit(node);
  for (const [key, value] of Object.entries(node)) {
    if (key === "range" || key === "parent" || key === "source") continue;
    for (const inner of Array.isArray(value) ? (value as unknown[]) : [value]) if (isNode(inner)) walk(inner, visit);
  }
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === "object" && value !== null && "kind" in value && "range" in value;
}

function child(node: SyntaxNode, key: string): SyntaxNode | undefined {
  const value = (node as unknown as Readonly<Record<string, unknown>>)[key];
  return isNode(value) ? value : undefined;
}

/** The text at the end of a path of properties, or undefined. */
function textAt(node: SyntaxNode, ...path: readonly string[]): string | undefined {
  let value: unknown = node;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[key];
  }
  return typeof value === "string" ? value : undefined;
}
