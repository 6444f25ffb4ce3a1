/** What every shipped binary imports: operations of its own slots within their rights, and nothing else. */
import { globSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { describe, expect, it } from "vitest";
import { inspectModule, interfaceDefinition } from "../../kernel/index.ts";

const binaries = globSync("build/modules/*.wasm").map((file) => basename(file, ".wasm"));

describe("a shipped module", () => {
  it("is there to be looked at", () => {
    expect(binaries.length).toBeGreaterThanOrEqual(17);
  });

  it.each(binaries)("%s imports nothing that is not a slot of its manifest", (name) => {
    const bytes = new Uint8Array(readFileSync(`build/modules/${name}.wasm`));
    const { imports, manifest, foreignExports } = inspectModule(bytes);
    const named = WebAssembly.Module.imports(new WebAssembly.Module(bytes)).map(
      ({ module, name: operation }) => `${module}.${operation}`,
    );
    expect(named.sort()).toEqual(imports.map(({ slot, operation }) => `${slot}.${operation}`).sort());
    for (const { slot, operation } of imports) {
      const granted = manifest.slots.get(slot);
      if (granted === undefined) throw new Error(`${slot} is no slot`);
      const rights: readonly string[] = granted.rights;
      expect(rights, `${slot}.${operation}`).toContain(
        interfaceDefinition(granted.interface).operations[operation]?.right,
      );
    }
    expect(foreignExports).toEqual([]);
  });
});
