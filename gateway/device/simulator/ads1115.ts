/** A Texas Instruments ADS1115, a 16-bit converter with four inputs, at the level of its registers (SBAS444). */
import type { SimulatedDevice } from "../settings.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { I2cChip, SimulatorClock } from "./chip.ts";
import { i2cAddress } from "./i2c-bus.ts";

const REGISTER = Object.freeze({ conversion: 0, config: 1, lowThreshold: 2, highThreshold: 3 });
/** Table 8-3: AIN0 against AIN1, ±2.048 V, single-shot, 128 samples a second, comparator off. */
const CONFIG_AT_RESET = 0x8583;
const LOW_THRESHOLD_AT_RESET = 0x8000;
const HIGH_THRESHOLD_AT_RESET = 0x7fff;
const START_OR_READY = 0x8000;
const SINGLE_SHOT = 0x0100;
/** Full scale by the bits 11:9, in volts. */
const FULL_SCALE = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256] as const;
/** Samples a second by the bits 7:5. */
const RATE = [8, 16, 32, 64, 128, 250, 475, 860] as const;
/** Positive and negative input by the bits 14:12; null is ground. */
const INPUTS = [
  ["ain0", "ain1"],
  ["ain0", "ain3"],
  ["ain1", "ain3"],
  ["ain2", "ain3"],
  ["ain0", null],
  ["ain1", null],
  ["ain2", null],
  ["ain3", null],
] as const;

/** Volts at the inputs; below ground and above the supply the chip would be damaged. */
const volts = { minimum: -0.3, maximum: 5.5 };
const QUANTITIES = {
  ain0: { ...volts, usual: { base: 1.65, swing: 1, period: 30 } },
  ain1: { ...volts, usual: 0.5 },
  ain2: { ...volts, usual: 2.5 },
  ain3: { ...volts, usual: 0 },
};

export class Ads1115 implements I2cChip {
  readonly name = "ads1115";
  readonly address: number;
  readonly quantities: Quantities<keyof typeof QUANTITIES>;
  readonly #now: SimulatorClock;
  readonly #registers = new Uint16Array([0, CONFIG_AT_RESET, LOW_THRESHOLD_AT_RESET, HIGH_THRESHOLD_AT_RESET]);
  #pointer = 0;
  #isPointerNext = true;
  #high: number | undefined;
  #readByte = 0;
  #readyAt = 0;
  #isConverting = false;

  /** @throws Refusal E_CONFIG on options that it does not have */
  constructor(device: SimulatedDevice, now: SimulatorClock) {
    const options = checkOptions(device, ["address", ...Object.keys(QUANTITIES)]);
    this.address = i2cAddress(options, 0x48);
    this.quantities = new Quantities(QUANTITIES, options, now);
    this.#now = now;
  }

  start(isRead: boolean): boolean {
    this.#advance();
    this.#isPointerNext = !isRead;
    this.#readByte = 0;
    this.#high = undefined;
    return true;
  }

  /** The pointer, then a register's two bytes, high first (section 8.5.3). */
  write(byte: number): boolean {
    if (this.#isPointerNext) {
      this.#pointer = byte & 0x03;
      this.#isPointerNext = false;
    } else if (this.#high === undefined) this.#high = byte;
    else {
      this.#writeRegister((this.#high << 8) | byte);
      this.#high = undefined;
    }
    return true;
  }

  /** The register's two bytes, over and over. */
  read(): number {
    const value = this.#pointer === REGISTER.config ? this.#config() : (this.#registers[this.#pointer] ?? 0);
    return this.#readByte++ % 2 === 0 ? value >> 8 : value & 0xff;
  }

  stop(): void {
    this.#isPointerNext = true;
  }

  /** Bit 15 reads 1 while no conversion runs. */
  #config(): number {
    const config = (this.#registers[REGISTER.config] ?? 0) & ~START_OR_READY;
    return this.#isConverting ? config : config | START_OR_READY;
  }

  #writeRegister(value: number): void {
    if (this.#pointer === REGISTER.conversion) return;
    this.#registers[this.#pointer] = value;
    if (this.#pointer !== REGISTER.config) return;
    const isContinuous = (value & SINGLE_SHOT) === 0;
    if (!isContinuous && (value & START_OR_READY) === 0) return;
    this.#isConverting = true;
    this.#readyAt = this.#now() + this.#periodMs();
  }

  #periodMs(): number {
    return 1000 / (RATE[((this.#registers[REGISTER.config] ?? 0) >> 5) & 0x07] ?? 128);
  }

  /** Ends the conversion whose time has come; in continuous mode the next one has begun. */
  #advance(): void {
    const now = this.#now();
    if (!this.#isConverting || now < this.#readyAt) return;
    const isContinuous = ((this.#registers[REGISTER.config] ?? 0) & SINGLE_SHOT) === 0;
    const missed = isContinuous ? Math.floor((now - this.#readyAt) / this.#periodMs()) : 0;
    this.#convert(this.#readyAt + missed * this.#periodMs());
    this.#isConverting = isContinuous;
    this.#readyAt += (missed + 1) * this.#periodMs();
  }

  #convert(atMs: number): void {
    const config = this.#registers[REGISTER.config] ?? 0;
    const [positive, negative] = INPUTS[(config >> 12) & 0x07] ?? INPUTS[0];
    const fullScale = FULL_SCALE[(config >> 9) & 0x07] ?? 2.048;
    const difference =
      this.quantities.value(positive, atMs) - (negative === null ? 0 : this.quantities.value(negative, atMs));
    const code = Math.round((difference / fullScale) * 32_768);
    this.#registers[REGISTER.conversion] = Math.min(Math.max(code, -32_768), 32_767) & 0xffff;
  }
}
