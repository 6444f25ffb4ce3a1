#!/usr/bin/env node
/** The command `bulkhead`: the TypeScript of a checkout, or the compiled JavaScript of an installed package. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { fail, launch } from "./launch.js";

const source = fileURLToPath(new URL("../cli.ts", import.meta.url));
const compiled = fileURLToPath(new URL("../../dist/tools/cli.js", import.meta.url));

const script = [source, compiled].find((file) => existsSync(file));

if (script === undefined) fail(`${compiled} is missing; a package of Bulkhead is made by npm run pack`);
else launch([script, ...process.argv.slice(2)]);
