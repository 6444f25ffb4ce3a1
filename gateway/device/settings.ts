/** The device process's settings, checked once more: which buses there are, what backs each, what is simulated on it. */
import { Refusal } from "../../kernel/index.ts";
import { parseFaults } from "./simulator/faults.ts";
import type { Fault } from "./simulator/faults.ts";

/** `auto` is Linux where the bus is there, else the simulator. */
export type Backend = "auto" | "linux" | "simulator";

/** One simulated device; what else it has is for its chip to check. */
export interface SimulatedDevice {
  readonly chip: string;
  readonly address: number;
  readonly faults: readonly Fault[];
  readonly options: Readonly<Record<string, unknown>>;
}

export interface BusSettings {
  readonly number: number;
  readonly backend: Backend;
  readonly simulate: readonly SimulatedDevice[];
}

export interface DeviceSettings {
  readonly i2c: readonly BusSettings[];
}

/** Kinds of bus and device that the configuration may name. */
const KINDS = ["i2c", "spi", "gpio", "uart", "onewire"];

/** @throws Refusal E_CONFIG */
export function parseDeviceSettings(value: unknown): DeviceSettings {
  const { devices = {} } = record(value, "settings", ["devices"]);
  const { i2c = {} } = record(devices, "devices", KINDS);
  return { i2c: Object.entries(record(i2c, "devices.i2c")).map(([number, bus]) => parseBus(number, bus)) };
}

function parseBus(key: string, value: unknown): BusSettings {
  const field = `devices.i2c.${key}`;
  const number = Number(key);
  if (!/^\d{1,3}$/.test(key)) throw bad(`${field}: a bus has a number`);
  const { backend = "auto", simulate = [] } = record(value, field, ["backend", "simulate"]);
  if (backend !== "auto" && backend !== "linux" && backend !== "simulator") {
    throw bad(`${field}.backend is auto, linux or simulator`);
  }
  if (!Array.isArray(simulate)) throw bad(`${field}.simulate is not a list`);
  return { number, backend, simulate: simulate.map((device) => parseSimulated(device, field)) };
}

function parseSimulated(value: unknown, field: string): SimulatedDevice {
  const { chip, address, faults, ...options } = record(value, `${field}.simulate`);
  if (typeof chip !== "string") throw bad(`${field}.simulate: a device has a chip`);
  if (typeof address !== "number" || !Number.isInteger(address) || address < 0x08 || address > 0x77) {
    throw bad(`${field}.simulate: ${chip} has no address from 0x08 to 0x77`);
  }
  return { chip, address, faults: parseFaults(faults), options };
}

/** A map; of these keys only, where they are given. */
export function record(value: unknown, field: string, keys?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(`${field} is not a map`);
  const unknown = keys === undefined ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw bad(`${field} has no '${unknown}'`);
  return value as Readonly<Record<string, unknown>>;
}

function bad(message: string): Refusal {
  return new Refusal("E_CONFIG", message);
}
