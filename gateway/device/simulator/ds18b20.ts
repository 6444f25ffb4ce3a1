/** Maxim DS18B20 thermometers on a simulated 1-Wire bus: the scratchpad as the kernel's w1_therm reads it. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeviceFailure } from "../failure.ts";
import type { OneWireBus } from "../onewire.ts";
import { badSetting, integerSetting } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import type { SimulatedPart } from "../../wire/protocol.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { SimulatorClock } from "./chip.ts";

/** Conversion time at 12 bits (DS18B20 data sheet, table 2); the kernel waits it out. */
const CONVERSION_MS = 750;
const ALARM_HIGH = 0x4b;
const ALARM_LOW = 0x46;
const RESERVED_1 = 0xff;
const RESERVED_3 = 0x10;
/** Configuration register by resolution, 9 to 12 bits. */
const CONFIGURATION = [0x1f, 0x3f, 0x5f, 0x7f] as const;

const QUANTITIES = {
  temperature: { minimum: -55, maximum: 125, usual: { base: 19, swing: 4, period: 300, noise: 0.05 } },
};

/** CRC-8 of Maxim's application note 27: polynomial x8 + x5 + x4 + 1, bits reflected. */
export function crc8(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >> 1) ^ 0x8c : crc >> 1;
  }
  return crc;
}

interface Thermometer {
  readonly id: string;
  readonly resolution: number;
  readonly conversionMs: number;
  readonly quantities: Quantities<keyof typeof QUANTITIES>;
}

export class SimulatedOneWireBus implements OneWireBus {
  readonly #devices: ReadonlyMap<string, Thermometer>;

  /** @throws Refusal E_CONFIG */
  constructor(devices: readonly SimulatedDevice[], now: SimulatorClock) {
    const thermometers = devices.map((device) => makeThermometer(device, now));
    this.#devices = new Map(thermometers.map((device) => [device.id, device]));
    if (this.#devices.size < devices.length) throw badSetting("two simulated 1-Wire devices have the same id");
  }

  get description(): string {
    return `simulator (${Array.from(this.#devices.keys(), (id) => `ds18b20 ${id}`).join(", ") || "no devices"})`;
  }

  async readScratchpad(id: string): Promise<Uint8Array> {
    const device = this.#devices.get(id);
    if (device === undefined || device.quantities.strikes("silent")) {
      throw new DeviceFailure("not-found", `no 1-Wire device ${id}`);
    }
    await sleep(device.conversionMs);
    if (device.quantities.strikes("crc")) throw new DeviceFailure("io", `${id}: the checksum is wrong`);
    return device.quantities.spoil(scratchpad(device));
  }

  parts(): SimulatedPart[] {
    return Array.from(this.#devices, ([id, { quantities }]) => quantities.part(id, "ds18b20"));
  }

  simulate(id: string, quantity: string, script: unknown): boolean {
    return this.#devices.get(id)?.quantities.set(quantity, script) ?? false;
  }
}

/** Nine bytes: temperature in sixteenths of a degree, alarms, configuration, reserved, checksum. */
function scratchpad({ quantities, resolution }: Thermometer): Uint8Array {
  const dropped = 12 - resolution;
  const raw = (Math.round(quantities.value("temperature") * 16) >> dropped) << dropped;
  const configuration = CONFIGURATION[resolution - 9] ?? 0x7f;
  const count = 0x10 - (raw & 0x0f);
  const bytes = Uint8Array.of(
    raw & 0xff,
    (raw >> 8) & 0xff,
    ALARM_HIGH,
    ALARM_LOW,
    configuration,
    RESERVED_1,
    count,
    RESERVED_3,
  );
  return Uint8Array.of(...bytes, crc8(bytes));
}

function makeThermometer(device: SimulatedDevice, now: SimulatorClock): Thermometer {
  if (device.chip !== "ds18b20")
    throw badSetting(`there is no simulator of '${device.chip}' on 1-Wire, only of ds18b20`);
  const options = checkOptions(device, ["id", "resolution", "conversion", ...Object.keys(QUANTITIES)]);
  const { id } = options;
  if (typeof id !== "string" || !/^28-[0-9a-f]{12}$/.test(id))
    throw badSetting("simulate: ds18b20: id is not like 28-000005e2fdc3");
  return {
    id,
    resolution: integerSetting(options["resolution"], "simulate: ds18b20: resolution", 9, 12, 12),
    conversionMs: integerSetting(options["conversion"], "simulate: ds18b20: conversion", 0, 10_000, CONVERSION_MS),
    quantities: new Quantities(QUANTITIES, options, now),
  };
}
