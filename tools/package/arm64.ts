/** `npm run arm64 -- <verb> …`: the arm64 package's command, or the project's tests, under qemu on a machine of another kind. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Refusal } from "../../kernel/index.ts";
import { runTests } from "./arm64-tests.ts";
import { makePackage } from "./deb.ts";
import { emulatedNode } from "./emulation.ts";

const HELP = `usage: npm run arm64 -- <verb> [options]

Makes the arm64 package, unpacks it, and runs the command \`bulkhead\` in it under qemu-aarch64-static. With \`vitest\` in the
verb's place the project's own tests run there, by default the kernel's. Slow: ten to thirty times.

  npm run arm64 -- demo --json --patience 20
  npm run arm64 -- vitest [files] [options of vitest]
`;

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  if (args.length === 0 || args[0] === "--help") {
    process.stdout.write(HELP);
    return args.length === 0 ? 2 : 0;
  }
  const folder = mkdtempSync(path.join(tmpdir(), "bulkhead-arm64-"));
  try {
    if (args[0] === "vitest") return runTests(folder, args.slice(1));
    const { file } = await makePackage({ architecture: "arm64", output: folder, compression: "gzip" });
    const root = path.join(folder, "root");
    mkdirSync(root);
    execFileSync("dpkg-deb", ["-x", file, root]);
    const library = path.join(root, "usr/lib/bulkhead");
    const node = emulatedNode(library);
    const { status } = spawnSync(node, [path.join(library, "tools/launch/bulkhead.js"), ...args], { stdio: "inherit" });
    return status ?? 1;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    process.stderr.write(`arm64: ${error.describe()}\n`);
    return 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
