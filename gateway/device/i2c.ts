/** I2C as the device process sees it: a bus that carries transfers, and the interface host of `i2c-device` over buses. */
import { Refusal, RESULT } from "../../kernel/index.ts";
import { failed } from "../wire/host-process.ts";
import type { HostAnswer, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { DeviceFailure } from "./failure.ts";
import { BusQueue } from "./queue.ts";

/** The longest message of the Linux user API (i2c-dev.c: 8192). */
export const I2C_TRANSFER_BYTES = 8192;
/** Longer than any clock-stretching sensor needs; the adapter's own timeout is set below it. */
export const I2C_LIMIT_MS = 1000;

/** One part of a combined transfer: bytes to write, or how many to read. */
export type I2cMessage =
  | { readonly kind: "write"; readonly bytes: Uint8Array }
  | { readonly kind: "read"; readonly length: number };

/** A bus: the messages go out with repeated starts between them and one stop; what was read comes back joined. */
export interface I2cBus {
  /** What it is, for the start-up status. */
  readonly description: string;
  /** @throws DeviceFailure not-acknowledged, io, timeout, not-found */
  transfer(address: number, messages: readonly I2cMessage[]): Promise<Uint8Array>;
  close(): void;
}

/** A bus and the queue in front of it. */
export class SharedI2cBus {
  readonly bus: I2cBus;
  readonly queue: BusQueue;

  constructor(name: string, bus: I2cBus, onHung?: (text: string) => void) {
    this.bus = bus;
    this.queue = new BusQueue(name, I2C_LIMIT_MS, onHung);
  }
}

/** `i2c-device`: each binding is one address on one bus, and can say no other. */
export class I2cHost implements InterfaceHost {
  readonly #buses = new Map<number, SharedI2cBus>();
  readonly #open: (bus: number) => SharedI2cBus;

  /** `open` makes the bus of that number when the first device on it is bound. */
  constructor(open: (bus: number) => SharedI2cBus) {
    this.#open = open;
  }

  bind({ parameters }: HostBinding): void {
    const { bus, address } = parameters;
    if (typeof bus !== "number" || !Number.isInteger(bus) || bus < 0) {
      throw new Refusal("E_CONFIG", "not the number of an I2C bus", { found: String(bus) });
    }
    if (typeof address !== "number" || !Number.isInteger(address) || address < 0x08 || address > 0x77) {
      throw new Refusal("E_CONFIG", "not an I2C address", { expected: "0x08 to 0x77", found: String(address) });
    }
    if (!this.#buses.has(bus)) this.#buses.set(bus, this.#open(bus));
  }

  unbind(): void {
    // Nothing is held for a binding.
  }

  async request({ binding, operation, bytes, capacity, signal }: HostRequest): Promise<HostAnswer> {
    const shared = this.#buses.get(Number(binding.parameters["bus"]));
    if (shared === undefined) return failed("not-found");
    const messages = messagesOf(operation, bytes[0], capacity);
    if (messages.some((message) => sizeOf(message) > I2C_TRANSFER_BYTES)) return failed("too-large");
    if (messages.some((message) => sizeOf(message) === 0)) return failed("invalid");
    try {
      const address = Number(binding.parameters["address"]);
      const read = await shared.queue.run(binding.id, signal, () => shared.bus.transfer(address, messages));
      return { result: read.length, bytes: read };
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

function messagesOf(operation: string, bytes: Uint8Array | undefined, capacity: number): I2cMessage[] {
  const write: I2cMessage[] = bytes === undefined ? [] : [{ kind: "write", bytes }];
  const read: I2cMessage[] = operation === "write" ? [] : [{ kind: "read", length: capacity }];
  return [...write, ...read];
}

function sizeOf(message: I2cMessage): number {
  return message.kind === "write" ? message.bytes.length : message.length;
}
