/** The driver system-monitor, against texts of /proc. */
import { describe, expect, it } from "vitest";
import { started, takeReadings } from "./support.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const file = (texts: string[]) => ({ read: () => encode(texts.length > 1 ? (texts.shift() ?? "") : (texts[0] ?? "")) });

const LOAD = "0.52 0.58 0.59 1/467 12345\n";
const MEMORY = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   12000000 kB\nBuffers: 1 kB\n";
const FIRST = "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n";
const SECOND = "cpu  150 0 125 900 25 0 0 0 0 0\ncpu0 150 0 125 900 25 0 0 0 0 0\n";

function monitor(loadavg = LOAD, meminfo = MEMORY, stat = [FIRST, SECOND]) {
  return started("system-monitor", {
    loadavg: file([loadavg]),
    meminfo: file([meminfo]),
    stat: file(stat),
  });
}

describe("the driver system-monitor", () => {
  it("measures once a second until it is told otherwise", () => {
    const host = monitor();
    expect(host.timer("tick")).toEqual({ operation: "every", milliseconds: 1000 });
    host.deliver("settings", { period: 50 });
    expect(host.timer("tick")).toEqual({ operation: "every", milliseconds: 50 });
  });

  it("emits load and memory at once, and processor use from the second look on", () => {
    const host = monitor();
    host.deliver("tick", 1, { kind: "event" });
    const first = takeReadings(host);
    expect(first).toEqual([
      { sensor: "system-monitor", sequence: 0, quantity: "load", value: 0.52, unit: "1", time: 1_700_000_000_000 },
      { sensor: "system-monitor", sequence: 1, quantity: "memory-used", value: 25, unit: "%", time: 1_700_000_000_000 },
    ]);
    host.deliver("tick", 1, { kind: "event" });
    const second = takeReadings(host);
    expect(second[2]).toMatchObject({ sequence: 4, quantity: "processor", value: 37.5, unit: "%" });
  });
});
