/** The device process's settings, checked once more: which buses there are, what backs each, what is simulated on it. */
import { Refusal } from "../../kernel/index.ts";

/** `auto` is Linux where the hardware is there, else the simulator. */
export type Backend = "auto" | "linux" | "simulator";

/** One simulated device; what it must and may have is for its simulator to say. */
export type SimulatedDevice = Readonly<Record<string, unknown>> & { readonly chip: string };

export interface BusSettings {
  readonly backend: Backend;
  readonly simulate: readonly SimulatedDevice[];
}

/** By number, or by path for serial lines. */
export interface DeviceSettings {
  readonly i2c: ReadonlyMap<string, BusSettings>;
  readonly spi: ReadonlyMap<string, BusSettings>;
  readonly gpio: ReadonlyMap<string, BusSettings>;
  readonly uart: ReadonlyMap<string, BusSettings>;
  /** One bus, under the key `bus`, or none. */
  readonly onewire: ReadonlyMap<string, BusSettings>;
}

/** What a bus is of which the settings say nothing. */
export const UNNAMED_BUS: BusSettings = Object.freeze({ backend: "auto", simulate: [] });

/** @throws Refusal E_CONFIG */
export function parseDeviceSettings(value: unknown): DeviceSettings {
  const { devices = {} } = record(value, "settings", ["devices"]);
  const { i2c, spi, gpio, uart, onewire } = record(devices, "devices", ["i2c", "spi", "gpio", "uart", "onewire"]);
  return {
    i2c: parseTable(i2c, "devices.i2c"),
    spi: parseTable(spi, "devices.spi"),
    gpio: parseTable(gpio, "devices.gpio"),
    uart: parseTable(uart, "devices.uart"),
    onewire: parseTable(onewire === undefined ? {} : { bus: onewire }, "devices.onewire"),
  };
}

function parseTable(value: unknown, field: string): ReadonlyMap<string, BusSettings> {
  return new Map(
    Object.entries(record(value ?? {}, field)).map(([key, bus]) => [key, parseBus(bus, `${field}.${key}`)]),
  );
}

function parseBus(value: unknown, field: string): BusSettings {
  const { backend = "auto", simulate = [] } = record(value, field, ["backend", "simulate"]);
  if (backend !== "auto" && backend !== "linux" && backend !== "simulator") {
    throw badSetting(`${field}.backend is auto, linux or simulator`);
  }
  if (!Array.isArray(simulate)) throw badSetting(`${field}.simulate is not a list`);
  return { backend, simulate: simulate.map((device) => parseSimulated(device, `${field}.simulate`)) };
}

function parseSimulated(value: unknown, field: string): SimulatedDevice {
  const device = record(value, field);
  const { chip } = device;
  if (typeof chip !== "string") throw badSetting(`${field}: a simulated device has a chip`);
  return { ...device, chip };
}

/** A map; of these keys only, where they are given. */
export function record(value: unknown, field: string, keys?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw badSetting(`${field} is not a map`);
  const unknown = keys === undefined ? undefined : Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) {
    throw new Refusal("E_CONFIG", `${field} has no '${unknown}'`, { expected: keys?.join(", ") ?? "" });
  }
  return value as Readonly<Record<string, unknown>>;
}

/** An integer within bounds; what is absent is the default, where there is one. */
export function integerSetting(
  value: unknown,
  field: string,
  minimum: number,
  maximum: number,
  absent?: number,
): number {
  const given = value ?? absent;
  if (typeof given === "number" && Number.isInteger(given) && given >= minimum && given <= maximum) return given;
  throw badSetting(`${field} is not an integer from ${minimum} to ${maximum}`);
}

/** A number within bounds; what is absent is the default. */
export function numberSetting(value: unknown, field: string, minimum: number, maximum: number, absent: number): number {
  const given = value ?? absent;
  if (typeof given === "number" && given >= minimum && given <= maximum) return given;
  throw badSetting(`${field} is not a number from ${minimum} to ${maximum}`);
}

export function badSetting(message: string): Refusal {
  return new Refusal("E_CONFIG", message);
}
