/** The gateway that `bulkhead dev` starts: `bulkhead run` in a process of its own, with its events read as they come. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { QuotingRefusal } from "../printing.ts";

const CLI = fileURLToPath(new URL(`../cli${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`, import.meta.url));
const STOP_MS = 10_000;
const ERROR_CHARACTERS = 16_384;

export class LocalGateway {
  readonly #child: ChildProcess;
  readonly #running = Promise.withResolvers<undefined>();
  readonly ended: Promise<number>;
  #errors = "";

  /** @param flags options of `bulkhead run` */
  constructor(configuration: string, flags: readonly string[], onEvent: (event: GatewayEvent) => void) {
    const parameters = ["--disable-warning=ExperimentalWarning", CLI, "run", configuration, "--json", ...flags];
    this.#child = spawn(process.execPath, parameters, {
      // The fourth is a tie: when this process ends, however it ends, the gateway stops.
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // A Ctrl-C is for the tool, which then stops the gateway.
      detached: true,
    });
    const { stdout, stderr } = this.#child;
    if (stdout !== null) createInterface(stdout).on("line", (line) => this.#take(line, onEvent));
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = `${this.#errors}${text}`.slice(-ERROR_CHARACTERS);
    });
    this.ended = new Promise((resolve) => {
      this.#child.on("close", (code) => {
        resolve(code ?? 1);
        this.#running.reject(new QuotingRefusal("E_ABORTED", ["the gateway ended", this.#errors.trim()]));
      });
    });
    // Whoever does not wait for it to run is told by `ended`.
    this.#running.promise.catch(() => undefined);
  }

  get errors(): string {
    return this.#errors.trim();
  }

  /** Resolves when it runs. @throws Refusal E_ABORTED with what it said, where it ended */
  async running(): Promise<void> {
    await this.#running.promise;
  }

  /** Ctrl-C, then SIGKILL where that takes too long. */
  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #take(line: string, onEvent: (event: GatewayEvent) => void): void {
    let event: GatewayEvent;
    try {
      // SAFETY: our own process's own output.
      event = JSON.parse(line) as GatewayEvent;
    } catch {
      this.#errors += `${line}\n`;
      return;
    }
    if (event.type === "gateway" && event.state === "running") this.#running.resolve(undefined);
    onEvent(event);
  }
}
