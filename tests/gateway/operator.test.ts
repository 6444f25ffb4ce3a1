/** What an operator sees of a gateway and does to it, whoever carries the question. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { auditNote } from "../../gateway/core/audited.ts";
import type { GatewayEvent } from "../../gateway/core/index.ts";
import { Operator } from "../../gateway/core/operator.ts";
import type { Operated } from "../../gateway/core/operator.ts";
import type { AuditPage, Health, History, Snapshot } from "../../gateway/wire/operator.ts";
import { parseOperatorRequest } from "../../gateway/wire/operator.ts";
import { encodeFrame } from "../../gateway/wire/frames.ts";
import type { CborInput, CborValue, ModuleRow, RouteRow } from "../../kernel/index.ts";
import { decodeCbor, encodeCbor, Refusal } from "../../kernel/index.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";
import { parse } from "../config/support.ts";
import { moduleSpec } from "../support/modules.ts";

const utf8 = new TextEncoder();
const CHAIN = { state: "whole", verified: 1, last: 1, reason: "" } as const;

let modules: ModuleRow[];
let routes: RouteRow[];
let done: unknown[][];
let told: GatewayEvent[];
let operator: Operator;

function row(name: string, changes: Partial<ModuleRow> = {}): ModuleRow {
  const messages = { queued: 0, accepted: 0, refused: 0, dropped: 0, lost: 0 };
  const waits = { isThrottled: false, waitingMs: 0, longestWaitMs: 0 };
  const counts = { activations: 0, fuel: 0, memoryBytes: 65_536, restarts: 0, ...messages, ...waits };
  return { name, module: 1, version: "1.0.0", partition: "main", state: "idle", generation: 1, ...counts, ...changes };
}

const configuration = parse(`gateway: { id: gw-7, vendor: v.example, class: pi }
data: data
trust: { root: root.envelope }
`);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  modules = [row("a")];
  routes = [];
  done = [];
  told = [];
  const gateway: Operated = {
    kernel: {
      inspect: () => Promise.resolve({ partitions: [{ name: "main", heapMiB: 64, answers: true }], modules, routes }),
      authority: (name) => {
        const grants = [
          { slot: "north", interface: "mqtt", rights: ["publish"], parameters: { publish: ["site/7/#"] } } as const,
        ];
        if (modules.every((module) => module.name !== name))
          throw new Refusal("E_UNKNOWN", `there is no module ${name}`);
        return { spec: moduleSpec(name, grants), grants };
      },
      restart: (name) => void done.push(["restart", name]),
      hold: (name, reason) => void done.push(["hold", name, reason]),
    },
    configuration: () => configuration,
    audit: () => Promise.resolve<AuditPage>({ entries: [], chain: CHAIN }),
    emit: (event) => void told.push(event),
  };
  operator = new Operator(gateway);
});

const snapshot = async (from = 0): Promise<Snapshot> => (await operator.answer({ kind: "snapshot", from })) as Snapshot;
const act = (action: "restart" | "hold" | "resume", module = "a"): Promise<unknown> =>
  operator.answer({ kind: "act", action, module, by: "console (127.0.0.1)" });

describe("a look", () => {
  test("tells how long a module waits for its turn, and what was lost to it", async () => {
    modules = [row("a", { waitingMs: 1300, longestWaitMs: 2500, lost: 7 })];
    expect((await snapshot()).modules).toMatchObject([{ waitingMs: 1300, longestWaitMs: 2500, lost: 7 }]);
  });

  test("tells what a module may do, has used and has left", async () => {
    const [module] = (await snapshot()).modules;
    expect(module).toMatchObject({ name: "a", state: "idle", memoryBytes: 65_536, memoryLimitBytes: 1_048_576 });
    expect(module?.fuelLimitPerSecond).toBe(1e13);
    expect(module?.authority).toEqual([
      { slot: "north", interface: "mqtt", rights: ["publish"], resource: "publish site/7/#" },
    ]);
  });

  test("gives rates from two looks, and none where a count has begun anew", async () => {
    const route = { from: "a", slot: "out", to: "b.in", refused: 0, dropped: 0, queued: 0 };
    routes = [{ ...route, sent: 10 }];
    expect((await snapshot()).modules[0]?.fuelPerSecond).toBeNull();
    vi.advanceTimersByTime(2000);
    modules = [row("a", { fuel: 5000, activations: 20 })];
    routes = [{ ...route, sent: 30, dropped: 4 }];
    const second = await snapshot();
    expect(second.modules[0]).toMatchObject({ fuelPerSecond: 2500, activationsPerSecond: 10 });
    expect(second.routes).toMatchObject([{ sent: 30, perSecond: 10, droppedPerSecond: 2 }]);
    vi.advanceTimersByTime(2000);
    modules = [row("a", { fuel: 10, activations: 1, generation: 2 })];
    expect((await snapshot()).modules[0]?.fuelPerSecond).toBeNull();
  });

  test("remembers faults, denials, lost partitions, what a process says and how an update goes", async () => {
    operator.observe({ type: "fault", module: "a", generation: 3, cause: "trap", text: "unreachable" });
    const capsule = { path: "capsules/a-1.capsule", form: "whole", bytes: 7 } as const;
    operator.observe({ type: "capsule", module: "a", ...capsule });
    operator.observe({ type: "denied", module: "a", slot: "s", operation: "o", result: "denied", text: "", untold: 4 });
    operator.observe({ type: "partition-lost", partition: "main", reason: "stuck" });
    operator.observe({ type: "host", process: "link", state: "online", text: "broker" });
    operator.observe({
      type: "update",
      source: "trust",
      plan: "ab",
      state: "fetching",
      percent: 40,
      code: "",
      reason: "",
    });
    operator.observe({ type: "refused", module: "late", code: "E_CAP", text: "no place" });
    const now = await snapshot();
    expect(now.modules[0]).toMatchObject({
      faults: 1,
      denials: 5,
      lastFault: { generation: 3, cause: "trap", capsule: "capsules/a-1.capsule" },
    });
    expect(now.partitions).toEqual([{ name: "main", heapMiB: 64, answers: true, lost: 1 }]);
    expect(now.hosts).toEqual([{ process: "link", state: "online", text: "broker" }]);
    expect(now.updates).toMatchObject([{ plan: "ab", state: "fetching", percent: 40 }]);
  });

  test("of a thousand modules comes in pages that fit in a frame, each module once", async () => {
    modules = Array.from({ length: 1000 }, (_, index) => row(`module-${index}`, { restarts: index }));
    routes = modules.map(({ name }) => ({
      from: name,
      slot: "out",
      to: "b.in",
      sent: 1,
      refused: 0,
      dropped: 0,
      queued: 0,
    }));
    const seen: string[] = [];
    let pages = 0;
    for (let from: number | null = 0; from !== null; pages++) {
      const page: Snapshot = await snapshot(from);
      encodeFrame({ id: 1, value: page as unknown as CborInput });
      expect(page.routes).toHaveLength(page.modules.length);
      seen.push(...page.modules.map(({ name }) => name));
      from = page.next;
    }
    expect(pages).toBeGreaterThan(1);
    expect(seen).toEqual(modules.map(({ name }) => name));
  });
});

describe("the newest readings", () => {
  const publish = (topic: string, payload: Uint8Array | string): void => {
    operator.published("uplink", utf8.encode(topic), typeof payload === "string" ? utf8.encode(payload) : payload);
  };

  test("are told apart by topic and quantity, as CBOR, as JSON and as numbers", async () => {
    publish("site/bme280", encodeCbor({ quantity: "temperature", value: 20, unit: "°C" }));
    publish("site/bme280", encodeCbor({ quantity: "humidity", value: 40, unit: "%" }));
    publish("site/bme280", encodeCbor({ quantity: "temperature", value: 21.5, unit: "°C" }));
    publish("site/door", '{"value": 1}');
    publish("site/level", "17.25");
    const { readings } = await snapshot();
    expect(readings.map(({ topic, quantity, value, unit }) => [topic, quantity, value, unit])).toEqual([
      ["site/bme280", "humidity", 40, "%"],
      ["site/bme280", "temperature", 21.5, "°C"],
      ["site/door", "", 1, ""],
      ["site/level", "", 17.25, ""],
    ]);
  });

  test.each([
    ["nothing", new Uint8Array(0)],
    ["bytes that are no CBOR", Uint8Array.of(0xff, 0x00, 0x1b)],
    ["deep nesting", new Uint8Array(900).fill(0x81)],
    ["not a number", encodeCbor({ value: Number.NaN, quantity: "\u001b[31m\u202e<script>" })],
    ["a key of the prototype", utf8.encode('{"__proto__": {"value": 3}, "value": "x"}')],
    ["a map with bytes and tags", encodeCbor(new Map<CborInput, CborInput>([[1, new Uint8Array(3)]]) as never)],
  ])("of %s are text of one short line", async (_, payload) => {
    publish("t", payload);
    const [reading] = (await snapshot()).readings;
    expect(reading?.value).toBeNull();
    expect(`${reading?.text}${reading?.quantity}`).toMatch(/^[^\p{Cc}\u202e]{0,210}$/u);
  });

  test.each([
    ["half a character in JSON", '{"quantity": "\\ud800", "unit": "\\udc00", "value": 1}'],
    ["half a character as a text", '"\\ud800"'],
    ["a character where it is cut", JSON.stringify({ quantity: `${"x".repeat(47)}\u{1F600}`, value: 1 })],
  ])("of %s have a form in a frame, and the look with them", async (_, payload) => {
    publish("t", payload);
    const { readings } = await snapshot();
    expect(readings).toHaveLength(1);
    encodeFrame({ id: 1, value: (await snapshot()) as unknown as CborInput });
  });

  test("of as many topics and as long texts as there can be fit in a frame, the newest among them", async () => {
    const clock = vi.spyOn(Date, "now").mockReturnValue(1);
    for (let index = 0; index < 2048; index++) {
      const quantity = `${index}`.padEnd(48, "\u20ac");
      publish(
        `${index >> 3}/`.padEnd(86, "\u20ac"),
        JSON.stringify({ quantity, unit: quantity, note: quantity.repeat(5) }),
      );
    }
    clock.mockReturnValue(2);
    publish("newest", "1");
    clock.mockRestore();
    const { readings } = await snapshot();
    expect(readings.length).toBeGreaterThan(200);
    expect(readings.some(({ topic }) => topic === "newest")).toBe(true);
    const frame = encodeFrame({ id: 1, value: (await snapshot()) as unknown as CborInput });
    expect(frame.length).toBeLessThan(600_000);
  });

  test("are bounded, whatever a module publishes: who was silent the longest makes room", async () => {
    for (let index = 0; index < 1000; index++) publish(`t/${index}`, "1");
    publish("big", new Uint8Array(5000));
    publish("t".repeat(5000), "1");
    const { readings } = await snapshot();
    expect(readings).toHaveLength(256);
    expect(readings.some(({ topic }) => topic === "t/999")).toBe(true);
    expect(readings.some(({ topic }) => topic === "t/0" || topic === "big")).toBe(false);
  });
});

describe("the history", () => {
  const since = async (cursor: number): Promise<History> =>
    (await operator.answer({ kind: "history", since: cursor })) as History;

  test("goes on where one was, and counts what was gone before it was asked for", async () => {
    for (let index = 1; index <= 3; index++) operator.observe({ type: "finding", text: `f${index}` });
    const first = await since(0);
    expect(first.entries.map(({ text, level }) => [text, level])).toEqual(
      [1, 2, 3].map((index) => [`finding: f${index}`, 1]),
    );
    expect((await since(first.next)).entries).toEqual([]);
    for (let index = 0; index < 2500; index++) operator.observe({ type: "log", module: "m", level: 2, text: "x" });
    const later = await since(first.next);
    expect(later.missed).toBe(500);
    expect((await since(99_999)).entries.length).toBeGreaterThan(0);
  });

  test("shows control characters, and keeps what was being handled at a fault to itself", async () => {
    const input = { port: 0, payload: utf8.encode("secret") };
    operator.observe({
      type: "fault",
      module: "a",
      generation: 1,
      cause: "trap",
      text: "\u001b[2J",
      input,
      trace: "at",
    });
    const { entries } = await since(0);
    expect(JSON.stringify(entries)).not.toMatch(/secret|\u001b\[2J/);
    expect(entries[0]).toMatchObject({ module: "a", level: 0, type: "fault" });
  });
});

describe("health", () => {
  const health = async (): Promise<Health> => (await operator.answer({ kind: "health" })) as Health;

  test("is live by the partitions that answer, ready by modules that run", async () => {
    expect(await health()).toMatchObject({ live: true, ready: false, reasons: ["the gateway is starting"] });
    operator.observe({ type: "gateway", state: "running", text: "" });
    vi.advanceTimersByTime(1000);
    expect(await health()).toEqual({ live: true, ready: true, reasons: [] });
    modules = [row("a", { state: "held" })];
    vi.advanceTimersByTime(1000);
    expect(await health()).toEqual({ live: true, ready: false, reasons: ["module a is held"] });
  });
});

describe("an action", () => {
  test("is carried out once, and leaves an audit entry that names who asked", async () => {
    await act("restart");
    await act("hold");
    expect(done).toEqual([
      ["restart", "a"],
      ["hold", "a", "held by console (127.0.0.1)"],
    ]);
    expect(told.map(auditNote)).toEqual([
      { kind: "restart", source: "console", subject: "a", detail: { by: "console (127.0.0.1)" } },
      { kind: "hold", source: "console", subject: "a", detail: { by: "console (127.0.0.1)" } },
    ]);
    expect(auditNote({ type: "operator", action: "hold", module: "a", by: "owner" })).toEqual({
      kind: "hold",
      source: "owner",
      subject: "a",
      detail: {},
    });
  });

  test("resumes what is held and nothing else", async () => {
    await expect(act("resume")).rejects.toMatchObject({ code: "E_BUSY" });
    await expect(act("resume", "nobody")).rejects.toMatchObject({ code: "E_UNKNOWN" });
    expect([done, told]).toEqual([[], []]);
    modules = [row("a", { state: "held" })];
    await act("resume");
    expect(done).toEqual([["restart", "a"]]);
  });

  test("is refused when there are more in a second than a person asks for", async () => {
    for (let index = 0; index < 5; index++) await act("restart");
    await expect(act("restart")).rejects.toMatchObject({ code: "E_BUSY" });
    expect(done).toHaveLength(5);
    vi.advanceTimersByTime(1100);
    await act("restart");
    expect(done).toHaveLength(6);
  });

  test("of the owner is carried out though the page asks for more than it gets", async () => {
    for (let index = 0; index < 5; index++) await act("restart", "a");
    for (let index = 0; index < 50; index++) await expect(act("restart")).rejects.toMatchObject({ code: "E_BUSY" });
    await operator.answer({ kind: "act", action: "hold", module: "a", by: "owner" });
    expect(done.at(-1)).toEqual(["hold", "a", "held by owner"]);
  });
});

test.each<[string, CborInput]>([
  ["no kind", {}],
  ["an unknown kind", { kind: "shutdown" }],
  ["another action", { kind: "act", action: "unload", module: "a", by: "x" }],
  ["a module's name that is too long", { kind: "act", action: "hold", module: "a".repeat(49), by: "x" }],
  ["a name of who asks that is too long", { kind: "act", action: "hold", module: "a", by: "x".repeat(129) }],
  ["a field too many", { kind: "health", verbose: true }],
  ["a cursor below 0", { kind: "history", since: -1 }],
  ["a thousand audit entries", { kind: "audit", limit: 501, about: "" }],
  ["a list", []],
])("a request with %s is refused", (_, request) => {
  const value: CborValue = decodeCbor(encodeCbor(request), FRAME_CBOR);
  expect(() => parseOperatorRequest(value)).toThrow(Refusal);
});
