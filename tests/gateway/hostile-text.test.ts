/** What the core takes from the link, and what it prints of others' words: hostile bytes end where they arrive. */
import { describe, expect, test } from "vitest";
import { eventText } from "../../gateway/core/index.ts";
import { UpdateLink } from "../../gateway/core/update-link.ts";
import { encodeCbor } from "../../kernel/index.ts";

const DESIRED = "bulkhead/v1/gw/gw-1/desired";

describe("an event of the link", () => {
  const link = new UpdateLink(() => undefined);
  link.subscribe(DESIRED);
  const binding = link.bindings().find(({ parameters }) => String(parameters["subscribe"]) === DESIRED)?.id ?? 0;

  function deliver(id: number, payload: Uint8Array): { isOurs: boolean; delivered: string[] } {
    const delivered: string[] = [];
    const isOurs = link.event(id, payload, (topic) => delivered.push(topic));
    return { isOurs, delivered };
  }

  test("of the bound topic reaches the update agent", () => {
    expect(deliver(binding, encodeCbor([DESIRED, new Uint8Array(3)]))).toEqual({ isOurs: true, delivered: [DESIRED] });
  });

  test.each([
    ["another topic than the bound one", encodeCbor(["bulkhead/v1/root/2", new Uint8Array(3)])],
    ["a text as payload", encodeCbor([DESIRED, "text"])],
    ["one element", encodeCbor([DESIRED])],
    ["three elements", encodeCbor([DESIRED, new Uint8Array(1), 0])],
    ["a map", encodeCbor({ topic: DESIRED })],
    ["deep nesting", new Uint8Array(60_000).fill(0x81)],
    ["an indefinite array", Uint8Array.of(0x9f, 0xff)],
    ["trailing bytes", Uint8Array.from([...encodeCbor([DESIRED, new Uint8Array(1)]), 0])],
    ["nothing", new Uint8Array(0)],
  ])("with %s is dropped", (_, payload) => {
    expect(deliver(binding, payload)).toEqual({ isOurs: true, delivered: [] });
  });

  test("of a binding that was let go is dropped, and never taken for a module's", () => {
    link.subscribe("bulkhead/v1/root/9");
    const id = link.bindings().at(-1)?.id ?? 0;
    link.unsubscribe("bulkhead/v1/root/9");
    expect(deliver(id, encodeCbor(["bulkhead/v1/root/9", new Uint8Array(1)]))).toEqual({ isOurs: true, delivered: [] });
  });

  test("of a module's binding is left to the kernel", () => {
    expect(deliver(7, encodeCbor([DESIRED, new Uint8Array(1)]))).toEqual({ isOurs: false, delivered: [] });
  });
});

test("control characters, line separators and direction marks of a module's line are shown, not obeyed", () => {
  const text = "a\n\u001b[31mb\r\u0000c\u2028d\u202ee\u2066f\u009b";
  const line = eventText({ type: "log", module: "m", level: 2, text });
  expect(line).toBe("m: information: a\\u000a\\u001b[31mb\\u000d\\u0000c\\u2028d\\u202ee\\u2066f\\u009b");
});

test.each([
  [3, "it was handling 9 bytes on port 3"],
  [0xffff, "it was handling 9 bytes on the kernel's port"],
])("a fault's line tells of the message on port %i, and not what was in it", (port, told) => {
  const payload = new TextEncoder().encode("password!");
  const text = "unreachable; index.ts:12: boom";
  const line = eventText({ type: "fault", module: "m", generation: 1, cause: "trap", text, input: { port, payload } });
  expect(line).toBe(`m: stopped (trap): unreachable; index.ts:12: boom; ${told}`);
});
