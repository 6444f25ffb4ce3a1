/** How the tests run: two workers, generous limits for slow machines, modules built beforehand. */
import { defineConfig } from "vitest/config";
import { patiently } from "./tests/support/patience.ts";

export default defineConfig({
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/global-setup.ts"],
    execArgv: ["--disable-warning=ExperimentalWarning"],
    testTimeout: patiently(30_000),
    hookTimeout: patiently(60_000),
    expect: { poll: { timeout: patiently(1000) } },
    maxWorkers: 2,
  },
});
