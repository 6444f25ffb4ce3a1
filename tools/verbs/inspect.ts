/** `bulkhead inspect`: what a module binary or an envelope is and asks for, without running or trusting it. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { decodeConfiguration, decodeModule, decodePlan, decodeRoot, toHex } from "../../gateway/envelopes/index.ts";
import type { UnverifiedEnvelope } from "../../gateway/envelopes/index.ts";
import type { SettingsMap, SettingsType } from "../../gateway/config/settings-contract.ts";
import { decodeSettingsContract } from "../../gateway/config/settings-contract.ts";
import type { Contract, ModuleInspection } from "../../kernel/index.ts";
import { describeField, encodeCbor, inspectModule, Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";
import { linesText } from "../printing.ts";
import { decodeAnyEnvelope, describeRoot } from "../keys/files.ts";
import { formatDate } from "../keys/command-line.ts";

const HELP = `usage: bulkhead inspect <module.wasm | envelope> [--json]

Shows a module's authority, imports, exports, contracts, settings, digest, fuel and memory needs; of an envelope also
what its document says and whose keys signed it. It never runs the module, and it verifies nothing: 'bulkhead verify'
does.

  --json   print one JSON object
`;

export const inspectVerb: Command = {
  name: "inspect",
  summary: "show what a module or envelope asks for, without running it",
  help: HELP,
  run: inspect,
};

/** What is told of a file, for people and for programs. */
interface Findings {
  readonly lines: readonly string[];
  readonly data: object;
}

const WASM_MAGIC = [0x00, 0x61, 0x73, 0x6d];

async function inspect(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: { json: { type: "boolean" } }, allowPositionals: true });
  const [file, ...others] = positionals;
  if (file === undefined || others.length > 0) {
    io.stderr(`bulkhead inspect: name one file\n${HELP}`);
    return 2;
  }
  const bytes = await read(file);
  const isBinary = WASM_MAGIC.every((byte, index) => bytes[index] === byte);
  const { lines, data } = isBinary ? ofModule(inspectModule(bytes)) : ofEnvelope(decodeAnyEnvelope(bytes));
  io.stdout(values.json === true ? `${JSON.stringify(data)}\n` : linesText(lines));
  return 0;
}

async function read(file: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(file));
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_UNKNOWN", `cannot read ${file}`, { found, hint: "`bulkhead build` makes build/modules/" });
  }
}

function ofEnvelope(envelope: UnverifiedEnvelope): Findings {
  const { kind, digest, signatures, wasm } = envelope;
  const signers = signatures.map(({ keyId }) => toHex(keyId));
  const document = documentOf(envelope);
  const inside = wasm === undefined ? undefined : ofModule(inspectModule(wasm));
  return {
    lines: [
      `envelope of a ${kind}, digest ${toHex(digest)}`,
      `  signed by ${signers.join(", ") || "nobody"}; not verified here`,
      ...document.lines,
      ...(inside?.lines ?? []),
    ],
    data: { envelope: kind, digest: toHex(digest), signers, document: document.data, module: inside?.data ?? null },
  };
}

function documentOf(envelope: UnverifiedEnvelope): Findings {
  const { kind, payload, signatures } = envelope;
  switch (kind) {
    case "module":
      return ofModuleDocument(decodeModule(payload));
    case "plan": {
      const plan = decodePlan(payload);
      const modules = Array.from(plan.modules, ([name, { sequence, digest }]) => ({
        name,
        sequence,
        digest: toHex(digest),
      }));
      const { gateway, version, expires } = plan;
      return {
        lines: [
          `  plan ${version} for ${gateway}, until ${formatDate(expires)}`,
          ...modules.map(({ name, sequence, digest }) => `    ${name} ${sequence} ${digest}`),
        ],
        data: { gateway, version, expires, modules },
      };
    }
    case "configuration": {
      const { content, version } = decodeConfiguration(payload);
      return {
        lines: [`  configuration ${version}`, ...content.split("\n").map((line) => `    ${line}`)],
        data: { version, content },
      };
    }
    case "root": {
      const signers = signatures.map(({ keyId }) => toHex(keyId));
      const { lines, json } = describeRoot(decodeRoot(payload), envelope, signers);
      return { lines, data: json };
    }
  }
}

function ofModuleDocument({ name, sequence, wasmDigest, wasmSize, claims }: ReturnType<typeof decodeModule>): Findings {
  const { version, capabilities, memoryPages, released, expires } = claims;
  return {
    lines: [
      `  ${name} ${version}, sequence ${sequence}, released ${formatDate(released)}, installable until ${formatDate(expires)}`,
      `  claims   ${memoryPages * 64} KiB of memory; wasm of ${wasmSize} bytes, sha256 ${toHex(wasmDigest)}`,
      ...capabilities.map((asked) => `    ${asked.slot}: ${asked.interface} [${asked.rights.join(", ")}]`),
    ],
    data: { name, sequence, wasmDigest: toHex(wasmDigest), wasmSize, claims: { ...claims, provenance: null } },
  };
}

