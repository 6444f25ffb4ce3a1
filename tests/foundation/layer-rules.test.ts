/** The layer table of CONTRIBUTING.md: each rule of dependency-cruiser is broken once, and what is allowed stays allowed. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { expect, test } from "vitest";
import { plantTree, ROOT, runTool } from "./support.ts";

interface Report {
  readonly summary: {
    readonly violations: readonly { readonly from: string; readonly rule: { readonly name: string } }[];
  };
}

const ALLOWED = {
  "kernel/index.ts": 'export * from "./allowed.ts";\n',
  "kernel/cbor/codec.ts": 'export { decode } from "cbor-x/index-no-eval";\n',
  "kernel/allowed.ts": [
    'import { decode } from "./cbor/codec.ts";',
    'import { Worker } from "node:worker_threads";',
    'import { createHash } from "node:crypto";',
    'import { performance } from "node:perf_hooks";',
    "export const allowed = [decode, Worker, createHash, performance];\n",
  ].join("\n"),
  "kernel/inside.ts": "export const inside = 1;\n",
  "gateway/config/index.ts": 'export { allowed } from "../../kernel/index.ts";\n',
  "gateway/envelopes/index.ts": "export const envelope = 1;\n",
  "gateway/wire/index.ts": "export const frame = 1;\n",
  "gateway/device/main.ts": "export const device = 1;\n",
  "gateway/link/inside.ts": "export const inside = 1;\n",
  "gateway/link/main.ts": [
    'import { connect } from "mqtt";',
    'import net from "node:net";',
    'import { allowed } from "../../kernel/index.ts";',
    'import * as config from "../config/index.ts";',
    'import { envelope } from "../envelopes/index.ts";',
    'import { frame } from "../wire/index.ts";',
    'import { inside } from "./inside.ts";',
    "export const link = [connect, net, allowed, config, envelope, frame, inside];\n",
  ].join("\n"),
  "modules/sdk/index.ts": "export const sdk: i32 = 1;\n",
  "modules/sdk/part.ts": 'export { reading } from "bulkhead/interfaces/readings";\n',
  "modules/interfaces/generated/readings.ts": 'export { sdk as reading } from "bulkhead/sdk";\n',
  "modules/drivers/other/index.ts": [
    'import { sdk } from "bulkhead/sdk";',
    'import { part } from "bulkhead/sdk/part";',
    'import { reading } from "bulkhead/interfaces/readings";',
    'import { sdk as same } from "../../sdk/index";',
    'import { mine } from "./mine";',
    "export const other = sdk + part + reading + same + mine;\n",
  ].join("\n"),
  "modules/drivers/other/mine.ts": "export const mine: i32 = 1;\n",
  "tools/allowed.ts": [
    'import { readFileSync } from "node:fs";',
    'import { parse } from "yaml";',
    'import { link } from "../gateway/link/main.ts";',
    'import { frame } from "../gateway/wire/index.ts";',
    'import { allowed } from "../kernel/index.ts";',
    "export const tool = [readFileSync, parse, link, frame, allowed];\n",
  ].join("\n"),
  "tests/helper.ts":
    'import { test } from "vitest";\nimport { inside } from "../kernel/inside.ts";\nexport const t = [test, inside];\n',
};

/** File name, the import planted in it, and the one rule that it must break. */
const PLANTED: readonly (readonly [file: string, specifier: string, rule: string])[] = [
  ["kernel/reads-files.ts", "node:fs", "kernel-imports-itself-only"],
  ["kernel/opens-sockets.ts", "node:net", "kernel-imports-itself-only"],
  ["kernel/takes-a-package.ts", "yaml", "kernel-imports-itself-only"],
  ["kernel/verifies-signatures.ts", "@noble/ed25519", "kernel-imports-itself-only"],
  ["kernel/knows-the-gateway.ts", "../gateway/wire/index.ts", "kernel-imports-itself-only"],
  ["gateway/link/goes-inside-the-kernel.ts", "../../kernel/inside.ts", "kernel-through-its-index"],
  ["tools/goes-inside-the-kernel.ts", "../kernel/inside.ts", "kernel-through-its-index"],
  ["kernel/cbor/decodes-unchecked.ts", "cbor-x/index-no-eval", "cbor-x-behind-its-check"],
  ["gateway/link/decodes-unchecked.ts", "cbor-x", "cbor-x-behind-its-check"],
  ["gateway/link/knows-the-device-process.ts", "../device/main.ts", "gateway-process-is-alone"],
  ["gateway/config/knows-the-link-process.ts", "../link/inside.ts", "gateway-process-is-alone"],
  ["gateway/link/knows-tools.ts", "../../tools/allowed.ts", "gateway-knows-no-tools-or-modules"],
  ["modules/drivers/lonely/knows-another.ts", "../other/index", "module-is-alone"],
  ["modules/services/other/knows-its-namesake.ts", "../../drivers/other/index", "module-is-alone"],
  ["modules/drivers/lonely/knows-the-host.ts", "../../../gateway/wire/index.ts", "module-is-alone"],
  ["modules/drivers/lonely/goes-out-of-the-package.ts", "bulkhead/kernel/index", "module-is-alone"],
  ["modules/sdk/knows-a-module.ts", "../drivers/other/index", "sdk-knows-no-module"],
  ["modules/interfaces/generated/knows-the-host.ts", "../../../kernel/index.ts", "sdk-knows-no-module"],
  ["tools/imports-a-module.ts", "../modules/drivers/other/index.ts", "modules-are-not-imported-by-the-host"],
  ["tools/goes-inside-the-gateway.ts", "../gateway/link/inside.ts", "tools-enter-gateway-by-its-entry-points"],
  ["tools/imports-tests.ts", "../tests/helper.ts", "nothing-imports-tests"],
  ["tools/needs-a-development-package.ts", "fast-check", "no-development-packages-at-run-time"],
  ["tools/half-of-a-circle.ts", "./other-half.ts", "no-cycles"],
  ["tools/imports-nothing-there.ts", "./missing.ts", "every-import-resolves"],
];

