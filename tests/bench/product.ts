/** The product as the benchmarks drive it: a kernel whose modules start a batch on an event and report its end. */
import { Kernel } from "../../kernel/index.ts";
import type { EndpointGrant, Grant, KernelEvent, KernelOptions, ModuleSpec } from "../../kernel/index.ts";
import type { ManifestFields } from "../support/modules.ts";
import { admit, manifestFields, moduleSpec, watModule } from "../support/modules.ts";
import { KERNEL_PATIENCE } from "../support/patience.ts";

/** Slots that a benchmark's module may have: what starts a batch, and where it reports. */
const GO: Grant = { slot: "go", interface: "mqtt", rights: ["subscribe"], parameters: { subscribe: ["go"] } };
const REPORT: Grant = { slot: "report", interface: "file", rights: ["write"], parameters: { path: "/report" } };
export const REPORT_IMPORT = `(import "report" "write" (func $report (param i32 i32) (result i32)))`;
export const CALL_IMPORT = `(import "out" "call" (func $call (param i32 i32 i32 i32 i32) (result i32)))`;
export const SEND_IMPORT = `(import "out" "send" (func $send (param i32 i32 i32 i32) (result i32)))`;
export const CLOCK_IMPORT = `(import "clock" "monotonic" (func $now (result i64)))`;
/** Indices of the ports that every module of a benchmark has. */
export const PORT = Object.freeze({ in: 0, go: 1 } as const);
/** Where `watModule` puts a message's payload, and where benchmarks keep what they send and report. */
export const PAYLOAD_AT = 1088;
export const SCRATCH_AT = 8192;
export const MESSAGE_BYTES = 64;

const PORTS: ManifestFields["ports"] = ["in", "go"].map((name) => ({
  name,
  contract: null,
  fuel: 10_000,
  stack: 4096,
}));
/** More than a slice: the module is a blocking one. */
export const BLOCKING_FUEL = 1_000_000_000_000;
const BATCH_MS = 120_000;

export interface Load {
  readonly wat: string;
  /** Where the slot `out` leads. */
  readonly out?: string;
  readonly rights?: EndpointGrant["rights"];
  readonly depth?: number;
  readonly blocking?: boolean;
  /** Imports the slots `report` and `clock`. */
  readonly reports?: boolean;
  readonly clock?: boolean;
  readonly timer?: boolean;
  readonly grants?: readonly Grant[];
  readonly slots?: ManifestFields["slots"];
  readonly manifest?: Partial<ManifestFields>;
  readonly spec?: Partial<ModuleSpec>;
}

