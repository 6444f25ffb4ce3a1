/** The driver modbus-rtu through the device process and a real pseudo-terminal, with a slave that is not ours. */
import { ServerSerial } from "modbus-serial";
import { afterEach, expect, it } from "vitest";
import { HostProcess } from "../../gateway/wire/child.ts";
import { hostEntry } from "../../gateway/wire/entry.ts";
import { devicePermissions } from "../../gateway/wire/permissions.ts";
import type { HostBinding } from "../../gateway/wire/protocol.ts";
import type { CborInput } from "../../kernel/index.ts";
import { ModuleHost } from "../../tools/testkit/module-host.ts";
import { openCable } from "../device/fixtures/native.ts";
import { built, takeReadings } from "./support.ts";

type Vector = ConstructorParameters<typeof ServerSerial>[0];
type ServerOptions = ConstructorParameters<typeof ServerSerial>[1];

const cleaning: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleaning.splice(0).reverse()) await clean();
});

const BAUD = 19_200;
const STATION = 5;

async function startSlave(path: string, vector: Vector): Promise<void> {
  // SAFETY: the package's types leave out the options of the serial port, which its documentation has.
  const options = { path, baudRate: BAUD, unitID: STATION } as unknown as ServerOptions;
  const server = new ServerSerial(vector, options);
  cleaning.push(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
      }),
  );
  await new Promise((resolve) => server.once("initialized", resolve));
}

/** The driver's binary with a real line, real timers and a real clock. */
async function startDriver(path: string, settings: CborInput): Promise<ModuleHost> {
  const binding: HostBinding = {
    id: 1,
    interface: "uart",
    owner: "modbus-rtu.line",
    rights: ["read", "write"],
    parameters: { device: path, baud: BAUD, format: "8N1" },
  };
  let timeout: NodeJS.Timeout | undefined;
  const driver = new ModuleHost(built("modbus-rtu"), {
    line: {
      write: ({ bytes: [request = new Uint8Array()] }) => {
        const write = { binding: 1, operation: "write", numbers: [], bytes: [request], capacity: 0, timeoutMs: 5000 };
        void device.request(write);
        return request.length;
      },
    },
    clock: { monotonic: () => process.hrtime.bigint(), wall: () => BigInt(Date.now()) },
    timer: {
      after: ({ numbers: [milliseconds] }) => {
        clearTimeout(timeout);
        timeout = setTimeout(() => driver.deliver("timer", 1, { kind: "event" }), Number(milliseconds));
        return 0;
      },
    },
  });
  const device = new HostProcess({
    name: "device",
    ...hostEntry("device"),
    settings: { devices: {} },
    permissions: devicePermissions([binding]),
    heapMiB: 64,
    onEvent: (_, payload) => driver.deliverBytes("received", payload, { kind: "event" }),
    onStatus: () => undefined,
    onLog: () => undefined,
  });
  cleaning.push(() => device.stop());
  cleaning.push(() => {
    clearTimeout(timeout);
  });
  await device.start([binding]);
  driver.start(false, settings);
  return driver;
}

async function until<Value>(probe: () => Value | undefined): Promise<Value> {
  for (let tries = 0; tries < 1000; tries++) {
    const value = probe();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it never came about");
}

it("polls every table of an independent slave, sets what may be set, and is told what does not exist", async () => {
  const cable = openCable();
  cleaning.push(() => {
    cable.close();
  });
  const holding = new Map([
    [10, 1234],
    [20, 0x3fc0],
    [21, 0],
  ]);
  const coils = new Map([[1, false]]);
  await startSlave(cable.right, {
    getHoldingRegister: (address: number) => {
      const value = holding.get(address);
      // The package's own way to answer exception 2.
      if (value === undefined) throw Object.assign(new Error("no such register"), { modbusErrorCode: 2 });
      return value;
    },
    getInputRegister: (address: number) => address + 65_000,
    getCoil: (address: number) => coils.get(address) ?? false,
    getDiscreteInput: (address: number) => address === 3,
    setRegister: (address: number, value: number) => void holding.set(address, value),
    setCoil: (address: number, value: boolean) => void coils.set(address, value),
  });
  const driver = await startDriver(cable.left, {
    baud: BAUD,
    station: STATION,
    timeout: 1000,
    registers: [
      { name: "level", table: "holding", address: 10, scale: 0.1, period: 100, write: "single" },
      { name: "flow", table: "holding", address: 20, type: "f32", period: 100, write: "multiple" },
      { name: "count", table: "input", address: 8, type: "i16", period: 100 },
      { name: "door", table: "discrete", address: 3, period: 100 },
      { name: "pump", table: "coil", address: 1, period: 100, write: "multiple" },
      { name: "absent", table: "holding", address: 99 },
    ],
  });
  const values: Record<string, number> = {};
  const arrive = async (wanted: Record<string, number>): Promise<void> => {
    await until(() => {
      for (const { quantity, value } of takeReadings(driver)) values[quantity] = Math.round(value * 10) / 10;
      return Object.entries(wanted).every(([name, value]) => values[name] === value) || undefined;
    });
  };
  await arrive({ level: 123.4, flow: 1.5, count: 65_008 - 65_536, door: 1, pump: 0 });
  driver.deliver("points", { name: "level", value: 50 });
  driver.deliver("points", { name: "flow", value: -2.5 });
  driver.deliver("points", { name: "pump", value: 1 });
  await arrive({ level: 50, flow: -2.5, pump: 1 });
  expect([holding.get(10), coils.get(1)]).toEqual([500, true]);
  expect(await until(() => driver.logs.find(({ text }) => text.includes("exception")))).toEqual({
    level: 1,
    text: "register 5: exception 2",
  });
});
