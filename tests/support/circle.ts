/** `circle.ts <direct|blocking> <messages>`: passes messages round two modules, with BEGIN and END about those that count. */
import { writeSync } from "node:fs";
import { circleContestant, startCircle } from "../bench/rows/send.ts";

const [kind = "direct", messages = "1000000"] = process.argv.slice(2);
const product = await startCircle(kind === "blocking");
const warm = circleContestant("warm", product, 150_000);
for (let round = 0; round < 3; round++) await warm.sample();
writeSync(1, "BEGIN\n");
await circleContestant("measured", product, Number(messages) / 2).sample();
writeSync(1, "END\n");
await product.stop();
