/** A gateway's folder with a development root, and the command as an operator starts it. */
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { developmentKeys } from "../../tools/build/development.ts";

export const CLI = path.resolve(import.meta.dirname, "../../tools/cli.ts");
const NODE = [process.execPath, "--disable-warning=ExperimentalWarning", CLI];

/** What a terminal is told beside text: colours, where the cursor goes. */
const CONTROL_SEQUENCE = /\u001b\[[0-9;?]*[A-Za-z]/g;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Desk {
  readonly folder: string;
  /** A development root envelope. */
  readonly root: string;
  /** A new folder below, with files in it. */
  place(files?: Readonly<Record<string, string>>): string;
}

export function openDesk(): Desk {
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-operator-"));
  const root = path.join(folder, "root.envelope");
  beforeAll(async () => {
    await developmentKeys(path.join(folder, "dev"));
    copyFileSync(path.join(folder, "dev/root.envelope"), root);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    folder,
    root,
    place(files = {}) {
      const place = mkdtempSync(path.join(folder, "place-"));
      for (const [name, text] of Object.entries(files)) writeFileSync(path.join(place, name), text);
      return place;
    },
  };
}

export function bulkhead(...parameters: string[]): Outcome {
  const [command = "", ...first] = NODE;
  return spawnSync(command, [...first, ...parameters], { encoding: "utf8" });
}

/** Runs the command on a pseudo-terminal, and types each answer when its question stands there. */
export async function type(parameters: readonly string[], answers: readonly (readonly [RegExp, string])[]) {
  const command = [...NODE, ...parameters].map((word) => `'${word}'`).join(" ");
  const terminal = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = [...answers];
  let shown = "";
  let seen = 0;
  terminal.stdout.setEncoding("utf8").on("data", (text: string) => {
    shown += text.replaceAll(CONTROL_SEQUENCE, "");
    const [next] = waiting;
    if (next?.[0].test(shown.slice(seen)) !== true) return;
    seen = shown.length;
    waiting.shift();
    terminal.stdin.write(next[1]);
  });
  const status = await new Promise<number | null>((resolve) => terminal.on("close", resolve));
  return { status, shown, unanswered: waiting.length };
}

/** Every file below a folder. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
}
