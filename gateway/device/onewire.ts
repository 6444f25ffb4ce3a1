/** 1-Wire as the device process sees it: one bus of the host's, and the interface host of `onewire` over it. */
import { Refusal, RESULT } from "../../kernel/index.ts";
import type { HostAnswer, HostRequest, InterfaceHost } from "../wire/host-process.ts";
import type { HostBinding } from "../wire/protocol.ts";
import { DeviceFailure } from "./failure.ts";
import { BusQueue } from "./queue.ts";

/** A conversion takes 0.75 s, on parasite power too; the kernel's driver tries up to three times. */
const ONEWIRE_LIMIT_MS = 5000;
const SCRATCHPAD_BYTES = 9;

export interface OneWireBus {
  readonly description: string;
  /** The nine bytes of the device's scratchpad, checksum verified. @throws DeviceFailure not-found, io */
  readScratchpad(id: string): Promise<Uint8Array>;
}

export class OneWireHost implements InterfaceHost {
  readonly #open: () => OneWireBus;
  readonly #queue = new BusQueue("1-Wire", ONEWIRE_LIMIT_MS);

  /** `open` makes the bus when the first device on it is bound, and gives the same one ever after. */
  constructor(open: () => OneWireBus) {
    this.#open = open;
  }

  bind({ parameters }: HostBinding): void {
    const { device } = parameters;
    if (typeof device === "string" && /^[0-9a-f]{2}-[0-9a-f]{12}$/.test(device)) {
      this.#open();
      return;
    }
    throw new Refusal("E_CONFIG", "not a 1-Wire device id", {
      expected: "like 28-000005e2fdc3",
      found: String(device),
    });
  }

  unbind(): void {
    // Nothing is held for a binding.
  }

  async request({ binding, capacity, signal }: HostRequest): Promise<HostAnswer> {
    if (capacity < SCRATCHPAD_BYTES) return { result: RESULT["too-large"] };
    try {
      const device = String(binding.parameters["device"]);
      const bytes = await this.#queue.run(binding.id, signal, () => this.#open().readScratchpad(device));
      return { result: bytes.length, bytes };
    } catch (error) {
      if (error instanceof DeviceFailure) return { result: RESULT[error.result] };
      throw error;
    }
  }
}
