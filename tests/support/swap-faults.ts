/**
 * Preloaded into every thread of `tests/kernel/swap-faults-process.ts`: makes one step of a swap fail, as the file that
 * `SWAP_FAULT` names says at that moment, and tells what a module holds at each of its checkpoints.
 */
import { existsSync, readFileSync, renameSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import type { SwapStep } from "../../kernel/partition/swap.ts";

export interface SwapFault {
  readonly step: string;
  readonly role: string;
  readonly when: "before" | "in" | "after";
  readonly kind: "trap" | "refusal" | "loop" | "death" | "kill";
}

const { Refusal } = await import("../../kernel/errors.ts");
const path = process.env["SWAP_FAULT"] ?? "";

/** Takes the fault that is planned, if it is this one: each strikes once. */
function take(step: string, role: string, when: string): SwapFault | undefined {
  if (!existsSync(path)) return undefined;
  const fault = JSON.parse(readFileSync(path, "utf8")) as SwapFault;
  if (fault.step !== step || fault.role !== role || fault.when !== when) return undefined;
  renameSync(path, `${path}.struck`);
  return fault;
}

function strike(fault: SwapFault | undefined): void {
  if (fault === undefined) return;
  if (fault.kind === "kill") process.kill(process.pid, "SIGKILL");
  if (fault.kind === "death") process.exit(1);
  if (fault.kind === "loop") for (;;);
  if (fault.kind === "refusal") throw new Refusal("E_STATE", "planned");
  throw new WebAssembly.RuntimeError("planned");
}

/** Strikes right after the first thing that the step does to its surroundings. */
function striking<Target extends object>(target: Target, hit: () => void): Target {
  return new Proxy(target, {
    get: (_, key) => {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== "function") return value;
      return (...parameters: unknown[]): unknown => {
        const result: unknown = Reflect.apply(value, target, parameters);
        hit();
        return result;
      };
    },
  });
}

type Environment = Parameters<SwapStep["run"]>[0]["environment"];

/** At each checkpoint a module's holdings are told as a line of its log. */
function audited(environment: Environment, cell: Parameters<SwapStep["run"]>[1]): void {
  const seen = audits.get(environment) ?? new Set();
  audits.set(environment, seen);
  if (seen.has(cell)) return;
  seen.add(cell);
  const { report } = environment;
  Object.assign(environment, {
    report: (told: Parameters<typeof report>[0]) => {
      report(told);
      if (told.type !== "checkpoint" || told.module !== cell.id) return;
      const held = { handles: cell.handles.size, timers: cell.slotTimers.size, isSwapped: cell.swap !== undefined };
      report({ type: "log", module: cell.id, level: 3, text: JSON.stringify(held) });
    },
  });
}
const audits = new Map<Environment, Set<unknown>>();

if (!isMainThread) {
  const { SWAP_STEPS } = await import("../../kernel/partition/swap.ts");
  for (const step of SWAP_STEPS) {
    const { run, name } = step;
    step.run = (place, cell, swap) => {
      audited(place.environment, cell);
      strike(take(name, swap.role, "before"));
      const hit = (): void => {
        strike(take(name, swap.role, "in"));
      };
      const told = run(
        { runner: striking(place.runner, hit), environment: striking(place.environment, hit) },
        cell,
        swap,
      );
      // A step that does nothing to its surroundings is struck in its end.
      hit();
      strike(take(name, swap.role, "after"));
      return told;
    };
  }
}
