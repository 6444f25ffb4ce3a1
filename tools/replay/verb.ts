/** `bulkhead replay`: runs a module's failure again from its capsule, or shows what is in it. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { CapsuleEvent } from "../../gateway/wire/capsule-events.ts";
import { readEvents } from "../../gateway/wire/capsule-events.ts";
import type { Capsule } from "../../gateway/wire/capsule.ts";
import { CAPSULE_BYTES, decodeCapsule } from "../../gateway/wire/capsule.ts";
import { printable } from "../../gateway/wire/parse.ts";
import { KIND, Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { decodeMessage } from "../dev/decode.ts";
import { readCapsuleKey } from "../keys/capsule-key.ts";
import { Arguments } from "../keys/command-line.ts";
import { givenPassphrase, PASSPHRASE_OPTIONS } from "../keys/passphrase.ts";
import type { Replayed } from "./replay.ts";
import { checkReplayable, findBinary, replay } from "./replay.ts";

const HELP = `usage: bulkhead replay <capsule> [--wasm <file>] [--key <file> [--passphrase-file <file>]]
                       [--until <n>] [--inspect] [--last <n>] [--json]

Runs the module's failure again: the same messages, the same answers of the host, the same fuel. Three times, and each must
end as it did on the gateway. Against a changed binary it says where the two part. A gateway writes a capsule for each
failure, to <data>/capsules/<module>/; its log and \`bulkhead audit list --kind capsule\` name the file.

  --wasm <file>    the module's binary (default: by its digest from build/modules or the gateway's store)
  --key <file>     the private key for a sealed capsule; \`bulkhead keygen --role capsules\` makes such keys
  --passphrase-file <file>  the key's passphrase, else from the environment variable BULKHEAD_PASSPHRASE
  --until <n>      stop before message n, and print the module's state there
  --inspect        run nothing: print what the capsule holds
  --last <n>       print the last n messages (default 5)
  --json           print one JSON object

Exit code 0 where the failure came again, or the state or the capsule's content was printed; 1 where it did not come.
`;

export const replayVerb: Command = {
  name: "replay",
  summary: "run a module's failure again from its capsule",
  help: HELP,
  run: main,
};

async function main(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    options: {
      wasm: { type: "string" },
      key: { type: "string" },
      ...PASSPHRASE_OPTIONS,
      until: { type: "string" },
      last: { type: "string" },
      inspect: { type: "boolean" },
      json: { type: "boolean" },
    },
    allowPositionals: true,
  });
  const [path, ...others] = positionals;
  if (path === undefined || others.length > 0) {
    io.stderr(`bulkhead replay: name one capsule\n${HELP}`);
    return 2;
  }
  const until = count("--until", values.until, undefined);
  const last = count("--last", values.last, 5) ?? 5;
  const key = values.key === undefined ? undefined : await readCapsuleKey(values.key, () => passphrase(values));
  const capsule = decodeCapsule(await readCapsule(path), key);
  const shown = describe(capsule, last);
  const report = (lines: readonly string[], data: object): void => {
    const text = [...shown.lines, ...lines].map((line) => printable(line)).join("\n");
    io.stdout(values.json === true ? `${JSON.stringify({ ...shown.data, ...data })}\n` : `${text}\n`);
  };
  if (values.inspect === true) {
    report([], { outcome: "inspected" });
    return 0;
  }
  try {
    checkReplayable(capsule, until);
  } catch (error) {
    // What can only be looked at is still shown.
    if (error instanceof Refusal && error.code === "E_STATE" && values.json !== true) report([], {});
    throw error;
  }
  const binary = await findBinary(capsule, path, values.wasm);
  const replayed = await replay(capsule, binary, { until, signal: io.signal });
  report(outcomeLines(capsule, replayed), { binary: binary.path, ...outcomeData(replayed) });
  return replayed.outcome === "diverged" ? 1 : 0;
}

async function passphrase(values: Readonly<Record<string, unknown>>): Promise<string> {
  const given = await givenPassphrase(new Arguments(values, []));
  if (given !== undefined) return given;
  throw new Refusal("E_KEY", "the key is encrypted", { hint: "give --passphrase-file, or set BULKHEAD_PASSPHRASE" });
}

function count(name: string, text: string | undefined, otherwise: number | undefined): number | undefined {
  if (text === undefined) return otherwise;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Refusal("E_CONFIG", `${name} takes a number from 1 on`, { found: text });
}

async function readCapsule(path: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await readFile(path));
  } catch (error) {
    throw new Refusal("E_UNKNOWN", `cannot read ${path}`, { found: error instanceof Error ? error.message : "" });
  }
  if (bytes.length <= CAPSULE_BYTES) return bytes;
  throw new Refusal("E_SIZE", `${path} is too large for a capsule`, {
    expected: `at most ${CAPSULE_BYTES} bytes`,
    found: `${bytes.length}`,
  });
}

/** NaNs differ between processors where the module does not ask for canonical ones. */
function architectureWarning({ architecture, canonicalNans }: Capsule): string | undefined {
  if (architecture === process.arch || canonicalNans) return undefined;
  return `recorded on ${architecture}, run on ${process.arch}: the module asks for no canonical NaNs (\`nans: canonical\` in its module.yaml), so their bits may differ`;
}

