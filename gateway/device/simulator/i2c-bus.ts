/** A simulated I2C bus: carries each transfer byte by byte to the chip at its address, with faults on request. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeviceFailure } from "../failure.ts";
import type { I2cBus, I2cMessage } from "../i2c.ts";
import { badSetting, integerSetting } from "../settings.ts";
import type { SimulatedDevice } from "../settings.ts";
import type { SimulatedPart } from "../../wire/protocol.ts";
import type { I2cChip } from "./chip.ts";

/** What a Linux adapter waits for a bus that is held, before it answers ETIMEDOUT. */
const ADAPTER_TIMEOUT_MS = 100;

export class SimulatedI2cBus implements I2cBus {
  readonly #chips: ReadonlyMap<number, I2cChip>;

  /** @throws Refusal E_CONFIG where two chips have one address */
  constructor(chips: readonly I2cChip[]) {
    this.#chips = new Map(chips.map((chip) => [chip.address, chip]));
    if (this.#chips.size < chips.length) throw badSetting("two simulated chips have the same I2C address");
  }

  get description(): string {
    const chips = Array.from(this.#chips.values(), ({ name, address }) => `${name} at 0x${address.toString(16)}`);
    return `simulator (${chips.join(", ") || "no chips"})`;
  }

  async transfer(address: number, messages: readonly I2cMessage[]): Promise<Uint8Array> {
    if ([...this.#chips.values()].some(({ quantities }) => quantities.strikes("stuck"))) {
      await sleep(ADAPTER_TIMEOUT_MS);
      throw new DeviceFailure("timeout", "the bus is held low");
    }
    const chip = this.#chips.get(address);
    if (chip === undefined || chip.quantities.strikes("nack")) throw notAcknowledged(address);
    try {
      const read = Buffer.concat(messages.map((message) => carry(chip, message)));
      return chip.quantities.spoil(read);
    } finally {
      chip.stop();
    }
  }

  parts(): SimulatedPart[] {
    const chips = [...this.#chips.values()];
    return chips.map(({ name, address, quantities }) => quantities.part(`0x${address.toString(16)}`, name));
  }

  /** By address, as in `0x76`. */
  simulate(chip: string, quantity: string, script: unknown): boolean {
    return this.#chips.get(Number(chip))?.quantities.set(quantity, script) ?? false;
  }

  close(): void {
    // Nothing is open.
  }
}

/** The address that a simulated chip has on its bus. @throws Refusal E_CONFIG */
export function i2cAddress(device: SimulatedDevice, usual: number): number {
  return integerSetting(device["address"], `simulate: ${device.chip}: address`, 0x08, 0x77, usual);
}

function carry(chip: I2cChip, message: I2cMessage): Uint8Array {
  if (!chip.start(message.kind === "read")) throw notAcknowledged(chip.address);
  if (message.kind === "read") return Uint8Array.from({ length: message.length }, () => chip.read());
  for (const byte of message.bytes) {
    if (!chip.write(byte)) throw notAcknowledged(chip.address);
  }
  return new Uint8Array();
}

function notAcknowledged(address: number): DeviceFailure {
  return new DeviceFailure("not-acknowledged", `nothing acknowledges address 0x${address.toString(16)}`);
}
