/** A gateway that is measured: `bulkhead run` of the compiled product in processes of its own, as a service would start it. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { GATEWAY_ENVIRONMENT, GATEWAY_FLAGS } from "../launch/memory.js";
import type { Product } from "./product.ts";
import { commandLine, descendants } from "./processes.ts";

const START_MS = 120_000;
const STOP_MS = 15_000;
const LAST_WORDS = 2000;

export type ProcessName = "core" | "device" | "link";

export class RunningGateway {
  readonly startedAt = performance.now();
  readonly #child: ChildProcess;
  readonly #onEvent: (event: GatewayEvent) => void;
  #state = "";
  #words = "";

  constructor(
    product: Product,
    configuration: string,
    options: readonly string[] = [],
    onEvent: (event: GatewayEvent) => void = () => undefined,
  ) {
    this.#onEvent = onEvent;
    const flags = ["--disable-warning=ExperimentalWarning", ...GATEWAY_FLAGS];
    const args = [...flags, product.cli, "run", configuration, "--json", ...options];
    this.#child = spawn(product.node, args, {
      // The fourth is a tie: when this process ends, however it ends, the gateway stops.
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, ...GATEWAY_ENVIRONMENT },
      detached: true,
    });
    const { stdout, stderr } = this.#child;
    if (stdout !== null)
      createInterface(stdout).on("line", (line) => {
        this.#take(line);
      });
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#words = `${this.#words}${text}`.slice(-LAST_WORDS);
    });
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** The end of what it wrote to stderr, and refusals of modules. */
  get lastWords(): string {
    return this.#words;
  }

  async until(condition: () => boolean, what: string, withinMs = START_MS): Promise<void> {
    const since = performance.now();
    while (!condition()) {
      await pause(5);
      if (performance.now() - since > withinMs || this.hasEnded) {
        throw new Error(`the gateway gave no ${what}: ${this.#words}`);
      }
    }
  }

  /** Resolves when every module has been loaded. */
  async running(): Promise<void> {
    await this.until(() => this.#state === "running", "sign that it runs");
    if (this.#words.includes("refused")) throw new Error(`a module was refused: ${this.#words}`);
  }

  /** Process ids by part; the device and link processes are there where the configuration needs them. */
  processes(): ReadonlyMap<ProcessName, number> {
    const core = this.#child.pid ?? 0;
    const found = new Map<ProcessName, number>([["core", core]]);
    for (const id of descendants(core)) {
      const name = /gateway\/(device|link)\/main\./.exec(commandLine(id))?.[1];
      if (name === "device" || name === "link") found.set(name, id);
    }
    return found;
  }

  /** Ctrl-C, then the exit code; SIGKILL where that takes too long. */
  async stop(): Promise<number> {
    if (!this.hasEnded) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGINT");
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(timer);
    }
    return this.#child.exitCode ?? 1;
  }

  #take(line: string): void {
    try {
      // SAFETY: our own process's own output.
      const event = JSON.parse(line) as GatewayEvent;
      if (event.type === "gateway") this.#state = event.state;
      if (event.type === "refused") this.#words += `${line}\n`;
      this.#onEvent(event);
    } catch {
      this.#words = `${this.#words}${line}\n`.slice(-LAST_WORDS);
    }
  }
}
