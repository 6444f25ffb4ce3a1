/** The command `bulkhead`: finds the verb in the table, runs it, and turns its outcome into an exit code. */
import { Refusal } from "../kernel/index.ts";
import { ConfigurationError } from "../gateway/config/index.ts";
import type { Command, Io } from "./command.ts";
import { UsageError } from "./keys/command-line.ts";
import { printer, refusalText } from "./printing.ts";
import { COMMANDS } from "./verbs/table.ts";
import { escapeControls } from "../gateway/wire/escape.ts";
import { nearestName } from "../gateway/config/names.ts";

const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    controller.abort(signal);
  });
}
// Whoever started this process with a channel wants it to end with them.
if (process.channel !== undefined) {
  process.once("disconnect", () => {
    controller.abort("disconnect");
  });
  process.channel.unref();
}
// A reader that goes away (`bulkhead … | head`) ends the command quietly.
process.stdout.on("error", () => {
  controller.abort("SIGPIPE");
});

const io: Io = {
  ...printer(
    (text) => void process.stdout.write(text),
    (text) => void process.stderr.write(text),
  ),
  isTerminal: process.stdout.isTTY,
  signal: controller.signal,
};

process.exitCode = await main(process.argv.slice(2));

async function main([name, ...args]: string[]): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    io.stdout(await overview());
    return name === undefined ? 2 : 0;
  }
  if (name === "--version" || name === "-v") {
    io.stdout(`bulkhead ${await version()}\n`);
    return 0;
  }
  const load = COMMANDS.get(name);
  if (load === undefined) {
    const suggestion = nearestName(name, [...COMMANDS.keys()]);
    io.stderr(`bulkhead: there is no verb ${name}${suggestion === undefined ? "" : `; did you mean ${suggestion}?`}\n`);
    io.stderr("`bulkhead --help` lists them\n");
    return 2;
  }
  return await runCommand(await load(), args);
}

async function runCommand(command: Command, args: string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    io.stdout(`${command.help.trimEnd()}\n`);
    return 0;
  }
  try {
    return await command.run(args, io);
  } catch (error) {
    return explain(command.name, error);
  }
}

/** Wrong input is one message and exit code 2 (configuration, usage) or 1; a stack trace says that the fault is ours. */
function explain(name: string, error: unknown): number {
  if (error instanceof ConfigurationError) {
    io.stderr(refusalText(error));
    return 2;
  }
  if (error instanceof Refusal) {
    io.stderr(`bulkhead ${name}: ${refusalText(error)}`);
    return error.code === "E_CONFIG" ? 2 : 1;
  }
  if (isUsageError(error)) {
    io.stderr(`bulkhead ${name}: ${escapeControls(error.message)}\n\`bulkhead ${name} --help\` shows the usage\n`);
    return 2;
  }
  io.stderr(`bulkhead ${name}: this is a fault of bulkhead itself; please report it\n`);
  io.stderr(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}

/** What `node:util` parseArgs throws for an unknown flag or a missing value, and what reads the values throws. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  return error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
}

async function overview(): Promise<string> {
  const commands = await Promise.all([...COMMANDS.values()].map((load) => load()));
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `bulkhead: a microkernel for IoT gateways whose processes are WebAssembly modules

usage: bulkhead <verb> [options]

${lines.join("\n")}

\`bulkhead <verb> --help\` says more. Exit codes: 0 success, 1 failure, 2 wrong usage or configuration;
doctor also 3, where something should be looked at.
`;
}

async function version(): Promise<string> {
  const { readFile } = await import("node:fs/promises");
  for (const folder of ["../package.json", "../../package.json"]) {
    const text = await readFile(new URL(folder, import.meta.url), "utf8").catch(() => undefined);
    const parsed: unknown = text === undefined ? undefined : JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
  }
  return "unknown";
}
