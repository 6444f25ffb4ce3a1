/** `plan` tells what a changed configuration grants, takes, restarts and uses; a received one is held to `local-only` marks. */
import { describe, expect, it } from "vitest";
import { describeChange, planChange } from "../../gateway/config/change.ts";
import { systemGraph, toDot, toMermaid } from "../../gateway/config/graph.ts";
import { describeProblem, type ManifestView } from "../../gateway/config/index.ts";
import { checkReceived } from "../../gateway/config/received.ts";
import { broken, parse, VALID } from "../config/support.ts";

function change(text: string): string[] {
  return describeChange(planChange(parse(VALID), parse(text))).split("\n");
}

function manifest(contract: string | null): ReadonlyMap<string, ManifestView> {
  const ports = [{ name: "readings", contract, fuel: 1 }];
  return new Map([["uplink", { name: "uplink", version: "1.0.0", ports, slots: new Map(), memory: 1, fuel: 1 }]]);
}

describe("a plan", () => {
  it("of the same configuration changes nothing", () => {
    expect(change(VALID)).toEqual(["no change", "memory: 100MiB", "fuel a second: 1050000000"]);
  });

  it("names grants gained and lost, right by right", () => {
    const lines = change(broken("rights: [send, call]", "rights: [send, pass]"));
    expect(lines).toContain("+ grant    threshold.alarms -> uplink.alarms (pass)");
    expect(lines).toContain("- grant    threshold.alarms -> uplink.alarms (call)");
    expect(lines).toContain("~ module   threshold: restarted; grants");
  });

  it("names a topic filter gained and one lost", () => {
    const lines = change(broken("publish: [site/7/#]", "publish: [site/+/#]"));
    expect(lines).toContain("+ grant    uplink.north -> mqtt:site/+/# (publish)");
    expect(lines).toContain("- grant    uplink.north -> mqtt:site/7/# (publish)");
  });

  it("names what a rule takes", () => {
    const lines = change(`${VALID}rules:\n  - deny: uplink -> gpio-line\n`);
    expect(lines).toContain("- grant    uplink.relay -> gpio-line:0/17 (read, write)");
    expect(lines).toContain("+ rule     deny: uplink -> gpio-line");
  });

  it("names modules added and removed, and the fuel that others get", () => {
    const lines = change(`${VALID}  extra: { partition: drivers, memory: 3MiB, fuel: { limit: 60000000 } }\n`);
    expect(lines).toContain("+ module   extra: added; in drivers");
    expect(lines).toContain("~ module   bme280: restarted; fuel 50000000 each 100ms -> 40000000 each 100ms");
    expect(lines).toContain("memory: 100MiB -> 103MiB");
    expect(lines).toContain("fuel a second: 1050000000 -> 1550000000");
    const removed = planChange(parse(`${VALID}  extra: {}\n`), parse(VALID));
    expect(removed.modules).toContainEqual({ module: "extra", kind: "removed", changes: [] });
  });

  it("restarts all modules of a partition whose heap changes", () => {
    const plan = planChange(parse(VALID), parse(broken("heap: 32MiB", "heap: 48MiB")));
    expect(plan.partitions).toEqual(["drivers"]);
    expect(plan.modules).toEqual([{ module: "bme280", kind: "restarted", changes: ["partition drivers restarts"] }]);
  });

  it("names the processes that start again", () => {
    expect(planChange(parse(VALID), parse(broken("1883", "1884"))).processes).toEqual(["link"]);
    expect(planChange(parse(VALID), parse(broken("backend: simulator", "backend: linux"))).processes).toEqual([
      "device",
    ]);
    expect(planChange(parse(VALID), parse(broken("id: gw-7", "id: gw-8"))).processes).toEqual(["gateway", "link"]);
  });

  it("names ports whose contract changes", () => {
    const manifests = { before: manifest("reading"), after: manifest("reading-2") };
    expect(planChange(parse(VALID), parse(VALID), manifests).contracts).toEqual([
      { module: "uplink", port: "readings", before: "reading", after: "reading-2", differs: null },
    ]);
  });
});

