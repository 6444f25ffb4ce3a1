/** A Bosch BME280 at the level of its registers (BST-BME280-DS002): what a driver gets wrong on silicon fails here too. */
import type { SimulatedDevice } from "../settings.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { I2cChip, SimulatorClock } from "./chip.ts";
import { i2cAddress } from "./i2c-bus.ts";
import {
  compensateHumidity,
  compensatePressure,
  compensateTemperature,
  invert,
  TYPICAL_TRIMMING,
} from "./bme280-compensation.ts";
import type { Bme280Trimming } from "./bme280-compensation.ts";

const REGISTER = Object.freeze({
  calibrationLow: 0x88,
  humidity1: 0xa1,
  id: 0xd0,
  reset: 0xe0,
  calibrationHigh: 0xe1,
  controlHumidity: 0xf2,
  status: 0xf3,
  controlMeasure: 0xf4,
  config: 0xf5,
  data: 0xf7,
  dataEnd: 0xfe,
});
const CHIP_ID = 0x60;
const RESET_WORD = 0xb6;
const STATUS_MEASURING = 0x08;
const STATUS_COPYING = 0x01;
/** Start-up time, table 1: registers of trimming are being copied. */
const START_MS = 2;
/** The compensation's `t_fine` counts so many to the degree. */
const FINE_PER_DEGREE = 5120;
/** What a skipped measurement reads as, section 5.4.7 to 5.4.9. */
const SKIPPED_20 = 0x80000;
const SKIPPED_16 = 0x8000;
/** Standby in normal mode, table 27, in milliseconds. */
const STANDBY_MS = [0.5, 62.5, 125, 250, 500, 1000, 10, 20] as const;
const FILTER_COEFFICIENT = [1, 2, 4, 8, 16, 16, 16, 16] as const;

/** °C, hPa, percent relative humidity. */
const QUANTITIES = {
  temperature: { minimum: -40, maximum: 85, usual: { base: 21, swing: 2, period: 120, noise: 0.02 } },
  pressure: { minimum: 300, maximum: 1100, usual: { base: 1013.25, swing: 3, period: 600 } },
  humidity: { minimum: 0, maximum: 100, usual: { base: 45, swing: 5, period: 240 } },
};

interface Converted {
  readonly temperature: number;
  readonly pressure: number;
  readonly humidity: number;
}

export class Bme280 implements I2cChip {
  readonly name = "bme280";
  readonly address: number;
  readonly quantities: Quantities<keyof typeof QUANTITIES>;
  readonly #now: SimulatorClock;
  readonly #trimming: Bme280Trimming;
  readonly #registers = new Uint8Array(256);
  /** ctrl_hum takes effect only when ctrl_meas is written next (section 5.4.3). */
  #humidityOversampling = 0;
  #filtered: Converted | undefined;
  #copyingUntil: number;
  #nextMeasurement = 0;
  #pointer = 0;
  #isPointerNext = true;
  /** Data registers as they were when the burst began (section 4.1, shadowing). */
  #shadow: Uint8Array | undefined;

  /** @throws Refusal E_CONFIG on options that it does not have */
  constructor(device: SimulatedDevice, now: SimulatorClock, trimming: Bme280Trimming = TYPICAL_TRIMMING) {
    const options = checkOptions(device, ["address", ...Object.keys(QUANTITIES)]);
    this.address = i2cAddress(options, 0x76);
    this.quantities = new Quantities(QUANTITIES, options, now);
    this.#now = now;
    this.#trimming = trimming;
    this.#copyingUntil = 0;
    this.#reset();
  }

  start(isRead: boolean): boolean {
    this.#advance();
    this.#isPointerNext = !isRead;
    this.#shadow = isRead ? this.#registers.slice(REGISTER.data, REGISTER.dataEnd + 1) : undefined;
    return true;
  }

