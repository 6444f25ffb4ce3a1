#!/usr/bin/env node
/** Runs a script under the right Node, whichever Node started this file: `launch.js <script> [arguments]`. */
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { constants } from "node:os";
import { fileURLToPath } from "node:url";
import { findRuntime } from "./runtime.js";

/** `node:ffi` and the like are used on purpose; what else Node warns about (deprecations, leaks) stays visible. */
const FLAGS = ["--disable-warning=ExperimentalWarning"];

const FORWARDED = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/**
 * Starts the script with inherited streams and ends as it ends: with its exit code, or by the signal that killed it. Where
 * this is the Node that the script runs on, nothing after it is carried out.
 * A Ctrl-C may reach the script more than once (from the terminal, from npm and from here): a repeated signal must not
 * mean more than the first.
 *
 * @param {string[]} argv the script and its arguments
 * @param {Readonly<Record<string, string>>} environment what the script gets beside this process's own, which goes first
 */
export function launch(argv, environment = {}) {
  const runtime = findRuntime();
  if ("problem" in runtime) {
    fail(runtime.problem);
    return;
  }
  const env = { ...environment, ...process.env };
  const parameters = [...FLAGS, ...argv];
  // Under the right Node already: this process becomes the program, and takes no memory of its own beside it.
  if (runtime.path === process.execPath && typeof process.execve === "function") {
    process.execve(runtime.path, [runtime.path, ...parameters], env);
  }
  const child = spawn(runtime.path, parameters, { stdio: "inherit", env });
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => fail(`cannot start ${runtime.path}: ${error.message}; it needs a glibc Linux`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exitCode = code ?? 1;
    else endBy(signal);
  });
}

/** @param {string} problem one line that says what to do */
export function fail(problem) {
  process.stderr.write(`bulkhead: ${problem}\n`);
  process.exitCode = 1;
}

/**
 * Ends by the same signal, so that a shell or systemd sees what happened; where this process cannot die of it, by the
 * exit code that a shell would show.
 *
 * @param {NodeJS.Signals} signal
 */
function endBy(signal) {
  process.removeAllListeners(signal);
  process.exitCode = 128 + constants.signals[signal];
  process.kill(process.pid, signal);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  if (process.argv.length > 2) launch(process.argv.slice(2));
  else fail("usage: launch.js <script> [arguments]");
}
