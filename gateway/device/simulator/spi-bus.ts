/** A simulated SPI bus: clocks each bit through the chip that is selected, highest bit first. */
import { DeviceFailure } from "../failure.ts";
import type { SimulatedPart } from "../../wire/protocol.ts";
import { badSetting } from "../settings.ts";
import type { SpiBus, SpiDevice } from "../spi.ts";
import type { SpiChip } from "./chip.ts";

/** What a line reads as that nobody drives: the pull-up's ones. */
const FLOATING = 0xff;

export class SimulatedSpiBus implements SpiBus {
  readonly #chips: ReadonlyMap<number, SpiChip>;

  /** @throws Refusal E_CONFIG where two chips have one select */
  constructor(chips: readonly SpiChip[]) {
    this.#chips = new Map(chips.map((chip) => [chip.chipSelect, chip]));
    if (this.#chips.size < chips.length) throw badSetting("two simulated chips have the same SPI chip select");
  }

  get description(): string {
    const chips = Array.from(this.#chips.values(), ({ name, chipSelect }) => `${name} at ${chipSelect}`);
    return `simulator (${chips.join(", ") || "no chips"})`;
  }

  transfer({ chip: select }: SpiDevice, bytes: Uint8Array): Promise<Uint8Array> {
    const chip = this.#chips.get(select);
    if (chip === undefined || chip.quantities.strikes("silent")) return Promise.resolve(bytes.map(() => FLOATING));
    if (chip.quantities.strikes("stuck")) return Promise.reject(new DeviceFailure("io", "the transfer failed"));
    chip.select();
    const answer = bytes.map((byte) => clockByte(chip, byte));
    return Promise.resolve(chip.quantities.spoil(answer));
  }

  parts(): SimulatedPart[] {
    return Array.from(this.#chips, ([select, { name, quantities }]) => quantities.part(String(select), name));
  }

  /** By chip select. */
  simulate(chip: string, quantity: string, script: unknown): boolean {
    return this.#chips.get(Number(chip))?.quantities.set(quantity, script) ?? false;
  }

  close(): void {
    // Nothing is open.
  }
}

function clockByte(chip: SpiChip, byte: number): number {
  let answer = 0;
  for (let bit = 7; bit >= 0; bit--) answer = (answer << 1) | chip.clock(((byte >> bit) & 1) === 1 ? 1 : 0);
  return answer;
}
