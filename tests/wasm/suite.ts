/** Runs scripts of the official WebAssembly test suite, plain or metered, and says what each command came to. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { Refusal } from "../../kernel/errors.ts";
import { meter } from "../../kernel/wasm/meter.ts";
import { type MeteredExports, promising, suspending } from "./support.ts";

interface Value {
  readonly type: string;
  readonly value: string;
}

interface Action {
  readonly type: "invoke" | "get";
  readonly module?: string;
  readonly field: string;
  readonly args?: readonly Value[];
}

export interface Command {
  readonly type: string;
  readonly line: number;
  readonly name?: string;
  readonly as?: string;
  readonly binary?: string;
  readonly action?: Action;
  readonly expected?: readonly Value[];
  readonly text?: string;
}

export interface Script {
  readonly name: string;
  readonly commands: readonly Command[];
}

export function loadSuite(): Script[] {
  const packed = readFileSync(new URL("suite/core.json.gz", import.meta.url));
  return JSON.parse(gunzipSync(packed).toString("utf8")) as Script[];
}

/** How the modules of a script are run. A slice suspends through JavaScript Promise Integration each time it is used up. */
export type Mode =
  | "plain"
  | "metered"
  | "canonical NaNs"
  | { readonly slice: number; readonly canonicalNans?: boolean };

const SUITE_QUOTA = { memoryMaximumPages: 32_768, tableMaximumEntries: 10_000_000 };
/** Abstract bytes: far below the native stack, far above what the suite needs. */
const SUITE_DEPTH = 262_144;

type Exports = Record<string, unknown>;

/** Outcomes are compared as text: values exactly (NaN as NaN), traps by V8's message. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return value.map(describe).join(" ");
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value === "function") return "funcref";
  return JSON.stringify(value);
}

function describeError(error: unknown): string {
  if (error instanceof Refusal) return `refused ${error.code}`;
  if (!(error instanceof Error)) return "thrown";
  if (error instanceof RangeError || error.message === "stack overflow") return "exhaustion";
  const message = error.message.replace(/WebAssembly\.\w+\(\): |@\+\d+|#\d+/g, "");
  if (error instanceof WebAssembly.CompileError) return "compile error";
  if (error instanceof WebAssembly.LinkError) return "link error";
  return `${error.name}: ${message}`;
}

const externals = new Map<string, unknown>();

function toValue({ type, value }: Value): unknown {
  if (type === "i32") return Number(value) | 0;
  if (type === "i64") return BigInt.asIntN(64, BigInt(value));
  if (value === "null") return null;
  if (type === "externref") {
    const known = externals.get(value) ?? { external: value };
    externals.set(value, known);
    return known;
  }
  if (value.startsWith("nan")) return Number.NaN;
  const view = new DataView(new ArrayBuffer(8));
  if (type === "f32") {
    view.setUint32(0, Number(value));
    return view.getFloat32(0);
  }
  view.setBigUint64(0, BigInt(value));
  return view.getFloat64(0);
}

/** Runs one script. Every command gives one line, "<line> <type>: <outcome>". */
export class ScriptRunner {
  readonly mode: Mode;
  readonly outcomes: string[] = [];
  /** Commands whose outcome was what the suite expects. */
  asExpected = 0;
  suspensions = 0;
  readonly #registered = new Map<string, Exports>();
  readonly #named = new Map<string, Exports>();
  #current: Exports | undefined;

