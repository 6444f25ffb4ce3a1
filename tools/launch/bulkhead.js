#!/usr/bin/env node
/** The command `bulkhead`: the TypeScript of a checkout, or the compiled JavaScript of an installed package. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { launch } from "./launch.js";

const source = fileURLToPath(new URL("../cli.ts", import.meta.url));
const compiled = fileURLToPath(new URL("../../dist/tools/cli.js", import.meta.url));

launch([existsSync(source) ? source : compiled, ...process.argv.slice(2)]);
