/** The services threshold (both versions), uplink and control, and the saboteur, one module at a time. */
import { describe, expect, it } from "vitest";
import { encodeCbor, RESULT } from "../../kernel/index.ts";
import { ModuleHost, ModuleTrap } from "../../tools/testkit/module-host.ts";
import { built, plain, started } from "./support.ts";

function reading(value: number, sequence = 0) {
  return {
    sensor: "bme280",
    sequence,
    quantity: "temperature",
    value,
    unit: "Cel",
    time: 1_700_000_000_000 + sequence,
  };
}

describe("the service threshold", () => {
  it("raises once above the limit and clears only below the lower one", () => {
    const host = started("threshold");
    for (const [index, value] of [21, 22.5, 23, 21.8, 21.4, 22.1].entries())
      host.deliver("readings", reading(value, index));
    expect(host.takeSent("alarms").map(plain)).toEqual([
      {
        sensor: "bme280",
        quantity: "temperature",
        state: "raised",
        value: 22.5,
        limit: 22,
        count: 1,
        time: 1_700_000_000_001,
      },
      {
        sensor: "bme280",
        quantity: "temperature",
        state: "cleared",
        value: 21.4,
        limit: 21.5,
        count: 1,
        time: 1_700_000_000_004,
      },
      {
        sensor: "bme280",
        quantity: "temperature",
        state: "raised",
        value: 22.1,
        limit: 22,
        count: 2,
        time: 1_700_000_000_005,
      },
    ]);
  });

  it("takes other limits from its port settings", () => {
    const host = started("threshold");
    host.deliver("settings", { quantity: "temperature", high: 10, clear: 9 });
    host.deliver("readings", reading(11));
    expect(host.takeSent("alarms").map(plain)).toMatchObject([{ state: "raised", limit: 10 }]);
    host.deliver("settings", { quantity: "temperature", high: 1, clear: 2 });
    expect(host.logs.map(({ text }) => text)).toEqual(["limits that cannot be"]);
  });

  it.each([
    ["a missing key", { sensor: "a", sequence: 1, quantity: "b", value: 1, unit: "c" }],
    ["an unknown key", { ...reading(1), more: 1 }],
    ["a text for a number", { ...reading(1), value: "1" }],
    ["a name too long", { ...reading(1), sensor: "a".repeat(49) }],
    ["a negative sequence", { ...reading(1), sequence: -1 }],
    ["an array", [1, 2, 3]],
  ])("refuses a reading with %s", (_, message) => {
    expect(started("threshold").deliver("readings", message)).toEqual({ error: -1000 });
  });

  it("refuses a key that stands twice", () => {
    const bytes = encodeCbor(reading(1));
    const twice = Buffer.concat([Uint8Array.of(0xa7), bytes.subarray(1), encodeCbor("sequence"), encodeCbor(5)]);
    expect(started("threshold").deliverBytes("readings", twice)).toEqual({ error: -1000 });
  });

  it("watches no more than it has room for, and saves within its manifest's size", () => {
    const host = started("threshold");
    for (let sensor = 0; sensor < 100; sensor++) {
      host.deliver("readings", { ...reading(99), sensor: `${"s".repeat(44)}${String(sensor).padStart(4, "0")}` });
    }
    for (let limit = 0; limit < 100; limit++) {
      host.deliver("settings", {
        quantity: `${"q".repeat(28)}${String(limit).padStart(4, "0")}`,
        high: 1.1,
        clear: 0.1,
      });
    }
    expect(host.takeSent("alarms")).toHaveLength(32);
    expect(host.save().length).toBeLessThanOrEqual(4096);
  });

  it("carries limits and alarms over a restart", () => {
    const first = started("threshold");
    first.deliver("settings", { quantity: "temperature", high: 10, clear: 9 });
    first.deliver("readings", reading(11));
    const second = new ModuleHost(built("threshold"));
    expect(second.restore(first.save())).toBe(true);
    second.start(true);
    second.deliver("readings", reading(12));
    second.deliver("readings", reading(8));
    expect(second.takeSent("alarms").map(plain)).toMatchObject([{ state: "cleared", count: 1 }]);
  });

  it.each([
    ["nothing", new Uint8Array()],
    ["null", encodeCbor(null)],
    ["another shape", encodeCbor([1, 2, 3])],
    ["a limit without a name", encodeCbor([0, 0, [["", 1, 1]], []])],
    ["more watches than fit", encodeCbor([0, 0, [], Array.from({ length: 33 }, (_, i) => [`s${i}`, "q", true, 1])])],
    ["bytes after the end", Buffer.concat([encodeCbor([0, 0, [], []]), Uint8Array.of(0)])],
    ["more than there is", Uint8Array.of(0x84, 0, 0, 0x9a, 0xff, 0xff, 0xff, 0xff)],
  ])("refuses to restore %s", (_, state) => {
    expect(new ModuleHost(built("threshold")).restore(new Uint8Array(state))).toBe(false);
  });

  it("refuses a state larger than its manifest says", () => {
    expect(new ModuleHost(built("threshold")).restore(new Uint8Array(4097))).toBe(false);
  });
});

