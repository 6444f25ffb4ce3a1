#!/usr/bin/env node
/** The command `bulkhead`: the TypeScript of a checkout, or the compiled JavaScript of an installed package. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { measureAddressSpace } from "./address-space.js";
import { fail, launch } from "./launch.js";
import { GATEWAY_ENVIRONMENT, GATEWAY_FLAGS } from "./memory.js";

const source = fileURLToPath(new URL("../cli.ts", import.meta.url));
const compiled = fileURLToPath(new URL("../../dist/tools/cli.js", import.meta.url));

const script = [source, compiled].find((file) => existsSync(file));
const parameters = process.argv.slice(2);

if (script === undefined) fail(`${compiled} is missing; a package of Bulkhead is made by npm run pack`);
else {
  const isGateway = parameters[0] === "run";
  const { flags, text } = measureAddressSpace();
  const environment = { ...(isGateway ? GATEWAY_ENVIRONMENT : {}), BULKHEAD_ADDRESS_SPACE: text };
  launch([...(isGateway ? GATEWAY_FLAGS : []), ...flags, script, ...parameters], environment);
}
