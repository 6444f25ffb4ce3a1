/** The examples of docs/devices.md are accepted by the device process, and its tables name what there is. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { configureDevices } from "../../gateway/device/configure.ts";
import { FAULT_KINDS } from "../../gateway/device/simulator/faults.ts";
import type { HostPort } from "../../gateway/wire/host-process.ts";

const page = readFileSync(new URL("../../docs/devices.md", import.meta.url), "utf8");
const examples = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text = ""]) => text);

function port(statuses: string[]): HostPort {
  return {
    event: () => true,
    status: (_state, text) => statuses.push(text),
    log: () => undefined,
    ask: () => Promise.resolve(null),
    fail: (reason) => {
      throw new Error(String(reason));
    },
  };
}

describe("docs/devices.md", () => {
  it("has examples that the device process takes", async () => {
    expect(examples).toHaveLength(2);
    for (const example of examples) {
      const statuses: string[] = [];
      const { interfaces } = await configureDevices(parse(example), port(statuses));
      expect(statuses.length).toBeGreaterThan(0);
      await Promise.all(Object.values(interfaces).map((host) => host.stop?.() ?? Promise.resolve()));
    }
  });

  it("shows every simulated chip and every kind of fault", () => {
    const chips = [...page.matchAll(/^\| `([a-z0-9-]+)` \| (?:I2C|SPI|1-Wire|GPIO|serial)/gm)].map(([, chip]) => chip);
    for (const chip of chips) expect(examples.join(), chip).toContain(`chip: ${chip ?? ""}`);
    expect(chips).toHaveLength(9);
    for (const kind of Object.keys(FAULT_KINDS)) expect(page).toContain(`| \`${kind}\` |`);
  });
});
