/** `why` names each condition, and the one that decided. */
import { describe, expect, it } from "vitest";
import type { GatewayConfiguration, ManifestView } from "../../gateway/config/index.ts";
import { describeExplanation, why } from "../../gateway/config/explain.ts";
import { broken, parse, VALID } from "../config/support.ts";

const UPLINK: ManifestView = {
  name: "uplink",
  version: "1.2.0",
  ports: [{ name: "readings", contract: "reading", fuel: 1000 }],
  slots: new Map([
    ["north", { interface: "mqtt", rights: ["publish"], port: null }],
    ["relay", { interface: "gpio-line", rights: ["write"], port: null }],
    ["south", { interface: "http", rights: ["request"], port: null }],
  ]),
  memory: 1,
  fuel: 1000,
};

function ask(
  configuration: GatewayConfiguration,
  module: string,
  asked: string,
  ...manifests: readonly ManifestView[]
): string {
  return describeExplanation(why(configuration, new Map(manifests.map((one) => [one.name, one])), module, asked));
}

describe("why a module may", () => {
  it("use a slot: the grant and what it reaches, with their places", () => {
    expect(ask(parse(VALID), "bme280", "sensor").split("\n")).toEqual([
      "bme280 -> sensor: allowed",
      "  yes  bme280 is a module of partition 'drivers'  [gateway.yaml:17:3]",
      "  yes  'sensor' is granted  [gateway.yaml:22:7]",
      "  yes  reaches i2c-device:1/0x76 with read, write: no rule says otherwise",
    ]);
  });

  it("reach a port: the grant that does", () => {
    const explanation = why(parse(VALID), new Map([["uplink", UPLINK]]), "bme280", "uplink.readings");
    expect(explanation.allowed).toBe(true);
    expect(explanation.hops.map(({ text }) => text)).toEqual([
      "bme280 is a module of partition 'drivers'",
      "the grant 'readings' reaches it",
      "reaches uplink.readings with send: no rule says otherwise",
      "uplink has the port 'readings'",
    ]);
  });

  it("reach a topic below a filter that it was granted", () => {
    expect(why(parse(VALID), new Map(), "uplink", "mqtt:site/7/alarms/high").allowed).toBe(true);
  });

  it("use what an early rule allows, naming the rule", () => {
    const configuration = parse(`${VALID}rules:\n  - allow: uplink -> gpio-line:0/17\n  - deny: '* -> gpio-line'\n`);
    expect(ask(configuration, "uplink", "relay")).toContain(
      "reaches gpio-line:0/17 with read, write: the rule 'allow: uplink -> gpio-line:0/17' decides  [gateway.yaml:41:12]",
    );
  });
});

describe("why a module may not", () => {
  it("exist", () => {
    expect(ask(parse(VALID), "uplnk", "north")).toBe(
      "uplnk -> north: denied\n  NO   there is no module 'uplnk'\n  ->   did you mean 'uplink'?",
    );
  });

  it("use a slot that it asks for and was not granted, with the line to add", () => {
    const text = ask(parse(VALID), "uplink", "south", UPLINK);
    expect(text).toContain("NO   'south' is not granted, and what is not granted is denied");
    expect(text).toContain("->   add under modules.uplink.grants:  south: { http: { origin: … } }");
  });

  it("use a slot that it does not have", () => {
    expect(ask(parse(VALID), "uplink", "nroth", UPLINK)).toContain(
      "NO   uplink has no slot 'nroth'\n  ->   did you mean 'north'?",
    );
  });

  it("use a slot that a rule withdrew, naming the rule and its reason", () => {
    const configuration = parse(`${VALID}rules:\n  - { deny: uplink -> gpio-line, reason: relay is locked }\n`);
    const text = ask(configuration, "uplink", "relay", UPLINK);
    expect(text).toContain(
      "NO   read, write on gpio-line:0/17 is withdrawn: the rule 'deny: uplink -> gpio-line' decides (relay is locked)  [gateway.yaml:41:13]",
    );
    expect(text).toContain("->   change the rule at gateway.yaml:41:13");
  });

  it("reach a target that a rule withdrew", () => {
    const configuration = parse(`${VALID}rules:\n  - deny: bme280 -> uplink\n`);
    const explanation = why(configuration, new Map(), "bme280", "uplink.readings");
    expect(explanation.allowed).toBe(false);
    expect(explanation.hops.at(-1)).toMatchObject({ holds: false, at: { line: 41 } });
  });

  it("reach a port that no grant names, and who does reach it", () => {
    expect(ask(parse(VALID), "bme280", "uplink.alarms")).toContain(
      "no grant of bme280 reaches uplink.alarms (its grants: tick, sensor, readings; reached by threshold)",
    );
  });

  it("reach a module that does not exist", () => {
    expect(ask(parse(VALID), "bme280", "treshold.readings")).toContain(
      "there is no module 'treshold'; did you mean 'threshold'?",
    );
  });

  it("reach a topic beyond its filter", () => {
    expect(why(parse(VALID), new Map(), "uplink", "mqtt:site/#").allowed).toBe(false);
    expect(why(parse(VALID), new Map(), "uplink", "mqtt:site/8").allowed).toBe(false);
  });

  it("reach a port that its target's binary does not have", () => {
    const explanation = why(parse(VALID), new Map([["uplink", UPLINK]]), "threshold", "uplink.alarms");
    expect(explanation).toMatchObject({ allowed: false });
    expect(explanation.hops.at(-1)?.text).toBe("uplink 1.2.0 has no port 'alarms'");
  });

  it("reach a port that is not there, or a resource that nobody can be granted, and is told no line to add", () => {
    const port = why(parse(VALID), new Map([["uplink", UPLINK]]), "bme280", "uplink.control");
    expect(port).toMatchObject({ allowed: false, next: "name a port that there is" });
    expect(port.hops.at(-1)?.text).toBe("uplink 1.2.0 has no port 'control'");
    const resource = why(parse(VALID), new Map(), "bme280", "i2c-device:1/118");
    expect(resource).toMatchObject({ allowed: false, next: "it is written as i2c-device:1/0x76" });
    const kind = why(parse(VALID), new Map(), "bme280", "i2c:1/0x76");
    expect(kind.next).toContain("there is no interface 'i2c'");
  });

  it("use a slot that is granted as another interface, or with fewer rights", () => {
    const other = parse(broken("relay: { gpio-line: { chip: 0, line: 17, direction: out } }", "relay: { log: {} }"));
    expect(ask(other, "uplink", "relay", UPLINK)).toContain("NO   it is granted as log, not as gpio-line");
    const fewer = parse(broken("direction: out }", "direction: out, rights: [read] }"));
    expect(ask(fewer, "uplink", "relay", UPLINK)).toContain("NO   the grant lacks the right write");
  });

  it.each(["__proto__", "constructor", "a.b.c", "", ":", "mqtt:", "*", "\u0000"])(
    "be asked in a way that breaks it: %j",
    (asked) => {
      for (const module of ["uplink", asked]) {
        const explanation = why(parse(VALID), new Map([["uplink", UPLINK]]), module, asked);
        expect(explanation.hops.length).toBeGreaterThan(0);
      }
    },
  );
});
