/** The device process with every kind of simulated bus: requests, events, live values, and what it refuses. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import { FRAME_CBOR } from "../../gateway/wire/frames.ts";
import { parseSimulators } from "../../gateway/wire/parse.ts";
import { devicePermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import { crc16 } from "../../gateway/device/simulator/modbus-slave.ts";
import type { CborValue, GrantParameter, InterfaceName } from "../../kernel/index.ts";
import { decodeCbor, RESULT } from "../../kernel/index.ts";

type Parameters = Readonly<Record<string, GrantParameter>>;

function bind(
  id: number,
  name: InterfaceName,
  parameters: Parameters,
  rights = ["read", "write", "edges"],
): HostBinding {
  return { id, interface: name, owner: `test.${id}`, rights, parameters };
}

const thermometer = "28-000005e2fdc3";
const bindings = [
  bind(1, "spi-device", { bus: 0, chip: 0, mode: 0, frequency: 1_000_000 }),
  bind(2, "gpio-line", { chip: 0, line: 17, direction: "out", edges: "none" }),
  bind(3, "gpio-line", { chip: 0, line: 27, direction: "in", edges: "both" }),
  bind(4, "uart", { device: "/dev/ttySIM0", baud: 115_200, format: "8N1" }),
  bind(5, "onewire", { device: thermometer }),
  bind(6, "onewire", { device: "28-ffffffffffff" }),
  bind(7, "i2c-device", { bus: 1, address: 0x48 }),
  bind(8, "uart", { device: "/dev/ttySIM0", baud: 9600 }),
  bind(9, "gpio-line", { chip: 0, line: 17, direction: "in", edges: "none" }),
  bind(10, "uart", { device: "/dev/../etc/passwd", baud: 9600 }),
  bind(11, "uart", { device: "/dev/ttySIM1", baud: 9600 }, ["write"]),
];

const settings = {
  devices: {
    i2c: { "1": { backend: "simulator", simulate: [{ chip: "ads1115", address: 0x48 }] } },
    spi: { "0": { backend: "simulator", simulate: [{ chip: "mcp3008", ch0: 1.65 }] } },
    gpio: { "0": { backend: "simulator", simulate: [{ chip: "wire", from: 17, to: 27 }] } },
    uart: {
      "/dev/ttySIM0": { backend: "simulator", simulate: [{ chip: "modbus-slave", unit: 1, holding: { "0": 4711 } }] },
      "/dev/ttySIM1": { backend: "simulator", simulate: [{ chip: "modbus-slave", unit: 1, holding: { "0": 4711 } }] },
    },
    onewire: {
      backend: "simulator",
      simulate: [{ chip: "ds18b20", id: thermometer, conversion: 20, temperature: 21.5 }],
    },
  },
};

const events: [number, CborValue][] = [];
const statuses: string[] = [];
const logs: string[] = [];
const host = new HostProcess({
  name: "device",
  ...hostEntry("device"),
  settings,
  permissions: devicePermissions(bindings),
  heapMiB: 64,
  onEvent: (binding, payload) => events.push([binding, decodeCbor(payload, FRAME_CBOR)]),
  onStatus: (_state, text) => statuses.push(text),
  onLog: (_level, text) => logs.push(text),
});

beforeAll(() => host.start(bindings));
afterAll(() => host.stop());

function ask(
  binding: number,
  operation: string,
  bytes: number[] | undefined,
  capacity: number,
  numbers: number[] = [],
) {
  const list = bytes === undefined ? [] : [Uint8Array.from(bytes)];
  return host.request({ binding, operation, numbers, bytes: list, capacity, timeoutMs: 5000 });
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 500) throw new Error("it never came about");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("the device process", () => {
  it("says which backend each bus has", () => {
    expect(statuses.sort()).toEqual([
      "gpio-0: simulator (wire from 17 to 27)",
      "i2c-1: simulator (ads1115 at 0x48)",
      "spi-0: simulator (mcp3008 at 0)",
      "uart-/dev/ttySIM0: simulator (modbus-slave unit 1)",
      "uart-/dev/ttySIM1: simulator (modbus-slave unit 1)",
      `w1-bus: simulator (ds18b20 ${thermometer})`,
    ]);
  });

  it("transfers on SPI, full duplex and of equal lengths only", async () => {
    const { result, bytes } = await ask(1, "transfer", [1, 0x80, 0], 3);
    expect(result).toBe(3);
    expect(Buffer.from(bytes).readUInt16BE(1) & 0x3ff).toBe(512);
    expect((await ask(1, "write", [1, 0x80, 0], 0)).result).toBe(0);
    expect((await ask(1, "read", undefined, 4)).result).toBe(4);
    expect((await ask(1, "transfer", [1, 2, 3], 2)).result).toBe(RESULT.invalid);
    expect((await ask(1, "read", undefined, 4097)).result).toBe(RESULT["too-large"]);
  });

  it("drives lines, and sends edges with level and time as events", async () => {
    expect((await ask(3, "get", undefined, 0)).result).toBe(0);
    expect((await ask(2, "set", undefined, 0, [1])).result).toBe(0);
    expect((await ask(3, "get", undefined, 0)).result).toBe(1);
    expect((await ask(2, "set", undefined, 0, [0])).result).toBe(0);
    await until(() => events.filter(([id]) => id === 3).length === 2);
    const edges = events.filter(([id]) => id === 3).map(([, payload]) => payload as [number, number]);
    expect(edges.map(([level]) => level)).toEqual([1, 0]);
    expect(BigInt(edges[1]?.[1] ?? 0)).toBeGreaterThan(BigInt(edges[0]?.[1] ?? 0));
    expect((await ask(2, "set", undefined, 0, [2])).result).toBe(RESULT.invalid);
    expect((await ask(3, "set", undefined, 0, [1])).result).toBe(RESULT.invalid);
    expect((await ask(9, "get", undefined, 0)).result).toBe(RESULT.busy);
    host.unbind([2]);
    for (let tries = 0; (await ask(9, "get", undefined, 0)).result < 0; tries++) {
      if (tries > 100) throw new Error("the line was never had");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  it("talks to a slave on a serial line, whose answer comes as an event", async () => {
    const frame = Uint8Array.of(1, 3, 0, 0, 0, 1);
    const crc = crc16(frame);
    const { result } = await ask(4, "write", [...frame, crc & 0xff, crc >> 8], 0);
    expect(result).toBe(8);
    await until(() => events.some(([id]) => id === 4));
    const [, answer] = events.find(([id]) => id === 4) ?? [0, null];
    expect([...(answer as Uint8Array)].slice(0, 5)).toEqual([1, 3, 2, 4711 >> 8, 4711 & 0xff]);
  });

  it("hands nothing that comes in on a serial line to a binding that may only write", async () => {
    const query = [1, 3, 0, 0, 0, 1];
    const crc = crc16(Uint8Array.from(query));
    const frame = [...query, crc & 0xff, crc >> 8];
    const count = events.length;
    expect((await ask(11, "write", frame, 0)).result).toBe(frame.length);
    expect((await ask(4, "write", frame, 0)).result).toBe(frame.length);
    await until(() => events.slice(count).some(([binding]) => binding === 4));
    expect(events.filter(([binding]) => binding === 11)).toEqual([]);
  });

  it("lends a serial line to one binding, and opens nothing outside /dev", async () => {
    expect((await ask(8, "write", [1], 0)).result).toBe(RESULT["not-found"]);
    expect((await ask(10, "write", [1], 0)).result).toBe(RESULT["not-found"]);
    expect(logs.some((line) => line.includes("test.8") && line.includes("bound to test.4 already"))).toBe(true);
    expect(logs.some((line) => line.includes("test.10") && line.includes("not the path of a serial device"))).toBe(
      true,
    );
  });

  it("reads the nine bytes of a thermometer", async () => {
    const { result, bytes } = await ask(5, "read", undefined, 9);
    expect(result).toBe(9);
    expect(Buffer.from(bytes).readInt16LE(0) / 16).toBe(21.5);
    expect((await ask(5, "read", undefined, 8)).result).toBe(RESULT["too-large"]);
    expect((await ask(6, "read", undefined, 9)).result).toBe(RESULT["not-found"]);
  });

  it("lets values be turned live", async () => {
    expect(await host.simulate(`w1-bus/${thermometer}`, "temperature", -3)).toBe(0);
    expect(Buffer.from((await ask(5, "read", undefined, 9)).bytes).readInt16LE(0) / 16).toBe(-3);
    expect(await host.simulate("spi-0/0", "ch0", { base: 3.3 })).toBe(0);
    expect(Buffer.from((await ask(1, "transfer", [1, 0x80, 0], 3)).bytes).readUInt16BE(1) & 0x3ff).toBe(1023);
    expect(await host.simulate("i2c-1/0x48", "faults", [{ kind: "nack" }])).toBe(0);
    expect((await ask(7, "read", undefined, 2)).result).toBe(RESULT["not-acknowledged"]);
    expect(await host.simulate("gpio-0/27", "level", 1)).toBe(0);
    expect((await ask(3, "get", undefined, 0)).result).toBe(1);
    expect(await host.simulate("uart-/dev/ttySIM0/1", "holding/0", 1)).toBe(0);
    const { result, bytes } = await host.simulators();
    expect(result).toBe(bytes.length);
    const { parts } = parseSimulators(bytes);
    expect(parts.map(({ device }) => device)).toEqual([
      "i2c-1/0x48",
      "spi-0/0",
      "gpio-0/17",
      "gpio-0/27",
      "uart-/dev/ttySIM0/1",
      "uart-/dev/ttySIM1/1",
      `w1-bus/${thermometer}`,
    ]);
    expect(parts[0]).toMatchObject({ chip: "ads1115", faults: ["nack"] });
    expect(parts[3]?.quantities).toEqual({ level: 1 });
    expect(parts[4]?.quantities).toEqual({ "holding/0": 1 });
    expect(parts[6]?.quantities).toEqual({ temperature: -3 });
    expect(await host.simulate("i2c-9/0x48", "ain0", 1)).toBe(RESULT["not-found"]);
    expect(await host.simulate("i2c-1/0x48", "ain9", 1)).toBe(RESULT["not-found"]);
    expect(await host.simulate("i2c-1/0x48", "ain0", "high")).toBe(RESULT.invalid);
  });
});
