/** The typed messages between processes: exactly their shape, or a refusal. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCoreToHost, parseHostToCore, printable } from "../../gateway/wire/parse.ts";
import type { CoreToHost, HostBinding, HostToCore } from "../../gateway/wire/protocol.ts";
import { decodeCbor, encodeCbor, LIMITS, Refusal } from "../../kernel/index.ts";
import type { CborInput, CborValue } from "../../kernel/index.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";

function decoded(value: unknown): CborValue {
  return decodeCbor(encodeCbor(value as CborInput), FRAME_CBOR);
}

const binding: HostBinding = {
  id: 7,
  interface: "i2c-device",
  owner: "bme280.sensor",
  rights: ["read", "write"],
  parameters: { bus: 1, address: 0x76, flag: true, path: "/proc/stat", publish: ["a/#", "b"] },
};

const coreToHost: readonly CoreToHost[] = [
  {
    kind: "configure",
    settings: { devices: { i2c: { "1": { backend: "auto" } } }, list: [1, null] },
    bindings: [binding],
  },
  { kind: "bind", bindings: [] },
  { kind: "unbind", ids: [1, 2] },
  {
    kind: "request",
    id: 1,
    binding: 7,
    operation: "write-read",
    numbers: [5, -1],
    bytes: [Uint8Array.of(1)],
    capacity: 8,
  },
  { kind: "cancel", id: 1 },
  { kind: "simulators", id: 3 },
  { kind: "simulate", id: 2, device: "i2c-1/0x76", quantity: "temperature", script: { base: 20 } },
  { kind: "stop" },
];

const hostToCore: readonly HostToCore[] = [
  { kind: "ready" },
  { kind: "reply", id: 1, result: -10, bytes: new Uint8Array() },
  { kind: "event", binding: 7, payload: Uint8Array.of(1, 2) },
  { kind: "status", state: "offline", text: "no broker" },
  { kind: "log", level: 3, text: "hello" },
  { kind: "heartbeat" },
];

describe.each([
  ["core to host", parseCoreToHost, coreToHost],
  ["host to core", parseHostToCore, hostToCore],
] as const)("messages %s", (_, parse, messages) => {
  it("come back as they were sent", () => {
    for (const message of messages) expect(parse(decoded(message))).toEqual(message);
  });

  it("are refused when a field is missing, is one too many, or has another type", () => {
    for (const message of messages) {
      expect(() => parse(decoded({ ...message, extra: 1 })), message.kind).toThrow(Refusal);
      for (const field of Object.keys(message)) {
        const { [field as "kind"]: _removed, ...rest } = message;
        expect(() => parse(decoded(rest)), `${message.kind} without ${field}`).toThrow(Refusal);
        if (field === "settings" || field === "script") continue;
        expect(() => parse(decoded({ ...message, [field]: 1.5 })), `${message.kind} ${field}`).toThrow(Refusal);
      }
    }
  });

  it("throw nothing but refusals on any CBOR", () => {
    const leaf = fc.oneof(fc.string(), fc.integer(), fc.uint8Array(), fc.boolean(), fc.constant(null));
    const kind = fc.constantFrom(...messages.map((message) => message.kind));
    const frame = fc.record({
      kind,
      id: leaf,
      binding: leaf,
      bytes: fc.array(leaf),
      bindings: fc.array(leaf),
      text: leaf,
    });
    fc.assert(
      fc.property(fc.oneof(leaf, frame), (value) => {
        try {
          parse(decoded(value));
        } catch (error) {
          expect(error).toBeInstanceOf(Refusal);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("what a hostile host process cannot do", () => {
  it("name a result that does not fit in an i32", () => {
    for (const result of [2 ** 31, -(2 ** 31) - 1, 2 ** 40]) {
      expect(() => parseHostToCore(decoded({ kind: "reply", id: 1, result, bytes: new Uint8Array() }))).toThrow(
        Refusal,
      );
    }
  });

  it("send a log line longer than a log line", () => {
    const text = "x".repeat(LIMITS.logBytes + 1);
    expect(() => parseHostToCore(decoded({ kind: "log", level: 0, text }))).toThrow(Refusal);
  });

  it("move the cursor of the operator's terminal, or turn a line round", () => {
    const parsed = parseHostToCore(decoded({ kind: "status", state: "up", text: "a\u001b[2Jb\r\n\u202ec" }));
    expect(parsed).toEqual({ kind: "status", state: "up", text: "a·[2Jb···c" });
  });
});

describe("settings", () => {
  it("keep `__proto__` an ordinary key", () => {
    const settings = new Map([["__proto__", new Map([["polluted", true]])]]);
    const parsed = parseCoreToHost(decoded({ kind: "configure", settings, bindings: [] }));
    expect(parsed.kind === "configure" && Object.hasOwn(parsed.settings as object, "__proto__")).toBe(true);
    expect(Object.hasOwn(Object.prototype, "polluted")).toBe(false);
  });
});

describe("printable", () => {
  it("leaves ordinary text alone", () => {
    expect(printable("Über 21 °C – läuft")).toBe("Über 21 °C – läuft");
  });
});
