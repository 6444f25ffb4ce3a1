/** The drivers gpio-button and gpio-relay, edge by edge. */
import { describe, expect, it } from "vitest";
import { NOTICE, RESULT } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { built, started, takeReadings } from "./support.ts";

const levels = (host: ModuleHost) => takeReadings(host).map(({ value }) => value);

describe("the driver gpio-button", () => {
  function button() {
    const line = { level: 1 };
    const host = started("gpio-button", { line: { get: () => line.level } });
    const edge = (level: number) => {
      line.level = level;
      host.deliver("edges", [level, 0], { kind: "event" });
    };
    const settle = () => host.deliver("settle", 1, { kind: "event" });
    return { host, line, edge, settle };
  }

  it("tells the level at the start", () => {
    expect(levels(button().host)).toEqual([1]);
  });

  it("tells one press, however often the contact bounces", () => {
    const { host, edge, settle } = button();
    takeReadings(host);
    for (const level of [0, 1, 0, 1, 0, 1, 0]) edge(level);
    expect(levels(host)).toEqual([]);
    expect(host.timer("settle")).toEqual({ operation: "after", milliseconds: 20 });
    settle();
    expect(levels(host)).toEqual([0]);
  });

  it("tells nothing of a spike that is over", () => {
    const { host, edge, settle } = button();
    takeReadings(host);
    edge(0);
    edge(1);
    settle();
    expect(levels(host)).toEqual([]);
  });

  it("believes the line, not the edges: one that was lost does no harm", () => {
    const { host, line, settle } = button();
    takeReadings(host);
    line.level = 0;
    settle();
    expect(levels(host)).toEqual([0]);
  });
});

describe("the driver gpio-relay", () => {
  function relay(result = 0) {
    const set: number[] = [];
    const line = {
      set: ({ numbers }: { numbers: readonly (number | bigint)[] }) => (set.push(Number(numbers[0])), result),
    };
    return { set, line, host: started("gpio-relay", { line }) };
  }

  it("begins switched off, and obeys", () => {
    const { host, set } = relay();
    host.deliver("commands", { on: true });
    host.deliver("commands", { on: true });
    host.deliver("commands", { on: false });
    expect(set).toEqual([0, 1, 1, 0]);
    expect(levels(host)).toEqual([0, 1, 0]);
  });

  it("tells its state again to who was away", () => {
    const { host } = relay();
    host.deliver("commands", { on: true });
    takeReadings(host);
    host.notice(NOTICE.peerBack, "readings");
    expect(levels(host)).toEqual([1]);
  });

  it("obeys a command in its own name or in none, and leaves another's to the other", () => {
    const { host, set } = relay();
    host.deliver("commands", { on: true, module: "gpio-relay-2" });
    expect(host.deliver("commands", { on: true, module: "gpio-relay-2" }, { kind: "call" })).toEqual({ error: -1002 });
    expect(set).toEqual([0]);
    const answer = host.deliver("commands", { on: true, module: "gpio-relay" }, { kind: "call" });
    expect(answer).toEqual({ reply: Uint8Array.of(0xa1, 0x62, 0x6f, 0x6e, 0xf5) });
    expect(set).toEqual([0, 1]);
  });

  it("answers a call with the state that it has now", () => {
    const { host } = relay();
    expect(host.deliver("commands", { on: true }, { kind: "call" })).toEqual({
      reply: Uint8Array.of(0xa1, 0x62, 0x6f, 0x6e, 0xf5),
    });
  });

  it("is off in the safe state", () => {
    const { host, set } = relay();
    host.deliver("commands", { on: true });
    host.notice(NOTICE.safeState);
    expect(set.at(-1)).toBe(0);
  });

  it("stays as it was over a restart", () => {
    const { host, line, set } = relay();
    host.deliver("commands", { on: true });
    const next = new ModuleHost(built("gpio-relay"), { line });
    expect(next.restore(host.save())).toBe(true);
    next.start(true);
    expect(set).toEqual([0, 1, 1]);
  });

  it("is not well while the line does not obey, and tells its caller", () => {
    const { host } = relay(RESULT.io);
    expect(host.health()).toBe(1);
    expect(host.deliver("commands", { on: true }, { kind: "call" })).toEqual({ error: -1001 });
    expect(takeReadings(host)).toEqual([]);
  });

  it.each([{}, { on: 1 }, { on: true, off: false }, null])("refuses %j", (command) => {
    const { host, set } = relay();
    expect(host.deliver("commands", command)).toEqual({ error: -1000 });
    expect(set).toEqual([0]);
  });
});
