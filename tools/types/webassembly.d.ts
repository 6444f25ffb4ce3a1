/** Types of the WebAssembly JavaScript API as far as it is used here: the alternative is TypeScript's whole browser library. */
declare namespace WebAssembly {
  type Bytes = ArrayBuffer | ArrayBufferView<ArrayBuffer>;
  interface ValueTypeMap {
    i32: number;
    i64: bigint;
    f32: number;
    f64: number;
    anyfunc: HostFunction | null;
    externref: unknown;
  }
  type ValueType = keyof ValueTypeMap;
  type ExternalKind = "function" | "global" | "memory" | "table" | "tag";
  type HostFunction = (...parameters: never[]) => unknown;
  type ExportValue = HostFunction | Global | Memory | Table;
  type ImportValue = ExportValue | number | bigint;
  type Exports = Record<string, ExportValue>;
  type ModuleImports = Record<string, ImportValue>;
  type Imports = Record<string, ModuleImports>;

  interface ExportDescriptor {
    readonly name: string;
    readonly kind: ExternalKind;
  }
  interface ImportDescriptor extends ExportDescriptor {
    readonly module: string;
  }
  /** `initial` and `maximum` are counted in pages of 64 KiB for a memory, in elements for a table. */
  interface Limits {
    readonly initial: number;
    readonly maximum?: number;
  }

  class Module {
    constructor(bytes: Bytes);
    static exports(module: Module): ExportDescriptor[];
    static imports(module: Module): ImportDescriptor[];
    static customSections(module: Module, name: string): ArrayBuffer[];
    private readonly brand: "WebAssembly.Module";
  }
  class Instance {
    constructor(module: Module, imports?: Imports);
    readonly exports: Exports;
  }
  class Memory {
    constructor(limits: Limits & { readonly shared?: boolean });
    readonly buffer: ArrayBuffer;
    grow(pages: number): number;
  }
  class Table {
    constructor(limits: Limits & { readonly element: "anyfunc" | "externref" });
    readonly length: number;
    get(index: number): unknown;
    set(index: number, value: unknown): void;
    grow(elements: number, value?: unknown): number;
  }
  class Global<Type extends ValueType = ValueType> {
    constructor(type: { readonly value: Type; readonly mutable?: boolean }, value?: ValueTypeMap[Type]);
    value: ValueTypeMap[Type];
  }
  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}

  // JavaScript Promise Integration (Node 26): the two ends between which a guest may be suspended.
  class Suspending {
    constructor(target: HostFunction);
  }
  class SuspendError extends Error {}
  function promising(target: ExportValue): (...parameters: never[]) => Promise<unknown>;

  function validate(bytes: Bytes): boolean;
  function compile(bytes: Bytes): Promise<Module>;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
  function instantiate(bytes: Bytes, imports?: Imports): Promise<{ module: Module; instance: Instance }>;
}
