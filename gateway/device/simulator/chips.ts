/** The simulated chips by bus and name. */
import { Refusal } from "../../../kernel/index.ts";
import type { SimulatedDevice } from "../settings.ts";
import { Ads1115 } from "./ads1115.ts";
import { Bme280 } from "./bme280.ts";
import type { I2cChip, SimulatorClock, SpiChip } from "./chip.ts";
import { Mcp3008 } from "./mcp3008.ts";
import { Registers } from "./registers.ts";

type Makers<Chip> = Readonly<Record<string, (device: SimulatedDevice, now: SimulatorClock) => Chip>>;

const I2C_CHIPS: Makers<I2cChip> = Object.freeze({
  ads1115: (device, now) => new Ads1115(device, now),
  bme280: (device, now) => new Bme280(device, now),
  registers: (device, now) => new Registers(device, now),
});

const SPI_CHIPS: Makers<SpiChip> = Object.freeze({
  mcp3008: (device, now) => new Mcp3008(device, now),
});

/** @throws Refusal E_CONFIG */
export function makeI2cChip(device: SimulatedDevice, now: SimulatorClock): I2cChip {
  return makeChip(I2C_CHIPS, device, now);
}

/** @throws Refusal E_CONFIG */
export function makeSpiChip(device: SimulatedDevice, now: SimulatorClock): SpiChip {
  return makeChip(SPI_CHIPS, device, now);
}

function makeChip<Chip>(makers: Makers<Chip>, device: SimulatedDevice, now: SimulatorClock): Chip {
  const make = Object.hasOwn(makers, device.chip) ? makers[device.chip] : undefined;
  if (make !== undefined) return make(device, now);
  throw new Refusal("E_CONFIG", "there is no simulator of this chip on this bus", {
    expected: Object.keys(makers).join(", "),
    found: device.chip,
  });
}
