/** The examples of docs/configuration.md are read as they stand, and what it says of them holds. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfiguration, parseLayers } from "../../gateway/config/index.ts";
import { generate } from "../../tools/generate/configuration-keys.ts";
import { CHECKS } from "../../tools/testkit/contracts.ts";

const page = readFileSync(new URL("../../docs/configuration.md", import.meta.url), "utf8");

function examples(kind: string): readonly string[] {
  const blocks = [...page.matchAll(/^```([a-z ]+)\n(.*?)^```$/gms)];
  return blocks.filter(([, label]) => label === kind).map(([, , text]) => text ?? "");
}

describe("docs/configuration.md", () => {
  const [gateway = ""] = examples("yaml");

  it("has a gateway that is valid as it stands", () => {
    expect(examples("yaml")).toHaveLength(1);
    const { system, tests, warnings } = parseConfiguration(gateway, "gateway.yaml");
    expect(system.modules.map(({ name }) => name)).toEqual(["bme280", "uplink"]);
    expect([tests.length, warnings.length]).toEqual([2, 0]);
  });

  it("has layers that are valid on top of it", () => {
    const layers = examples("yaml layer");
    expect(layers).toHaveLength(5);
    for (const text of layers) {
      expect(
        parseLayers(
          [
            { name: "layer", text },
            { name: "gateway.yaml", text: gateway },
          ],
          "/",
        ).files,
      ).toHaveLength(2);
    }
  });

  it("changes the topics of a site by a layer, as it says", () => {
    const site = examples("yaml layer").find((text) => text.includes("no actuators")) ?? "";
    const { system } = parseLayers(
      [
        { name: "layer", text: site },
        { name: "gateway.yaml", text: gateway },
      ],
      "/",
    );
    expect(system.modules[1]?.grants[0]).toMatchObject({ parameters: { publish: ["site/gw-7/cellar/#"] } });
  });

  it("sends a final message that its receiver's contract allows", () => {
    const text = examples("yaml layer").find((layer) => layer.includes("safe-state")) ?? "";
    const layers = [text, gateway].map((layer, index) => ({ name: `${index}.yaml`, text: layer }));
    const final = parseLayers(layers, "/").system.modules.find(({ restart }) => restart.final !== undefined)?.restart
      .final;
    expect(final?.to).toEqual({ module: "gpio-relay", port: "commands" });
    expect(CHECKS.switch(final?.payload ?? new Uint8Array())).toBeUndefined();
  });

  it("shows an error as it is printed", () => {
    const [shown = ""] = examples("text");
    expect(shown).toMatch(/^gateway\.yaml:\d+:\d+: E_CAP: bme280 asks for 'sensor', which is not granted; /);
  });
});

describe("docs/configuration-keys.md", () => {
  it("is what its generator makes", () => {
    const file = readFileSync(new URL("../../docs/configuration-keys.md", import.meta.url), "utf8");
    expect(file === generate()).toBe(true);
  });
});
