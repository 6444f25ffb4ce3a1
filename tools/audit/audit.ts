/** `bulkhead audit`: lists, verifies and exports the log of grants, denials and faults. */
import { createPublicKey } from "node:crypto";
import { access, constants, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { loadConfiguration } from "../../gateway/config/index.ts";
import { parseDuration } from "../../gateway/config/units.ts";
import {
  AUDIT_FILE,
  type AuditEntry,
  type AuditQuery,
  openHead,
  PUBLIC_KEY_FILE,
  readAudit,
  readHead,
  verifyAudit,
} from "../../gateway/trust/index.ts";
import { Refusal } from "../../kernel/index.ts";
import { toHex } from "../../gateway/envelopes/index.ts";
import { escapeControls } from "../../gateway/wire/escape.ts";
import type { Command, Io } from "../command.ts";
import { notYours } from "../dev/control-client.ts";
import { configurationFile, WHERE_NONE_IS_NAMED } from "../dev/find-gateway.ts";

const HELP = `usage: bulkhead audit list | verify | export [--config gateway.yaml | --data <folder>] [--json]

  list                  the newest entries
    --kind <kind>       of this kind only: granted, denied, fault, refused, ...
    --source <name>     of this module or process only
    --since <duration>  of the last 10m, 2h, ...
    --limit <n>         at most so many (default 100)
  verify                walks the whole chain and names the first broken link
    --head <file>       a head that was exported earlier: finds a log that was set back to an older copy of itself too
    --key <file>        the gateway's public key (default: gateway.pub in the data folder)
  export                prints every entry as one JSON object a line
    --head <file>       writes the signed head there, to be kept off the gateway

  --config <file>       the configuration that names the data folder (${WHERE_NONE_IS_NAMED})
  --data <folder>       the data folder itself
  --json                print JSON

Exit codes: 0 done, or the log is whole; 1 the log is broken or cannot be read; 2 wrong usage.
`;

export const auditCommand: Command = {
  name: "audit",
  summary: "list, verify and export the audit log",
  help: HELP,
  run,
};

const OPTIONS = {
  config: { type: "string" },
  data: { type: "string" },
  kind: { type: "string" },
  source: { type: "string" },
  since: { type: "string" },
  limit: { type: "string" },
  head: { type: "string" },
  key: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

async function run(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  const [verb, ...others] = positionals;
  if (values.help === true) {
    io.stdout(HELP);
    return 0;
  }
  const act = verb === "list" ? list : verb === "verify" ? verify : verb === "export" ? exportAll : undefined;
  if (act === undefined || others.length > 0) {
    io.stderr(`bulkhead audit: name one of list, verify and export\n${HELP}`);
    return 2;
  }
  return await act(await dataFolder(values), values, io);
}

async function dataFolder({ data, config }: Values): Promise<string> {
  const folder = data ?? (await loadConfiguration(configurationFile(config))).dataFolder;
  await access(folder, constants.R_OK | constants.X_OK).catch((error: unknown) => {
    // What else may be wrong with it is told of the file that is wanted.
    if (error instanceof Error && "code" in error && error.code === "EACCES") throw notYours(folder);
  });
  return folder;
}

function usage(message: string, io: Io): number {
  io.stderr(`bulkhead audit: ${message}\n`);
  return 2;
}

async function list(folder: string, values: Values, io: Io): Promise<number> {
  const limit = Number(values.limit ?? "100");
  if (!Number.isSafeInteger(limit) || limit < 1) return usage("--limit takes a whole number from 1", io);
  const since = values.since === undefined ? undefined : parseDuration(values.since);
  if (values.since !== undefined && since === undefined) return usage("--since takes a duration such as 10m or 2h", io);
  const query: AuditQuery = {
    limit,
    ...(values.kind === undefined ? {} : { kind: values.kind }),
    ...(values.source === undefined ? {} : { source: values.source }),
    ...(since === undefined ? {} : { since: Date.now() - since }),
  };
  const entries = readAudit(join(folder, AUDIT_FILE), query);
  if (values.json === true) io.stdout(`${JSON.stringify(entries.map(asData))}\n`);
  else for (const entry of entries) io.stdout(`${asText(entry)}\n`);
  return Promise.resolve(0);
}

/** A damaged log may hold anything where JSON was. */
function parseDetail(detail: string): unknown {
  try {
    return JSON.parse(detail);
  } catch {
    return detail;
  }
}

function asData(entry: AuditEntry): object {
  return { ...entry, detail: parseDetail(entry.detail) };
}

function asText({ sequence, time, kind, source, subject, detail }: AuditEntry): string {
  const date = new Date(time);
  const when = Number.isNaN(date.getTime()) ? `${time}` : date.toISOString();
  return escapeControls(`${sequence} ${when} ${kind} ${source}: ${subject}${detail === "{}" ? "" : ` ${detail}`}`);
}

async function readOrRefuse(file: string, hint: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(file));
  } catch (error) {
    throw new Refusal("E_UNKNOWN", `cannot read ${file}`, { found: error instanceof Error ? error.message : "", hint });
  }
}

async function publicKey(folder: string, { key }: Values): Promise<Uint8Array> {
  const file = key ?? join(folder, PUBLIC_KEY_FILE);
  const pem = await readOrRefuse(file, "name the gateway's public key with --key");
  try {
    const { x } = createPublicKey(Buffer.from(pem)).export({ format: "jwk" });
    return Uint8Array.fromBase64(x ?? "", { alphabet: "base64url" });
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_KEY", `${file} is not a public key in PEM`, {
      found,
      hint: "name gateway.pub of the data folder",
    });
  }
}

async function verify(folder: string, values: Values, io: Io): Promise<number> {
  const key = await publicKey(folder, values);
  const kept =
    values.head === undefined ? [] : [await readOrRefuse(values.head, "`bulkhead audit export --head` writes one")];
  const verdict = verifyAudit(join(folder, AUDIT_FILE), key, kept);
  const { ok, entries, first, last, broken } = verdict;
  if (values.json === true) io.stdout(`${JSON.stringify(verdict)}\n`);
  else if (broken === null)
    io.stdout(`the audit log is whole: ${entries} entries, ${first} to ${last}, ending in ${verdict.hash}\n`);
  else io.stdout(`the audit log is BROKEN at entry ${broken.sequence}: ${broken.reason}\n`);
  return ok ? 0 : 1;
}

async function exportAll(folder: string, values: Values, io: Io): Promise<number> {
  const file = join(folder, AUDIT_FILE);
  if (values.head !== undefined) {
    const head = readHead(file);
    if (head === undefined) throw new Refusal("E_STORE", `the audit log ${file} has no signed head`);
    const { sequence, hash } = openHead(head, await publicKey(folder, values));
    await writeFile(values.head, head);
    io.stderr(
      `wrote the signed head of entry ${sequence}, ${toHex(hash)}, to ${values.head}; keep it off the gateway\n`,
    );
  }
  for (const entry of readAudit(file)) io.stdout(`${JSON.stringify(asData(entry))}\n`);
  return 0;
}
