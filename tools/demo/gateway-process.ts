/** The demo's gateway: `bulkhead run` in a process of its own, as an operator would start it, with its events read as JSON. */
import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { eventText, isWarning } from "../../gateway/core/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";

const CLI = fileURLToPath(new URL(`../cli${import.meta.url.slice(import.meta.url.lastIndexOf("."))}`, import.meta.url));
const STOP_MS = 10_000;
const TROUBLES_SHOWN = 30;

type EventOf<Type extends GatewayEvent["type"]> = Extract<GatewayEvent, { type: Type }>;

export class GatewayProcess {
  readonly #child: ChildProcess;
  readonly #events: GatewayEvent[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #exit: Promise<number>;
  readonly #errors: string[] = [];
  #ended = false;

  readonly #stopMs: number;

  /** @param patience times as long for a start, an answer and an end */
  constructor(configuration: string, options: readonly string[] = [], patience = 1) {
    this.#stopMs = STOP_MS * patience;
    const arguments_ = [
      "--disable-warning=ExperimentalWarning",
      CLI,
      "run",
      configuration,
      "--json",
      ...options,
      "--patience",
      `${patience}`,
    ];
    this.#child = spawn(process.execPath, arguments_, {
      // The fourth is a tie: when this process ends, however it ends, the gateway stops.
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // A Ctrl-C is for the demo, which stops the gateway when it has counted.
      detached: true,
    });
    this.#exit = new Promise((resolve) => {
      this.#child.on("exit", (code) => {
        this.#ended = true;
        resolve(code ?? 1);
        this.#wake();
      });
    });
    const { stdout, stderr } = this.#child;
    if (stdout !== null) createInterface(stdout).on("line", (line) => this.#take(line));
    stderr?.setEncoding("utf8").on("data", (text: string) => this.#errors.push(text));
  }

  /** What it wrote to stderr: the explanation, where it did not start. */
  get errors(): string {
    return this.#errors.join("");
  }

  /** What went wrong in it by its own account, the latest last. */
  get troubles(): string[] {
    const latest = this.#events.filter((event) => isWarning(event) || event.type === "host").slice(-TROUBLES_SHOWN);
    // SAFETY: what is printed of a fault's message is its size, not the bytes that the text counts.
    return latest.map((event) => eventText({ ...event, input: undefined } as GatewayEvent));
  }

  /** Index of the next event, for `waitFor`: what comes later is what a step has caused. */
  get mark(): number {
    return this.#events.length;
  }

  /** The first event of that type from `mark` on that satisfies the predicate. */
  async waitFor<Type extends GatewayEvent["type"]>(
    type: Type,
    options: { mark?: number; timeoutMs: number; predicate?: (event: EventOf<Type>) => boolean },
  ): Promise<EventOf<Type>> {
    const find = (): EventOf<Type> | undefined =>
      this.#events
        .slice(options.mark ?? 0)
        // SAFETY: the predicate before it has compared the type.
        .find((event) => event.type === type && (options.predicate?.(event as EventOf<Type>) ?? true)) as
        | EventOf<Type>
        | undefined;
    return await new Promise((resolve, reject) => {
      const look = (): void => {
        const event = find();
        if (event === undefined && !this.#ended) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        if (event === undefined) reject(new Error(`the gateway ended: ${this.errors}`));
        else resolve(event);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no event ${type} within ${options.timeoutMs / 1000} s`));
      }, options.timeoutMs);
      this.#waiting.add(look);
      look();
    });
  }

  /** Ctrl-C, then the exit code; SIGKILL where that takes too long. */
  async stop(): Promise<number> {
    if (!this.#ended) this.#child.kill("SIGINT");
    const timer = setTimeout(() => {
      this.#errors.push(`it did not stop within ${this.#stopMs / 1000} s`);
      this.#child.kill("SIGKILL");
    }, this.#stopMs);
    const code = await this.#exit;
    clearTimeout(timer);
    return code;
  }

  #take(line: string): void {
    try {
      // SAFETY: our own process's own output.
      this.#events.push(JSON.parse(line) as GatewayEvent);
    } catch {
      this.#errors.push(`${line}\n`);
    }
    this.#wake();
  }

  #wake(): void {
    for (const look of [...this.#waiting]) look();
  }
}
