/** MQTT topic filters: validity, matching, covering and overlap (MQTT 5.0, section 4.7). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { filterCovers, filterMatches, filtersOverlap, refuseFilter } from "../../gateway/config/topic.ts";

const level = fc.constantFrom("a", "b", "");
const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filter = fc
  .tuple(fc.array(fc.constantFrom("a", "b", "", "+"), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([levels, isOpen]) => [...levels, ...(isOpen ? ["#"] : [])].join("/"));

/** Every topic of up to four levels over the alphabet that the filters use. */
const TOPICS: readonly string[] = (() => {
  let layer: string[][] = [[]];
  const all: string[] = [];
  for (let depth = 1; depth <= 4; depth += 1) {
    layer = layer.flatMap((levels) => ["a", "b", "c", ""].map((next) => [...levels, next]));
    all.push(...layer.map((levels) => levels.join("/")));
  }
  return all;
})();

describe("a topic filter", () => {
  it.each([
    ["site/7/#", "site/7/a/b", true],
    ["site/7/#", "site/7", true],
    ["site/+/t", "site/7/t", true],
    ["site/+/t", "site/7/8/t", false],
    ["site/+", "site", false],
    ["+/+", "/a", true],
    ["#", "$SYS/x", false],
    ["+/x", "$SYS/x", false],
    ["$SYS/#", "$SYS/x", true],
    ["a", "A", false],
  ])("%s matches %s: %s", (pattern, name, expected) => {
    expect(filterMatches(pattern, name)).toBe(expected);
  });

  it.each(["a", "a/b", "/a", "a//b", "a/+/b", "a/#", "Bulkhead/x", "bulkheads/x"])("is accepted: %s", (pattern) => {
    expect(refuseFilter(pattern)).toBeUndefined();
  });

  it.each([
    "#",
    "+",
    "+/a",
    "bulkhead",
    "bulkhead/#",
    "$share/g/a",
    "$SYS/#",
    "a/#/b",
    "a#",
    "a+/b",
    "",
    "a\0b",
    "\ud800",
    "x".repeat(513),
  ])("is refused: %s", (pattern) => {
    expect(refuseFilter(pattern)).toBeTypeOf("string");
  });

  it("that is accepted never matches a topic of the updates", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("bulkhead", "+", "#", "v1", "$share", ""), { minLength: 1 }),
        topic,
        (levels, rest) => {
          const pattern = levels.join("/");
          fc.pre(refuseFilter(pattern) === undefined);
          expect(filterMatches(pattern, `bulkhead/${rest}`)).toBe(false);
          expect(filterMatches(pattern, "bulkhead")).toBe(false);
        },
      ),
    );
  });

  it("covers another exactly where it matches all that the other matches", () => {
    fc.assert(
      fc.property(filter, filter, (outer, inner) => {
        if (!filterCovers(outer, inner)) return;
        for (const name of TOPICS) if (filterMatches(inner, name)) expect(filterMatches(outer, name)).toBe(true);
      }),
    );
    expect(filterCovers("a/#", "a/b/+")).toBe(true);
    expect(filterCovers("a/+", "a/#")).toBe(false);
    expect(filterCovers("a/b", "a/+")).toBe(false);
    expect(filterCovers("#", "a/#")).toBe(true);
    expect(filterCovers("a/#", "a")).toBe(true);
    expect(filterCovers("a", "a/#")).toBe(false);
  });

  it("overlaps another wherever one topic is matched by both", () => {
    fc.assert(
      fc.property(filter, filter, topic, (left, right, name) => {
        if (filterMatches(left, name) && filterMatches(right, name)) expect(filtersOverlap(left, right)).toBe(true);
        expect(filtersOverlap(left, right)).toBe(filtersOverlap(right, left));
      }),
    );
    expect(filtersOverlap("a/+", "a/b")).toBe(true);
    expect(filtersOverlap("a/+/c", "a/b/d")).toBe(false);
    expect(filtersOverlap("a/#", "b/#")).toBe(false);
  });
});
