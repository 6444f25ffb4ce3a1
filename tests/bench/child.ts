/** Measures one group in this process and prints its rows as one line of JSON: `child.ts <group> <quick|full>`. */
import { writeSync } from "node:fs";
import { SUITE } from "./suite.ts";

const [name = "", mode = "full"] = process.argv.slice(2);
const group = SUITE[name];
if (group === undefined) throw new Error(`no group ${name}`);
const measure = await group.load();
const rows = await measure(mode === "quick");
writeSync(1, `${JSON.stringify(rows)}\n`);
// A baseline may have left a thread or a timer behind; the figures are out.
process.exit(0);
