/** The ABI from other languages: the same counter in C and in WebAssembly text, held to the same behaviour. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { inspectModule, NOTICE } from "../../kernel/index.ts";
import { buildModule } from "../../tools/build/build.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";

/** C needs clang and lld; where they are not installed only the text is tried. */
const hasClang = spawnSync("clang", ["--version"]).status === 0 && spawnSync("wasm-ld", ["--version"]).status === 0;

const count = (value: number) => ({ reply: Uint8Array.of(0x1a, 0, 0, value >> 8, value & 0xff) });

describe.each([
  ["counter-wat", true],
  ["counter-c", hasClang],
])("the module %s", (name, isPossible) => {
  const started = () => {
    const host = new ModuleHost(`build/tests/${name}.wasm`);
    host.start();
    return host;
  };

  beforeAll(async () => {
    if (isPossible) await buildModule(`modules/examples/${name}`, { output: "build/tests" });
  });

  it.runIf(isPossible)("imports its one slot and exports the ABI", () => {
    const inspection = inspectModule(new Uint8Array(readFileSync(`build/tests/${name}.wasm`)));
    expect(inspection.imports.map(({ slot, operation }) => `${slot}.${operation}`)).toEqual(["log.write"]);
    expect(inspection.foreignExports).toEqual([]);
    expect(inspection.bytes).toBeLessThan(1500);
  });

  it.runIf(isPossible)("counts, and answers calls only", () => {
    const host = started();
    expect(host.logs).toEqual([{ level: 2, text: "counting" }]);
    expect(host.deliver("count", null)).toEqual({ reply: null });
    expect(host.deliver("count", null, { kind: "call" })).toEqual(count(2));
    for (let message = 0; message < 298; message++) host.deliver("count", null);
    expect(host.deliver("count", null, { kind: "call" })).toEqual(count(301));
    host.notice(NOTICE.safeState);
    expect(host.logs).toHaveLength(1);
  });

  it.runIf(isPossible)("goes on counting where the instance before it stopped", () => {
    const first = started();
    for (let message = 0; message < 5; message++) first.deliver("count", null);
    const second = new ModuleHost(`build/tests/${name}.wasm`);
    expect(second.restore(first.save())).toBe(true);
    expect(second.deliver("count", null, { kind: "call" })).toEqual(count(6));
  });

  it.runIf(isPossible)("refuses a state of another size, schema or form", () => {
    const state = started().save();
    expect(started().restore(state.subarray(0, 4))).toBe(false);
    expect(started().restore(state, 2)).toBe(false);
    expect(started().restore(Uint8Array.of(0x1b, 0, 0, 0, 0))).toBe(false);
  });
});
