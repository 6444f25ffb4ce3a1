/** `bulkhead status`: what one gateway, or every gateway at a broker, last reported. */

import { Refusal } from "../../kernel/index.ts";
import { decodeReport, openReport, unverifiedReport } from "../../gateway/wire/update-report.ts";
import type { GatewayReport } from "../../gateway/wire/update-report.ts";
import { topics } from "../../gateway/wire/update-topics.ts";
import type { Arguments, Report } from "../keys/command-line.ts";
import { defineCommand } from "../keys/command-line.ts";
import { BrokerSession } from "./broker.ts";
import { BROKER_HELP, BROKER_OPTIONS, brokerOptions, parseDuration, readGatewayKey } from "./options.ts";

const help = `
Usage: bulkhead status [--gateway <id>] [--gateway-key <file>] --broker <url>

Shows modules, plan and last result of a gateway, or of every gateway that has left a report at the broker.

  --gateway <id>            only this one
  --gateway-key <file>      its gateway.pub: the report is verified; without it, it is what the broker says
  --wait <time>             how long to collect retained reports (default 2s)
${BROKER_HELP}
  --json                    one JSON object: gateways [{gateway, online, verified, rootVersion, plan, modules, last}]
  --help                    this text
`;

export const status = defineCommand({
  name: "status",
  summary: "show what gateways run, and how their last update ended",
  help,
  options: {
    gateway: { type: "string" },
    "gateway-key": { type: "string" },
    wait: { type: "string" },
    ...BROKER_OPTIONS,
  },
  act,
});

interface Seen {
  report: GatewayReport | undefined;
  online: string;
  isVerified: boolean;
  problem: string | undefined;
}

async function act(args: Arguments): Promise<Report> {
  const keyFile = args.optional("gateway-key");
  const publicKey = keyFile === undefined ? undefined : await readGatewayKey(keyFile);
  const only = args.optional("gateway");
  const waitMs = parseDuration(args.optional("wait") ?? "2s", "--wait");
  const session = await BrokerSession.connect(brokerOptions(args));
  const gateways = new Map<string, Seen>();
  try {
    await session.subscribe(topics.gateway(only ?? "+", "reported"), (payload, topic) => {
      if (payload.length > 0) takeReport(seenOf(gateways, topic), payload, publicKey);
    });
    await session.subscribe(topics.gateway(only ?? "+", "online"), (payload, topic) => {
      seenOf(gateways, topic).online = new TextDecoder().decode(payload.subarray(0, 16));
    });
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  } finally {
    await session.close();
  }
  const found = [...gateways].sort(([a], [b]) => a.localeCompare(b));
  if (found.length === 0) throw nobody(only);
  return { lines: found.flatMap(describe), json: { ok: true, gateways: found.map(plain) } };
}

function seenOf(gateways: Map<string, Seen>, topic: string): Seen {
  const id = topic.split("/").at(-2) ?? "";
  const seen = gateways.get(id) ?? { report: undefined, online: "unknown", isVerified: false, problem: undefined };
  gateways.set(id, seen);
  return seen;
}

function takeReport(seen: Seen, payload: Uint8Array, publicKey: Uint8Array | undefined): void {
  try {
    const bytes = publicKey === undefined ? unverifiedReport(payload) : openReport(payload, "reported", publicKey);
    seen.report = decodeReport(bytes);
    seen.isVerified = publicKey !== undefined;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    seen.problem = error.describe();
  }
}

function describe([id, { report, online, isVerified, problem }]: readonly [string, Seen]): string[] {
  const trust = isVerified ? "report verified" : "report not verified: give --gateway-key";
  const head = `${id}: ${online}; ${problem ?? trust}`;
  if (report === undefined) return [head];
  const { plan, last } = report;
  const modules = Array.from(report.modules, ([name, { version, sequence }]) => `  ${name} ${version} (#${sequence})`);
  return [
    head,
    `  root version ${report.rootVersion}, ${plan === undefined ? "no plan yet" : `plan version ${plan.version}`}`,
    ...modules,
    ...(last === undefined ? [] : [`  last result: ${last.code}${last.reason === "" ? "" : ` (${last.reason})`}`]),
  ];
}

function plain([id, { report, online, isVerified, problem }]: readonly [string, Seen]): Record<string, unknown> {
  return {
    gateway: id,
    online,
    verified: isVerified,
    problem: problem ?? null,
    rootVersion: report?.rootVersion ?? null,
    plan: report?.plan ?? null,
    modules: Object.fromEntries(report?.modules ?? []),
    last: report?.last ?? null,
  };
}

function nobody(only: string | undefined): Refusal {
  const who = only === undefined ? "no gateway has" : `gateway ${only} has not`;
  return new Refusal("E_TIMEOUT", `${who} left a report at the broker`, {
    hint: "check --broker, and that the gateway was connected to it once",
  });
}
