/** The order in which the scheduler hands out modules, against a plain list. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { PRIORITIES, Scheduler } from "../../kernel/scheduler/scheduler.ts";

class Item {
  readonly priority: number;
  enqueued = false;
  behind: Item | undefined = undefined;

  constructor(priority: number) {
    this.priority = priority;
  }
}

test("for any sequence: the highest priority first, and within one who was ready first", () => {
  const scheduler = new Scheduler<Item>();
  const waiting: Item[] = [];
  const items = Array.from({ length: 200 }, (_, id) => new Item(id % PRIORITIES));
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(199)), { maxLength: 400 }), (steps) => {
      for (const step of steps) {
        if (step === null) {
          const best = Math.min(...waiting.map(({ priority }) => priority));
          const index = waiting.findIndex(({ priority }) => priority === best);
          expect(scheduler.next()).toBe(index < 0 ? undefined : waiting.splice(index, 1)[0]);
          continue;
        }
        const item = items[step];
        if (item === undefined) continue;
        scheduler.ready(item);
        if (!waiting.includes(item)) waiting.push(item);
      }
    }),
  );
});