function contractsOf({ manifest }: ModuleInspection): ReadonlyMap<string, Contract> {
  const named = [...manifest.ports, ...manifest.slots.values()].flatMap(({ contract, rules }) =>
    typeof contract === "string" && rules !== undefined ? [[contract, rules] as const] : [],
  );
  return new Map(named);
}

/** As `contractDigest` of the builder: over the contract as the manifest has it. */
function digestOf({ message, reply }: Contract): string {
  const fields = (list: Contract["message"]): (string | number | boolean)[][] =>
    list.map((field) => [field.name, field.isOptional, field.kind, ...field.arguments]);
  const data = reply === null ? { message: fields(message) } : { message: fields(message), reply: fields(reply) };
  return createHash("sha256").update(encodeCbor(data)).digest("hex");
}

function ofModule(inspection: ModuleInspection): Findings {
  const { manifest, imports, exports, foreignExports, bytes, sha256 } = inspection;
  const contracts = [...contractsOf(inspection)].map(([name, contract]) => ({
    name,
    sha256: digestOf(contract),
    ...contract,
  }));
  const slots = Object.fromEntries(manifest.slots);
  const settings = manifest.settings === null ? null : decodeSettingsContract(manifest.settings);
  return {
    lines: moduleLines(inspection, contracts, settings),
    data: { ...manifest, slots, settings, contracts, imports, exports, foreignExports, bytes, sha256 },
  };
}

/** A line for each setting, those of maps within indented below it. */
function settingLines({ fields }: SettingsMap, indentation: string): string[] {
  return fields.flatMap(({ name, isOptional, default: preset, type }) => {
    const absent = preset === null ? "" : `, default ${String(preset)}`;
    const inner = type.kind === "list" ? type.of : type;
    return [
      `${indentation}${name}: ${isOptional ? "optional " : ""}${describeType(type)}${absent}`,
      ...(inner.kind === "map" ? settingLines(inner, `${indentation}  `) : []),
    ];
  });
}

function describeType(type: SettingsType): string {
  switch (type.kind) {
    case "text":
      return `text of ${type.least} to ${type.most} bytes`;
    case "choice":
      return type.values.join(" | ");
    case "integer":
      return `integer from ${type.least} to ${type.most}`;
    case "number": {
      const bounds = [type.least === null ? "" : ` from ${type.least}`, type.most === null ? "" : ` to ${type.most}`];
      return `number${bounds.join("")}`;
    }
    case "list":
      return `list of ${type.least} to ${type.most}: ${describeType(type.of)}`;
    default:
      return type.kind;
  }
}

function moduleLines(
  { manifest, imports, exports, bytes, sha256 }: ModuleInspection,
  contracts: readonly (Contract & { readonly name: string; readonly sha256: string })[],
  settings: SettingsMap | null,
): string[] {
  const lines = [
    `${manifest.name} ${manifest.version} (${manifest.kind}, ABI ${manifest.abi})`,
    `  sha256   ${sha256}`,
    `  size     ${bytes} bytes`,
    `  memory   at most ${manifest.memory * 64} KiB; inbox ${manifest.inbox} B; state ${manifest.state} B, schema ${manifest.schema}`,
    `  fuel     at most ${manifest.fuel} an activation`,
    ...(manifest.canonicalNans ? ["  NaNs     canonical"] : []),
    `  exports  ${exports.join(", ")}`,
    "  ports",
    ...manifest.ports.map(
      ({ name, contract }, index) => `    ${index} ${name}${contract === null ? "" : `: ${contract}`}`,
    ),
    ...(contracts.length === 0 ? [] : ["  contracts"]),
    ...contracts.flatMap((contract) => [
      `    ${contract.name} ${contract.sha256.slice(0, 16)}`,
      ...contract.message.map((field) => `      ${field.name}: ${describeField(field)}`),
      ...(contract.reply ?? []).map((field) => `      reply ${field.name}: ${describeField(field)}`),
    ]),
    ...(settings === null ? [] : ["  settings", ...settingLines(settings, "    ")]),
    "  authority",
  ];
  for (const [name, { interface: interfaceName, rights, port, contract }] of manifest.slots) {
    const used = imports.filter(({ slot }) => slot === name).map(({ operation }) => operation);
    const events = port === null ? "" : `; events to ${port}`;
    const sends = typeof contract === "string" ? `; sends ${contract}` : "";
    const uses = used.length === 0 ? "imports none of it" : `imports ${used.join(", ")}`;
    lines.push(`    ${name}: ${interfaceName} [${rights.join(", ")}]; ${uses}${events}${sends}`);
  }
  if (manifest.slots.size === 0) lines.push("    none: it can only answer");
  return lines;
}
