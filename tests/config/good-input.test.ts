/** What a valid gateway.yaml becomes: the kernel's specification, with every default filled in. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type InterfaceName, INTERFACES, interfaceDefinition } from "../../kernel/index.ts";
import type { Grant, ModuleSpec } from "../../kernel/index.ts";
import { GRANT_SHAPES } from "../../gateway/config/grants.ts";
import { parseConfiguration } from "../../gateway/config/index.ts";
import { broken, parse, VALID } from "./support.ts";

function moduleOf(text: string, name: string): ModuleSpec {
  const found = parse(text).system.modules.find((module) => module.name === name);
  if (found === undefined) throw new Error(`no module ${name}`);
  return found;
}

function grantOf(grant: string): Grant | undefined {
  return moduleOf(broken("tick: { timer: {} }", `tick: ${grant}`), "bme280").grants[0];
}

describe("a valid gateway.yaml", () => {
  it("keeps identity, and resolves paths against its own folder", () => {
    const configuration = parse(VALID);
    expect(configuration.gateway).toEqual({ id: "gw-7", vendor: "sensors.example", class: "edge" });
    expect(configuration.dataFolder).toBe("/etc/bulkhead/data");
    expect(configuration.trust.root).toBe("/etc/bulkhead/root.envelope");
    expect([...configuration.envelopes]).toEqual([["bme280", "/etc/bulkhead/bme280.envelope"]]);
  });

  it("fills in the defaults of a module that says nothing", () => {
    const { name, priority, memoryPages, periodMs, activationMs, checkpointMessages, restart } = moduleOf(
      VALID,
      "bme280",
    );
    expect({ name, priority, memoryPages, periodMs, activationMs, checkpointMessages, restart }).toEqual({
      name: "bme280",
      priority: 3,
      memoryPages: 16,
      periodMs: 100,
      activationMs: 60_000,
      checkpointMessages: 0,
      restart: { policy: "restart", intensity: 5, windowMs: 60_000, backoffMs: 10, maximumBackoffMs: 30_000 },
    });
  });

  it("takes what a module says over the defaults", () => {
    const { priority, fuelPerPeriod, periodMs, activationMs, partition } = moduleOf(VALID, "uplink");
    expect({ priority, fuelPerPeriod, periodMs, activationMs, partition }).toEqual({
      priority: 2,
      fuelPerPeriod: 5_000_000,
      periodMs: 100,
      activationMs: 5000,
      partition: "services",
    });
    expect(moduleOf(VALID, "threshold")).toMatchObject({ memoryPages: 32, checkpointMessages: 16 });
  });

  it("puts a module that names no partition into the first one", () => {
    expect(moduleOf(broken("    partition: drivers\n", ""), "bme280").partition).toBe("drivers");
  });

  it("makes a partition named main where the file has none", () => {
    const text = "gateway: { id: a, vendor: b, class: c }\ndata: d\ntrust: { root: r }\nmodules: { m: }\n";
    const { system, broker, console } = parse(text);
    expect(system.partitions).toEqual([{ name: "main", heapMiB: 64 }]);
    expect(system.modules[0]).toMatchObject({ name: "m", partition: "main", grants: [] });
    expect([broker, console]).toEqual([null, null]);
  });

  it("gives an endpoint without rights the right to send and no other", () => {
    expect(moduleOf(VALID, "bme280").grants[2]).toEqual({
      slot: "readings",
      interface: "endpoint",
      to: [
        { module: "threshold", port: "readings" },
        { module: "uplink", port: "readings" },
      ],
      rights: ["send"],
      badge: 7,
      depth: 64,
      overflow: "refuse",
    });
  });

  it.each([
    ["{ file: { path: /proc/stat } }", { rights: ["read"], parameters: { path: "/proc/stat" } }],
    ["{ file: { path: /run/x, rights: [write] } }", { rights: ["write"] }],
    [
      "{ spi-device: { bus: 0, chip: 1 } }",
      { rights: ["read", "write"], parameters: { bus: 0, chip: 1, mode: 0, frequency: 1_000_000 } },
    ],
    [
      "{ gpio-line: { chip: 0, line: 4, direction: in, edges: both } }",
      { rights: ["read", "edges"], parameters: { chip: 0, line: 4, direction: "in", edges: "both" } },
    ],
    ["{ gpio-line: { chip: 0, line: 4, direction: in } }", { rights: ["read"] }],
    ["{ gpio-line: { chip: 0, line: 4, direction: out } }", { rights: ["read", "write"] }],
    [
      "{ uart: { device: /dev/ttyAMA0, baud: 9600 } }",
      { parameters: { device: "/dev/ttyAMA0", baud: 9600, format: "8N1" } },
    ],
    ["{ onewire: { device: 28-000005e2fdc3 } }", { parameters: { device: "28-000005e2fdc3" } }],
    ["{ store: { prefix: settings/ } }", { parameters: { prefix: "settings/", quota: 65_536 } }],
    ["{ mqtt: { subscribe: [a/+/b] } }", { rights: ["subscribe"], parameters: { subscribe: ["a/+/b"] } }],
    ["{ http: { origin: 'https://api.example:8443' } }", { parameters: { origin: "https://api.example:8443" } }],
    ["{ log: }", { interface: "log", rights: ["write"], parameters: {} }],
  ])("binds %s as it is meant", (text, expected) => {
    expect(grantOf(text)).toMatchObject(expected);
  });

  it("knows every interface, and binds each by the keys of the interface table", () => {
    expect([...GRANT_SHAPES.keys()].toSorted()).toEqual(Object.keys(INTERFACES).toSorted());
    for (const name of Object.keys(INTERFACES) as InterfaceName[]) {
      const { binding } = interfaceDefinition(name);
      const { properties } = GRANT_SHAPES.get(name)?.schema() as { properties: Record<string, unknown> };
      expect(Object.keys(properties)).toEqual(expect.arrayContaining([...binding]));
    }
  });

  it("shares what fuel a partition has left among the modules that ask for none", () => {
    expect(moduleOf(VALID, "threshold").fuelPerPeriod).toBe(50_000_000);
    expect(moduleOf(broken("limit: 5000000,", "limit: 80000000,"), "threshold").fuelPerPeriod).toBe(20_000_000);
  });

  it("raises a callee that names no priority to its caller's", () => {
    const text = broken("    priority: 2\n", "").replace("    memory: 2MiB", "    priority: 1\n    memory: 2MiB");
    expect(moduleOf(text, "uplink").priority).toBe(1);
  });

  it("hands the devices on as plain data", () => {
    expect(parse(VALID).devices).toEqual({
      i2c: { "1": { backend: "simulator", simulate: [{ chip: "bme280", address: 0x76 }] } },
    });
  });

  it("remembers where each grant, target and module is written", () => {
    const { positions } = parse(VALID);
    expect(positions.modules.get("uplink")).toEqual({ file: "gateway.yaml", line: 31, column: 3 });
    expect(positions.grants.get("bme280.sensor")).toEqual({ file: "gateway.yaml", line: 22, column: 7 });
    expect(positions.targets.get("bme280.readings uplink.readings")).toMatchObject({ line: 23, column: 56 });
  });

  it("is what gateway.example.yaml is", () => {
    const url = new URL("../../gateway.example.yaml", import.meta.url);
    const configuration = parseConfiguration(readFileSync(url, "utf8"), url.pathname);
    expect(configuration.system.modules.length).toBeGreaterThanOrEqual(4);
    expect(configuration.warnings).toEqual([]);
  });
});
