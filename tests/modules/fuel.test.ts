/** Fuel: what each module's heaviest activations use, against what its manifest declares. */
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { built, started } from "./support.ts";

/** A text of this many bytes that differs from the others at its end, where comparing takes longest. */
const name = (length: number, index: number) => String(index).padStart(length, "x");

function reading(index: number, value: number) {
  return {
    sensor: name(48, index),
    sequence: index,
    quantity: "temperature",
    value,
    unit: name(16, index),
    time: 2 ** 50,
  };
}

describe("direct modules", () => {
  it.each(["threshold", "threshold-v2", "aggregate", "control"])("%s declares at most one slice", (module) => {
    expect(new ModuleHost(built(module)).manifest.fuel).toBeLessThanOrEqual(LIMITS.sliceFuel);
  });

  it.each(["threshold", "threshold-v2"])("%s judges, saves and restores full tables within its fuel", (module) => {
    const host = started(module);
    for (let index = 0; index < 16; index++) {
      host.deliver("settings", { quantity: name(32, index), high: 1.1, clear: 0.1 });
    }
    host.deliver("settings", { quantity: "temperature", high: 1.1, clear: 0.1 });
    for (let index = 0; index < 40; index++) host.deliver("readings", reading(index, 50));
    expect(host.fuelUsed).toBeGreaterThan(0);
    const state = host.save();
    const next = new ModuleHost(built(module));
    expect(next.restore(state)).toBe(true);
    next.start(true);
    expect(next.fuelUsed).toBeLessThanOrEqual(LIMITS.sliceFuel);
  });

  it("aggregate closes, saves and restores as many windows as it holds within its fuel", () => {
    const host = started("aggregate");
    for (let index = 0; index < 40; index++) host.deliver("readings", reading(index, 50.5));
    const state = host.save();
    host.deliver("tick", 1, { kind: "event" });
    expect(host.takeSent("windows")).toHaveLength(32);
    expect(new ModuleHost(built("aggregate")).restore(state)).toBe(true);
  });
});

describe("the test host", () => {
  it("stops a module that uses more fuel than its manifest says", () => {
    const host = started("spinner");
    const spin = ["t", new TextEncoder().encode("spin")];
    expect(() => host.deliver("commands", spin, { kind: "event" })).toThrow("more fuel than the manifest says");
  });
});