describe("version 2 of threshold", () => {
  it("takes over the state of version 1 and tells what it took over", () => {
    const old = started("threshold");
    for (const [index, value] of [20, 25, 26].entries()) old.deliver("readings", reading(value, index));
    const next = new ModuleHost(built("threshold-v2"));
    expect(next.restore(old.save(), 1)).toBe(true);
    next.start(true);
    const [takeover, active] = next.takeSent("alarms").map(plain);
    expect(takeover).toMatchObject({
      sensor: "threshold",
      quantity: "readings-seen",
      state: "takeover",
      value: 3,
      count: 1,
    });
    expect(active).toMatchObject({ sensor: "bme280", state: "active", count: 1, severity: "warning" });
    next.deliver("readings", reading(21, 3));
    next.deliver("readings", reading(30, 4));
    expect(next.takeSent("alarms").map(plain)).toMatchObject([
      { state: "cleared", severity: "warning" },
      { state: "raised", severity: "critical", count: 2 },
    ]);
  });

  it("restores its own state, and no other schema", () => {
    const first = started("threshold-v2");
    first.deliver("readings", reading(25));
    const state = first.save();
    expect(new ModuleHost(built("threshold-v2")).restore(state, 2)).toBe(true);
    expect(new ModuleHost(built("threshold-v2")).restore(state, 3)).toBe(false);
    expect(new ModuleHost(built("threshold")).restore(state, 2)).toBe(false);
  });
});

describe("the service uplink", () => {
  it("publishes each message as it came, under a topic of its sensor", () => {
    const host = started("uplink");
    host.deliver("readings", reading(20.25));
    host.deliver("alarms", {
      sensor: "bme280",
      quantity: "temperature",
      state: "raised",
      value: 23,
      limit: 22,
      count: 1,
      time: 5,
      severity: "warning",
    });
    const published = host.takePublished();
    expect(published.map(({ topic, flags }) => [topic, flags])).toEqual([
      ["site/7/readings/bme280", 1],
      ["site/7/alarms/bme280", 1],
    ]);
    expect(plain(published[0]?.payload)).toEqual(reading(20.25));
  });

  it.each(["a/b", "#", "+", "$SYS", "A", "ä", "a\u0000b"])("publishes nothing for a sensor named %j", (sensor) => {
    const host = started("uplink");
    host.deliver("readings", { ...reading(1), sensor });
    expect(host.takePublished()).toEqual([]);
  });

  it("refuses what breaks the contract, and says so", () => {
    const host = started("uplink");
    expect(host.deliver("alarms", { ...reading(1) })).toEqual({ error: -1000 });
    expect(host.logs.map(({ text }) => text)).toEqual(["an alarm that breaks its contract"]);
  });

  it("tells once that the link is away, and once that it is back", () => {
    let isAway = true;
    const host = started("uplink", { north: { publish: () => (isAway ? RESULT.io : 0) } });
    for (let index = 0; index < 5; index++) host.deliver("readings", reading(1, index));
    isAway = false;
    host.deliver("readings", reading(1, 5));
    expect(host.logs.map(({ text }) => text)).toEqual([
      `not published: result ${RESULT.io}`,
      "publishing again after 5 failures",
    ]);
  });

  it("says how many messages were lost on the way to it", () => {
    const host = started("uplink");
    host.deliver("readings", reading(1), { lost: 7 });
    expect(host.logs.map(({ text }) => text)).toEqual(["7 messages were lost before this one"]);
  });
});

describe("the service control", () => {
  it("hands settings on as they came", () => {
    const host = started("control");
    host.deliver("commands", ["site/7/control", encodeCbor({ period: 50 })], { kind: "event" });
    expect(host.takeSent("settings").map(plain)).toEqual([{ period: 50 }]);
  });

  it.each([
    ["not CBOR", Uint8Array.of(0xff)],
    ["a period of nothing", encodeCbor({ period: 0 })],
    ["an unknown setting", encodeCbor({ speed: 1 })],
    ["two items", Uint8Array.of(0xa0, 0xa0)],
    ["nothing", new Uint8Array()],
  ])("hands on nothing that is %s", (_, payload) => {
    const host = started("control");
    host.deliver("commands", ["t", payload], { kind: "event" });
    expect(host.takeSent("settings")).toEqual([]);
    expect(host.logs.map(({ text }) => text)).toEqual(["settings that break their contract"]);
  });
});

describe("the saboteur", () => {
  const command = (text: string) => ["site/7/command", new TextEncoder().encode(text)] as const;

  it("is built under two names, each of which stands in its readings", () => {
    for (const name of ["trapper", "spinner"]) {
      const host = started(name);
      host.deliver("tick", 1, { kind: "event" });
      expect(host.takeSent("readings").map(plain)).toMatchObject([{ sensor: name, sequence: 0 }]);
    }
  });

  it("traps on command, and its successor goes on with the next number", () => {
    const host = started("trapper");
    host.deliver("tick", 1, { kind: "event" });
    const state = host.save();
    expect(() => host.deliver("commands", command("trap"), { kind: "event" })).toThrow(WebAssembly.RuntimeError);
    const next = new ModuleHost(built("trapper"));
    expect(next.restore(state)).toBe(true);
    next.start(true);
    next.deliver("tick", 1, { kind: "event" });
    expect(next.takeSent("readings").map(plain)).toMatchObject([{ sequence: 1 }]);
  });

  it("does nothing on any other command", () => {
    const host = started("trapper");
    for (const text of ["", "Trap", "trap ", "traps"]) host.deliver("commands", command(text), { kind: "event" });
    host.deliverBytes("commands", Uint8Array.of(0x82, 0x60), { kind: "event" });
    expect(host.logs).toEqual([]);
  });
});

describe("a trap", () => {
  it("leaves its text where the kernel finds it", () => {
    // A timer that cannot be set is a `must`: its text and the code are in the abort record.
    const broken = new ModuleHost(built("system-monitor"), { tick: { every: () => RESULT.quota } });
    expect(() => {
      broken.start();
    }).toThrow(ModuleTrap);
    expect(() => {
      broken.start();
    }).toThrow("the timer");
  });
});
