/** Rules withdraw what grants bind; assertions hold or stop the boot; layers decide in the order of their names. */
import { describe, expect, it } from "vitest";
import {
  ConfigurationError,
  describeProblem,
  type GatewayConfiguration,
  parseLayers,
} from "../../gateway/config/index.ts";
import { parse, refusalOf, VALID } from "../config/support.ts";

function withRules(...rules: readonly string[]): GatewayConfiguration {
  return parse(`${VALID}rules:\n${rules.map((rule) => `  - ${rule}\n`).join("")}`);
}

function faults(text: string): string[] {
  try {
    parse(text);
    return [];
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems.map(describeProblem);
    throw error;
  }
}

function grantOf({ system }: GatewayConfiguration, module: string, slot: string): unknown {
  return system.modules.find(({ name }) => name === module)?.grants.find((grant) => grant.slot === slot);
}

function layered(...texts: readonly string[]): GatewayConfiguration {
  return parseLayers(
    [...texts, VALID].map((text, index) => ({ name: `${index}.yaml`, text })),
    "/etc/bulkhead",
  );
}

describe("a rule that denies", () => {
  it("takes one target from a grant and leaves the others", () => {
    const configuration = withRules("deny: bme280 -> uplink.readings");
    expect(grantOf(configuration, "bme280", "readings")).toMatchObject({
      to: [{ module: "threshold", port: "readings" }],
    });
    expect(configuration.withdrawn).toMatchObject([
      {
        module: "bme280",
        slot: "readings",
        target: "uplink.readings",
        rights: ["send"],
        rule: { at: { line: 41, column: 11 } },
      },
    ]);
  });

  it("takes the grant where nothing is left of it", () => {
    expect(grantOf(withRules("deny: bme280 -> i2c-device:1/0x76"), "bme280", "sensor")).toBeUndefined();
  });

  it("takes single rights where it names them", () => {
    const configuration = withRules("{ deny: threshold -> uplink, rights: [call] }");
    expect(grantOf(configuration, "threshold", "alarms")).toMatchObject({ rights: ["send"] });
  });

  it("drops a target whole where several targets share the rights of which it loses one", () => {
    const text = VALID.replace("badge: 7", "rights: [send, pass]");
    const configuration = parse(`${text}rules:\n  - { deny: bme280 -> uplink, rights: [pass] }\n`);
    expect(grantOf(configuration, "bme280", "readings")).toMatchObject({
      to: [{ module: "threshold", port: "readings" }],
      rights: ["send", "pass"],
    });
  });

  it.each([
    ["'* -> gpio-line:0/17'", "uplink", "relay"],
    ["'uplink -> gpio-line:*'", "uplink", "relay"],
    ["uplink -> gpio-line", "uplink", "relay"],
    ["'* -> gpio-line:0/1*'", "uplink", "relay"],
    ["'uplink.relay -> *'", "uplink", "relay"],
    ["'uplink.* -> gpio-line'", "uplink", "relay"],
    ["'threshold → store:thresh*'", "threshold", "state"],
    ["'threshold -> uplink.*'", "threshold", "alarms"],
    ["'threshold -> endpoint'", "threshold", "alarms"],
    ["'threshold -> endpoint:*'", "threshold", "alarms"],
    ["'threshold -> endpoint:uplink'", "threshold", "alarms"],
    ["'bme280 -> i2c-device:1/0x*'", "bme280", "sensor"],
    ["'bme280 -> i2c-device:1/*'", "bme280", "sensor"],
  ])("matches by %s", (route, module, slot) => {
    expect(grantOf(withRules(`deny: ${route}`), module, slot)).toBeUndefined();
  });

  it.each([
    ["i2c-device:1/118", "it is written as i2c-device:1/0x76"],
    ["i2c-device:1/0X76", "it is written as i2c-device:1/0x76"],
    ["i2c-device:01/0x76", "it is written as i2c-device:1/0x76"],
    ["i2c-device:1/118*", "it is written as i2c-device:1/0x76"],
    ["i2c-device:", "it is written as i2c-device:1/0x76"],
    ["gpio-line:17", "it is written as gpio-line:0/17"],
    ["gpio-line:*/17", "'*' stands at the end only"],
    ["spi-device:0.1", "it is written as spi-device:0/17"],
    ["uart:ttyAMA0", "the path is not absolute"],
    ["uart:/dev/../dev/ttyAMA0", "the path has '.' or '..' in it"],
    ["file:/etc//passwd", "the path is not in its plain form"],
    ["file:/etc/", "the path is not in its plain form"],
    ["file:/etc/../*", "the path has '.' or '..' in it"],
    ["onewire:28-000005E2FDC3", "it is written as onewire:28-000005e2fdc3"],
    ["http:https://api.example/", "an origin is scheme, host and port only: https://api.example"],
    ["mqtt:site/*", "the rest of a topic is '#'"],
    ["mqtt:site/#/x", "'#' stands alone, as the last level of a filter"],
    ["store:../uplink", "it is written as store:uplink/"],
    ["timer:x", "timer has no resources: write 'timer'"],
  ])("is refused where it would match nothing: %s", (target, hint) => {
    for (const decision of ["deny", "allow"]) {
      const described = faults(`${VALID}rules:\n  - ${decision}: '* -> ${target}'\n`);
      expect(described).toHaveLength(1);
      expect(described[0]).toContain("matches no grant");
      expect(described[0]).toContain(hint);
    }
  });

  it.each([
    "file:/etc/*",
    "file:/*",
    "uart:/dev/tty*",
    "http:https://*",
    "store:plant/*",
    "mqtt:#",
    "clock:*",
    "gpio-line:0/1*",
    "timer",
  ])("may name what nobody was granted: %s", (target) => {
    expect(faults(`${VALID}rules:\n  - deny: '* -> ${target}'\n`)).toEqual([]);
  });

  it.each([
    ["* -> gpio-line", "publish", "gpio-line has no right 'publish'"],
    ["bme280 -> uplink", "write", "endpoint has no right 'write'"],
    ["* -> mqtt:a/#", "send", "mqtt has no right 'send'"],
  ])("is refused about a right that its target does not have: %s, %s", (route, right, says) => {
    const described = faults(`${VALID}rules:\n  - { deny: '${route}', rights: [${right}] }\n`);
    expect(described).toHaveLength(1);
    expect(described[0]).toContain(says);
  });

  it("takes every topic filter that it touches, even by one topic", () => {
    const configuration = withRules("deny: 'uplink -> mqtt:+/7/alarm'");
    expect(grantOf(configuration, "uplink", "north")).toMatchObject({
      rights: ["subscribe"],
      parameters: { subscribe: ["site/7/set"] },
    });
  });

  it("is told as a warning at the grant, with its reason", () => {
    const { warnings } = withRules("{ deny: bme280 -> i2c-device, reason: sensor is broken }");
    expect(warnings).toMatchObject([{ code: "E_CAP", hint: "sensor is broken", at: { line: 22, column: 7 } }]);
  });
});