interface Awaited {
  readonly resolve: (report: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

export class Product {
  readonly kernel: Kernel;
  readonly #bindings = new Map<string, number>();
  readonly #awaited = new Map<string, Awaited>();
  readonly #listeners = new Set<(event: KernelEvent) => void>();
  #tolerant = false;

  private constructor(options: Partial<KernelOptions>) {
    this.kernel = new Kernel({
      patience: KERNEL_PATIENCE,
      ...options,
      host: {
        bind: (made) => {
          for (const { id, module, slot } of made) if (slot === "go") this.#bindings.set(module, id);
        },
        unbind: () => undefined,
        request: ({ module }, _operation, _numbers, [report = new Uint8Array(0)]) => {
          this.#awaited.get(module)?.resolve(report);
          this.#awaited.delete(module);
          return Promise.resolve({ result: 0, bytes: new Uint8Array(0) });
        },
      },
      onEvent: (event) => {
        for (const listener of this.#listeners) listener(event);
        if (!this.#tolerant && ["fault", "held", "partition-lost"].includes(event.type)) {
          const failure = new Error(`a benchmark's module failed: ${JSON.stringify(event)}`);
          for (const { reject } of this.#awaited.values()) reject(failure);
          this.#awaited.clear();
        }
      },
    });
  }

  /** @param tolerant true where faults are what is measured. */
  static async start(partitions: readonly string[] = ["main"], options: Partial<KernelOptions> = {}): Promise<Product> {
    const product = new Product(options);
    await product.kernel.start(partitions.map((name) => ({ name, heapMiB: 128 })));
    return product;
  }

  /** From now on a module's fault is no failure of the benchmark. */
  tolerateFaults(): void {
    this.#tolerant = true;
  }

  onEvent(listener: (event: KernelEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The next event that satisfies the predicate. */
  next(predicate: (event: KernelEvent) => boolean): Promise<KernelEvent> {
    return new Promise((resolve) => {
      const forget = this.onEvent((event) => {
        if (!predicate(event)) return;
        forget();
        resolve(event);
      });
    });
  }

  async load(name: string, load: Load): Promise<void> {
    const { spec, manifest } = describeModule(name, load);
    this.kernel.load(spec, await admit(load.wat, manifest, spec));
  }

  /** Starts a batch in each of the modules; resolves with their reports when all have told its end. */
  async batch(modules: readonly string[], count: number): Promise<Uint8Array[]> {
    const payload = new Uint8Array(MESSAGE_BYTES);
    new DataView(payload.buffer).setUint32(0, count, true);
    const reports = modules.map((module) => this.report(module));
    for (const module of modules) this.trigger(module, payload);
    return await Promise.all(reports);
  }

  trigger(module: string, payload: Uint8Array): void {
    this.kernel.event(this.#bindings.get(module) ?? 0, payload);
  }

  /** The next report of a module. */
  report(module: string): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${module} has not ended its batch within ${BATCH_MS} ms`));
      }, BATCH_MS);
      this.#awaited.set(module, {
        resolve: (report) => {
          clearTimeout(timer);
          resolve(report);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  async stop(): Promise<void> {
    await this.kernel.stop();
  }
}

/** A module's manifest and specification, with exactly the slots that its WAT uses. */
export function describeModule(name: string, load: Load): { spec: ModuleSpec; manifest: ManifestFields } {
  const rights = [...(load.rights ?? ["send", "call"])];
  const [module = "", port = "in"] = load.out?.split(".") ?? [];
  const slots: ManifestFields["slots"] = { go: { interface: "mqtt", rights: ["subscribe"], port: "go" } };
  const grants: Grant[] = [GO];
  if (load.out !== undefined) {
    slots["out"] = { interface: "endpoint", rights, port: null };
    const to = [{ module, port }];
    const bounds = { badge: 1, depth: load.depth ?? 64, overflow: "refuse" } as const;
    grants.push({ slot: "out", interface: "endpoint", to, rights: load.rights ?? ["send", "call"], ...bounds });
  }
  if (load.reports === true) {
    slots["report"] = { interface: "file", rights: ["write"], port: null };
    grants.push(REPORT);
  }
  if (load.clock === true) {
    slots["clock"] = { interface: "clock", rights: ["use"], port: null };
    grants.push({ slot: "clock", interface: "clock", rights: ["use"], parameters: {} });
  }
  if (load.timer === true) {
    slots["timer"] = { interface: "timer", rights: ["use"], port: "in" };
    grants.push({ slot: "timer", interface: "timer", rights: ["use"], parameters: {} });
  }
  Object.assign(slots, load.slots);
  grants.push(...(load.grants ?? []));
  const fuel = load.blocking === true ? BLOCKING_FUEL : 150_000;
  const manifest = manifestFields(name, { ports: PORTS, slots, fuel, ...load.manifest });
  const spec = moduleSpec(name, grants, { activationMs: BATCH_MS, ...load.spec });
  return { spec, manifest };
}

/** Hands every message on to the host: the way out for direct modules, which can't wait for it themselves. */
export const REPORTER: Load = {
  wat: watModule(
    REPORT_IMPORT,
    `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
       (if (i32.eqz (local.get $port))
         (then (drop (call $report (i32.const ${PAYLOAD_AT}) (local.get $length)))))
       (i64.const 0))`,
  ),
  reports: true,
  blocking: true,
};

/** Calls `out` as often as the event says, then reports the last result. */
export const CALLER_WAT = watModule(
  `${REPORT_IMPORT}${CALL_IMPORT}`,
  `(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
     (local $n i32) (local $result i32)
     (if (i32.ne (local.get $port) (i32.const ${PORT.go})) (then (return (i64.const 0))))
     (local.set $n (i32.load (i32.const ${PAYLOAD_AT})))
     (block $done (loop $again
       (local.set $result (call $call (i32.const ${SCRATCH_AT}) (i32.const ${MESSAGE_BYTES})
         (i32.const 9000) (i32.const ${MESSAGE_BYTES}) (i32.const 60000)))
       (br_if $done (i32.ne (local.get $result) (i32.const ${MESSAGE_BYTES})))
       (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
     (i32.store (i32.const ${SCRATCH_AT}) (local.get $result))
     (drop (call $report (i32.const ${SCRATCH_AT}) (i32.const 4)))
     (i64.const 0))`,
);

/** Fails the benchmark where a batch of calls has ended otherwise than with a whole reply. */
export function checkReplies(reports: readonly Uint8Array[]): void {
  for (const report of reports) {
    const result = new DataView(report.buffer, report.byteOffset).getInt32(0, true);
    if (result !== MESSAGE_BYTES) throw new Error(`a call of the benchmark ended with result ${result}`);
  }
}
