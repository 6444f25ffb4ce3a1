/** Lint rules: typescript-eslint's strict set with types, and the few globals and packages that belong to one file. */
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

const BINARY_GLOBALS = ["WebAssembly"];
const SHARED_GLOBALS = ["SharedArrayBuffer", "Atomics"];

/** The one file of each restricted global; tests are exempt. */
const ENGINE_FILE = "kernel/wasm/engine.ts";
const SHARED_FILE = "kernel/ipc/shared.ts";
const CODEC_FILE = "kernel/cbor/codec.ts";

/** Folders in another language, which its own compiler checks. */
const ASSEMBLY_SCRIPT = ["modules/", "tests/bench/kernels/", "tests/sdk/fixtures/"];

/** @param {string[]} names */
function restrictGlobals(...names) {
  const where = (/** @type {string} */ name) => (BINARY_GLOBALS.includes(name) ? ENGINE_FILE : SHARED_FILE);
  /** @type {["error", ...object[]]} */
  const rule = ["error", ...names.map((name) => ({ name, message: `Only ${where(name)} may use it.` }))];
  return rule;
}

const NO_GLOBAL_OBJECT = ["globalThis", "global", "window", "self"].flatMap((object) =>
  [...BINARY_GLOBALS, ...SHARED_GLOBALS].map((property) => ({
    object,
    property,
    message: "It belongs to one file of the kernel.",
  })),
);

export default defineConfig(
  { ignores: ["dist/", "build/", "coverage/", ...ASSEMBLY_SCRIPT, ".dependency-cruiser.cjs", "**/*.d.ts"] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "no-restricted-globals": restrictGlobals(...BINARY_GLOBALS, ...SHARED_GLOBALS),
      "no-restricted-properties": ["error", ...NO_GLOBAL_OBJECT],
      "no-restricted-imports": [
        "error",
        { patterns: [{ group: ["cbor-x", "cbor-x/*"], message: `Only ${CODEC_FILE} may import it.` }] },
      ],
      eqeqeq: "error",
      "no-eval": "error",
      "no-new-func": "error",
      "no-console": "error",
      "prefer-const": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      "@typescript-eslint/no-confusing-void-expression": [
        "error",
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      // A numeric constant compared in a loop condition, or `while (true)`, is how a scheduler reads.
      "@typescript-eslint/no-unnecessary-condition": [
        "error",
        { allowConstantLoopConditions: "only-allowed-literals" },
      ],
      // typescript-eslint 8.73.0 recurses without end here on recursive generic types (seen on Map<K, V> of itself).
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      "@typescript-eslint/no-unused-vars": [
        "error",
        { argsIgnorePattern: "^_", varsIgnorePattern: "^_", ignoreRestSiblings: true },
      ],
    },
  },
  { files: [ENGINE_FILE], rules: { "no-restricted-globals": restrictGlobals(...SHARED_GLOBALS) } },
  { files: [SHARED_FILE], rules: { "no-restricted-globals": restrictGlobals(...BINARY_GLOBALS) } },
  { files: [CODEC_FILE], rules: { "no-restricted-imports": "off" } },
  {
    // The page's own scripts run in a browser, as they are.
    files: ["gateway/link/console/*.js"],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: { parserOptions: { projectService: false } },
  },
  {
    // Tests build hostile binaries, race on shared memory and hand wrong types to everything, on purpose.
    files: ["tests/**/*.ts"],
    rules: {
      "no-restricted-globals": "off",
      "no-restricted-properties": "off",
      "no-restricted-imports": "off",
      "no-console": "off",
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
);
