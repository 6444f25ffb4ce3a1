/** What simulated devices have in common: quantities and faults that follow scripts and can be turned live. */
import type { SimulatedPart } from "../../wire/protocol.ts";
import { record } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import { FaultScript, parseFaults } from "./faults.ts";
import { parseValueScript, ScriptedValue } from "./script.ts";
import type { Range, ValueScript } from "./script.ts";

/** Milliseconds on a clock of the simulation's choosing. */
export type SimulatorClock = () => number;

/** A simulated device's quantities and faults. */
export class Quantities<Name extends string> {
  readonly faults: FaultScript;
  readonly #values: Readonly<Record<Name, ScriptedValue>>;
  readonly #now: SimulatorClock;

  /** @throws Refusal E_CONFIG on a script that is none */
  constructor(
    ranges: Readonly<Record<Name, Range & { readonly usual: ValueScript }>>,
    options: SimulatedDevice,
    now: SimulatorClock,
  ) {
    this.#now = now;
    this.faults = new FaultScript(parseFaults(options["faults"]));
    const entries = (Object.entries(ranges) as [Name, Range & { readonly usual: ValueScript }][]).map(
      ([name, range]) => [
        name,
        new ScriptedValue(options[name] === undefined ? range.usual : parseValueScript(options[name], name), range),
      ],
    );
    this.#values = Object.fromEntries(entries) as Readonly<Record<Name, ScriptedValue>>;
  }

  /** The value now, or at that time. */
  value(name: Name, ms = this.#now()): number {
    return this.#values[name].at(ms / 1000);
  }

  strikes(kind: Parameters<FaultScript["strikes"]>[0]): boolean {
    return this.faults.strikes(kind, this.#now() / 1000);
  }

  /** What `bulkhead sim list` shows of a device. */
  part(device: string, chip: string): SimulatedPart {
    const names = Object.keys(this.#values) as Name[];
    const quantities = Object.fromEntries(names.map((name) => [name, this.value(name)]));
    return { device, chip, quantities, faults: this.faults.active(this.#now() / 1000) };
  }

  /** What comes of the bytes that a chip gave: noise flips a bit in each, and a short read loses half of them. */
  spoil(bytes: Uint8Array): Uint8Array {
    const noisy = this.strikes("noise")
      ? bytes.map((byte) => byte ^ (1 << Math.floor(this.faults.random() * 8)))
      : bytes;
    return this.strikes("short") ? noisy.subarray(0, noisy.length >> 1) : noisy;
  }

  /** False where there is no such quantity; `faults` is one. @throws Refusal E_CONFIG on a bad script */
  set(name: string, script: unknown): boolean {
    if (name === "faults") this.faults.set(parseFaults(script));
    else if (!Object.hasOwn(this.#values, name)) return false;
    else this.#values[name as Name].set(parseValueScript(script, name));
    return true;
  }
}

/** The options of a simulated device, which may have these keys beside chip and faults. @throws Refusal E_CONFIG */
export function checkOptions(device: SimulatedDevice, keys: readonly string[]): SimulatedDevice {
  record(device, `simulate: ${device.chip}`, ["chip", "faults", ...keys]);
  return device;
}

/** A simulated I2C chip: it sees starts, bytes and stops, as the silicon does. */
export interface I2cChip {
  readonly name: string;
  readonly address: number;
  readonly quantities: Quantities<string>;
  /** The chip was addressed; false does not acknowledge. */
  start(isRead: boolean): boolean;
  /** One byte from the master; false does not acknowledge it. */
  write(byte: number): boolean;
  /** The next byte for the master. */
  read(): number;
  stop(): void;
}

/** A simulated SPI chip: select, then bits in both directions at once. */
export interface SpiChip {
  readonly name: string;
  readonly chipSelect: number;
  readonly quantities: Quantities<string>;
  select(): void;
  /** One clock: takes the master's bit, gives the chip's. */
  clock(bit: 0 | 1): 0 | 1;
}
