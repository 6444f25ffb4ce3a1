/** GPIO as the device process sees it: a chip with lines, and the interface host of `gpio-line` over chips. */
import { Refusal, RESULT } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostPort, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { DeviceFailure } from "./failure.ts";

export type Level = 0 | 1;
export type Edges = "none" | "rising" | "falling" | "both";

export interface LineRequest {
  readonly line: number;
  readonly direction: "in" | "out";
  readonly edges: Edges;
  /** For the kernel's list of who holds a line. */
  readonly consumer: string;
  readonly onEdge: (level: Level, nanoseconds: bigint) => void;
}

/** A line that was requested. */
export interface GpioLine {
  /** @throws DeviceFailure */
  get(): Promise<Level>;
  /** @throws DeviceFailure */
  set(level: Level): Promise<void>;
  release(): void;
}

export interface GpioChip {
  readonly description: string;
  /** @throws DeviceFailure not-found, busy, denied */
  request(request: LineRequest): Promise<GpioLine>;
  close(): void;
}

/** How often a line that is not there, or in use, is asked for. */
const RETRY_MS = 1000;

/** A line is requested when it is bound, so that edges are seen from the start, and again after it failed. */
export class GpioHost implements InterfaceHost {
  readonly #port: HostPort;
  readonly #open: (chip: number) => GpioChip;
  readonly #chips = new Map<number, GpioChip>();
  readonly #lines = new Map<number, Promise<GpioLine>>();
  #lostEdges = 0;

  /** `open` makes the chip of that number when the first line of it is bound. */
  constructor(open: (chip: number) => GpioChip, port: HostPort) {
    this.#open = open;
    this.#port = port;
  }

  bind(binding: HostBinding): void {
    const { chip, line, direction, edges = "none" } = binding.parameters;
    const number = integer(chip, "chip", 255);
    const request: LineRequest = {
      line: integer(line, "line", 1023),
      direction: choice(direction, "direction", ["in", "out"]),
      edges: choice(edges, "edges", ["none", "rising", "falling", "both"]),
      consumer: `bulkhead ${binding.owner}`.slice(0, 31),
      onEdge: (level, nanoseconds) => {
        this.#edge(binding, level, nanoseconds);
      },
    };
    const gpio = this.#chips.get(number) ?? this.#open(number);
    this.#chips.set(number, gpio);
    this.#request(binding, gpio, request, "");
  }

  /** A line that cannot be had yet is asked for again; why it cannot is said once. */
  #request(binding: HostBinding, gpio: GpioChip, request: LineRequest, saidReason: string): void {
    const requested = gpio.request(request);
    this.#lines.set(binding.id, requested);
    requested.catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== saidReason) this.#port.log(1, `${binding.owner}: ${reason}`);
      setTimeout(() => {
        if (this.#lines.get(binding.id) === requested) this.#request(binding, gpio, request, reason);
      }, RETRY_MS).unref();
    });
  }

  unbind({ id }: HostBinding): void {
    this.#lines.get(id)?.then(
      (line) => {
        line.release();
      },
      () => undefined,
    );
    this.#lines.delete(id);
  }

  async request({ binding, operation, numbers }: HostRequest): Promise<HostAnswer> {
    const [level = 0] = numbers;
    if (operation === "set" && (binding.parameters["direction"] !== "out" || (level !== 0 && level !== 1))) {
      return failed("invalid");
    }
    try {
      const line = await this.#lines.get(binding.id);
      if (line === undefined) return failed("not-found");
      if (operation === "get") return { result: await line.get() };
      await line.set(level === 1 ? 1 : 0);
      return { result: 0 };
    } catch (error) {
      if (error instanceof DeviceFailure) return { result: RESULT[error.result] };
      throw error;
    }
  }

  stop(): Promise<void> {
    for (const chip of this.#chips.values()) chip.close();
    return Promise.resolve();
  }

  #edge(binding: HostBinding, level: Level, nanoseconds: bigint): void {
    if (!binding.rights.includes("edges")) return;
    if (this.#port.event(binding.id, [level, nanoseconds])) return;
    this.#lostEdges++;
    if (Math.log2(this.#lostEdges) % 1 === 0) {
      this.#port.log(1, `${binding.owner}: ${this.#lostEdges} edges were lost so far, for nobody took them in time`);
    }
  }
}

function integer(value: unknown, name: string, maximum: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= maximum) return value;
  throw new Refusal("E_CONFIG", `${name} is not an integer from 0 to ${maximum}`, { found: String(value) });
}

function choice<Word extends string>(value: unknown, name: string, words: readonly Word[]): Word {
  const word = words.find((known) => known === value);
  if (word !== undefined) return word;
  throw new Refusal("E_CONFIG", `${name} is not one of ${words.join(", ")}`, { found: String(value) });
}
