/** A Microchip MCP3008, a 10-bit converter with eight inputs on SPI, clock by clock (DS21295, figure 5-1). */
import { integerSetting, numberSetting } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { SimulatorClock, SpiChip } from "./chip.ts";

type Input = `ch${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7}`;
const INPUTS: readonly Input[] = ["ch0", "ch1", "ch2", "ch3", "ch4", "ch5", "ch6", "ch7"];
const CODES = 1024;
/** Clocks after the start bit: four bits of configuration, one and a half of sampling, a null bit, then the result. */
const CONFIGURATION_BITS = 4;
const NULL_BIT = 6;
const FIRST_RESULT_BIT = 7;
const LAST_RESULT_BIT = 16;

const QUANTITIES = Object.fromEntries(
  INPUTS.map((input, index) => [input, { minimum: -0.6, maximum: 5.6, usual: { base: 0.4 * index, noise: 0.002 } }]),
) as Record<Input, { minimum: number; maximum: number; usual: { base: number; noise: number } }>;

export class Mcp3008 implements SpiChip {
  readonly name = "mcp3008";
  readonly chipSelect: number;
  readonly quantities: Quantities<Input>;
  readonly #reference: number;
  /** Clocks since the start bit, or undefined before it. */
  #clock: number | undefined;
  #configuration = 0;
  #result = 0;

  /** @throws Refusal E_CONFIG on options that it does not have */
  constructor(device: SimulatedDevice, now: SimulatorClock) {
    const options = checkOptions(device, ["select", "reference", ...INPUTS]);
    this.chipSelect = integerSetting(options["select"], "simulate: mcp3008: select", 0, 15, 0);
    this.#reference = numberSetting(options["reference"], "simulate: mcp3008: reference", 0.25, 5.5, 3.3);
    this.quantities = new Quantities(QUANTITIES, options, now);
  }

  select(): void {
    this.#clock = undefined;
    this.#configuration = 0;
  }

  clock(bit: 0 | 1): 0 | 1 {
    if (this.#clock === undefined) {
      if (bit === 1) this.#clock = 0;
      return 0;
    }
    this.#clock++;
    if (this.#clock <= CONFIGURATION_BITS) {
      this.#configuration = (this.#configuration << 1) | bit;
      if (this.#clock === CONFIGURATION_BITS) this.#convert();
      return 0;
    }
    return this.#output(this.#clock);
  }

  /** The result, highest bit first; clocked on, it comes again lowest bit first, then zeros (section 5.0). */
  #output(clock: number): 0 | 1 {
    if (clock <= NULL_BIT) return 0;
    const bit = clock <= LAST_RESULT_BIT ? LAST_RESULT_BIT - clock : clock - LAST_RESULT_BIT;
    if (bit > LAST_RESULT_BIT - FIRST_RESULT_BIT) return 0;
    return ((this.#result >> bit) & 1) === 1 ? 1 : 0;
  }

  /** Table 5-2: single-ended, or pairs of neighbours, the lowest bit saying which of them is positive. */
  #convert(): void {
    const channel = this.#configuration & 0x07;
    const isSingle = (this.#configuration & 0x08) !== 0;
    const volts = (index: number) => this.quantities.value(INPUTS[index] ?? "ch0");
    const difference = isSingle ? volts(channel) : volts(channel) - volts(channel ^ 1);
    const code = Math.floor((difference / this.#reference) * CODES);
    this.#result = Math.min(Math.max(code, 0), CODES - 1);
  }
}
