/** What `bulkhead dev` tells: lines for people, or one JSON object a line for programs. */
import { eventText } from "../../gateway/core/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { printable } from "../../gateway/wire/parse.ts";
import type { Settings } from "../../gateway/wire/parse.ts";
import type { Io } from "../command.ts";
import type { DecodedMessage } from "./decode.ts";
import type { Edge } from "./overlay.ts";

export type DevReport =
  | { readonly type: "built"; readonly module: string; readonly bytes: number; readonly ms: number }
  | { readonly type: "not-built"; readonly text: string }
  | { readonly type: "gateway"; readonly state: "started" | "attached" | "restarted"; readonly text: string }
  | { readonly type: "swapped"; readonly module: string; readonly seconds: number; readonly pauseMs: number }
  | { readonly type: "not-swapped"; readonly module: string; readonly code: string; readonly text: string }
  | {
      readonly type: "fuel";
      readonly module: string;
      readonly activations: number;
      readonly each: number;
      readonly limit: number;
      readonly memoryBytes: number;
    }
  /** One frame of a trap of the module, by its source. */
  | { readonly type: "trap"; readonly module: string; readonly text: string }
  | { readonly type: "note"; readonly text: string };

type Colour = "green" | "red" | "yellow" | "dim" | "cyan";
const COLOURS: Readonly<Record<Colour, string>> = { green: "32", red: "31", yellow: "33", dim: "2", cyan: "36" };

const BAD_EVENTS: ReadonlySet<GatewayEvent["type"]> = new Set([
  "fault",
  "held",
  "denied",
  "refused",
  "swap-reverted",
  "partition-lost",
]);
const SHOWN_EVENTS: ReadonlySet<GatewayEvent["type"]> = new Set([
  ...BAD_EVENTS,
  "restarted",
  "finding",
  "warning",
  "simulated",
]);
const WARNING_LEVEL = 1;

export class Reporter {
  readonly #io: Io;
  readonly #isJson: boolean;

  constructor(io: Io, isJson: boolean) {
    this.#io = io;
    this.#isJson = isJson;
  }

  tell(report: DevReport): void {
    if (this.#isJson) this.#json(report);
    else this.#line(...describe(report));
  }

  /** The module's own log whole, of the others what is wrong. */
  event(event: GatewayEvent, module: string): void {
    const isShown =
      event.type === "log"
        ? event.module === module || event.level <= WARNING_LEVEL
        : SHOWN_EVENTS.has(event.type) || isBus(event);
    if (!isShown) return;
    if (this.#isJson) this.#json(event);
    else this.#line(eventText(event), colourOf(event));
  }

  message({ from, slot, to }: Edge, { value, text, breaches }: DecodedMessage): void {
    if (this.#isJson) {
      this.#json({ type: "message", from, slot, to, value: jsonValue(value), breaches });
      return;
    }
    this.#line(printable(`${from}.${slot} > ${to}  ${text}`), "cyan");
    for (const breach of breaches) this.#line(`  not by contract: ${printable(breach)}`, "red");
  }

  #json(object: object): void {
    this.#io.stdout(`${JSON.stringify(object)}\n`);
  }

  #line(text: string, colour?: Colour): void {
    const isPainted = colour !== undefined && this.#io.isTerminal;
    if (isPainted) this.#io.control(`\u001b[${COLOURS[colour]}m`);
    this.#io.stdout(isPainted ? text : `${text}\n`);
    if (isPainted) this.#io.control("\u001b[0m\n");
  }
}

function describe(report: DevReport): [text: string, colour?: Colour] {
  switch (report.type) {
    case "built":
      return [
        `${report.module}: built in ${(report.ms / 1000).toFixed(1)} s, ${(report.bytes / 1000).toFixed(1)} kB`,
        "green",
      ];
    case "not-built":
      return [`${report.text}\nthe version that runs goes on`, "red"];
    case "gateway":
      return [`gateway ${report.state}: ${report.text}`, "green"];
    case "swapped": {
      const { module, seconds, pauseMs } = report;
      return [
        `${module}: swapped in after ${seconds.toFixed(1)} s, with its state; senders waited ${pauseMs.toFixed(2)} ms`,
        "green",
      ];
    }
    case "not-swapped":
      return [`${report.module}: not swapped in: ${report.text}\nthe version that runs goes on`, "red"];
    case "fuel": {
      const { module, activations, each, limit, memoryBytes } = report;
      const share = ((100 * each) / limit).toFixed(1);
      return [
        `${module}: ${activations} activations of ${each} fuel (${share} % of its limit), ${memoryBytes / 1024} KiB of memory`,
        "dim",
      ];
    }
    case "trap":
      return [`  ${printable(report.text)}`, "red"];
    case "note":
      return [report.text, "dim"];
  }
}

function isBus(event: GatewayEvent): boolean {
  return event.type === "host" && event.state === "bus";
}

function colourOf(event: GatewayEvent): Colour | undefined {
  if (BAD_EVENTS.has(event.type) || (event.type === "log" && event.level === 0)) return "red";
  return event.type === "warning" || (event.type === "log" && event.level === WARNING_LEVEL) ? "yellow" : undefined;
}

/** What JSON has no form for is written as text. */
function jsonValue(value: Settings | undefined): unknown {
  const text = JSON.stringify(value, (_key, item: unknown) =>
    typeof item === "bigint" ? Number(item) : item instanceof Uint8Array ? item.toHex() : item,
  ) as string | undefined;
  return text === undefined ? null : (JSON.parse(text) as unknown);
}
