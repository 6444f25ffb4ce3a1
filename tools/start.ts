/** `npm start`: builds the modules, signs them with development keys, and runs the example's gateway until Ctrl-C. */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { GATEWAY_ENVIRONMENT, GATEWAY_FLAGS } from "./launch/memory.js";

const cli = fileURLToPath(new URL("cli.ts", import.meta.url));
const flags = ["--disable-warning=ExperimentalWarning"];

const build = spawnSync(process.execPath, [...flags, cli, "build", "--dev-keys", ".bulkhead/dev"], {
  stdio: "inherit",
});
if (build.status === 0) run();
else process.exitCode = build.status ?? 1;

function run(): void {
  const gateway = spawn(process.execPath, [...flags, ...GATEWAY_FLAGS, cli, "run", "gateway.example.yaml"], {
    stdio: "inherit",
    env: { ...GATEWAY_ENVIRONMENT, ...process.env },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => gateway.kill(signal));
  gateway.on("exit", (code) => process.exit(code ?? 1));
}
