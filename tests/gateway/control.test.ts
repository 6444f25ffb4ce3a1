/** The owner's socket: what it tells and turns, and what nobody can do through it. */
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Control } from "../../gateway/core/control.ts";
import type { Controlled } from "../../gateway/core/control.ts";
import { parseControlRequest } from "../../gateway/wire/control.ts";
import { encodeFrame, FRAME_BYTES } from "../../gateway/wire/frames.ts";
import { decodeCbor, encodeCbor, LIMITS, Refusal, RESULT } from "../../kernel/index.ts";
import type { CborInput } from "../../kernel/index.ts";
import { ControlClient } from "../../tools/dev/control-client.ts";

const PARTS = {
  seconds: 12.5,
  parts: [{ device: "i2c-1/0x76", chip: "bme280", quantities: { temperature: 20 }, faults: [] }],
};

let folder: string;
let control: Control;
let turned: unknown[][];
let result: number | undefined;

const gateway: Controlled = {
  top: () => Promise.resolve([{ name: "bme280", fuel: 7 }]),
  trace: (isWanted) => Promise.resolve({ modules: [], partitions: [String(isWanted)], pieces: [], hasMore: false }),
  operate: (request) => Promise.resolve({ asked: request.kind }),
  simulators: () => Promise.resolve(encodeCbor(PARTS)),
  simulate: (...turn) => {
    turned.push(turn);
    return Promise.resolve(result);
  },
  simulated: (...turn) => void turned.push(["audited", ...turn]),
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "bulkhead-control-"));
  control = new Control(gateway);
  turned = [];
  result = 0;
  await control.open(folder);
});
afterEach(async () => {
  await control.close();
  rmSync(folder, { recursive: true });
});

async function connect(events: Parameters<typeof ControlClient.connect>[1] = {}): Promise<ControlClient> {
  const client = await ControlClient.connect(folder, events);
  if (client === undefined) throw new Error("nobody answers");
  return client;
}

/** Sends bytes as they are; resolves when the gateway has hung up. */
function hangUp(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const socket: Socket = createConnection(join(folder, "control.sock"));
    socket
      .on("error", () => undefined)
      .on("close", () => {
        resolve();
      });
    socket.write(bytes);
    socket.resume();
  });
}

describe("what the owner may ask", () => {
  it("is what runs, what is simulated, and what happens", async () => {
    const events: unknown[] = [];
    const told = Promise.withResolvers<undefined>();
    const client = await connect({
      onEvent: (event) => {
        events.push(event);
        told.resolve(undefined);
      },
    });
    expect(await client.top()).toEqual([{ name: "bme280", fuel: 7 }]);
    expect(await client.simulators()).toEqual(PARTS);
    control.tell({ type: "finding", text: "before anybody asked" });
    await client.follow();
    const fault = { type: "fault", module: "a", generation: 1, cause: "trap", text: "unreachable" } as const;
    control.tell({ ...fault, trace: undefined, input: { port: 3, payload: Uint8Array.of(1) } });
    await told.promise;
    expect(events).toEqual([{ ...fault, input: { port: 3, payload: Uint8Array.of(1) } }]);
    client.close();
  });

  it("turns a simulated value, which is audited", async () => {
    const client = await connect();
    await client.simulate("i2c-1/0x76", "temperature", { base: 31.5 });
    expect(turned).toEqual([
      ["i2c-1/0x76", "temperature", { base: 31.5 }],
      ["audited", "i2c-1/0x76", "temperature", { base: 31.5 }],
    ]);
    client.close();
  });

  it.each([
    ["a real device or none", RESULT["not-found"], "E_UNKNOWN", /real devices are never turned/],
    ["a gateway without devices", undefined, "E_UNKNOWN", /no simulated/],
    ["a script that is none", RESULT.invalid, "E_CONFIG", /cannot follow/],
    ["a device process that died", RESULT["dead-peer"], "E_BUSY", /does not answer/],
  ])("is refused for %s, and not audited", async (_, answer, code, text) => {
    result = answer;
    const client = await connect();
    const refusal: unknown = await client.simulate("i2c-1/0x76", "colour", 1).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refusal);
    expect((refusal as Refusal).code).toBe(code);
    expect((refusal as Refusal).describe()).toMatch(text);
    expect(turned).toHaveLength(1);
    client.close();
  });
});

