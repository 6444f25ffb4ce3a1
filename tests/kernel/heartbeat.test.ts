/** When a partition counts as stuck: by silence, by the processor time that it uses, and never by the watch's own delays. */
import { describe, expect, test } from "vitest";
import { Heartbeat } from "../../kernel/supervisor/heartbeat.ts";

describe("silence", () => {
  test("is counted from the last beat", () => {
    const heartbeat = new Heartbeat();
    expect([0, 10, 20].map((now) => heartbeat.look(now, 0, 7))).toEqual([0, 10, 20]);
    expect(heartbeat.look(30, 0, 8)).toBe(0);
    expect(heartbeat.look(45, 0, 8)).toBe(15);
  });

  test("does not begin while the partition sleeps", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    expect(heartbeat.look(500, 0, undefined)).toBe(0);
    expect(heartbeat.look(900, 0, 7)).toBe(0);
    expect(heartbeat.look(910, 0, 7)).toBe(10);
  });

  test("is not the time in which the watch itself did not run", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    expect(heartbeat.look(5000, 4980, 7)).toBe(20);
    expect(heartbeat.look(5010, 9000, 7)).toBe(0);
  });
});

describe("a thread that uses the processor without a beat", () => {
  test("is stuck after its second answer with more of it", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    expect([100, 106, 112].map((used) => heartbeat.used(7, used))).toEqual([false, false, true]);
  });

  test("is not stuck where it hardly uses any: it is not given the processor", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    for (let answer = 0; answer < 40; answer++) expect(heartbeat.used(7, 100 + answer / 10)).toBe(false);
  });

  test("is not stuck by one long collection of garbage", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    heartbeat.used(7, 100);
    expect(heartbeat.used(7, 180)).toBe(false);
    heartbeat.look(100, 0, 8);
    expect([190, 270].map((used) => heartbeat.used(8, used))).toEqual([false, false]);
  });

  test("has no answers from before its last beat", () => {
    const heartbeat = new Heartbeat();
    heartbeat.look(0, 0, 7);
    heartbeat.used(7, 100);
    heartbeat.used(7, 110);
    heartbeat.look(10, 0, 8);
    expect(heartbeat.used(7, 120)).toBe(false);
    expect([130, 140, 150].map((used) => heartbeat.used(8, used))).toEqual([false, false, true]);
  });
});