describe("a received configuration", () => {
  const LOCAL = broken(
    "relay: { gpio-line: { chip: 0, line: 17, direction: out } }",
    "relay: { gpio-line: { chip: 0, line: 17, direction: out, rights: [read], local-only: true } }",
  );
  const RELAY = "relay: { gpio-line: { chip: 0, line: 17, direction: out, rights: [read], local-only: true } }";

  function refusals(received: string, local = LOCAL): string[] {
    return checkReceived(parse(local), parse(received)).map(describeProblem);
  }

  it("may say the same, or less", () => {
    expect(refusals(LOCAL)).toEqual([]);
    expect(refusals(LOCAL.replace(`      ${RELAY}\n`, ""))).toEqual([]);
  });

  it("may change what is not marked", () => {
    expect(refusals(LOCAL.replace("site/7/#", "site/8/#"))).toEqual([]);
  });

  it("may not widen a marked grant, also by leaving the mark out", () => {
    const [first] = refusals(LOCAL.replace(", rights: [read], local-only: true", ""));
    expect(first).toContain("gateway.yaml:39:7: E_CAP: uplink.relay would gain 'write' on gpio-line:0/17");
  });

  it("may not give what a marked grant reaches to another module", () => {
    const text = LOCAL.replace(RELAY, "other: { log: {} }").replace(
      "tick: { timer: {} }",
      "tick: { gpio-line: { chip: 0, line: 17, direction: out, rights: [read] } }",
    );
    expect(refusals(text)[0]).toContain("21:7: E_CAP: bme280.tick would gain 'read' on gpio-line:0/17");
  });

  it("may not add a grant to a marked module", () => {
    const local = broken("  threshold:\n", "  threshold:\n    local-only: true\n");
    const received = local.replace(
      "alarms: { endpoint",
      "net: { http: { origin: 'http://a.example' } }\n      alarms: { endpoint",
    );
    expect(refusals(received, local)[0]).toContain("threshold.net would gain 'request' on http:http://a.example");
  });

  it("may not grant what a marked rule denies, also by leaving the rule out", () => {
    const local = `${VALID}rules:\n  - { deny: '* -> http', local-only: true, reason: no way out }\n`;
    const received = broken("tick: { timer: {} }", "tick: { http: { origin: 'http://a.example' } }");
    expect(refusals(received, local)).toEqual([
      "gateway.yaml:21:7: E_CAP: bme280.tick would gain 'request' on http:http://a.example; " +
        "expected nothing that the local-only rule at gateway.yaml:41:13 denies; no way out",
    ]);
  });

  it.each([
    ["gateway.id", "id: gw-7", "id: gw-8"],
    ["gateway.class", "class: edge", "class: core"],
    ["data", "data: data", "data: /tmp/x"],
    ["trust.root", "root: root.envelope", "root: other.envelope"],
  ])("may not change %s", (key, piece, becomes) => {
    expect(refusals(broken(piece, becomes), VALID)[0]).toContain(
      `E_CAP: a received configuration cannot change '${key}'`,
    );
  });
});

describe("a graph", () => {
  it("has modules by partition, resources by process, and calls that stand out", () => {
    const graph = systemGraph(parse(VALID));
    expect(graph.groups.map(({ label, nodes }) => [label, nodes.map((node) => node.label)])).toEqual([
      ["partition drivers (zone 4)", ["bme280"]],
      ["partition services (zone 4)", ["threshold", "uplink"]],
      ["trust worker (zone 1)", ["store:threshold/"]],
      ["device process (zone 2)", ["i2c-device:1/0x76", "gpio-line:0/17"]],
      ["link process (zone 3)", ["mqtt:site/7/#", "mqtt:site/7/set"]],
    ]);
    expect(graph.edges.filter(({ waits }) => waits).map(({ label }) => label)).toEqual(["alarms: send, call alarms"]);
  });

  it("escapes what Mermaid and DOT would read as their own", () => {
    const graph = { groups: [{ id: "g", label: 'a"b\\c#d', nodes: [] }], edges: [] };
    expect(toMermaid(graph)).toContain('subgraph g["a#quot;b\\c#35;d"]');
    expect(toDot(graph)).toContain('label="a\\"b\\\\c#d";');
  });

  it("draws each edge once in either form", () => {
    const graph = systemGraph(parse(VALID));
    expect(toMermaid(graph).match(/--?>|==>/g)).toHaveLength(graph.edges.length);
    expect(toDot(graph).match(/ -> /g)).toHaveLength(graph.edges.length);
  });
});
