/** Any I2C chip that is a row of registers behind a pointer: for a driver whose chip has no simulator of its own. */
import { integerSetting, record } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { I2cChip, SimulatorClock } from "./chip.ts";
import { i2cAddress } from "./i2c-bus.ts";
import { parseValueScript } from "./script.ts";
import type { ValueScript } from "./script.ts";

/**
 * Options: `registers`, by number, each a value over time; `bytes` of each register, 1 to 4 (1), highest
 * first. A write is the register's number, then values; a read begins where the last write pointed and goes on.
 */
export class Registers implements I2cChip {
  readonly name = "registers";
  readonly address: number;
  readonly quantities: Quantities<string>;
  readonly #names: ReadonlySet<string>;
  readonly #bytes: number;
  #pointer = 0;
  #isPointerNext = true;
  #written: number[] = [];
  #readByte = 0;
  #held = 0;

  /** @throws Refusal E_CONFIG */
  constructor(device: SimulatedDevice, now: SimulatorClock) {
    const options = checkOptions(device, ["address", "bytes", "registers"]);
    this.address = i2cAddress(options, 0x48);
    this.#bytes = integerSetting(options["bytes"], "simulate: registers: bytes", 1, 4, 1);
    const registers = record(options["registers"] ?? {}, "simulate: registers: registers");
    const range = { minimum: -(2 ** (8 * this.#bytes - 1)), maximum: 2 ** (8 * this.#bytes) - 1 };
    const ranges: Record<string, typeof range & { usual: ValueScript }> = {};
    for (const [key, script] of Object.entries(registers)) {
      // YAML reads 0x0f as a number; written as a text it is the same register.
      const name = registerName(integerSetting(Number(key), "simulate: registers: a register", 0, 0xff));
      ranges[name] = { ...range, usual: parseValueScript(script, `simulate: registers: ${name}`) };
    }
    this.#names = new Set(Object.keys(ranges));
    // The scripts are the ranges' usual ones; an option that is called like a register would be none.
    this.quantities = new Quantities(ranges, { chip: device.chip, faults: options["faults"] }, now);
  }

  start(isRead: boolean): boolean {
    this.#isPointerNext = !isRead;
    this.#written = [];
    this.#readByte = 0;
    return true;
  }

  write(byte: number): boolean {
    if (this.#isPointerNext) {
      this.#pointer = byte;
      this.#isPointerNext = false;
      return true;
    }
    this.#written.push(byte);
    if (this.#written.length < this.#bytes) return true;
    const value = this.#written.reduce((sum, part) => sum * 256 + part, 0);
    this.#written = [];
    return this.quantities.set(registerName(this.#pointer++), value);
  }

  /** Registers that are not there read as 0. */
  read(): number {
    const byte = this.#readByte++ % this.#bytes;
    // A register is read as a whole: its value must not move between two of its bytes.
    if (byte === 0) this.#held = this.#value(registerName(this.#pointer++));
    return Math.floor(this.#held / 256 ** (this.#bytes - 1 - byte)) & 0xff;
  }

  stop(): void {
    this.#isPointerNext = true;
  }

  #value(name: string): number {
    return this.#names.has(name) ? Math.round(this.quantities.value(name)) : 0;
  }
}

function registerName(number: number): string {
  return `0x${(number & 0xff).toString(16).padStart(2, "0")}`;
}
