/** Builds the modules before the tests, so that each test runs the binaries of the sources beside it. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../tools/cli.ts", import.meta.url));

/** `bulkhead build` compiles only what is out of date. */
export default function setup(): void {
  if (!existsSync(COMMAND)) return;
  const build = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", COMMAND, "build"], {
    encoding: "utf8",
  });
  if (build.status !== 0) throw new Error(`bulkhead build failed:\n${build.stdout}${build.stderr}`);
}
