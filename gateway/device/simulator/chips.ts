/** The simulated I2C chips by name. */
import { Refusal } from "../../../kernel/index.ts";
import { record } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import { Bme280 } from "./bme280.ts";
import type { I2cChip, SimulatorClock } from "./chip.ts";
import { parseValueScript } from "./script.ts";
import type { ValueScript } from "./script.ts";

type ChipMaker = (options: SimulatedDevice["options"], now: SimulatorClock) => I2cChip;

const CHIPS: Readonly<Record<string, ChipMaker>> = Object.freeze({
  bme280: (options, now) => new Bme280(scripts(options, ["temperature", "pressure", "humidity"]), now),
});

/** @throws Refusal E_CONFIG */
export function makeI2cChip({ chip, options }: SimulatedDevice, now: SimulatorClock): I2cChip {
  const make = Object.hasOwn(CHIPS, chip) ? CHIPS[chip] : undefined;
  if (make === undefined) {
    throw new Refusal("E_CONFIG", "there is no simulator of this chip", {
      expected: Object.keys(CHIPS).join(", "),
      found: chip,
    });
  }
  return make(options, now);
}

/** The value scripts among a simulated device's options, under the names of its quantities; nothing else may be there. */
function scripts<Q extends string>(
  options: SimulatedDevice["options"],
  quantities: readonly Q[],
): Partial<Record<Q, ValueScript>> {
  const entries = Object.entries(record(options, "simulate", quantities));
  return Object.fromEntries(entries.map(([name, script]) => [name, parseValueScript(script, name)])) as Partial<
    Record<Q, ValueScript>
  >;
}
