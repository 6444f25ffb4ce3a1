/** `bulkhead inspect`: what a module binary is and asks for, without running it. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { ModuleInspection } from "../../kernel/index.ts";
import { inspectModule, Refusal } from "../../kernel/index.ts";
import type { Command, Io } from "../command.ts";

const HELP = `usage: bulkhead inspect <module.wasm> [--json]

Shows a module's authority, imports, exports, digest, fuel and memory needs. It never runs the module.

  --json   print one JSON object
`;

export const inspectVerb: Command = {
  name: "inspect",
  summary: "show a module's authority and needs, without running it",
  help: HELP,
  run: inspect,
};

async function inspect(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: { json: { type: "boolean" } }, allowPositionals: true });
  const [file, ...others] = positionals;
  if (file === undefined || others.length > 0) {
    io.stderr(`bulkhead inspect: name one file\n${HELP}`);
    return 2;
  }
  const binary = await read(file);
  const digest = createHash("sha256").update(binary).digest("hex");
  const inspection = inspectModule(binary);
  io.stdout(values.json === true ? `${JSON.stringify(asData(inspection, digest))}\n` : asText(inspection, digest));
  return 0;
}

async function read(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const found = error instanceof Error ? error.message : "";
    throw new Refusal("E_UNKNOWN", `cannot read ${file}`, { found, hint: "`bulkhead build` makes build/modules/" });
  }
}

function asData({ manifest, imports, exports, foreignExports, bytes }: ModuleInspection, digest: string): object {
  const slots = Object.fromEntries([...manifest.slots].map(([name, slot]) => [name, slot]));
  return { ...manifest, slots, imports, exports, foreignExports, bytes, sha256: digest };
}

function asText({ manifest, imports, exports, bytes }: ModuleInspection, digest: string): string {
  const lines = [
    `${manifest.name} ${manifest.version} (${manifest.kind}, ABI ${manifest.abi})`,
    `  sha256   ${digest}`,
    `  size     ${bytes} bytes`,
    `  memory   at most ${manifest.memory * 64} KiB; inbox ${manifest.inbox} B; state ${manifest.state} B, schema ${manifest.schema}`,
    `  fuel     at most ${manifest.fuel} an activation`,
    `  exports  ${exports.join(", ")}`,
    "  ports",
    ...manifest.ports.map(
      ({ name, contract }, index) => `    ${index} ${name}${contract === null ? "" : `: ${contract}`}`,
    ),
    "  authority",
  ];
  for (const [name, { interface: interfaceName, rights, port }] of manifest.slots) {
    const used = imports.filter(({ slot }) => slot === name).map(({ operation }) => operation);
    const events = port === null ? "" : `; events to ${port}`;
    const uses = used.length === 0 ? "imports none of it" : `imports ${used.join(", ")}`;
    lines.push(`    ${name}: ${interfaceName} [${rights.join(", ")}]; ${uses}${events}`);
  }
  if (manifest.slots.size === 0) lines.push("    none: it can only answer");
  return `${lines.join("\n")}\n`;
}