  /** Writes are pairs of register and value, without auto-increment (section 6.2.1). */
  write(byte: number): boolean {
    if (this.#isPointerNext) this.#pointer = byte;
    else this.#writeRegister(this.#pointer, byte);
    this.#isPointerNext = !this.#isPointerNext;
    return true;
  }

  /** Reads increment the address (section 6.2.2). */
  read(): number {
    const at = this.#pointer;
    this.#pointer = (at + 1) & 0xff;
    if (at >= REGISTER.data && at <= REGISTER.dataEnd) return this.#shadow?.[at - REGISTER.data] ?? 0;
    if (at === REGISTER.status) return this.#status();
    return this.#registers[at] ?? 0;
  }

  stop(): void {
    this.#isPointerNext = true;
    this.#shadow = undefined;
  }

  #status(): number {
    const now = this.#now();
    const isMeasuring = this.#mode() !== 0 && now >= this.#nextMeasurement - this.#measurementMs();
    return (isMeasuring ? STATUS_MEASURING : 0) | (now < this.#copyingUntil ? STATUS_COPYING : 0);
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case REGISTER.reset:
        if (value === RESET_WORD) this.#reset();
        return;
      case REGISTER.controlHumidity:
        this.#registers[register] = value & 0x07;
        return;
      case REGISTER.config:
        // Section 5.4.6: in normal mode such a write may be ignored; the chips at hand do.
        if (this.#mode() !== 3) this.#registers[register] = value & 0xfd;
        return;
      case REGISTER.controlMeasure:
        this.#registers[register] = value;
        this.#humidityOversampling = this.#registers[REGISTER.controlHumidity] ?? 0;
        this.#begin();
        return;
      default:
      // Every other register is read-only.
    }
  }

  #mode(): number {
    return (this.#registers[REGISTER.controlMeasure] ?? 0) & 0x03;
  }

  #begin(): void {
    if (this.#mode() === 0) return;
    this.#nextMeasurement = this.#now() + this.#measurementMs();
  }

  /** Appendix B, typical: 1 + 2·T + (2·P + 0.5) + (2·H + 0.5) ms. */
  #measurementMs(): number {
    const { temperature, pressure, humidity } = this.#oversampling();
    const extra = (factor: number) => (factor === 0 ? 0 : 2 * factor + 0.5);
    return 1 + 2 * temperature + extra(pressure) + extra(humidity);
  }

  #oversampling(): Converted {
    const control = this.#registers[REGISTER.controlMeasure] ?? 0;
    const factor = (code: number) => (code === 0 ? 0 : Math.min(2 ** (code - 1), 16));
    return {
      temperature: factor(control >> 5),
      pressure: factor((control >> 2) & 0x07),
      humidity: factor(this.#humidityOversampling),
    };
  }

