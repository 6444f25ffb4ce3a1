/** `npm start`: builds the modules, signs them with development keys, and runs the example's gateway until Ctrl-C. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("cli.ts", import.meta.url));
const flags = ["--disable-warning=ExperimentalWarning"];
const build = spawnSync(process.execPath, [...flags, cli, "build", "--dev-keys", ".bulkhead/dev"], {
  stdio: "inherit",
});
if (build.status === 0) {
  process.argv.splice(2, process.argv.length, "run", "gateway.example.yaml");
  await import("./cli.ts");
} else {
  process.exitCode = build.status ?? 1;
}
