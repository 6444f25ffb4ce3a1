/** `bulkhead top`: what a running gateway does, live on a terminal or as JSON. */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { ModuleView, RouteView, Snapshot } from "../../gateway/wire/operator.ts";
import { printable } from "../../gateway/wire/parse.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { linesText } from "../printing.ts";
import { connectGateway, WHERE_NONE_RUNS } from "../dev/find-gateway.ts";

const HELP = `usage: bulkhead top [--once] [--interval <seconds>] [--gateway <gateway.yaml>] [--json]

Shows modules with what they use, routes with their rates, and the newest readings of the gateway that runs here, each
second until Ctrl-C or q. Where stdout is no terminal it looks once. WAITS is how long a module has been ready and not had
its turn, LOST what its mailbox had no room for; REFUSED went back to the sender, DROPPED by the route's policy.

  --once             look once: two looks a second apart, for the rates
  --interval <s>     seconds between two looks, 0.5 to 60 (default 1)
  --gateway <file>   the gateway's configuration (${WHERE_NONE_RUNS})
  --json             one JSON object a look: gateway, partitions, modules, routes, hosts, readings, updates
`;

const RATE_MS = 1000;

export const topVerb: Command = {
  name: "top",
  summary: "show what a running gateway does, live",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { values } = parseArgs({
      args,
      options: {
        once: { type: "boolean", default: false },
        interval: { type: "string", default: "1" },
        gateway: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const interval = Number(values.interval);
    if (!(interval >= 0.5 && interval <= 60)) {
      throw new Refusal("E_CONFIG", "that is no interval", { expected: "0.5 to 60 seconds", found: values.interval });
    }
    const client = await connectGateway(values.gateway);
    const isOnce = values.once || (!io.isTerminal && !values.json);
    const screen = !isOnce && !values.json ? new Screen(io) : undefined;
    const stop = AbortSignal.any([io.signal, ...(screen === undefined ? [] : [screen.closed])]);
    try {
      await client.snapshot();
      await sleep(RATE_MS, undefined, { signal: stop });
      while (!stop.aborted) {
        const snapshot = await client.snapshot();
        const text = values.json ? `${JSON.stringify(snapshot)}\n` : describe(snapshot);
        if (screen === undefined) io.stdout(text);
        else screen.show(text);
        if (isOnce) break;
        await sleep(interval * 1000, undefined, { signal: stop });
      }
    } catch (error) {
      if (!stop.aborted) throw error;
    } finally {
      screen?.close();
      client.close();
    }
    return 0;
  },
};

/** The terminal's other screen, which gives the first one back unharmed. */
class Screen {
  readonly #io: Io;
  readonly #controller = new AbortController();

  constructor(io: Io) {
    this.#io = io;
    io.control("\u001b[?1049h\u001b[?25l");
    if (!process.stdin.isTTY) return;
    process.stdin.setRawMode(true);
    process.stdin.on("data", this.#key);
  }

  get closed(): AbortSignal {
    return this.#controller.signal;
  }

  /** Lines that do not fit are left out, and so are ends of lines. */
  show(text: string): void {
    const { columns, rows } = process.stdout;
    const lines = text.split("\n").slice(0, rows - 1);
    const cut = lines.map((line) => `${line.slice(0, columns)}\u001b[K`);
    this.#io.control(`\u001b[H${cut.join("\r\n")}\u001b[J`);
  }

  close(): void {
    this.#io.control("\u001b[?25h\u001b[?1049l");
    if (!process.stdin.isTTY) return;
    process.stdin.off("data", this.#key);
    process.stdin.setRawMode(false);
    process.stdin.pause();
  }

  readonly #key = (bytes: Uint8Array): void => {
    // In raw mode Ctrl-C is a byte like others.
    if (bytes.includes(3) || bytes.includes(0x71)) this.#controller.abort();
  };
}

/** Pages of a book: who is, what it may do with what is left, who talks to whom, what is measured. */
export function describe({ gateway, partitions, modules, routes, hosts, readings, updates }: Snapshot): string {
  const up = Math.round((Date.now() - gateway.startedAt) / 1000);
  const processes = hosts.map(({ process, state }) => `${process} ${state}`).join(", ");
  const [update] = updates;
  const lines = [
    `${printable(gateway.id)}: ${gateway.state}, up ${duration(up)}; ${processes || "no other process"}`,
    ...(update === undefined
      ? []
      : [`update ${update.plan.slice(0, 12)}: ${update.state} ${update.percent}% ${update.code}`]),
    ...partitions.filter(({ answers }) => !answers).map(({ name }) => `partition ${name} DOES NOT ANSWER`),
    "",
    ...table(MODULE_HEAD, modules.map(moduleLine)),
    "",
    ...table(ROUTE_HEAD, routes.map(routeLine)),
  ];
  if (readings.length > 0) lines.push("", ...table(READING_HEAD, readings.map(readingLine)));
  return linesText(lines);
}

const MODULE_HEAD = [
  "MODULE",
  "PARTITION",
  "STATE",
  "GEN",
  "MSG/S",
  "FUEL/S",
  "OF",
  "MEMORY",
  "QUEUE",
  "WAITS",
  "LOST",
  "RESTARTS",
  "LAST FAULT",
];
const ROUTE_HEAD = ["ROUTE", "TO", "MSG/S", "SENT", "REFUSED", "DROPPED", "QUEUE"];
const READING_HEAD = ["TOPIC", "QUANTITY", "VALUE", "AGE"];

function moduleLine(module: ModuleView): string[] {
  const { fuelPerSecond, fuelLimitPerSecond, lastFault } = module;
  const share = fuelPerSecond === null || fuelLimitPerSecond === 0 ? "-" : percent(fuelPerSecond / fuelLimitPerSecond);
  const fault = lastFault === null ? "" : `${lastFault.cause}: ${lastFault.text}`;
  return [
    module.name,
    module.partition,
    module.isThrottled ? "throttled" : module.state,
    String(module.generation),
    number(module.activationsPerSecond),
    number(fuelPerSecond),
    share,
    `${Math.ceil(module.memoryBytes / 1024)}K`,
    String(module.queued),
    milliseconds(module.waitingMs),
    String(module.lost),
    String(module.restarts),
    fault.slice(0, 60),
  ].map(printable);
}

function routeLine({ from, slot, to, perSecond, sent, refused, dropped, queued }: RouteView): string[] {
  const counts = [sent, refused, dropped, queued].map(String);
  return [`${from}.${slot}`, to, number(perSecond), ...counts].map(printable);
}

function readingLine({ topic, quantity, value, unit, text, time }: Snapshot["readings"][number]): string[] {
  const shown = value === null ? text.slice(0, 40) : `${value} ${unit}`;
  return [topic, quantity, shown, duration(Math.max(0, Math.round((Date.now() - time) / 1000)))].map(printable);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, index) => Math.max(title.length, ...rows.map((row) => row[index]?.length ?? 0)));
  return [head, ...rows].map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function number(value: number | null): string {
  if (value === null) return "-";
  if (value < 10_000) return value < 10 ? value.toFixed(1) : value.toFixed(0);
  return value < 10_000_000 ? `${(value / 1000).toFixed(0)}k` : `${(value / 1e6).toFixed(0)}M`;
}

/** How long a module has been ready without its turn; most are never seen waiting. */
function milliseconds(time: number): string {
  if (time < 0.5) return "-";
  return time < 1000 ? `${time.toFixed(0)}ms` : `${(time / 1000).toFixed(1)}s`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 ? 1 : 0)}%`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}