it.each<[string, CborInput]>([
  ["half a character", "\ud800"],
  ["more than a frame holds", "x".repeat(FRAME_BYTES)],
])("an answer of %s is refused, and the gateway goes on", async (_, text) => {
  const other = join(folder, "other");
  mkdirSync(other);
  const odd = new Control({ ...gateway, operate: () => Promise.resolve({ text }) });
  await odd.open(other);
  const client = await ControlClient.connect(other);
  await expect(client?.operate({ kind: "health" })).rejects.toBeInstanceOf(Refusal);
  expect(await client?.top()).toHaveLength(1);
  client?.close();
  await odd.close();
});

describe("the socket", () => {
  it("is this user's alone, even in a folder that is not", () => {
    expect(statSync(join(folder, "control.sock")).mode & 0o777).toBe(0o600);
  });

  it("works where the folder's path is longer than a socket's may be", async () => {
    const long = join(folder, "x".repeat(120), "y".repeat(120));
    mkdirSync(long, { recursive: true });
    const other = new Control(gateway);
    await other.open(long);
    const client = await ControlClient.connect(long);
    expect(await client?.top()).toHaveLength(1);
    client?.close();
    await other.close();
  });

  it("belongs to one gateway; a dead one's is taken over", async () => {
    await expect(new Control(gateway).open(folder)).rejects.toThrow("another gateway runs");
    await control.close();
    writeFileSync(join(folder, "control.sock"), "left by a power cut");
    expect(await ControlClient.connect(folder)).toBeUndefined();
    control = new Control(gateway);
    await control.open(folder);
    expect(await (await connect()).top()).toHaveLength(1);
  });

  it("says that nobody answers where there is no gateway", async () => {
    await control.close();
    expect(await ControlClient.connect(folder)).toBeUndefined();
    expect(await ControlClient.connect(join(folder, "absent"))).toBeUndefined();
  });
});

describe("hostile bytes", () => {
  it.each([
    ["a frame longer than a frame", Uint8Array.of(0xff, 0xff, 0xff, 0x7f)],
    ["a frame that is no CBOR", Uint8Array.of(2, 0, 0, 0, 0x81, 0xff)],
    ["HTTP", new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")],
    ["an unknown request", encodeFrame({ kind: "load", id: 1 })],
    ["what only the core may tell the device process", encodeFrame({ kind: "stop" })],
    ["a binding", encodeFrame({ kind: "bind", bindings: [] })],
    ["a field too many", encodeFrame({ kind: "top", id: 1, extra: 1 })],
    ["more requests at once than are answered", flood(17)],
  ])("%s ends the connection, and no other", async (_, bytes) => {
    const client = await connect();
    await hangUp(bytes);
    expect(await client.top()).toHaveLength(1);
    expect(turned).toEqual([]);
    client.close();
  });

  it("are refused, whatever they say", () => {
    const leaf = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.uint8Array());
    const kind = fc.constantFrom("top", "events", "simulate", "simulators", "configure", "request", "constructor");
    const request = fc.record(
      { kind, id: leaf, device: leaf, quantity: leaf, script: leaf },
      { requiredKeys: ["kind"] },
    );
    fc.assert(
      fc.property(fc.oneof(leaf, request), (value) => {
        try {
          const { kind: taken } = parseControlRequest(decode(value));
          expect(["top", "events", "simulate", "simulators"]).toContain(taken);
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("from a reader that does not read cost bounded memory: what it misses is counted", async () => {
    const missed: number[] = [];
    const counted = Promise.withResolvers<undefined>();
    const client = await connect({
      onMissed: (count) => {
        missed.push(count);
        counted.resolve(undefined);
      },
    });
    await client.follow();
    const text = "x".repeat(LIMITS.logBytes);
    for (let index = 0; index < 5000; index++) control.tell({ type: "finding", text });
    const again = setInterval(() => {
      control.tell({ type: "finding", text: "later" });
    }, 10);
    await counted.promise;
    clearInterval(again);
    expect(missed[0]).toBeGreaterThan(4000);
    client.close();
  });
});

function flood(count: number): Uint8Array {
  return Buffer.concat(Array.from({ length: count }, (_, id) => encodeFrame({ kind: "top", id })));
}

function decode(value: unknown) {
  const limits = { maxBytes: 65_536, maxDepth: 8, maxItems: 256, tags: [], deterministic: false };
  return decodeCbor(encodeCbor(value as CborInput), limits);
}
