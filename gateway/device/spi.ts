/** SPI as the device process sees it: a bus of several chip selects, and the interface host of `spi-device` over buses. */
import { Refusal, RESULT } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { DeviceFailure } from "./failure.ts";
import { BusQueue } from "./queue.ts";

/** spidev's default buffer (`bufsiz`). */
export const SPI_TRANSFER_BYTES = 4096;
const SPI_LIMIT_MS = 1000;

export interface SpiDevice {
  readonly chip: number;
  readonly mode: number;
  /** Hertz. */
  readonly frequency: number;
}

export interface SpiBus {
  readonly description: string;
  /** Full duplex: as many bytes come back as go out. @throws DeviceFailure not-found, io, invalid */
  transfer(device: SpiDevice, bytes: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

interface Shared {
  readonly bus: SpiBus;
  readonly queue: BusQueue;
}

export class SpiHost implements InterfaceHost {
  readonly #buses = new Map<number, Shared>();
  readonly #devices = new Map<number, SpiDevice & { readonly bus: number }>();
  readonly #open: (bus: number) => SpiBus;
  readonly #onHung: ((text: string) => void) | undefined;

  /** `open` makes the bus of that number when the first device on it is bound. */
  constructor(open: (bus: number) => SpiBus, onHung?: (text: string) => void) {
    this.#open = open;
    this.#onHung = onHung;
  }

  bind({ id, parameters }: HostBinding): void {
    const { bus, chip, mode = 0, frequency = 1_000_000 } = parameters;
    const device = {
      bus: integer(bus, "bus", 0, 255),
      chip: integer(chip, "chip", 0, 15),
      mode: integer(mode, "mode", 0, 3),
      frequency: integer(frequency, "frequency", 1, 0xffff_ffff),
    };
    if (!this.#buses.has(device.bus)) {
      this.#buses.set(device.bus, {
        bus: this.#open(device.bus),
        queue: new BusQueue(`spi-${device.bus}`, SPI_LIMIT_MS, this.#onHung),
      });
    }
    this.#devices.set(id, device);
  }

  unbind({ id }: HostBinding): void {
    this.#devices.delete(id);
  }

  async request({ binding, operation, bytes, capacity, signal }: HostRequest): Promise<HostAnswer> {
    const device = this.#devices.get(binding.id);
    const shared = device === undefined ? undefined : this.#buses.get(device.bus);
    if (device === undefined || shared === undefined) return failed("not-found");
    const out = operation === "read" ? new Uint8Array(capacity) : (bytes[0] ?? new Uint8Array());
    if (out.length > SPI_TRANSFER_BYTES) return failed("too-large");
    if (out.length === 0 || (operation === "transfer" && capacity !== out.length)) return failed("invalid");
    try {
      const read = await shared.queue.run(binding.id, signal, () => shared.bus.transfer(device, out));
      return operation === "write" ? { result: 0 } : { result: read.length, bytes: read };
    } catch (error) {
      if (error instanceof DeviceFailure) return { result: RESULT[error.result] };
      throw error;
    }
  }

  stop(): Promise<void> {
    for (const { bus } of this.#buses.values()) bus.close();
    return Promise.resolve();
  }
}

function integer(value: unknown, name: string, minimum: number, maximum: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= minimum && value <= maximum) return value;
  throw new Refusal("E_CONFIG", `${name} is not an integer from ${minimum} to ${maximum}`, { found: String(value) });
}
