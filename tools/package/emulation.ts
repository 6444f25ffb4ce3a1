/** Runs a Node of another architecture under qemu's user emulation, its child processes too. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";

const EMULATOR = "qemu-aarch64-static";
/** Where Debian's cross libraries for arm64 lie. */
const LIBRARIES = "/usr/aarch64-linux-gnu";
const PACKAGES = "qemu-user-static libc6-arm64-cross libstdc++6-arm64-cross libatomic1-arm64-cross";

export function canEmulate(): boolean {
  return spawnSync(EMULATOR, ["--version"]).status === 0;
}

/**
 * Makes a command that is the Node `executable` (the package's own where absent) under qemu. What Node starts through
 * `process.execPath` goes through it again, so that no binfmt_misc is needed. It lies inside the folder `library`: host
 * processes may read nothing else.
 * @returns its path. @throws Refusal E_UNKNOWN where qemu is not there
 */
export function emulatedNode(library: string, executable = "bin/node", flags: readonly string[] = []): string {
  if (!canEmulate()) {
    throw new Refusal("E_UNKNOWN", `${EMULATOR} is not there`, { hint: `apt-get install ${PACKAGES}` });
  }
  const folder = path.join(library, "emulated");
  const command = path.join(folder, "node");
  const preload = path.join(folder, "exec-path.cjs");
  mkdirSync(folder, { recursive: true });
  writeFileSync(preload, `process.execPath = ${JSON.stringify(command)};\n`);
  const words = [EMULATOR, "-L", LIBRARIES, path.join(library, executable), ...flags, "--require", preload];
  writeFileSync(command, `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(" ")} "$@"\n`);
  chmodSync(command, 0o755);
  return command;
}
