/** Remembers which modules have failed, for sets that no swap watches: new modules, and what a boot has started. */
import { Refusal } from "../../kernel/index.ts";
import type { GatewayEvent } from "./events.ts";

/** A module that is neither loaded nor refused within this hangs in its initialization. */
const LOAD_MS = 10_000;

interface Listener {
  readonly modules: readonly string[];
  readonly failed: (refusal: Refusal) => void;
  readonly loaded: (module: string) => void;
}

export class FailureWatch {
  /** Since it was last loaded by order; a module that boots and crashes at once has failed before anybody asks. */
  readonly #failures = new Map<string, string>();
  readonly #listeners = new Set<Listener>();

  observe(event: GatewayEvent): void {
    switch (event.type) {
      case "fault":
        return this.#failed(event.module, `${event.cause}: ${event.text}`);
      case "held":
        return this.#failed(event.module, event.reason);
      case "refused":
        return this.#failed(event.module, event.text);
      case "restarted":
        return this.#failed(event.module, `it was started again (${event.cause})`);
      case "loaded":
        for (const { loaded } of [...this.#listeners]) loaded(event.module);
        return;
      default:
    }
  }

  /** Resolves after so long without a failure of these modules. @throws Refusal E_PROBATION where one fails, or has */
  async during(milliseconds: number, modules: readonly string[]): Promise<void> {
    const failed = modules.find((name) => this.#failures.has(name));
    if (failed !== undefined) throw refusalOf(failed, this.#failures.get(failed) ?? "");
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(resolve, milliseconds, undefined);
    await this.#listen({ modules, failed: reject, loaded: () => undefined }, promise, timer);
  }

  /** Resolves when the module, which is loaded next, is there. @throws Refusal E_PROBATION, E_TIMEOUT */
  async loaded(module: string): Promise<void> {
    this.#failures.delete(module);
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => {
      reject(new Refusal("E_TIMEOUT", `${module} was not there in time`, { expected: `at most ${LOAD_MS} ms` }));
    }, LOAD_MS);
    const loaded = (name: string): void => {
      if (name === module) resolve(undefined);
    };
    await this.#listen({ modules: [module], failed: reject, loaded }, promise, timer);
  }

  #failed(module: string, text: string): void {
    this.#failures.set(module, text);
    const refusal = refusalOf(module, text);
    for (const { modules, failed } of [...this.#listeners]) if (modules.includes(module)) failed(refusal);
  }

  async #listen(listener: Listener, outcome: Promise<undefined>, timer: NodeJS.Timeout): Promise<void> {
    this.#listeners.add(listener);
    try {
      await outcome;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(listener);
    }
  }
}

function refusalOf(module: string, text: string): Refusal {
  return new Refusal("E_PROBATION", `${module} failed after its start: ${text}`);
}
