/** Modules that show a test what they see: they hand bytes to the recording host through a slot `report`. */
import type { EndpointGrant, Grant } from "../../kernel/index.ts";
import { HEADER, KERNEL_PORT } from "../../kernel/index.ts";
import type { TestKernel } from "./kernel.ts";
import type { ManifestFields } from "./modules.ts";
import { admit, manifestFields, moduleSpec, watModule } from "./modules.ts";
import type { ModuleSpec } from "../../kernel/index.ts";

export const REPORT: Grant = { slot: "report", interface: "file", rights: ["write"], parameters: { path: "/report" } };
export const REPORT_SLOT = { interface: "file", rights: ["write"], port: null };
export const REPORT_IMPORT = `(import "report" "write" (func $report (param i32 i32) (result i32)))`;
export const LOG: Grant = { slot: "log", interface: "log", rights: ["write"], parameters: {} };
export const LOG_SLOT = { interface: "log", rights: ["write"], port: null };
export const LOG_IMPORT = `(import "log" "write" (func $log (param i32 i32 i32) (result i32)))`;
export const TIMER: Grant = { slot: "timer", interface: "timer", rights: ["use"], parameters: {} };
export const HANDLES: Grant = { slot: "handles", interface: "handles", rights: ["use"], parameters: {} };
export const HANDLES_SLOT = { interface: "handles", rights: ["use"], port: null };

/** Where probes keep what they see; the inbox of `watModule` is at 1024, scratch memory for tests from 8192. */
const RESULTS_AT = 60_000;
const PORT_AT = 1020;

export function endpointSlot(rights: string[], port: string | null = null): ManifestFields["slots"][string] {
  return { interface: "endpoint", rights, port };
}

/** A grant of the slot `out`, or another, to `module.port`. */
export function endpoint(to: string, changes: Partial<EndpointGrant> = {}): EndpointGrant {
  const [module = "", port = ""] = to.split(".");
  return {
    slot: "out",
    interface: "endpoint",
    to: [{ module, port }],
    rights: ["send", "call", "pass"],
    badge: 7,
    depth: 64,
    overflow: "refuse",
    ...changes,
  };
}

/** What a module's handler saw: its arguments and the whole header. */
export interface SeenMessage {
  readonly port: number;
  readonly argumentLength: number;
  readonly version: number;
  readonly kind: number;
  readonly handles: number;
  readonly length: number;
  readonly senderModule: number;
  readonly senderGeneration: number;
  readonly badge: number;
  readonly correlation: number;
  readonly lost: number;
  readonly reserved: number;
  readonly handleList: readonly number[];
  readonly payload: Uint8Array;
}

/** A handler that reports each message with its port, then runs `after` (a statement that may return an i64). */
export function recorder(imports = "", after = "(i64.const 0)", extra = ""): string {
  return watModule(
    `${REPORT_IMPORT}${imports}`,
    `${extra}(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
      (i32.store (i32.const ${PORT_AT - 4}) (local.get $length))
      (i32.store (i32.const ${PORT_AT}) (local.get $port))
      (drop (call $report (i32.const ${PORT_AT - 4}) (i32.add (i32.const ${HEADER.size + 8}) (local.get $length))))
      ${after})`,
  );
}

function readSeen(bytes: Uint8Array): SeenMessage {
  const view = new DataView(bytes.buffer, bytes.byteOffset + 8);
  const word = (at: number): number => view.getUint32(at, true);
  const outer = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    argumentLength: outer.getInt32(0, true),
    port: outer.getInt32(4, true),
    version: view.getUint16(HEADER.version, true),
    kind: view.getUint8(HEADER.kind),
    handles: view.getUint8(HEADER.handles),
    length: word(HEADER.length),
    senderModule: word(HEADER.senderModule),
    senderGeneration: word(HEADER.senderGeneration),
    badge: word(HEADER.badge),
    correlation: word(HEADER.correlation),
    lost: word(HEADER.lost),
    reserved: word(HEADER.reserved),
    handleList: Array.from({ length: 8 }, (_, index) => word(HEADER.handleList + index * 4)),
    payload: bytes.slice(8 + HEADER.size),
  };
}

