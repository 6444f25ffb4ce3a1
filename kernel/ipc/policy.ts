/** What a partition knows of policy beyond rights: the modules' levels, and what routes require of their messages. */
import type { Contract } from "../contract.ts";
import {
  checkFuel,
  compileFields,
  compileRequirements,
  type MessageCheck,
  type Requirement,
} from "../message-check.ts";

/** What a route asks for. A contract that is asked for and not known lets nothing pass. */
export interface RouteGuard {
  readonly isChecked: boolean;
  readonly contract: Contract | null;
  readonly require: readonly Requirement[];
}

interface Compiled {
  readonly message: MessageCheck;
  readonly reply: MessageCheck;
  /** Requirements of each message. */
  readonly requirements: number;
}

type Pay = (fuel: number) => void;
const pass: MessageCheck = () => undefined;

export class Policy {
  readonly #levels = new Map<number, number>();
  readonly #guards = new Map<number, Compiled>();

  /** Levels by module: a call must go from a lower one to a higher one, so that no cycle of waiting can close. */
  setLevels(levels: readonly (readonly [module: number, level: number])[]): void {
    for (const [module, level] of levels) this.#levels.set(module, level);
  }

  /** True where the call goes upward; a module whose level is not known neither calls nor is called. */
  mayCall(caller: number, callee: number): boolean {
    return (this.#levels.get(caller) ?? Infinity) < (this.#levels.get(callee) ?? -Infinity);
  }

  setGuard(edge: number, guard: RouteGuard): void {
    this.#guards.set(edge, compile(guard));
  }

  isGuarded(edge: number): boolean {
    return this.#guards.size > 0 && this.#guards.has(edge);
  }

  /** What is wrong with a message or reply of this route, wherever its capability has gone, or undefined. `pay` comes first. */
  violation(edge: number, what: "message" | "reply", bytes: Uint8Array, pay: Pay): string | undefined {
    const guard = this.#guards.get(edge);
    if (guard === undefined || guard[what] === pass) return undefined;
    pay(checkFuel(bytes, what === "message" ? guard.requirements : 0));
    return guard[what](bytes);
  }
}

function compile({ isChecked, contract, require }: RouteGuard): Compiled {
  const required = require.length === 0 ? pass : compileRequirements(require);
  const requirements = require.length;
  if (!isChecked) return { message: required, reply: pass, requirements };
  if (contract === null)
    return { message: () => "its port has no contract to check it against", reply: pass, requirements };
  const fields = compileFields(contract.message);
  return {
    message: (bytes) => fields(bytes) ?? required(bytes),
    reply: contract.reply === null ? pass : compileFields(contract.reply),
    requirements,
  };
}
