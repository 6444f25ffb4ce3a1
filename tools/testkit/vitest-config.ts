/** How `bulkhead test` runs a module's tests: `bulkhead/testkit` is this folder, wherever the module lies. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const extension = import.meta.filename.endsWith(".ts") ? "ts" : "js";

/** The vitest that runs, also for a folder that has none in reach. */
const vitest = dirname(createRequire(process.argv[1] ?? import.meta.url).resolve("vitest/package.json"));

export default {
  resolve: {
    alias: {
      "bulkhead/testkit": join(import.meta.dirname, `index.${extension}`),
      vitest: join(vitest, "dist/index.js"),
    },
  },
  test: { include: ["**/*.test.ts"], exclude: ["**/node_modules/**"] },
};
