/** When a failed module runs again, against the words of the rule. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RestartRule } from "../../kernel/index.ts";
import { RestartHistory } from "../../kernel/index.ts";

const RULE: RestartRule = { policy: "restart", intensity: 5, windowMs: 1000, backoffMs: 10, maximumBackoffMs: 100 };

test("at once the first time, then 10, 20, 40, 80 ms, then held", () => {
  const history = new RestartHistory(RULE);
  const verdicts = [0, 1, 2, 3, 4, 5].map((now) => history.failed(now));
  expect(verdicts).toEqual([
    ...[0, 10, 20, 40, 80].map((delayMs) => ({ action: "restart", delayMs })),
    { action: "hold" },
  ]);
});

test("the delay never passes its maximum", () => {
  const history = new RestartHistory({ ...RULE, intensity: 1000 });
  let last = 0;
  for (let now = 0; now < 100; now++) {
    const verdict = history.failed(now);
    if (verdict.action === "restart") last = verdict.delayMs;
  }
  expect(last).toBe(100);
});

test("each good window halves the delay, until a failure is like the first again", () => {
  const history = new RestartHistory(RULE);
  for (const now of [0, 1, 2, 3]) history.failed(now);
  // The next would be 80; one good window makes it 40, and many make it 0.
  expect(history.failed(1003)).toEqual({ action: "restart", delayMs: 40 });
  expect(history.failed(100_000)).toEqual({ action: "restart", delayMs: 0 });
});

test("reset forgets everything", () => {
  const history = new RestartHistory(RULE);
  for (let now = 0; now < 6; now++) history.failed(now);
  history.reset();
  expect(history.failed(7)).toEqual({ action: "restart", delayMs: 0 });
});

test("the policy hold holds at the first failure", () => {
  expect(new RestartHistory({ ...RULE, policy: "hold" }).failed(0)).toEqual({ action: "hold" });
});

test("for any failures: held exactly beyond the intensity, delays within their bounds", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 400 }), { maxLength: 60 }), fc.nat({ max: 8 }), (gaps, intensity) => {
      const rule = { ...RULE, intensity };
      const history = new RestartHistory(rule);
      const times: number[] = [];
      let now = 0;
      for (const gap of gaps) {
        now += gap;
        times.push(now);
        const recent = times.filter((time) => now - time < rule.windowMs).length;
        const verdict = history.failed(now);
        expect(verdict.action).toBe(recent > intensity ? "hold" : "restart");
        if (verdict.action !== "restart") continue;
        expect(verdict.delayMs).toBeGreaterThanOrEqual(0);
        expect(verdict.delayMs).toBeLessThanOrEqual(rule.maximumBackoffMs);
      }
    }),
  );
});
