/** The audit log as it is shown live: its newest entries, searched, and a chain that is walked a piece at each look. */
import { expect, test } from "vitest";
import { THROTTLE_LIMITS } from "../../gateway/trust/audit-throttle.ts";
import { AuditWatch } from "../../gateway/trust/audit-verify.ts";
import { bench, record } from "./support.ts";

test("a look shows the newest entries that hold a text, whatever signs it has", () => {
  const made = bench();
  const log = made.open();
  for (const subject of ["sensor", "100%_'; DROP TABLE entry; --", "Sensor two"]) log.record(record(subject));
  log.close();
  const watch = new AuditWatch(made.file, made.key.publicKey, () => made.clock);
  const subjects = (about: string, limit = 10): string[] =>
    watch.page({ limit, about }).entries.map(({ subject }) => subject);
  expect(subjects("sensor")).toEqual(["sensor", "Sensor two"]);
  expect(subjects("%_'; drop")).toEqual(["100%_'; DROP TABLE entry; --"]);
  expect(subjects("nothing of this kind")).toEqual([]);
  expect(subjects("", 1)).toEqual(["Sensor two"]);
  expect(watch.page({ limit: 1, about: "" }).chain).toEqual({ state: "whole", verified: 4, last: 4, reason: "" });
});

test("the chain is walked on as it grows, in pieces, and a changed entry is found and stays found", () => {
  const made = bench();
  const filling = made.open({ waiting: 5000, throttle: { ...THROTTLE_LIMITS, keys: 5000 } });
  for (let index = 1; index < 2500; index++) filling.record(record(`slot-${index}`, `module-${index}`));
  filling.close();
  const watch = new AuditWatch(made.file, made.key.publicKey, () => made.clock);
  const look = (): string => {
    const { state, verified, last } = watch.page({ limit: 1, about: "" }).chain;
    return `${state} ${verified} of ${last}`;
  };
  expect(look()).toBe("walking 2000 of 2500");
  expect(look()).toBe("whole 2500 of 2500");
  const log = made.open();
  log.record(record("one more"));
  log.close();
  expect(look()).toBe("whole 2501 of 2501");
  made.forge("UPDATE entry SET subject = 'forged' WHERE sequence = 7");
  // What was walked is walked again after a while.
  expect(look()).toBe("whole 2501 of 2501");
  made.clock += 700_000;
  expect(watch.page({ limit: 1, about: "" }).chain).toMatchObject({
    state: "broken",
    reason: expect.stringMatching(/^entry 7: /) as string,
  });
  expect(look()).toContain("broken");
});
