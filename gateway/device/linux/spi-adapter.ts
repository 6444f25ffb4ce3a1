/** The chip selects of one SPI controller of the host, through spidev: blocking, for the thread of its bus. */
import type { SpiDevice } from "../spi.ts";
import { DeviceNode } from "./device-node.ts";
import { LAYOUT, REQUEST } from "./layouts.ts";
import { addressOf } from "./native.ts";
import type { Native } from "./native.ts";

const BITS_PER_WORD = 8;

export class SpiAdapter {
  readonly #native: Native;
  readonly #prefix: string;
  /** One node for each chip select and mode, for the mode belongs to the descriptor. */
  readonly #nodes = new Map<string, DeviceNode>();
  #pinned: readonly Uint8Array[] = [];

  /** `prefix` is `/dev/spidev0.`, to which the chip select is added. */
  constructor(native: Native, prefix: string) {
    this.#native = native;
    this.#prefix = prefix;
  }

  /** @throws DeviceFailure */
  transfer(device: SpiDevice, bytes: Uint8Array): Uint8Array {
    const { tx_buf, rx_buf, len, speed_hz, bits_per_word, size } = LAYOUT.spi_ioc_transfer;
    const out = bytes.slice();
    const answer = new Uint8Array(bytes.length);
    const call = new Uint8Array(size);
    const view = new DataView(call.buffer);
    view.setBigUint64(tx_buf, addressOf(out), true);
    view.setBigUint64(rx_buf, addressOf(answer), true);
    view.setUint32(len, bytes.length, true);
    view.setUint32(speed_hz, device.frequency, true);
    view.setUint8(bits_per_word, BITS_PER_WORD);
    this.#pinned = [out, answer];
    try {
      this.#node(device).ioctl(REQUEST["SPI_IOC_MESSAGE(1)"], call, "transfer");
    } finally {
      this.#pinned = [];
    }
    return answer;
  }

  close(): void {
    for (const node of this.#nodes.values()) node.close();
  }

  /** For tests: nothing stays pinned between transfers. */
  get pinned(): number {
    return this.#pinned.length;
  }

  #node({ chip, mode }: SpiDevice): DeviceNode {
    const key = `${chip}/${mode}`;
    const node = this.#nodes.get(key) ?? this.#open(chip, mode);
    this.#nodes.set(key, node);
    return node;
  }

  #open(chip: number, mode: number): DeviceNode {
    const node: DeviceNode = new DeviceNode(this.#native, `${this.#prefix}${chip}`, () => {
      const word = new Uint8Array(4);
      new DataView(word.buffer).setUint32(0, mode, true);
      node.ioctl(REQUEST.SPI_IOC_WR_MODE32, word, "setting the mode");
    });
    return node;
  }
}