  constructor(mode: Mode) {
    this.mode = mode;
    const nothing = (): void => undefined;
    this.#registered.set("spectest", {
      print: nothing,
      print_i32: nothing,
      print_i64: nothing,
      print_f32: nothing,
      print_f64: nothing,
      print_i32_f32: nothing,
      print_f64_f64: nothing,
      global_i32: 666,
      global_i64: 666n,
      global_f32: 666.6,
      global_f64: 666.6,
      table: new WebAssembly.Table({ initial: 10, maximum: 20, element: "anyfunc" }),
      memory: new WebAssembly.Memory({ initial: 1, maximum: 2 }),
    });
  }

  async run(script: Script): Promise<void> {
    for (const command of script.commands) {
      const [outcome, good] = await this.#command(command);
      this.outcomes.push(`${script.name}:${command.line} ${command.type}: ${outcome}`);
      if (good) this.asExpected += 1;
    }
  }

  async #command(command: Command): Promise<[string, boolean]> {
    try {
      return await this.#carryOut(command);
    } catch (error) {
      const outcome = describeError(error);
      const wanted = ["assert_trap", "assert_exhaustion", "assert_uninstantiable", "assert_unlinkable"];
      if (["assert_invalid", "assert_malformed"].includes(command.type)) {
        return ["rejected", outcome === "compile error" || outcome.startsWith("refused")];
      }
      return [outcome, wanted.includes(command.type)];
    }
  }

  async #carryOut(command: Command): Promise<[string, boolean]> {
    switch (command.type) {
      case "module": {
        this.#current = undefined;
        this.#current = await this.#instantiate(command);
        if (command.name !== undefined) this.#named.set(command.name, this.#current);
        return ["instantiated", true];
      }
      case "register":
        this.#registered.set(command.as ?? "", this.#module(command.name));
        return ["registered", true];
      case "assert_invalid":
      case "assert_malformed":
        this.#compile(command);
        return ["accepted", false];
      case "assert_unlinkable":
      case "assert_uninstantiable":
        await this.#instantiate(command);
        return ["instantiated", false];
      default: {
        const result = await this.#act(command.action);
        const values = Array.isArray(result) ? (result as unknown[]) : result === undefined ? [] : [result];
        return [describe(values), command.type !== "assert_trap" && this.#matches(values, command.expected)];
      }
    }
  }

  #matches(values: readonly unknown[], expected: readonly Value[] | undefined): boolean {
    if (expected === undefined) return true;
    return (
      expected.length === values.length &&
      expected.every((value, index) => describe(toValue(value)) === describe(values[index]) || value.type === "funcref")
    );
  }

  #module(name: string | undefined): Exports {
    const module = name === undefined ? this.#current : this.#named.get(name);
    if (module === undefined) throw new Error("no module to act on");
    return module;
  }

  async #act(action: Action | undefined): Promise<unknown> {
    if (action === undefined) throw new Error("a command without an action");
    const target = this.#module(action.module)[action.field];
    if (action.type === "get") return (target as { value: unknown }).value;
    return await this.#invoke(target, (action.args ?? []).map(toValue));
  }

  async #invoke(target: unknown, values: readonly unknown[]): Promise<unknown> {
    if (typeof this.mode === "string") return (target as (...values: unknown[]) => unknown)(...values);
    return await promising(target)(...values);
  }

  #compile(command: Command): WebAssembly.Module {
    const binary = new Uint8Array(Buffer.from(command.binary ?? "", "base64"));
    if (this.mode === "plain") return new WebAssembly.Module(binary);
    const canonicalNans = typeof this.mode === "string" ? this.mode !== "metered" : this.mode.canonicalNans === true;
    return new WebAssembly.Module(meter(binary, { ...SUITE_QUOTA, canonicalNans }));
  }

  async #instantiate(command: Command): Promise<Exports> {
    const module = this.#compile(command);
    const imports = Object.fromEntries(this.#registered) as WebAssembly.Imports;
    if (this.mode === "plain") return new WebAssembly.Instance(module, imports).exports;
    const { mode } = this;
    const armed: { fuel?: WebAssembly.Global<"i32"> } = {};
    const exhausted = async (): Promise<void> => {
      this.suspensions += 1;
      await Promise.resolve();
      if (armed.fuel === undefined || typeof mode === "string") throw new Error("never armed");
      armed.fuel.value = mode.slice;
    };
    const overflow = (): void => {
      throw new Error("stack overflow");
    };
    const meterImports = { exhausted: typeof mode === "string" ? overflow : suspending(exhausted), overflow };
    const instance = new WebAssembly.Instance(module, { ...imports, "bulkhead:meter": meterImports });
    const exports = instance.exports as unknown as MeteredExports;
    armed.fuel = exports["bulkhead:fuel"];
    exports["bulkhead:arm"](typeof mode === "string" ? 2_000_000_000 : mode.slice, SUITE_DEPTH);
    await this.#invoke(exports["bulkhead:initialize"], []);
    // A trap leaves depth as it was at the trap; the host sets it again at each entry.
    return this.#rearming(exports);
  }

  #rearming(exports: MeteredExports): Exports {
    const depth = exports["bulkhead:depth"];
    return new Proxy(exports, {
      get: (target, name) => {
        depth.value = SUITE_DEPTH;
        return Reflect.get(target, name) as unknown;
      },
    });
  }
}