/** All reports of a module so far. */
export function reportsOf({ calls }: TestKernel, module: string): Uint8Array[] {
  return calls.flatMap(({ binding, bytes }) =>
    binding.module === module && binding.slot === "report" && bytes[0] !== undefined ? [bytes[0]] : [],
  );
}

/** The messages that a recorder has reported; reports too short to be one are its other findings. */
function messagesOf(running: TestKernel, module: string): SeenMessage[] {
  return reportsOf(running, module)
    .filter(({ length }) => length >= HEADER.size + 8)
    .map(readSeen);
}

/** Waits until a recorder has reported `count` messages, notices included. */
export async function seen(running: TestKernel, module: string, count: number, ms = 20_000): Promise<SeenMessage[]> {
  const enough = (): SeenMessage[] | undefined => {
    const messages = messagesOf(running, module);
    return messages.length >= count ? messages : undefined;
  };
  return await running.until(enough, `${count} messages seen by ${module}`, ms);
}

/** As `seen`, without the kernel's own notices. */
export async function messagesSeen(running: TestKernel, module: string, count: number): Promise<SeenMessage[]> {
  const messages = (): SeenMessage[] | undefined => {
    const found = messagesOf(running, module).filter(({ port }) => port !== KERNEL_PORT);
    return found.length >= count ? found : undefined;
  };
  return await running.until(messages, `${count} messages seen by ${module}`);
}

/**
 * A module that evaluates i32 expressions when it is started, in order, and reports their values.
 * `$length` is a local that expressions may use as scratch.
 */
export function evaluator(imports: string, expressions: readonly string[], extra = ""): string {
  const stores = expressions.map(
    (expression, index) => `(i32.store (i32.const ${RESULTS_AT + index * 4}) ${expression})`,
  );
  return watModule(
    `${REPORT_IMPORT}${imports}`,
    `${extra}(func (export "bulkhead_handle") (param $port i32) (param $length i32) (result i64)
      (if (i32.ne (local.get $port) (i32.const ${KERNEL_PORT})) (then (return (i64.const 0))))
      ${stores.join("\n      ")}
      (drop (call $report (i32.const ${RESULTS_AT}) (i32.const ${expressions.length * 4})))
      (i64.const 0))`,
  );
}

/** Waits for report number `index` of an evaluator and reads its values. */
export async function values(running: TestKernel, module: string, index = 0): Promise<number[]> {
  const report = await running.until(() => reportsOf(running, module)[index], `report ${index} of ${module}`);
  const view = new DataView(report.buffer, report.byteOffset, report.length);
  return Array.from({ length: report.length / 4 }, (_, word) => view.getInt32(word * 4, true));
}

export interface ProbeOptions {
  readonly grants?: readonly Grant[];
  readonly slots?: ManifestFields["slots"];
  readonly manifest?: Partial<ManifestFields>;
  readonly spec?: Partial<ModuleSpec>;
}

/** Admits and loads a module that has the slot `report`; the caller begins it. */
export async function loadProbe(
  { kernel }: TestKernel,
  name: string,
  wat: string,
  { grants = [], slots = {}, manifest = {}, spec: changes = {} }: ProbeOptions = {},
): Promise<void> {
  const spec = moduleSpec(name, [REPORT, ...grants], changes);
  const fields = manifestFields(name, { slots: { report: REPORT_SLOT, ...slots }, ...manifest });
  kernel.load(spec, await admit(wat, fields, spec));
}

/** Admits and loads any module, with exactly these slots. */
export async function loadModule(
  { kernel }: TestKernel,
  name: string,
  wat: string,
  { grants = [], slots = {}, manifest = {}, spec: changes = {} }: ProbeOptions = {},
): Promise<void> {
  const spec = moduleSpec(name, [...grants], changes);
  kernel.load(spec, await admit(wat, manifestFields(name, { slots, ...manifest }), spec));
}

/** Evaluates expressions in a module of its own and gives their values. */
export async function evaluate(
  running: TestKernel,
  name: string,
  imports: string,
  expressions: readonly string[],
  options: ProbeOptions & { readonly extra?: string } = {},
): Promise<number[]> {
  await loadProbe(running, name, evaluator(imports, expressions, options.extra), options);
  running.kernel.begin(name);
  return await values(running, name);
}
