/** A packed Bulkhead, and an author's empty folder with it installed: made once a test file. */
import type { ChildProcess } from "node:child_process";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, globSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { ROOT } from "../foundation/support.ts";

const NPM_MS = 240_000;

/** As an author has it: the Node and npm of the machine, not the ones that run these tests. */
export const AUTHOR_ENVIRONMENT = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|VITEST|TEST$)/i.test(name))),
  PATH: (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => !folder.includes("node_modules"))
    .join(delimiter),
  npm_config_update_notifier: "false",
  npm_config_loglevel: "error",
};

/** `npm run pack`, with the tarball in a folder of its own; returns that folder. */
export function packTarball(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "bulkhead-tarball-")));
  const parameters = ["pack", "--ignore-scripts=false", "--pack-destination", folder];
  const { status, stderr } = spawnSync("npm", parameters, { cwd: ROOT, encoding: "utf8", timeout: NPM_MS });
  if (status !== 0) throw new Error(`npm pack failed\n${stderr}`);
  return folder;
}

/** An empty folder outside this repository, with the tarball in it. */
export function authorFolder(tarballs: string): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "bulkhead-author-")));
  for (const tarball of globSync("*.tgz", { cwd: tarballs })) cpSync(join(tarballs, tarball), join(folder, tarball));
  // npm looks for a package.json upwards: without one here it could find another's.
  writeFileSync(join(folder, "package.json"), '{ "name": "desk", "private": true }\n');
  return folder;
}

/** A command line as a shell runs it. This process goes on meanwhile: it may be the broker. */
export async function shell(folder: string, line: string) {
  const child = spawn("bash", ["-c", line], { cwd: folder, env: AUTHOR_ENVIRONMENT, timeout: NPM_MS });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, output };
}

/** A command that goes on until it is interrupted. */
export class Running {
  readonly #child: ChildProcess;
  readonly #closed: Promise<number | null>;
  readonly #waiting = new Set<() => void>();
  output = "";

  constructor(folder: string, line: string) {
    // The command itself, because npx ends by the signal whatever the command makes of it; in a process group of its own, so
    // that a Ctrl-C reaches all of it, as from a terminal.
    const child = spawn("bash", ["-c", `exec ${line.replace("npx ", "node_modules/.bin/")}`], {
      cwd: folder,
      env: AUTHOR_ENVIRONMENT,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
        for (const look of this.#waiting) look();
      });
    }
    this.#closed = new Promise((resolve) => child.once("close", resolve));
  }

  /** Resolves with the match, in what comes after the first `from` characters. */
  async until(pattern: RegExp, from = 0, timeoutMs = 90_000): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(this.output.slice(from));
        if (match === null) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(match);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`no ${String(pattern)} in\n${this.output}`));
      }, timeoutMs);
      this.#waiting.add(look);
      void this.#closed.then(() => {
        clearTimeout(timer);
        reject(new Error(`it ended, without ${String(pattern)} in\n${this.output}`));
      });
      look();
    });
  }

  /** Ctrl-C; returns the exit code. */
  async interrupt(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.pid !== undefined) process.kill(-this.#child.pid, "SIGINT");
    return await this.#closed;
  }

  kill(): void {
    if (this.#child.exitCode === null) this.#child.kill("SIGKILL");
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  // SAFETY: a listening TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function removeFolders(...folders: readonly string[]): void {
  for (const folder of folders) if (folder !== "") rmSync(folder, { recursive: true, force: true });
}