  /** Finishes the measurement whose time has come; forced mode then goes back to sleep (section 3.3.3). */
  #advance(): void {
    const now = this.#now();
    if (this.#mode() === 0 || now < this.#nextMeasurement) return;
    this.#convert(this.#nextMeasurement);
    const control = this.#registers[REGISTER.controlMeasure] ?? 0;
    if (this.#mode() !== 3) {
      this.#registers[REGISTER.controlMeasure] = control & 0xfc;
      return;
    }
    const standby = STANDBY_MS[(this.#registers[REGISTER.config] ?? 0) >> 5] ?? 0;
    const cycle = this.#measurementMs() + standby;
    const skipped = Math.floor((now - this.#nextMeasurement) / cycle);
    this.#nextMeasurement += (skipped + 1) * cycle;
  }

  #convert(atMs: number): void {
    const oversampling = this.#oversampling();
    const trimming = this.#trimming;
    const target = this.quantities.value("temperature", atMs) * FINE_PER_DEGREE;
    const temperature = invert((adc) => compensateTemperature(adc, trimming).fine, target, 20);
    const { fine } = compensateTemperature(temperature, trimming);
    const pascal = this.quantities.value("pressure", atMs) * 100 * 256;
    const percent = this.quantities.value("humidity", atMs) * 1024;
    const exact = {
      temperature,
      pressure: invert((adc) => compensatePressure(adc, fine, trimming), pascal, 20),
      humidity: invert((adc) => compensateHumidity(adc, fine, trimming), percent, 16),
    };
    const filtered = this.#filter(exact);
    this.#store(REGISTER.data, this.#resolved(filtered.pressure, oversampling.pressure), 3);
    this.#store(REGISTER.data + 3, this.#resolved(filtered.temperature, oversampling.temperature), 3);
    this.#store(REGISTER.data + 6, oversampling.humidity === 0 ? SKIPPED_16 : filtered.humidity, 2);
  }

  /** The IIR filter works on pressure and temperature only (section 3.4.4). */
  #filter(exact: Converted): Converted {
    const coefficient = FILTER_COEFFICIENT[((this.#registers[REGISTER.config] ?? 0) >> 2) & 0x07] ?? 1;
    const before = this.#filtered ?? exact;
    const smooth = (old: number, fresh: number) => Math.round((old * (coefficient - 1) + fresh) / coefficient);
    this.#filtered = {
      temperature: smooth(before.temperature, exact.temperature),
      pressure: smooth(before.pressure, exact.pressure),
      humidity: exact.humidity,
    };
    return this.#filtered;
  }

  /** Without the filter, 16 bits at one sample and one more for each doubling (section 3.4.1); else 20. */
  #resolved(adc: number, oversampling: number): number {
    if (oversampling === 0) return SKIPPED_20;
    const isFiltered = (((this.#registers[REGISTER.config] ?? 0) >> 2) & 0x07) !== 0;
    const bits = isFiltered ? 20 : 16 + Math.log2(oversampling);
    const dropped = 20 - bits;
    return (adc >> dropped) << dropped;
  }

  /** Three bytes hold 20 bits, left-aligned; two bytes hold 16. */
  #store(at: number, value: number, bytes: 2 | 3): void {
    const aligned = bytes === 3 ? value << 4 : value;
    for (let index = 0; index < bytes; index++) {
      this.#registers[at + index] = (aligned >> (8 * (bytes - 1 - index))) & 0xff;
    }
  }

  #reset(): void {
    this.#registers.fill(0);
    this.#humidityOversampling = 0;
    this.#filtered = undefined;
    this.#nextMeasurement = 0;
    this.#copyingUntil = this.#now() + START_MS;
    this.#registers[REGISTER.id] = CHIP_ID;
    this.#store(REGISTER.data, SKIPPED_20, 3);
    this.#store(REGISTER.data + 3, SKIPPED_20, 3);
    this.#store(REGISTER.data + 6, SKIPPED_16, 2);
    this.#storeTrimming();
  }

  /** Table 16: little-endian words; H4 and H5 share the byte 0xE5. */
  #storeTrimming(): void {
    const view = new DataView(this.#registers.buffer);
    const { T, P, H } = this.#trimming;
    [...T, ...P].forEach((value, index) => {
      view.setInt16(REGISTER.calibrationLow + 2 * index, value, true);
    });
    const [h1, h2, h3, h4, h5, h6] = H;
    view.setUint8(REGISTER.humidity1, h1);
    view.setInt16(REGISTER.calibrationHigh, h2, true);
    view.setUint8(REGISTER.calibrationHigh + 2, h3);
    view.setUint8(REGISTER.calibrationHigh + 3, (h4 >> 4) & 0xff);
    view.setUint8(REGISTER.calibrationHigh + 4, (h4 & 0x0f) | ((h5 & 0x0f) << 4));
    view.setUint8(REGISTER.calibrationHigh + 5, (h5 >> 4) & 0xff);
    view.setInt8(REGISTER.calibrationHigh + 6, h6);
  }
}
