/** `npm run check`: every rule of the tree that is not a test, a line for each, two at a time. */
import { styleText } from "node:util";
import { PACKAGE_ROOT } from "../root.ts";
import { checkOpenings, countKernelLines } from "./sources.ts";
import { type Finding, runOwn, runTool, type Step } from "./step.ts";

const LAYERS = ["kernel", "gateway", "tools", "tests", "modules"];

/** The slowest first, so that two at a time end together. */
const STEPS: readonly Step[] = [
  {
    name: "lint",
    purpose: "typescript-eslint strictTypeChecked; globals and packages that belong to one file",
    run: () => runTool(PACKAGE_ROOT, "node_modules/eslint/bin/eslint.js", "--max-warnings=0", "."),
  },
  {
    name: "types",
    purpose: "TypeScript of the host",
    run: () => runTool(PACKAGE_ROOT, "node_modules/typescript/bin/tsc", "-p", "."),
  },
  { name: "modules", purpose: "AssemblyScript of the modules", run: () => runOwn("tools/check/assembly-script.ts") },
  {
    name: "unused",
    purpose: "code, exports and packages that nothing uses (knip)",
    run: () => runTool(PACKAGE_ROOT, "node_modules/knip/bin/knip.js", "--no-progress"),
  },
  {
    name: "layers",
    purpose: "who may import whom (dependency-cruiser)",
    run: () => runTool(PACKAGE_ROOT, "node_modules/dependency-cruiser/bin/dependency-cruiser.mjs", ...LAYERS),
  },
  {
    name: "format",
    purpose: "Biome",
    run: () => runTool(PACKAGE_ROOT, "node_modules/@biomejs/biome/bin/biome", "format", "--colors=off", "."),
  },
  {
    name: "generated",
    purpose: "generated files are what their generators make",
    run: () => runOwn("tools/check/generated.ts"),
  },
  { name: "kernel", purpose: "the kernel's line budget", run: () => countKernelLines(PACKAGE_ROOT) },
  { name: "openings", purpose: "each file opens with what it is for", run: () => checkOpenings(PACKAGE_ROOT) },
];

function report(step: Step, finding: Finding, milliseconds: number): void {
  const mark = finding.ok ? styleText("green", "ok  ") : styleText("red", "FAIL");
  const time = `${(milliseconds / 1000).toFixed(1)} s`.padStart(7);
  process.stdout.write(`${mark} ${step.name.padEnd(10)}${time}  ${finding.summary || step.purpose}\n`);
  if (!finding.ok) process.stdout.write(`${finding.details.replaceAll(/^/gm, "     ")}\n`);
}

/** A step that throws has failed, with its reason. */
async function perform(step: Step): Promise<boolean> {
  const begin = performance.now();
  const finding = await Promise.resolve()
    .then(() => step.run())
    .catch((error: unknown) => ({ ok: false, summary: "could not be run", details: String(error) }));
  report(step, finding, performance.now() - begin);
  return finding.ok;
}

/** Takes steps from the queue until it is empty; two of these run beside each other. */
async function work(queue: Step[], passed: boolean[]): Promise<void> {
  for (let step = queue.shift(); step !== undefined; step = queue.shift()) passed.push(await perform(step));
}

function choose(names: readonly string[]): Step[] {
  const unknown = names.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) {
    process.stderr.write(
      `no such check: ${unknown.join(", ")}; there are ${STEPS.map(({ name }) => name).join(", ")}\n`,
    );
    process.exit(2);
  }
  return STEPS.filter(({ name }) => names.length === 0 || names.includes(name));
}

// A reader that goes away (`npm run check | head`) ends the check.
process.stdout.on("error", () => process.exit(1));

const chosen = choose(process.argv.slice(2));
const passed: boolean[] = [];
const queue = [...chosen];
await Promise.all([work(queue, passed), work(queue, passed)]);
const failures = passed.filter((ok) => !ok).length;
process.stdout.write(`${chosen.length - failures} of ${chosen.length} checks passed\n`);
process.exitCode = failures === 0 ? 0 : 1;
