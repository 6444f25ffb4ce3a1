/** Packs the output of wast2json (a folder of .json and .wasm files) into core.json.gz: `node pack.ts <folder>`. */

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Command, Script } from "../suite.ts";

function packCommand(folder: string, command: Command & { filename?: string; module_type?: string }): Command[] {
  if (command.module_type === "text") return [];
  const { filename, ...rest } = command;
  if (filename === undefined) return [rest];
  return [{ ...rest, binary: readFileSync(join(folder, filename)).toString("base64") }];
}

const folder = process.argv[2] ?? ".";
const scripts: Script[] = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .sort()
  .map((name) => {
    const { commands } = JSON.parse(readFileSync(join(folder, name), "utf8")) as { commands: Command[] };
    return { name: name.replace(/\.json$/, ""), commands: commands.flatMap((command) => packCommand(folder, command)) };
  });
writeFileSync(new URL("core.json.gz", import.meta.url), gzipSync(JSON.stringify(scripts), { level: 9 }));
