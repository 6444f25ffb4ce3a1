/** `bulkhead demo`: the whole story on an embedded broker and simulated sensors, with one command. */
import { parseArgs } from "node:util";
import type { Command, Io } from "../command.ts";
import type { DemoResult } from "./story.ts";
import { Story } from "./story.ts";
import { View } from "./view.ts";

const HELP = `usage: bulkhead demo [--json] [--keep] [--patience <n>]

Starts a broker and a gateway on this machine, shows its readings, pushes a signed update over MQTT while they go on,
attacks the gateway, lets modules fail, and counts every reading. Nothing is faked but the sensor's silicon.

  --json          print one JSON object: readings, swap, refused, recovered, seconds
  --keep          leave it running until Ctrl-C
  --patience <n>  n times as long for each step, between readings, and before anything counts as stuck: for slow machines

Exit code 0 only if everything was observed.
`;

export const demoVerb: Command = {
  name: "demo",
  summary: "the whole story on this machine: readings, a signed update, attacks, failures",
  help: HELP,
  run: demo,
};

async function demo(args: string[], io: Io): Promise<number> {
  const { values } = parseArgs({
    args,
    options: { json: { type: "boolean" }, keep: { type: "boolean" }, patience: { type: "string", default: "1" } },
  });
  const patience = Number(values.patience);
  if (!(patience >= 1 && patience <= 100)) {
    io.stderr(`bulkhead demo: --patience takes a number from 1 to 100\n`);
    return 2;
  }
  const isJson = values.json === true;
  const begun = performance.now();
  const view = new View(io, isJson);
  const story = new Story(view, io.signal, patience);
  try {
    await story.tell();
    if (values.keep === true) await keep(story, view, io);
  } catch (error) {
    story.failures.push(error instanceof Error ? error.message : String(error));
  }
  view.end();
  await story.finish();
  const { result, failures } = story;
  result.seconds = Math.round((performance.now() - begun) / 100) / 10;
  if (isJson) io.stdout(`${JSON.stringify(result)}\n`);
  else summary(result, view);
  for (const failure of failures) io.stderr(`bulkhead demo: not as promised: ${failure}\n`);
  if (failures.length > 0) for (const text of story.troubles) io.stderr(`  the gateway: ${text}\n`);
  return failures.length === 0 ? 0 : 1;
}

async function keep(story: Story, view: View, io: Io): Promise<void> {
  view.step(`Still running; the broker is ${story.brokerUrl}. Ctrl-C ends it`);
  if (io.signal.aborted) return;
  await new Promise<void>((resolve) => {
    io.signal.addEventListener("abort", () => {
      resolve();
    });
  });
}

function summary({ readings, swap, refused, recovered, seconds }: DemoResult, view: View): void {
  view.step("Summary");
  const rows: [string, string][] = [
    ["readings received", `${readings.received}`],
    ["lost, duplicated, reordered", `${readings.lost}, ${readings.duplicated}, ${readings.reordered}`],
    [
      "swap",
      `${swap.committed ? "committed" : "not committed"}, pause ${swap.pauseMs.toFixed(2)} ms, ${swap.lost} lost`,
    ],
    ["attacks refused", refused.map(({ code }) => code).join(", ")],
    ["recovered", recovered.map(({ module, cause, ms }) => `${module} (${cause}) in ${ms.toFixed(1)} ms`).join(", ")],
    ["seconds", `${seconds}`],
  ];
  for (const [name, value] of rows) view.line(`  ${name.padEnd(28)} ${value}`);
}
