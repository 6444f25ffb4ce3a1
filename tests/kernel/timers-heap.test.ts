/** The heap of timers against a sorted list, and its size under floods of cancelled ones. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Timers } from "../../kernel/partition/timers.ts";

test("timers fire by due time, equal ones in the order of setting, cancelled ones never", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.boolean()), { maxLength: 400 }), (plan) => {
      const timers = new Timers();
      const fired: number[] = [];
      const cancels = plan.map(([due], index) => timers.at(due, () => fired.push(index)));
      plan.forEach(([, cancel], index) => {
        if (cancel) cancels[index]?.();
      });
      const live = plan.flatMap(([due, cancel], index) => (cancel ? [] : [{ due, index }]));
      live.sort((a, b) => a.due - b.due || a.index - b.index);
      expect(timers.next()).toBe(live[0]?.due);
      timers.fire(10);
      expect(fired).toEqual(live.filter(({ due }) => due <= 10).map(({ index }) => index));
      timers.fire(20);
      expect(fired).toEqual(live.map(({ index }) => index));
      expect(timers.next()).toBeUndefined();
    }),
  );
});

test("a million timers that are set far ahead and cancelled leave a small heap", () => {
  const timers = new Timers();
  let largest = 0;
  for (let count = 0; count < 1_000_000; count++) {
    timers.at(1e9, () => undefined)();
    largest = Math.max(largest, timers.size);
  }
  expect(largest).toBeLessThan(200);
});

test("cancelling twice, or after firing, is harmless", () => {
  const timers = new Timers();
  let fired = 0;
  const cancel = timers.at(1, () => fired++);
  timers.at(2, () => fired++);
  timers.fire(1);
  cancel();
  cancel();
  timers.fire(2);
  expect(fired).toBe(2);
  expect(timers.size).toBe(0);
});
