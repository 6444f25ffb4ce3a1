/** `bulkhead rollout`: releases to a fleet, wave by wave; it may be killed and started again at any time. */

import { readFile } from "node:fs/promises";
import type { Io } from "../command.ts";
import { linesText } from "../printing.ts";
import type { Arguments, Report } from "../keys/command-line.ts";
import { defineCommand, UsageError } from "../keys/command-line.ts";
import { readBytes } from "../keys/files.ts";
import { readPrivateKey } from "../keys/key-file.ts";
import { PASSPHRASE_HELP, PASSPHRASE_OPTIONS, requiredPassphrase } from "../keys/passphrase.ts";
import { BrokerSession } from "./broker.ts";
import { BROKER_HELP, BROKER_OPTIONS, brokerOptions, readGatewayKey } from "./options.ts";
import { readRelease } from "./release.ts";
import { readRolloutPlan } from "./rollout-plan.ts";
import type { RolloutPlan } from "./rollout-plan.ts";
import { pauseTopic, rollOut, rolloutRefusal } from "./rollout.ts";
import type { RolloutProgress } from "./rollout.ts";

const help = `
Usage: bulkhead rollout <plan.yaml> --deploy-key <file> --broker <url>
       bulkhead rollout pause|resume <plan.yaml> --broker <url>

Brings releases to a fleet in waves, and stops where too many gateways of a wave fail. All that it knows is in the
reports that gateways sign: killed and run again with the same file, it goes on where it was.

  rollout: autumn-1                 # a name; it decides which gateway is in which wave
  issued: 2026-11-21T10:00:00Z      # all plans of the rollout carry this date
  version: 7                        # of all plans; left out, the seconds of issued
  valid: 168h                       # how long a gateway that is off may take its plan later
  modules: [threshold.envelope]     # envelopes with their wasm, relative to this file
  configuration: site.envelope      # left out, each gateway keeps its own
  without: [old-driver]             # modules that plans leave out, which only a configuration allows
  gateways: [gw-1, gw-2]
  keys: enrolled                    # folder of <gateway>.pub, each gateway's own gateway.pub
  waves: [1%, 10%, 50%, 100%]       # shares of the fleet
  soak: 10m                         # how long a wave must be well before the next
  timeout: 10m                      # after that a gateway counts as late, which is no failure
  abort: 5%                         # more failures than this in a wave end the rollout

  --deploy-key <file>       private key of the role deploy
${BROKER_HELP}
${PASSPHRASE_HELP}
  --json                    one JSON object: outcome, waves, counts, codes, seconds
  --help                    this text

Exit code 0 only where every gateway committed.
`;

export const rollout = defineCommand({
  name: "rollout",
  summary: "bring signed modules to a fleet, in waves",
  help,
  options: { "deploy-key": { type: "string" }, ...BROKER_OPTIONS, ...PASSPHRASE_OPTIONS },
  act,
});

async function act(args: Arguments, io: Io): Promise<Report> {
  const [first, ...rest] = args.positionals;
  if (first === "pause" || first === "resume") return setPause(args, onlyPath(rest), first === "pause");
  const plan = await readPlan(onlyPath(args.positionals));
  const deployKey = await readPrivateKey(args.required("deploy-key"), () => requiredPassphrase(args));
  const modules = (await Promise.all(plan.envelopes.map(readBytes))).map(readRelease);
  const gateways = await Promise.all(
    plan.gateways.map(async ({ id, key }) => ({ id, key: await readGatewayKey(key) })),
  );
  const configuration = plan.configuration === undefined ? undefined : await readBytes(plan.configuration);
  const session = await BrokerSession.connect(brokerOptions(args));
  try {
    const validSeconds = plan.expires - plan.issued;
    const signal = io.signal;
    const options = { ...plan, session, modules, configuration, gateways, deployKey, validSeconds, signal };
    const result = await rollOut(options, args.has("json") ? undefined : progressWriter(io));
    const refusal = rolloutRefusal(result);
    if (refusal !== undefined) throw refusal;
    const { counts, seconds } = result;
    return {
      lines: [`OK: ${counts.committed} gateways committed in ${seconds.toFixed(1)} s`],
      json: { ok: true, ...result },
    };
  } finally {
    await session.close();
  }
}

async function readPlan(path: string): Promise<RolloutPlan> {
  return readRolloutPlan(await readFile(path, "utf8"), path);
}

function onlyPath(positionals: readonly string[]): string {
  const [path, ...rest] = positionals;
  if (path === undefined || rest.length > 0) throw new UsageError("name one rollout file");
  return path;
}

async function setPause(args: Arguments, path: string, isPaused: boolean): Promise<Report> {
  const { id } = await readPlan(path);
  const session = await BrokerSession.connect(brokerOptions(args));
  try {
    if (isPaused) await session.retain(pauseTopic(id), new TextEncoder().encode("paused"));
    else await session.clear(pauseTopic(id));
  } finally {
    await session.close();
  }
  const what = isPaused ? "paused: no wave begins until it is resumed" : "resumed";
  return { lines: [`rollout ${id} ${what}`], json: { ok: true, rollout: id, paused: isPaused } };
}

function progressWriter(io: Io): (progress: RolloutProgress) => void {
  const line = (text: string) => {
    io.stderr(linesText([text]));
  };
  return (progress) => {
    switch (progress.kind) {
      case "published":
        return progress.done === progress.of ? line(`published ${progress.module}, ${progress.of} blocks`) : undefined;
      case "wave":
        return line(`wave ${progress.wave} of ${progress.of}: ${progress.gateways} gateways`);
      case "counts": {
        const { committed, failed, late, absent, waiting } = progress.counts;
        const rest = `${failed} failed, ${late} late, ${absent} absent, ${waiting} waiting`;
        return line(`  ${committed} committed, ${rest}`);
      }
      case "soak":
        return line(`  soaking for ${Math.round(progress.milliseconds / 1000)} s`);
      case "paused":
        return line(progress.isPaused ? "paused" : "resumed");
    }
  };
}
