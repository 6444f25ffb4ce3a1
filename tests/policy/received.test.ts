/** What no signed document can widen: marks that overlap, the gateway's own files and sections, devices as raw files. */
import { describe, expect, it } from "vitest";
import { ConfigurationError, describeProblem, parseReceived } from "../../gateway/config/index.ts";
import { checkReceived } from "../../gateway/config/received.ts";
import { broken, parse, VALID } from "../config/support.ts";

/** The valid configuration with grants of uplink and threshold in place of their own. */
function granting(uplink: string, threshold = "tick: { timer: {} }"): string {
  const own = VALID.slice(0, VALID.indexOf("modules:"));
  return `${own}modules:\n  threshold:\n    grants:\n      ${threshold}\n  uplink:\n    grants:\n      ${uplink}\n`;
}

function refusals(local: string, received: string): string[] {
  return checkReceived(parse(local), parse(received)).map(describeProblem);
}

describe("a mark on a topic", () => {
  const local = granting("north: { mqtt: { publish: [plant/alarm/#], local-only: true } }");

  it.each(["plant/#", "plant/+/x", "plant/alarm/7", "plant/alarm/#"])(
    "guards it from %s of another module",
    (filter) => {
      const received = granting("tick: { timer: {} }", `out: { mqtt: { publish: [${filter}] } }`);
      expect(refusals(local, received)[0]).toContain(`threshold.out would gain 'publish' on mqtt:${filter}`);
    },
  );

  it("lets its own module have less of it, and others what lies beside it", () => {
    const less = "north: { mqtt: { publish: [plant/alarm/7] } }";
    expect(refusals(local, granting(less, "out: { mqtt: { publish: [plant/level] } }"))).toEqual([]);
  });

  it("does not let its own module have more of it", () => {
    expect(refusals(local, granting("north: { mqtt: { publish: [plant/+/#] } }"))[0]).toContain("mqtt:plant/+/#");
    const heard = granting("north: { mqtt: { publish: [plant/alarm/#], subscribe: [plant/alarm/#] } }");
    expect(refusals(local, heard)[0]).toContain("would gain 'subscribe'");
  });
});

describe("a mark on a store", () => {
  const local = granting("state: { store: { prefix: plant/, local-only: true } }");

  it.each(["plant/", "plant/pump/", "pl"])("guards it from the prefix %s of another module", (prefix) => {
    const received = granting("tick: { timer: {} }", `state: { store: { prefix: ${prefix} } }`);
    expect(refusals(local, received)[0]).toContain(`threshold.state would gain 'read' on store:${prefix}`);
  });
});

describe("a mark on a device", () => {
  const local = granting("relay: { gpio-line: { chip: 0, line: 17, direction: out, local-only: true } }");

  it.each(["/dev/gpiochip0", "/sys/class/gpio/export", "/proc/self/mem"])("guards it from the file %s", (path) => {
    const received = granting("tick: { timer: {} }", `raw: { file: { path: ${path}, rights: [write] } }`);
    expect(refusals(local, received)[0]).toContain(`threshold.raw would gain 'write' on file:${path}`);
  });
});

describe("the gateway's own files", () => {
  const local = VALID.replace("1883\n", "1883\n  username: gw\n  password-file: secrets/broker\n");

  it.each([
    ["its configuration", "/etc/bulkhead/gateway.yaml"],
    ["a layer that does not exist yet", "/etc/bulkhead/gateway.d/10-mine.yaml"],
    ["its password", "/etc/bulkhead/secrets/broker"],
  ])("are nobody's: %s", (_, path) => {
    const own = { ...parse(local), files: ["/etc/bulkhead/gateway.yaml"] };
    const received = parse(local.replace("tick: { timer: {} }", `tick: { file: { path: ${path}, rights: [read] } }`));
    expect(checkReceived(own, received).map(describeProblem)[0]).toContain(`bme280.tick would reach ${path}`);
  });
});

describe("a document", () => {
  const own = parse(VALID);
  const document = (text: string) => parseReceived({ name: "configuration 1a2b", text }, own);

  it("may leave out what describes the gateway: it is taken from the gateway's own file", () => {
    const received = document(`partitions:\n  main: {}\nmodules:\n  lamp: {}\n`);
    expect(received).toMatchObject({
      gateway: own.gateway,
      broker: own.broker,
      trust: own.trust,
      devices: own.devices,
    });
    expect(received.system.modules.map(({ name }) => name)).toEqual(["lamp"]);
    expect(received.files).toEqual(["configuration 1a2b"]);
    expect(checkReceived(own, received)).toEqual([]);
  });

  it("brings no module back that it does not name, and no rule of the file", () => {
    const local = parse(`${VALID}rules:\n  - { deny: '* -> http' }\n`);
    const received = parseReceived(
      { name: "received", text: "partitions:\n  main: {}\nmodules: { lamp: {} }\n" },
      local,
    );
    expect(received.rules).toEqual([]);
  });

  it.each([
    ["another broker", `broker: { url: "mqtt://evil.example:1883" }`, "broker"],
    ["no broker", "broker: null", "broker"],
    ["more memory than the gateway has", "limits: { memory: 512GiB }", "limits"],
  ])("may not name %s", (_, line, key) => {
    const text = `${line}\npartitions:\n  main: {}\nmodules:\n  lamp: {}\n`;
    expect(() => {
      const problems = checkReceived(own, document(text));
      if (problems.length > 0) throw new ConfigurationError(problems);
    }).toThrow(new RegExp(`cannot change '${key}'|broker|memory`));
  });

  it.each(["", "null", "[]", "- a", "modules: 7", broken("class: edge", "class: edge\n  clas: x"), "a: &b [*b]"])(
    "that is not valid is refused with a place in it: %j",
    (text) => {
      expect(() => document(text)).toThrow(ConfigurationError);
    },
  );
});
