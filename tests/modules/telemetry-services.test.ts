/** The services aggregate and home-assistant, one message at a time. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RESULT } from "../../kernel/index.ts";
import type { Reading, Window } from "../../tools/testkit/contracts.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { built, started } from "./support.ts";

function reading(value: number, changes: Partial<Reading> = {}): Record<string, string | number> {
  return {
    sensor: "bme280",
    sequence: 0,
    quantity: "temperature",
    value,
    unit: "Cel",
    time: 1000,
    ...changes,
  } as never;
}

describe("the service aggregate", () => {
  const closed = (host: ModuleHost) => {
    host.deliver("tick", 1, { kind: "event" });
    return host.takeMessages<Window>("windows");
  };

  it("describes a window, and begins the next one anew", () => {
    const host = started("aggregate");
    for (const [index, value] of [2, 4, 4, 4, 5, 5, 7, 9].entries())
      host.deliver("readings", reading(value, { time: 1000 + index }));
    expect(closed(host)).toEqual([
      {
        sensor: "bme280",
        quantity: "temperature",
        unit: "Cel",
        count: 8,
        least: 2,
        greatest: 9,
        mean: 5,
        deviation: 2,
        begin: 1000,
        end: 1007,
      },
    ]);
    expect(closed(host)).toEqual([]);
    host.deliver("readings", reading(1));
    expect(closed(host)).toMatchObject([{ count: 1, least: 1, greatest: 1, mean: 1, deviation: 0 }]);
  });

  it("agrees with the textbook's two passes, far from zero too", () => {
    const values = fc.array(fc.double({ min: 1e6, max: 1e6 + 10, noNaN: true }), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(values, (list) => {
        const host = started("aggregate");
        for (const value of list) host.deliver("readings", reading(value));
        const mean = list.reduce((sum, value) => sum + value, 0) / list.length;
        const deviation = Math.sqrt(list.reduce((sum, value) => sum + (value - mean) ** 2, 0) / list.length);
        const [window] = closed(host);
        expect(window?.mean).toBeCloseTo(mean, 6);
        expect(window?.deviation).toBeCloseTo(deviation, 6);
      }),
      { numRuns: 50 },
    );
  });

  it("keeps sensors and quantities apart, as many as it has room for", () => {
    const host = started("aggregate");
    for (let sensor = 0; sensor < 50; sensor++) host.deliver("readings", reading(sensor, { sensor: `s${sensor}` }));
    const windows = closed(host);
    expect(windows.map(({ mean }) => mean)).toEqual(Array.from({ length: 32 }, (_, index) => index));
    expect(host.logs[0]?.text).toBe("more series than there is room for");
    expect(host.save().length).toBeLessThanOrEqual(8192);
  });

  it("saves the longest names within its manifest's size", () => {
    const host = started("aggregate");
    for (let series = 0; series < 32; series++) {
      const name = String(series).padStart(2, "0");
      host.deliver(
        "readings",
        reading(0.1, { sensor: name.repeat(24), quantity: name.repeat(16), unit: name.repeat(8), time: 2 ** 50 }),
      );
    }
    expect(host.save().length).toBeGreaterThan(4000);
    expect(host.save().length).toBeLessThanOrEqual(8192);
  });

  it("leaves out what is no number", () => {
    const host = started("aggregate");
    for (const value of [NaN, Infinity, -Infinity, 3]) host.deliver("readings", reading(value));
    expect(closed(host)).toMatchObject([{ count: 1, mean: 3 }]);
  });

  it("goes on with a window that a restart cut in two", () => {
    const first = started("aggregate");
    for (const value of [2, 4, 4, 4]) first.deliver("readings", reading(value));
    const second = new ModuleHost(built("aggregate"));
    expect(second.restore(first.save())).toBe(true);
    second.start(true);
    for (const value of [5, 5, 7, 9]) second.deliver("readings", reading(value));
    expect(closed(second)).toMatchObject([{ count: 8, mean: 5, deviation: 2 }]);
  });

  it("changes its period when it is named, not when everybody is", () => {
    const host = started("aggregate");
    host.deliver("settings", { period: 50 });
    expect(host.timer("tick")?.milliseconds).toBe(60_000);
    host.deliver("settings", { module: "aggregate", period: 5000 });
    expect(host.timer("tick")?.milliseconds).toBe(5000);
  });
});

describe("the service home-assistant", () => {
  interface Published {
    readonly topic: string;
    readonly text: string;
    readonly flags: number;
  }

  function assistant(result = 0) {
    const published: Published[] = [];
    const decode = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
    const state = { result };
    const host = started("home-assistant", {
      broker: {
        publish: ({ bytes, numbers }) => {
          if (state.result === 0)
            published.push({ topic: decode(bytes[0]), text: decode(bytes[1]), flags: Number(numbers[0]) });
          return state.result;
        },
      },
    });
    return { host, published, state };
  }

  it("makes a sensor known once, retained, and then tells its state", () => {
    const { host, published } = assistant();
    host.deliver("readings", reading(21.4567));
    host.deliver("readings", reading(-0.5));
    expect(published.map(({ topic, flags }) => [topic, flags])).toEqual([
      ["homeassistant/sensor/bme280-temperature/config", 3],
      ["site/7/states/bme280/temperature", 2],
      ["site/7/states/bme280/temperature", 2],
    ]);
    expect(JSON.parse(published[0]?.text ?? "")).toEqual({
      name: "temperature",
      unique_id: "bulkhead-site-7-bme280-temperature",
      state_topic: "site/7/states/bme280/temperature",
      state_class: "measurement",
      unit_of_measurement: "°C",
      device_class: "temperature",
      device: { identifiers: ["bulkhead-site-7-bme280"], name: "bme280", manufacturer: "Bulkhead" },
    });
    expect(published.slice(1).map(({ text }) => text)).toEqual(["21.457", "-0.500"]);
  });

  it("writes numbers as JavaScript does with three places", () => {
    const number = fc.double({ min: -1e8, max: 1e8, noNaN: true }).map((value) => Math.round(value * 1024) / 1024);
    const { host, published } = assistant();
    fc.assert(
      fc.property(number, (value) => {
        host.deliver("readings", reading(value));
        expect(Math.abs(Number(published.at(-1)?.text) - value)).toBeLessThanOrEqual(0.000501);
        expect(published.at(-1)?.text).toMatch(/^-?\d+\.\d{3}$/);
      }),
    );
  });

  it.each([NaN, Infinity, 1e12])("tells no state that is %d", (value) => {
    const { host, published } = assistant();
    host.deliver("readings", reading(value));
    expect(published.map(({ topic }) => topic)).toEqual(["homeassistant/sensor/bme280-temperature/config"]);
  });

  it("makes a relay known as a switch with a topic for commands", () => {
    const { host, published } = assistant();
    host.deliver("readings", reading(1, { sensor: "gpio-relay", quantity: "on", unit: "1" }));
    expect(published[0]?.topic).toBe("homeassistant/switch/gpio-relay-on/config");
    expect(JSON.parse(published[0]?.text ?? "")).toMatchObject({
      command_topic: "site/7/commands/gpio-relay",
      payload_on: "1",
      payload_off: "0",
    });
    expect(published[1]).toMatchObject({ topic: "site/7/states/gpio-relay/on", text: "1" });
  });

  it("hands a command on in the name of the switch in its topic", () => {
    const { host } = assistant();
    const command = (relay: string, text: string) => [`site/7/commands/${relay}`, new TextEncoder().encode(text)];
    for (const text of ["1", "0", "on", ""]) host.deliver("commands", command("pump", text), { kind: "event" });
    host.deliver("commands", command("gpio-relay", "1"), { kind: "event" });
    expect(host.takeMessages("switches")).toEqual([
      { on: true, module: "pump" },
      { on: false, module: "pump" },
      { on: true, module: "gpio-relay" },
    ]);
    expect(host.logs.map(({ text }) => text)).toEqual(Array(2).fill("a command that is neither 1 nor 0"));
  });

  it.each([
    "",
    "site/7/commands/",
    "site/7/commands/a/b",
    "site/8/commands/a",
    "site/7/commandsx/a",
    `site/7/commands/${"a".repeat(49)}`,
    "a",
  ])("obeys no command at %j", (topic) => {
    const { host } = assistant();
    host.deliver("commands", [topic, new TextEncoder().encode("1")], { kind: "event" });
    expect(host.takeMessages("switches")).toEqual([]);
    expect(host.logs.map(({ text }) => text)).toEqual(["a command for no switch"]);
  });

  it("makes known again what could not be published, and tells the first failure only", () => {
    const { host, published, state } = assistant(RESULT.io);
    for (let index = 0; index < 3; index++) host.deliver("readings", reading(1));
    expect(host.logs.map(({ text }) => text)).toEqual([`not published: result ${RESULT.io}`]);
    state.result = 0;
    host.deliver("readings", reading(1));
    expect(published[0]?.topic).toBe("homeassistant/sensor/bme280-temperature/config");
  });

  it.each(['a"b', "a/b", "+", "A", "é"])("shows nothing of a sensor named %j", (sensor) => {
    const { host, published } = assistant();
    host.deliver("readings", reading(1, { sensor }));
    host.deliver("readings", reading(1, { quantity: sensor }));
    expect(published).toEqual([]);
  });
});