function describe(capsule: Capsule, last: number): { lines: string[]; data: object } {
  const { name, generation, cause, text, fuel, events, architecture, time, sha256 } = capsule;
  const list = readEvents(events.words, capsule.imports);
  const messages = list.filter((event) => event.kind === "message" || event.kind === "gated").slice(-last);
  const first = events.messages - messages.length + 1;
  const shown = messages.map((event, index) => messageOf(event, first + index));
  const warning = architectureWarning(capsule);
  return {
    lines: [
      `${name}, generation ${generation}, failed at ${new Date(time).toISOString()}`,
      `  binary   sha256 ${sha256}`,
      `  failure  ${cause}: ${text}`,
      `  fuel     ${fuel} left`,
      `  recorded ${events.messages} messages, ${list.length} events ${beginning(capsule)}`,
      ...(warning === undefined ? [] : [`  warning  ${warning}`]),
      "  last messages",
      ...shown.map(({ number, port, kind, value }) => `    ${number} port ${port} ${kind}: ${value}`),
    ],
    data: {
      module: name,
      ...{ generation, time, sha256, cause, text, fuel, architecture },
      canonicalNans: capsule.canonicalNans,
      warning: warning ?? null,
      redacted: capsule.isRedacted,
      whole: events.isWhole,
      messages: events.messages,
      events: list.length,
      last: shown,
    },
  };
}

function beginning({ events: { before, base, isWhole }, isRedacted }: Capsule): string {
  if (isRedacted) return "without what was secret";
  if (!isWhole) return `after message ${before}; what came before is lost`;
  return base === undefined
    ? "since its start"
    : `since an image of ${base.memory.length} bytes after message ${before}`;
}

const KINDS = Object.entries(KIND);

function messageOf(event: CapsuleEvent, number: number): { number: number; port: number; kind: string; value: string } {
  if (event.kind !== "message" && event.kind !== "gated") return { number, port: 0, kind: "", value: "" };
  const kind = event.kind === "gated" ? "call" : KINDS.find(([, code]) => code === event.messageKind)?.[0];
  const value = event.payload.length === 0 ? "nothing" : decodeMessage(event.payload, undefined).text;
  return { number, port: event.port, kind: kind ?? "unknown", value };
}

function outcomeLines(capsule: Capsule, replayed: Replayed): string[] {
  const { outcome, isSameBinary, isMeteredAlike, endings, frames, divergence, state } = replayed;
  const notes = [
    ...(isSameBinary ? [] : ["this is another binary than the one that failed: fuel and addresses are not compared"]),
    ...(isSameBinary && !isMeteredAlike
      ? ["this version of Bulkhead meters it otherwise than the gateway's: fuel is not compared"]
      : []),
  ];
  if (state !== undefined) {
    const saved = state.state === undefined ? "none" : decodeMessage(state.state, undefined).text;
    return [
      ...notes,
      `stopped before message ${state.message}`,
      `  memory   ${state.memoryBytes} bytes`,
      `  globals  ${state.globals.join(" ")}`,
      `  state    ${saved}`,
    ];
  }
  if (outcome === "diverged" && divergence !== undefined) {
    const where = divergence.event === 0 ? "at the end" : `at event ${divergence.event}, message ${divergence.message}`;
    return [...notes, `diverged ${where}`, `  expected ${divergence.expected}`, `  found    ${divergence.found}`];
  }
  return [
    ...notes,
    ...endings.map(
      ({ cause, fuel }, index) => `try ${index + 1}: ${cause} at message ${capsule.events.messages}, ${fuel} fuel left`,
    ),
    `reproduced: ${endings[0]?.text ?? ""}`,
    ...frames.map((frame) => `    at ${frame}`),
  ];
}

function outcomeData({ state, endings, divergence, ...rest }: Replayed): object {
  const stopped = state && { ...state, state: state.state?.toHex() ?? null };
  return { ...rest, tries: endings, divergence: divergence ?? null, state: stopped ?? null };
}
