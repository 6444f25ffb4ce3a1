/** `bulkhead push`: releases to one gateway, with progress, until the gateway has said how it ended. */

import type { RefusalCode } from "../../kernel/index.ts";
import { Refusal } from "../../kernel/index.ts";
import type { Io } from "../command.ts";
import { escapeControls } from "../../gateway/wire/escape.ts";
import type { Arguments, Report } from "../keys/command-line.ts";
import { defineCommand, UsageError } from "../keys/command-line.ts";
import { readBytes } from "../keys/files.ts";
import { readPrivateKey } from "../keys/key-file.ts";
import { PASSPHRASE_HELP, PASSPHRASE_OPTIONS, requiredPassphrase } from "../keys/passphrase.ts";
import { BROKER_HELP, BROKER_OPTIONS, brokerOptions, parseDuration, readGatewayKey } from "./options.ts";
import { pushUpdate } from "./push.ts";
import type { PushProgress, PushResult } from "./push.ts";
import { readRelease } from "./release.ts";

/** Ten years: of a gateway that lies on a shelf. */
const LONGEST_VALID_MS = 87_600 * 3_600_000;

const help = `
Usage: bulkhead push <envelope>... --gateway <id> --gateway-key <file> --deploy-key <file> --broker <url>

Publishes modules and a plan for one gateway, and follows it by the reports that the gateway signs.
The plan is the gateway's present set with the modules named here in their new versions.

  --gateway <id>            the gateway
  --gateway-key <file>      its gateway.pub: reports by any other key are not believed
  --deploy-key <file>       private key of the role deploy, which signs the plan
  --configuration <file>    a configuration envelope that takes effect together with the modules
  --without <module>        leave a module out, which only a plan with a configuration can; once for each
  --timeout <time>          how long to wait for the gateway's word (default 5m); the plan stays at the broker
  --valid <time>            how long a gateway that is off may take the plan later (default 168h)
  --keep-blocks             leave the blocks at the broker, for other gateways
${BROKER_HELP}
${PASSPHRASE_HELP}
  --json                    one JSON object: plan, version, code, reason, state, pauseMs, seconds, forged
  --help                    this text

Exit code 0 only where the gateway committed the plan.
`;

export const push = defineCommand({
  name: "push",
  summary: "push signed modules to one gateway and follow it to the end",
  help,
  options: {
    gateway: { type: "string" },
    "gateway-key": { type: "string" },
    "deploy-key": { type: "string" },
    configuration: { type: "string" },
    without: { type: "string", multiple: true },
    timeout: { type: "string" },
    valid: { type: "string" },
    "keep-blocks": { type: "boolean" },
    ...BROKER_OPTIONS,
    ...PASSPHRASE_OPTIONS,
  },
  act: act,
});

async function act(args: Arguments, io: Io): Promise<Report> {
  const configuration = args.optional("configuration");
  if (args.positionals.length === 0 && configuration === undefined) throw new UsageError("name one envelope or more");
  if (args.list("without").length > 0 && configuration === undefined) {
    throw new UsageError("--without needs --configuration: only a configuration takes a module away");
  }
  const deployKey = await readPrivateKey(args.required("deploy-key"), () => requiredPassphrase(args));
  const result = await pushUpdate(
    {
      broker: brokerOptions(args),
      gatewayId: args.required("gateway"),
      gatewayKey: await readGatewayKey(args.required("gateway-key")),
      modules: (await Promise.all(args.positionals.map(readBytes))).map(readRelease),
      configuration: configuration === undefined ? undefined : await readBytes(configuration),
      without: args.list("without"),
      deployKey,
      timeoutMs: parseDuration(args.optional("timeout") ?? "5m", "--timeout"),
      validSeconds: Math.ceil(parseDuration(args.optional("valid") ?? "168h", "--valid", LONGEST_VALID_MS) / 1000),
      keepBlocks: args.has("keep-blocks"),
      signal: io.signal,
    },
    args.has("json") ? undefined : progressWriter(io),
  );
  if (result.code !== "OK") throw asRefusal(result);
  const pause = result.pauseMs === undefined ? "" : `, callers waited ${result.pauseMs.toFixed(2)} ms`;
  return {
    lines: [`OK: committed in ${result.seconds.toFixed(1)} s${pause}; plan version ${result.version}`],
    json: { ok: true, ...result },
  };
}

/** The gateway's reason already begins with the code. */
function asRefusal(result: PushResult): Refusal {
  // SAFETY: the caller has just excluded OK, the one result code that is no refusal.
  const code = result.code as RefusalCode;
  const reason = result.reason.replace(`${code}: `, "");
  return new Refusal(code, `the gateway ended at ${result.state}: ${reason}`);
}

/** A line for each thing that happens; on a terminal the download is one line that grows. */
export function progressWriter(io: Io): (progress: PushProgress) => void {
  let isOpen = false;
  const line = (text: string, stays: boolean) => {
    if (!io.isTerminal && !stays) return;
    if (isOpen) io.control("\r\u001b[K", "stderr");
    io.stderr(`${escapeControls(text)}${stays ? "\n" : ""}`);
    isOpen = !stays;
  };
  return (progress) => {
    switch (progress.kind) {
      case "block":
        return line(`${bar(progress.done / progress.of)} published ${progress.module}`, progress.done === progress.of);
      case "planned":
        return line(`plan version ${progress.version} published (${progress.plan.slice(0, 16)})`, true);
      case "presence":
        return line(`the gateway is ${progress.presence}`, true);
      case "state":
        if (progress.state === "fetching") return line(`${bar(progress.percent / 100)} fetching`, false);
        return line(`${progress.state}${progress.event.reason === "" ? "" : `: ${progress.event.reason}`}`, true);
    }
  };
}

const BAR_CHARACTERS = 24;

function bar(share: number): string {
  const full = Math.round(share * BAR_CHARACTERS);
  return `[${"#".repeat(full)}${" ".repeat(BAR_CHARACTERS - full)}] ${String(Math.round(share * 100)).padStart(3)} %`;
}
