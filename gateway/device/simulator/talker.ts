/** Simulated serial lines: a device that sends a line of text each period, as scales and receivers do, or Modbus slaves. */
import type { SimulatedPart } from "../../wire/protocol.ts";
import { badSetting, numberSetting } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import type { OpenSerial, SerialBackend } from "../uart.ts";
import { checkOptions, Quantities } from "./chip.ts";
import type { SimulatorClock } from "./chip.ts";
import { SimulatedModbusLine } from "./modbus-slave.ts";

const QUANTITIES = { value: { minimum: -1e9, maximum: 1e9, usual: { base: 20, swing: 5, period: 60 } } };
const LONGEST_TEXT = 512;

interface SerialSimulator extends SerialBackend {
  parts(): readonly SimulatedPart[];
  simulate(part: string, quantity: string, script: unknown): boolean;
}

/** @throws Refusal E_CONFIG */
export function makeSerialSimulator(devices: readonly SimulatedDevice[], now: SimulatorClock): SerialSimulator {
  const [first, ...others] = devices;
  if (first?.chip !== "talker") return new SimulatedModbusLine(devices, now);
  if (others.length > 0) throw badSetting("a talker is alone on its serial line");
  return new Talker(first, now);
}

/** Options: `text`, in which `{value}` stands for the quantity with two decimals, and `period` in seconds. */
export class Talker implements SerialSimulator {
  readonly #text: string;
  readonly #periodMs: number;
  readonly #quantities: Quantities<keyof typeof QUANTITIES>;

  /** @throws Refusal E_CONFIG */
  constructor(device: SimulatedDevice, now: SimulatorClock) {
    const options = checkOptions(device, ["text", "period", ...Object.keys(QUANTITIES)]);
    const { text = "{value}\r\n" } = options;
    if (typeof text !== "string" || text.length > LONGEST_TEXT) {
      throw badSetting(`simulate: talker: text is not a text of at most ${LONGEST_TEXT} characters`);
    }
    this.#text = text;
    this.#periodMs = 1000 * numberSetting(options["period"], "simulate: talker: period", 0.01, 86_400, 1);
    this.#quantities = new Quantities(QUANTITIES, options, now);
  }

  get description(): string {
    return `simulator (talker, every ${this.#periodMs / 1000} s)`;
  }

  parts(): SimulatedPart[] {
    return [this.#quantities.part("0", "talker")];
  }

  simulate(_part: string, quantity: string, script: unknown): boolean {
    return this.#quantities.set(quantity, script);
  }

  readonly open: OpenSerial = (_settings, { onBytes }) => {
    const timer = setInterval(() => {
      const line = this.#line();
      if (line.length > 0) onBytes(line);
    }, this.#periodMs);
    return Promise.resolve({
      // It does not listen.
      write: () => Promise.resolve(),
      close: () => {
        clearInterval(timer);
      },
    });
  };

  #line(): Uint8Array {
    if (this.#quantities.strikes("silent")) return new Uint8Array();
    const text = this.#text.replaceAll("{value}", this.#quantities.value("value").toFixed(2));
    const bytes = new TextEncoder().encode(text);
    return this.#quantities.spoil(bytes);
  }
}
