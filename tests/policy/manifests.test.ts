/** Grants are held to what the modules' manifests ask for, with the line to write. */
import { describe, expect, it } from "vitest";
import { checkAgainstManifests, describeProblem, excessGrants, type ManifestView } from "../../gateway/config/index.ts";
import { type Grant, inspectModule } from "../../kernel/index.ts";
import { broken, parse, VALID } from "../config/support.ts";
import { ECHO, manifestFields, moduleBinary, moduleSpec, watModule } from "../support/modules.ts";
import { LOG, LOG_SLOT } from "../support/probe.ts";

type Slots = ManifestView["slots"];

function manifest(
  name: string,
  ports: readonly string[],
  slots: Readonly<Record<string, readonly string[]>>,
): ManifestView {
  const entries = Object.entries(slots).map(([slot, [kind, ...rights]]) => [
    slot,
    { interface: kind, rights, port: null },
  ]);
  return {
    name,
    version: "1.0.0",
    ports: ports.map((port) => ({ name: port, contract: null, fuel: 1000 })),
    slots: new Map(entries as Iterable<[string, Slots extends ReadonlyMap<string, infer Slot> ? Slot : never]>),
    memory: 16,
    fuel: 1000,
  };
}

const BME280 = manifest("bme280", [], {
  tick: ["timer", "use"],
  sensor: ["i2c-device", "read", "write"],
  readings: ["endpoint", "send"],
});
const THRESHOLD = manifest("threshold", ["readings"], {
  alarms: ["endpoint", "send", "call"],
  state: ["store", "read", "write"],
});
const UPLINK = manifest("uplink", ["readings", "alarms"], {
  north: ["mqtt", "publish", "subscribe"],
  relay: ["gpio-line", "write"],
});

function findings(text: string, ...changed: readonly ManifestView[]): { errors: string[]; warnings: string[] } {
  const manifests = new Map([BME280, THRESHOLD, UPLINK, ...changed].map((one) => [one.name, one]));
  const { errors, warnings } = checkAgainstManifests(parse(text), manifests);
  return { errors: errors.map(describeProblem), warnings: warnings.map(describeProblem) };
}

describe("a configuration beside the manifests of its modules", () => {
  it("has nothing to be said of it where everything fits", () => {
    expect(findings(VALID)).toEqual({ errors: [], warnings: [] });
  });

  it("is refused for a port that its target does not have", () => {
    expect(findings(broken("to: uplink.alarms", "to: uplink.alarm")).errors).toEqual([
      "gateway.yaml:29:33: E_UNKNOWN: unknown port 'alarm' of 'uplink' in modules.threshold.grants.alarms; " +
        "did you mean 'uplink.alarms'?; expected a port of uplink: readings or alarms",
    ]);
  });

  it("is refused for a port of a module without ports", () => {
    expect(findings(broken("to: uplink.alarms", "to: bme280.control")).errors[0]).toContain("bme280 has no ports");
  });

  it("is refused for a missing grant, with the line to add", () => {
    expect(findings(broken("      tick: { timer: {} }\n", "")).errors).toEqual([
      "gateway.yaml:17:3: E_CAP: bme280 asks for 'tick', which is not granted; expected a grant of timer to bme280.tick; " +
        "add under modules.bme280.grants:  tick: { timer: {} }",
    ]);
  });

  it("is refused at the misspelt slot where there is one", () => {
    const { errors, warnings } = findings(broken("sensor: { i2c", "sensr: { i2c"));
    expect(errors[0]).toContain("gateway.yaml:22:7: E_CAP: bme280 asks for 'sensor', which is not granted");
    expect(errors[0]).toContain("in place of 'sensr':  sensor: { i2c-device: { bus: …, address: … } }");
    expect(warnings[0]).toContain("excess privilege: bme280 has no slot 'sensr' (i2c-device); did you mean 'sensor'?");
  });

  it("is refused for a slot granted as another interface", () => {
    expect(findings(broken("tick: { timer: {} }", "tick: { clock: {} }")).errors[0]).toBe(
      "gateway.yaml:21:7: E_CAP: bme280.tick is granted as another interface; expected timer; found clock; " +
        "write 'tick: { timer: {} }'",
    );
  });

  it("is refused for a right that the module asks for and the grant lacks", () => {
    expect(findings(broken("rights: [send, call]", "rights: [send]")).errors[0]).toContain(
      "threshold.alarms lacks the right call; expected send, call; found send; add 'rights: [send, call]' to the grant",
    );
    expect(findings(broken(", subscribe: [site/7/set]", "")).errors[0]).toContain("add 'subscribe: […]' to the grant");
  });

  it("is refused for less memory than the module needs", () => {
    expect(findings(VALID, { ...THRESHOLD, memory: 33 }).errors[0]).toContain(
      "gateway.yaml:24:3: E_SIZE: threshold needs more memory than it is given; expected at least 2112KiB; found 2MiB",
    );
  });

  it("is refused where the envelope holds another module", () => {
    const { errors } = checkAgainstManifests(parse(VALID), new Map([["bme280", UPLINK]]));
    expect(errors.map(describeProblem)).toEqual([
      "gateway.yaml:17:3: E_MANIFEST: the envelope of 'bme280' holds 'uplink'; expected bme280; name the module as its manifest does",
    ]);
  });

  it("is warned of for a grant that the module never asks for", () => {
    const { errors, warnings } = findings(
      broken("tick: { timer: {} }", "tick: { timer: {} }\n      net: { http: { origin: 'http://a.example' } }"),
    );
    expect(errors).toEqual([]);
    expect(warnings[0]).toContain("22:7: E_CAP: excess privilege: bme280 has no slot 'net' (http)");
  });

  it("is warned of for a grant that the module asks for and its binary never imports", () => {
    const { errors, warnings } = findings(VALID, { ...BME280, unused: ["sensor"] });
    expect(errors).toEqual([]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("E_CAP: excess privilege: bme280 asks for 'sensor' (i2c-device) and never uses it");
  });

  it("is warned of, and not refused, for what a rule withdrew", () => {
    const { errors, warnings } = findings(`${VALID}rules:\n  - deny: bme280 -> i2c-device\n`);
    expect(errors).toEqual([]);
    expect(warnings[0]).toContain("bme280 asks for 'sensor', which a rule withdraws: it will not start");
  });

  it("is refused for a rule about a slot or port that does not exist", () => {
    const rules = "rules:\n  - deny: uplink.nrth -> mqtt\ntests:\n  - deny: threshold -> uplink.alarm\n";
    const { errors } = findings(`${VALID}${rules}`);
    expect(errors[0]).toContain("41:11: E_UNKNOWN: unknown slot 'nrth' of 'uplink'");
    expect(errors[0]).toContain("did you mean 'north'?");
    expect(errors[1]).toContain("43:11: E_UNKNOWN: unknown port 'alarm' of 'uplink'");
  });

  it("says nothing of modules whose manifest is not known", () => {
    expect(checkAgainstManifests(parse(VALID), new Map())).toEqual({ errors: [], warnings: [] });
  });
});

it("excess privilege is what is granted and never imported; an event port counts as use", () => {
  const tick = { interface: "timer", rights: ["use"], port: "in" };
  const binary = moduleBinary(watModule("", ECHO), manifestFields("probe", { slots: { log: LOG_SLOT, tick } }));
  const timer: Grant = { slot: "tick", interface: "timer", rights: ["use"], parameters: {} };
  expect(excessGrants(moduleSpec("probe", [LOG, timer]), inspectModule(binary))).toEqual(["log"]);
});