describe("the first rule that matches", () => {
  it("decides: an allowance before a denial keeps the grant", () => {
    const configuration = withRules("allow: uplink -> gpio-line:0/17", "deny: '* -> gpio-line'");
    expect(grantOf(configuration, "uplink", "relay")).toBeDefined();
    expect(configuration.withdrawn).toEqual([]);
  });

  it("decides: an allowance after a denial comes too late", () => {
    const configuration = withRules("deny: '* -> gpio-line'", "allow: uplink -> gpio-line:0/17");
    expect(grantOf(configuration, "uplink", "relay")).toBeUndefined();
  });

  it("does not grant: an allowance without a grant binds nothing", () => {
    const configuration = withRules("allow: threshold -> gpio-line:0/17");
    expect(configuration.system.modules.flatMap(({ grants }) => grants).length).toBe(
      parse(VALID).system.modules.flatMap(({ grants }) => grants).length,
    );
  });

  it("does not cover what is wider than it: an allowance of one topic saves no filter", () => {
    const configuration = withRules("allow: uplink -> mqtt:site/7/x", "deny: uplink -> mqtt");
    expect(grantOf(configuration, "uplink", "north")).toBeUndefined();
  });
});

describe("an assertion", () => {
  const holds = [
    "deny: uplink -> bme280.control",
    "deny: threshold -> bme280",
    "allow: bme280 -> threshold.readings",
    "allow: bme280.readings -> uplink",
    "deny: bme280.tick -> uplink",
    "deny: 'threshold -> mqtt:*'",
    "allow: uplink -> mqtt:site/7/alarms",
    "deny: uplink -> mqtt:site/8/alarms",
    "allow: uplink -> gpio-line:0/17",
    "deny: '* -> http'",
  ];
  it.each(holds)("holds: %s", (assertion) => {
    expect(parse(`${VALID}tests:\n  - ${assertion}\n`).tests).toHaveLength(1);
  });

  it.each(holds)("stops the boot where it does not hold: the contrary of %s", (assertion) => {
    const contrary = assertion.startsWith("deny")
      ? assertion.replace("deny", "allow")
      : assertion.replace("allow", "deny");
    const { problems } = refusalOf(`${VALID}tests:\n  - ${contrary}\n`);
    expect(problems).toMatchObject([{ code: "E_CAP", at: { line: 41 } }]);
  });

  it("asks for all of a filter to allow it and for none of it to deny it", () => {
    expect(refusalOf(`${VALID}tests:\n  - allow: uplink -> mqtt:site/#\n`).code).toBe("E_CAP");
    expect(refusalOf(`${VALID}tests:\n  - deny: uplink -> mqtt:site/#\n`).code).toBe("E_CAP");
  });

  it("sees what rules withdrew", () => {
    const text = `${VALID}rules:\n  - deny: uplink -> gpio-line\ntests:\n  - deny: uplink -> gpio-line:0/17\n`;
    expect(parse(text).tests).toHaveLength(1);
  });
});

