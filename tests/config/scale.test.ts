/** A configuration of a thousand modules is read in reasonable time, its longest chains of calls included. */
import { describe, expect, it } from "vitest";
import { refusalOf, parse } from "./support.ts";

const HEAD =
  "gateway: { id: a, vendor: b, class: c }\ndata: d\ntrust: { root: r }\nlimits: { memory: 8GiB }\nmodules:\n";

/** Each module calls the one before it, so that a priority has the longest way to go. */
function chain(length: number, extra = ""): string {
  const modules = Array.from({ length }, (_, index) => {
    const call = index === 0 ? extra : `next: { endpoint: { to: m${index - 1}.p, rights: [call] } }`;
    const priority = index === length - 1 ? "    priority: 1\n" : "";
    return `  m${index}:\n${priority}    grants:\n      log: { log: {} }\n      ${call}\n`;
  });
  return HEAD + modules.join("");
}

describe("a thousand modules", () => {
  it("are read, and the highest priority is carried along the whole chain of calls", () => {
    const start = performance.now();
    const { system } = parse(chain(1000, "x: { timer: {} }"));
    expect(system.modules).toHaveLength(1000);
    expect(new Set(system.modules.map(({ priority }) => priority))).toEqual(new Set([1]));
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it("that call in one circle are refused with the circle", () => {
    const error = refusalOf(chain(1000, "x: { endpoint: { to: m999.p, rights: [call] } }"));
    expect(error.problems).toHaveLength(1);
    expect(error.message.length).toBeLessThan(500);
    expect(error.message).toContain("the call graph has a cycle: m0 -(x)-> m999 -(next)-> m998");
  });
});