function cruise(files: Readonly<Record<string, string>>): string[] {
  const tree = plantTree(files, ".dependency-cruiser.cjs");
  const layers = ["kernel", "gateway", "tools", "tests", "modules"];
  const outcome = runTool(tree, "dependency-cruiser/bin/dependency-cruiser.mjs", "--output-type", "json", ...layers);
  const report = JSON.parse(outcome.stdout) as Report;
  return report.summary.violations.map(({ from, rule }) => `${from}: ${rule.name}`).sort();
}

test("what the table allows breaks no rule", () => {
  expect(cruise(ALLOWED)).toEqual([]);
});

test("each planted import breaks its rule, and only that", () => {
  const planted = Object.fromEntries(
    PLANTED.map(([file, specifier]) => [file, `import * as planted from "${specifier}";\nexport default planted;\n`]),
  );
  const other = {
    "tools/other-half.ts": 'import half from "./half-of-a-circle.ts";\nexport default half;\n',
    "tools/late.ts": 'export const late = async () => (await import("cbor-x/index-no-eval")).decode;\n',
    "tools/required.cjs": 'exports.decode = require("cbor-x").decode;\n',
  };
  const expected = [
    ...PLANTED.map(([file, , rule]) => `${file}: ${rule}`),
    "tools/late.ts: cbor-x-behind-its-check",
    "tools/required.cjs: cbor-x-behind-its-check",
  ];
  expect(cruise({ ...ALLOWED, ...planted, ...other })).toEqual(expected.sort());
});

test("each rule of the configuration is tried here", () => {
  const file = path.join(ROOT, ".dependency-cruiser.cjs");
  const { forbidden } = createRequire(import.meta.url)(file) as { forbidden: readonly { readonly name: string }[] };
  expect(new Set(PLANTED.map(([, , rule]) => rule))).toEqual(new Set(forbidden.map(({ name }) => name)));
  expect(readFileSync(file, "utf8")).not.toContain('severity: "warn"');
});
