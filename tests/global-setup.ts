/** Builds the modules before the tests, so that each test runs the binaries of the sources beside it. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../tools/cli.ts", import.meta.url));

/** Compiling everything takes half a minute on two cores, several times that on a loaded machine. */
const TIME_LIMIT_MS = 600_000;

/** What did not change is not compiled again. Where the build fails, so does the run, whatever its tests say. */
export default function setup(): void {
  const parameters = ["--disable-warning=ExperimentalWarning", COMMAND, "build"];
  const build = spawnSync(process.execPath, parameters, {
    encoding: "utf8",
    timeout: TIME_LIMIT_MS,
    cwd: fileURLToPath(new URL("../", import.meta.url)),
  });
  if (build.status === 0) return;
  process.stderr.write(`The modules could not be built, so this run fails:\n${build.stdout}${build.stderr}\n`);
  process.exitCode = 1;
}