describe("layers", () => {
  it("decide a setting by the first file that says it", () => {
    const { system } = layered(
      "modules: { uplink: { priority: 0 } }",
      "modules: { uplink: { priority: 1, memory: 3MiB } }",
    );
    expect(system.modules.find(({ name }) => name === "uplink")).toMatchObject({ priority: 0, memoryPages: 48 });
  });

  it("take a grant whole from the first file that has it", () => {
    const layer = "modules: { bme280: { grants: { readings: { endpoint: { to: threshold.readings } } } } }";
    expect(grantOf(layered(layer), "bme280", "readings")).toMatchObject({ to: [{ module: "threshold" }], badge: 0 });
  });

  it("join rules in the order of the files", () => {
    const first = "rules: [{ allow: uplink -> gpio-line }]";
    const second = "rules: [{ deny: '* -> gpio-line' }]";
    expect(grantOf(layered(first, second), "uplink", "relay")).toBeDefined();
    expect(grantOf(layered(second, first), "uplink", "relay")).toBeUndefined();
  });

  it("add modules, partitions and assertions", () => {
    const { system, tests } = layered("modules: { extra: }\npartitions: { more: }\ntests: [{ deny: extra -> uplink }]");
    expect(system.modules.map(({ name }) => name)).toContain("extra");
    expect(system.partitions.map(({ name }) => name)).toContain("more");
    expect(tests).toHaveLength(1);
  });

  it("leave the first partition the first, so that modules stay where they are", () => {
    const { system } = layered("partitions: { more: }\nmodules: { extra: }");
    expect(system.partitions[0]?.name).toBe("drivers");
    expect(system.modules.find(({ name }) => name === "extra")?.partition).toBe("drivers");
  });

  it("may be empty", () => {
    expect(layered("", "# nothing\n").system).toEqual(parse(VALID).system);
  });

  it("are named by their own file in errors", () => {
    try {
      layered("modules:\n  uplink:\n    prioritty: 1\n");
      expect.unreachable();
    } catch (error) {
      expect(String(error)).toContain("0.yaml:3:5: E_UNKNOWN: unknown key 'prioritty'");
    }
  });
});
