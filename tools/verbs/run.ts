/** `bulkhead run`: the gateway, until it is told to stop. */
import { fstatSync } from "node:fs";
import { parseArgs } from "node:util";
import type { GatewayConfiguration } from "../../gateway/config/index.ts";
import { ConfigurationError, loadConfiguration } from "../../gateway/config/index.ts";
import { eventText, Gateway, isWarning } from "../../gateway/core/index.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import type { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { linesText, refusalText } from "../printing.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";
import type { StartCheck } from "./check.ts";

const HELP = `usage: bulkhead run [gateway.yaml] [--check] [--json] [--quiet]

Runs the gateway that the configuration describes, until Ctrl-C. A broker that is absent is not an error: the gateway
says so and goes on trying.

The configuration is ${WHERE_NONE_IS_NAMED}, where none is named.

  --check          compare the configuration with modules, files and simulators as a start does, then stop; nothing is
                   started or written, and what could not be compared is told
  --json           print each event as one JSON object a line; of --check one object: ok, file, errors, warnings
  --quiet          print warnings and errors only
  --patience <n>   wait n times as long for processes and partitions, 1 to 100: for emulated and very slow machines

For tools: --before <file> decides before all other files; --probation-ms <n> and --probation-messages <n> shorten an
update's probation, which a real gateway needs.

Exit codes: 0 stopped cleanly, 1 a failure, 2 a configuration that is not valid.
`;

/** What the numbers on the command line may be; a timer that is set beyond 2^31 ms goes off at once. */
const RANGES = Object.freeze({
  "probation-ms": [0, 86_400_000],
  "probation-messages": [0, 1_000_000],
  patience: [1, 100],
} as const);

export const runVerb: Command = { name: "run", summary: "run a gateway until Ctrl-C", help: HELP, run };

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: {
      json: { type: "boolean" },
      quiet: { type: "boolean" },
      check: { type: "boolean" },
      // For the demo and tests: milliseconds of an update's probation.
      "probation-ms": { type: "string" },
      // For `bulkhead dev`: messages that a new module must have handled, and a file that decides before the others.
      "probation-messages": { type: "string" },
      before: { type: "string" },
      // For emulated machines: how many times as long a device or link process may take to start.
      patience: { type: "string", default: "1" },
    },
    allowPositionals: true,
  });
  const [named, ...others] = positionals;
  if (others.length > 0) {
    io.stderr(`bulkhead run: name one configuration\n${HELP}`);
    return 2;
  }
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = values[name as keyof typeof RANGES];
    if (value === undefined || (value.trim() !== "" && Number(value) >= least && Number(value) <= most)) continue;
    io.stderr(`bulkhead run: --${name} takes a number from ${least} to ${most}\n`);
    return 2;
  }
  const file = configurationFile(named);
  const read = () => loadConfiguration(file, values.before === undefined ? [] : [values.before]);
  if (values.check === true) return await check(file, read, values.json === true, io);
  const configuration = await read();
  const updateTimes = Object.fromEntries(
    [
      ["probationMs", values["probation-ms"]],
      ["probationMessages", values["probation-messages"]],
    ].flatMap(([name, value]) => (value === undefined ? [] : [[name, Number(value)]])),
  ) as Readonly<Record<string, number>>;
  const onEvent = (event: GatewayEvent): void => {
    print(event, io, values.json === true, values.quiet === true);
  };
  // The launcher has measured it, and has started this process accordingly.
  const addressSpace = process.env["BULKHEAD_ADDRESS_SPACE"];
  if (addressSpace !== undefined) onEvent({ type: "gateway", state: "starting", text: addressSpace });
  const gateway = new Gateway(configuration, {
    onEvent,
    updateTimes,
    patience: Number(values.patience),
  });
  try {
    await gateway.start();
  } catch (error) {
    // A Ctrl-C while it starts is a stop like any other.
    if (!io.signal.aborted) throw error;
    return 0;
  }
  await aborted(io.signal);
  await gateway.stop();
  return 0;
}

async function check(
  file: string,
  read: () => Promise<GatewayConfiguration>,
  isJson: boolean,
  io: Io,
): Promise<number> {
  // A gateway that runs needs none of this in its memory.
  const { checkStart } = await import("./check.ts");
  const { errors, warnings } = await read().then(checkStart, (error: unknown): StartCheck => {
    if (error instanceof ConfigurationError) return { errors: [error], warnings: [] };
    throw error;
  });
  if (isJson) {
    const told = errors.flatMap((error): readonly object[] =>
      error instanceof ConfigurationError ? error.problems : [plain(error)],
    );
    io.stdout(`${JSON.stringify({ ok: errors.length === 0, file, errors: told, warnings })}\n`);
  } else {
    io.stderr(linesText(warnings.map((warning) => `! ${warning}`)));
    for (const error of errors) io.stderr(refusalText(error));
    if (errors.length === 0) io.stdout(`${file} is valid\n`);
  }
  return errors.length === 0 ? 0 : 2;
}

function plain({ code, message, detail }: Refusal): object {
  return { code, message, ...detail };
}

function print(told: GatewayEvent, io: Io, isJson: boolean, isQuiet: boolean): void {
  const event = told.type === "token" && isJournal() ? { ...told, token: "" } : told;
  if (isJson) io.stdout(`${JSON.stringify({ time: Date.now(), ...withoutContent(event) })}\n`);
  else if (!isQuiet || isWarning(event)) io.stdout(`${new Date().toISOString()} ${eventText(event)}\n`);
}

/** True where systemd keeps what is printed, for more people than may know a token (systemd.exec(5), JOURNAL_STREAM). */
function isJournal(): boolean {
  const { dev, ino } = fstatSync(1);
  return process.env["JOURNAL_STREAM"] === `${dev}:${ino}`;
}

/** The message of a fault may hold what no log should: its port and size stay. */
function withoutContent(event: GatewayEvent): object {
  if (event.type !== "fault" || event.input === undefined) return event;
  const { port, payload } = event.input;
  return { ...event, input: { port, bytes: payload.length } };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => {
      resolve();
    });
  });
}
