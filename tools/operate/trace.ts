/** `bulkhead trace`: records what the modules of a running gateway do, message by message, for Perfetto. */
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { TraceAnswer } from "../../gateway/wire/operator.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import type { ControlClient } from "../dev/control-client.ts";
import { connectGateway, WHERE_NONE_RUNS } from "../dev/find-gateway.ts";
import { perfetto } from "./perfetto.ts";

const HELP = `usage: bulkhead trace --perfetto <out.json> [--for <seconds>] [--gateway <gateway.yaml>] [--json]

Records for some seconds, or until Ctrl-C, and writes a file for https://ui.perfetto.dev or chrome://tracing: a track for each
module, a slice for each message that it handled, an arrow from where it was sent. Nothing is recorded otherwise. While a trace
runs, calls within a partition go by messages and not through gates: they are slower, and each is told.

  --perfetto <file>  where the trace goes
  --for <seconds>    1 to 600 (default 5)
  --gateway <file>   the gateway's configuration (${WHERE_NONE_RUNS})
  --json             one JSON object: file, messages, arrows, lost
`;

const FETCH_MS = 100;

export const traceVerb: Command = {
  name: "trace",
  summary: "record what the modules do, for Perfetto",
  help: HELP,
  async run(args: string[], io: Io): Promise<number> {
    const { values } = parseArgs({
      args,
      options: {
        perfetto: { type: "string" },
        for: { type: "string", default: "5" },
        gateway: { type: "string" },
        json: { type: "boolean", default: false },
      },
    });
    const seconds = Number(values.for);
    if (values.perfetto === undefined || !(seconds >= 1 && seconds <= 600)) {
      io.stderr(`bulkhead trace: name a file, and 1 to 600 seconds\n${HELP}`);
      return 2;
    }
    const client = await connectGateway(values.gateway);
    let answers: TraceAnswer[];
    try {
      answers = await record(client, seconds, io.signal);
    } finally {
      client.close();
    }
    const told = await write(values.perfetto, answers);
    const { file, messages, arrows, lost } = told;
    const losses = lost === 0 ? "" : `; ${lost} records were too many and are left out`;
    io.stdout(
      values.json ? `${JSON.stringify(told)}\n` : `${file}: ${messages} messages handled, ${arrows} arrows${losses}\n`,
    );
    return 0;
  },
};

async function record(client: ControlClient, seconds: number, signal: AbortSignal): Promise<TraceAnswer[]> {
  const answers: TraceAnswer[] = [];
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until && !signal.aborted) {
    const answer = await client.trace(true);
    answers.push(answer);
    if (!answer.hasMore) await sleep(FETCH_MS, undefined, { signal }).catch(() => undefined);
  }
  do answers.push(await client.trace(false));
  while (answers.at(-1)?.hasMore === true);
  return answers;
}

interface Told {
  readonly file: string;
  readonly messages: number;
  readonly arrows: number;
  readonly lost: number;
}

/** @throws Refusal E_STORE */
async function write(file: string, answers: readonly TraceAnswer[]): Promise<Told> {
  const modules = new Map(answers.flatMap((answer) => answer.modules).map((module) => [module.id, module]));
  const pieces = answers.flatMap((answer) => answer.pieces);
  const partitions = (answers[0]?.partitions ?? []).map((name) => {
    const records = pieces.filter(({ partition }) => partition === name).flatMap((piece) => numbers(piece.records));
    return { name, records: Float64Array.from(records) };
  });
  const traceEvents = perfetto(partitions, [...modules.values()]);
  try {
    await writeFile(file, `${JSON.stringify({ traceEvents, displayTimeUnit: "ms" })}\n`);
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_STORE", `${file} cannot be written`, { found });
  }
  return {
    file,
    messages: traceEvents.filter(({ ph, name }) => ph === "X" && name !== "waiting").length,
    arrows: traceEvents.filter(({ ph }) => ph === "f").length,
    lost: pieces.reduce((sum, { lost }) => sum + lost, 0),
  };
}

/** The bytes came in a frame, at any address. */
function numbers(bytes: Uint8Array): number[] {
  return Array.from(new Float64Array(bytes.slice().buffer));
}
