/** The README files of drivers and services: each grant in them is one that the configuration takes and that fits the manifest. */
import { globSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { checkAgainstManifests, parseConfiguration } from "../../gateway/config/index.ts";
import { inspectModule } from "../../kernel/index.ts";
import { built } from "./support.ts";

const drivers = globSync("modules/drivers/*/module.yaml")
  .map((file) => basename(dirname(file)))
  .sort();
const manifestOf = (name: string) => inspectModule(new Uint8Array(readFileSync(built(name)))).manifest;

/** Services that an operator runs: `tap` comes with `bulkhead dev`, `control` is of the demo. */
const services = ["aggregate", "home-assistant", "threshold", "uplink"];

const place = (name: string, lines: string): string => {
  const indented = lines
    .trim()
    .split("\n")
    .map((line) => `    ${line}`);
  return `  ${name}:\n    envelope: ${name}.envelope\n    partition: all\n${indented.join("\n")}\n`;
};

/** A gateway with this module and those that it sends to. */
function configurationWith(module: string, lines: string): string {
  const uplink =
    "settings: { prefix: site/7 }\ngrants:\n  log: { log: {} }\n  north: { mqtt: { publish: [site/7/#] } }";
  const relay =
    "grants:\n  line: { gpio-line: { chip: 0, line: 5, direction: out } }\n  clock: { clock: {} }\n  log: { log: {} }\n  readings: { endpoint: { to: uplink.readings } }";
  const modules = new Map([
    ["uplink", uplink],
    ["gpio-relay", relay],
    [module, lines],
  ]);
  return `gateway: { id: gw-test, vendor: bulkhead.example, class: test }
data: /tmp/bulkhead-readme-test
trust: { root: root.envelope }
broker: { url: "mqtt://127.0.0.1:1883" }
partitions: { all: {} }
modules:
${[...modules].map(([name, text]) => place(name, text)).join("")}`;
}

describe("the README", () => {
  it.each([...drivers.map((name) => `drivers/${name}`), ...services.map((name) => `services/${name}`)])(
    "of %s grants what the module asks for",
    (folder) => {
      const module = basename(folder);
      const page = readFileSync(`modules/${folder}/README.md`, "utf8");
      const grants = /```yaml\n(grants:[\s\S]*?)```/.exec(page)?.[1] ?? "";
      const configuration = parseConfiguration(configurationWith(module, grants), "gateway.yaml");
      const manifests = new Map([module, "uplink", "gpio-relay"].map((name) => [name, manifestOf(name)]));
      expect(checkAgainstManifests(configuration, manifests)).toEqual({ errors: [], warnings: [] });
    },
  );

  it.each(drivers)("of the driver %s says how it is wired, and by which pages it was written", (driver) => {
    const page = readFileSync(`modules/drivers/${driver}/README.md`, "utf8");
    if (driver !== "system-monitor") expect(page).toMatch(/\*\*Wiring\*\*/);
    const hasChip = !["gpio-button", "gpio-relay"].includes(driver);
    if (hasChip) expect(page).toMatch(/\*\*(Datasheet|Standards|Formats)\*\*/);
  });

  it("is linked from the list of modules", () => {
    const page = readFileSync("modules/README.md", "utf8");
    for (const driver of drivers) expect(page).toContain(`(drivers/${driver}/README.md)`);
    for (const service of services) expect(page).toContain(`(services/${service}/README.md)`);
  });

  it("leaves no service out of the list of modules", () => {
    const page = readFileSync("modules/README.md", "utf8");
    const all = globSync("modules/services/*/module.yaml").map((file) => basename(dirname(file)));
    for (const service of all)
      expect(page).toMatch(new RegExp(`^\\| (\`${service}\`|\\[${service}\\]\\(.*\\)) \\|`, "m"));
  });
});
