/** The drivers' README files: each grant in them is one that the configuration takes and that fits the manifest. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { checkAgainstManifests, parseConfiguration } from "../../gateway/config/index.ts";
import { inspectModule } from "../../kernel/index.ts";
import { built } from "./support.ts";

const drivers = globSync("modules/drivers/*/module.yaml")
  .map((file) => basename(dirname(file)))
  .sort();
const manifestOf = (name: string) => inspectModule(new Uint8Array(readFileSync(built(name)))).manifest;

/** A gateway with this driver and the uplink that it sends to. */
function configurationWith(driver: string, grants: string): string {
  const indented = grants
    .trim()
    .split("\n")
    .map((line) => `    ${line}`);
  return `gateway: { id: gw-test, vendor: bulkhead.example, class: test }
data: /tmp/bulkhead-readme-test
trust: { root: root.envelope }
broker: { url: "mqtt://127.0.0.1:1883" }
partitions: { all: {} }
modules:
  ${driver}:
    envelope: ${driver}.envelope
    partition: all
${indented.join("\n")}
  uplink:
    envelope: uplink.envelope
    partition: all
    settings: { prefix: site/7 }
    grants:
      log: { log: {} }
      north: { mqtt: { publish: [site/7/#] } }
`;
}

describe("the driver's README", () => {
  it.each(drivers)("of %s grants what the driver asks for", (driver) => {
    const page = readFileSync(`modules/drivers/${driver}/README.md`, "utf8");
    const grants = /```yaml\n(grants:[\s\S]*?)```/.exec(page)?.[1] ?? "";
    const configuration = parseConfiguration(configurationWith(driver, grants), "gateway.yaml");
    const manifests = new Map([driver, "uplink"].map((name) => [name, manifestOf(name)]));
    expect(checkAgainstManifests(configuration, manifests)).toEqual({ errors: [], warnings: [] });
  });

  it("is linked from the list of modules", () => {
    const page = readFileSync("modules/README.md", "utf8");
    for (const driver of drivers) expect(page).toContain(`(drivers/${driver}/README.md)`);
    const links = [...page.matchAll(/\]\(((?!http)[^)]+)\)/g)].map(([, link]) => link ?? "");
    for (const link of links) expect({ link, exists: existsSync(`modules/${link}`) }).toEqual({ link, exists: true });
  });

  it("leaves no service out of the list of modules", () => {
    const page = readFileSync("modules/README.md", "utf8");
    const services = globSync("modules/services/*/module.yaml").map((file) => basename(dirname(file)));
    for (const service of services) expect(page).toContain(`| \`${service}\` |`);
  });
});
