/** Finds results that a module's source drops: the compiler has no such rule, and a failure must not vanish silently. */

/** A statement whose result nobody looks at. */
export interface DroppedResult {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly expression: string;
}

/** The class in `modules/sdk/result.ts`, as the compiler calls it. */
const RESULT = "~lib/bulkhead/sdk/result/Result";
/** `TypeKind.Void` of assemblyscript 0.28. */
const VOID = 25;
/** What is used of its syntax tree (`NodeKind`). */
const KIND = Object.freeze({ identifier: 7, ternary: 23, function: 56, method: 59, variable: 62 });

interface SyntaxNode {
  readonly kind: number;
  readonly range: { readonly start: number; readonly end: number; readonly source: SyntaxSource };
}

/** A source file of the compiler's parser. */
interface SyntaxSource extends SyntaxNode {
  readonly normalizedPath: string;
  readonly text: string;
}

/** A program of the compiler. */
export interface CompiledProgram {
  readonly sources: readonly SyntaxSource[];
}

interface CompiledType {
  readonly kind: number;
  readonly classReference: { readonly internalName: string } | null;
}

type Convert = (
  expression: unknown,
  from: CompiledType,
  to: CompiledType,
  explicit: boolean,
  node: SyntaxNode,
) => unknown;
type CompileExpression = (node: SyntaxNode, wanted: CompiledType, ...rest: unknown[]) => unknown;

/** The compiler's class of that name; both methods are called once for every expression, with its type found. */
interface CompilerPrototype {
  convertExpression: Convert;
  compileExpression: CompileExpression;
}

interface RunningCompiler {
  readonly program: CompiledProgram;
  readonly currentType: CompiledType;
}

/** What a compilation tells about its expressions. */
interface Seen {
  /** Results that became nothing: statements, operands of `void` and of the comma, the ends of a `for`. */
  readonly dropped: Set<SyntaxNode>;
  /** Every expression that is a result. */
  readonly results: WeakSet<SyntaxNode>;
}

const watched = new WeakMap<CompiledProgram, Seen>();
const patched = new WeakSet<CompilerPrototype>();

/**
 * From now on what this program's compilation does with results is noted. The compiler itself says what is a result, so
 * that no way of writing it escapes: a helper's, a field's, one in brackets.
 */
export function watchResults(program: CompiledProgram, compiler: { readonly prototype: CompilerPrototype }): void {
  watched.set(program, { dropped: new Set(), results: new WeakSet() });
  const { prototype } = compiler;
  if (patched.has(prototype)) return;
  patched.add(prototype);
  const { convertExpression, compileExpression } = prototype;
  prototype.convertExpression = function (this: RunningCompiler, expression, from, to, explicit, node) {
    if (to.kind === VOID && isResult(from)) watched.get(this.program)?.dropped.add(node);
    return convertExpression.call(this, expression, from, to, explicit, node);
  };
  prototype.compileExpression = function (this: RunningCompiler, node, wanted, ...rest) {
    const compiled = compileExpression.call(this, node, wanted, ...rest);
    const seen = watched.get(this.program);
    if (isResult(this.currentType)) seen?.results.add(node);
    else if (node.kind === KIND.ternary && wanted.kind === VOID) noteBranches(node, seen);
    return compiled;
  };
}

/** The compiler drops the branches of `a ? b : c;` without a conversion. */
function noteBranches(ternary: SyntaxNode, seen: Seen | undefined): void {
  for (const branch of Object.values(ternary)) {
    if (isNode(branch) && seen?.results.has(branch) === true) seen.dropped.add(branch);
  }
}

function isResult({ classReference }: CompiledType): boolean {
  return classReference?.internalName === RESULT;
}

/** What the module's own sources drop, once the program is compiled; in the order of files and lines. */
export function findDroppedResults(program: CompiledProgram): DroppedResult[] {
  const seen = watched.get(program);
  if (seen === undefined) return [];
  const own = program.sources.filter(isOwn);
  const nodes = [
    ...[...seen.dropped].filter(({ range }) => isOwn(range.source)),
    ...own.flatMap((source) => unread(source, seen)),
  ];
  // A function that is compiled for several types is seen several times.
  const places = new Map(
    nodes.map((node) => [`${node.range.source.normalizedPath}:${node.range.start}`, describe(node)]),
  );
  return [...places.values()].sort(
    (left, right) => left.file.localeCompare(right.file) || left.line - right.line || left.column - right.column,
  );
}

function isOwn({ normalizedPath }: SyntaxSource): boolean {
  return !normalizedPath.startsWith("~lib/") && !normalizedPath.startsWith("generated/");
}

/** Results that are given a name which nothing in the same function mentions again. */
function unread(source: SyntaxSource, { results }: Seen): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  walk(source, (scope) => {
    if (scope.kind !== KIND.function && scope.kind !== KIND.method) return;
    const mentions = new Map<string, number>();
    const named: { readonly name: string; readonly value: SyntaxNode }[] = [];
    walk(scope, (node) => {
      if (node.kind === KIND.identifier) {
        const name = textOf(node);
        mentions.set(name, (mentions.get(name) ?? 0) + 1);
      } else if (node.kind === KIND.variable) {
        const { initializer: value, name } = fieldsOf(node);
        if (isNode(value) && isNode(name) && results.has(value)) named.push({ name: textOf(name), value });
      }
    });
    found.push(...named.filter(({ name }) => mentions.get(name) === 1).map(({ value }) => value));
  });
  return found;
}

/** The fields that one kind of node has more than others. */
function fieldsOf(node: SyntaxNode): Readonly<Record<string, unknown>> {
  return node as unknown as Readonly<Record<string, unknown>>;
}

function textOf(identifier: SyntaxNode): string {
  return String(fieldsOf(identifier)["text"]);
}

function describe({ range: { start, end, source } }: SyntaxNode): DroppedResult {
  const before = source.text.slice(0, start).split("\n");
  const expression = source.text.slice(start, end).replace(/\s+/g, " ");
  return { file: source.normalizedPath, line: before.length, column: (before.at(-1)?.length ?? 0) + 1, expression };
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
