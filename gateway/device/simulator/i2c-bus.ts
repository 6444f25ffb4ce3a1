/** A simulated I2C bus: carries each transfer byte by byte to the chip at its address, with faults on request. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeviceFailure } from "../failure.ts";
import type { I2cBus, I2cMessage } from "../i2c.ts";
import type { I2cChip, SimulatorClock } from "./chip.ts";
import { FaultScript, parseFaults } from "./faults.ts";

/** What a Linux adapter waits for a bus that is held, before it answers ETIMEDOUT. */
const ADAPTER_TIMEOUT_MS = 100;

export interface AttachedChip {
  readonly address: number;
  readonly chip: I2cChip;
  readonly faults: FaultScript;
}

export class SimulatedI2cBus implements I2cBus {
  readonly #chips: ReadonlyMap<number, AttachedChip>;
  readonly #now: SimulatorClock;

  constructor(chips: readonly AttachedChip[], now: SimulatorClock) {
    this.#chips = new Map(chips.map((attached) => [attached.address, attached]));
    this.#now = now;
  }

  get description(): string {
    const chips = Array.from(this.#chips.values(), ({ chip, address }) => `${chip.name} at 0x${address.toString(16)}`);
    return `simulator (${chips.join(", ") || "no chips"})`;
  }

  async transfer(address: number, messages: readonly I2cMessage[]): Promise<Uint8Array> {
    const seconds = this.#now() / 1000;
    for (const { faults } of this.#chips.values()) {
      if (!faults.strikes("stuck", seconds)) continue;
      await sleep(ADAPTER_TIMEOUT_MS);
      throw new DeviceFailure("timeout", "the bus is held low");
    }
    const attached = this.#chips.get(address);
    if (attached === undefined || attached.faults.strikes("nack", seconds)) throw notAcknowledged(address);
    try {
      return this.#noisy(attached, Buffer.concat(messages.map((message) => carry(attached, message))), seconds);
    } finally {
      attached.chip.stop();
    }
  }

  /** Turns a quantity of a simulated chip, or its `faults`, live; false where there is no such thing. */
  set(address: number, quantity: string, script: unknown): boolean {
    const attached = this.#chips.get(address);
    if (attached === undefined) return false;
    if (quantity !== "faults") return attached.chip.set(quantity, script);
    attached.faults.set(parseFaults(script));
    return true;
  }

  close(): void {
    // Nothing is open.
  }

  #noisy({ faults }: AttachedChip, bytes: Uint8Array, seconds: number): Uint8Array {
    if (!faults.strikes("noise", seconds)) return bytes;
    return bytes.map((byte) => byte ^ (1 << Math.floor(faults.random() * 8)));
  }
}

function carry({ chip, address }: AttachedChip, message: I2cMessage): Uint8Array {
  if (!chip.start(message.kind === "read")) throw notAcknowledged(address);
  if (message.kind === "read") return Uint8Array.from({ length: message.length }, () => chip.read());
  for (const byte of message.bytes) {
    if (!chip.write(byte)) throw notAcknowledged(address);
  }
  return new Uint8Array();
}

function notAcknowledged(address: number): DeviceFailure {
  return new DeviceFailure("not-acknowledged", `nothing acknowledges address 0x${address.toString(16)}`);
}
