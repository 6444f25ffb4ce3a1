/** One I2C adapter of the host, through i2c-dev: blocking, for the thread of its bus. */
import { DeviceFailure } from "../failure.ts";
import type { I2cMessage } from "../i2c.ts";
import { DeviceNode } from "./device-node.ts";
import { FLAG, LAYOUT, REQUEST } from "./layouts.ts";
import { addressOf } from "./native.ts";
import type { Native } from "./native.ts";

/** The adapter gives up before the queue does (I2C_LIMIT_MS); the kernel counts in 10 ms. */
const TIMEOUT_10_MS = 50n;
/** Retries after lost arbitration would hide what goes on from the driver. */
const RETRIES = 0n;

export class I2cAdapter {
  readonly #node: DeviceNode;
  #isSmbusOnly = false;
  /** What the structure of the running transfer points to: it must not be collected before the call returns. */
  #pinned: readonly Uint8Array[] = [];

  constructor(native: Native, path: string) {
    this.#node = new DeviceNode(native, path, (descriptor) => {
      native.ioctl(descriptor, REQUEST.I2C_TIMEOUT, TIMEOUT_10_MS);
      native.ioctl(descriptor, REQUEST.I2C_RETRIES, RETRIES);
      const functions = new Uint8Array(8);
      const isKnown = native.ioctl(descriptor, REQUEST.I2C_FUNCS, functions) >= 0;
      this.#isSmbusOnly = isKnown && ((functions[0] ?? 0) & FLAG.I2C_FUNC_I2C) === 0;
    });
  }

  /** @throws DeviceFailure */
  transfer(address: number, messages: readonly I2cMessage[]): Uint8Array {
    // Opening finds out which of the two the adapter can do.
    const { descriptor } = this.#node;
    return descriptor >= 0 && this.#isSmbusOnly ? this.#smbus(address, messages) : this.#combined(address, messages);
  }

  close(): void {
    this.#node.close();
  }

  /** I2C_RDWR: all messages in one transfer, with repeated starts. */
  #combined(address: number, messages: readonly I2cMessage[]): Uint8Array {
    const { addr, flags, len, buf, size } = LAYOUT.i2c_msg;
    const buffers = messages.map((message) =>
      message.kind === "write" ? message.bytes.slice() : new Uint8Array(message.length),
    );
    const array = new Uint8Array(messages.length * size);
    const view = new DataView(array.buffer);
    messages.forEach((message, index) => {
      const at = index * size;
      const buffer = buffers[index] ?? new Uint8Array();
      view.setUint16(at + addr, address, true);
      view.setUint16(at + flags, message.kind === "read" ? FLAG.I2C_M_RD : 0, true);
      view.setUint16(at + len, buffer.length, true);
      view.setBigUint64(at + buf, addressOf(buffer), true);
    });
    const data = new Uint8Array(LAYOUT.i2c_rdwr_ioctl_data.size);
    const dataView = new DataView(data.buffer);
    dataView.setBigUint64(LAYOUT.i2c_rdwr_ioctl_data.msgs, addressOf(array), true);
    dataView.setUint32(LAYOUT.i2c_rdwr_ioctl_data.nmsgs, messages.length, true);
    this.#pinned = [array, ...buffers];
    try {
      this.#node.ioctl(REQUEST.I2C_RDWR, data, `transfer with 0x${address.toString(16)}`);
    } finally {
      this.#pinned = [];
    }
    return Buffer.concat(buffers.filter((_, index) => messages[index]?.kind === "read"));
  }

  /** Adapters that speak SMBus only carry what has the shape of an SMBus transaction: command, then up to 32 bytes. */
  #smbus(address: number, messages: readonly I2cMessage[]): Uint8Array {
    const [first, second] = messages;
    if (first?.kind === "read") return this.#smbusRead(address, undefined, first.length);
    if (first === undefined) return new Uint8Array();
    if (second?.kind === "read") return this.#smbusRead(address, first.bytes, second.length);
    this.#smbusWrite(address, first.bytes);
    return new Uint8Array();
  }

  #smbusRead(address: number, command: Uint8Array | undefined, length: number): Uint8Array {
    const isPlain = command === undefined && length === 1;
    const isCommand = command?.length === 1 && length <= FLAG.I2C_SMBUS_BLOCK_MAX;
    if (!isPlain && !isCommand) throw notSmbus();
    const kind = isPlain
      ? FLAG.I2C_SMBUS_BYTE
      : length === 1
        ? FLAG.I2C_SMBUS_BYTE_DATA
        : FLAG.I2C_SMBUS_I2C_BLOCK_DATA;
    const data = new Uint8Array(FLAG.I2C_SMBUS_BLOCK_MAX + 2);
    const isBlock = kind === FLAG.I2C_SMBUS_I2C_BLOCK_DATA;
    if (isBlock) data[0] = length;
    this.#smbusCall(address, FLAG.I2C_SMBUS_READ, command?.[0] ?? 0, kind, data);
    return isBlock ? data.slice(1, 1 + Math.min(length, data[0] ?? 0)) : data.slice(0, 1);
  }

  #smbusWrite(address: number, bytes: Uint8Array): void {
    const [command = 0, ...values] = bytes;
    if (values.length > FLAG.I2C_SMBUS_BLOCK_MAX) throw notSmbus();
    const kinds = [FLAG.I2C_SMBUS_BYTE, FLAG.I2C_SMBUS_BYTE_DATA];
    const kind = kinds[values.length] ?? FLAG.I2C_SMBUS_I2C_BLOCK_DATA;
    const data = new Uint8Array(FLAG.I2C_SMBUS_BLOCK_MAX + 2);
    data.set(kind === FLAG.I2C_SMBUS_I2C_BLOCK_DATA ? [values.length, ...values] : values);
    this.#smbusCall(address, FLAG.I2C_SMBUS_WRITE, command, kind, data);
  }

  #smbusCall(address: number, direction: number, command: number, kind: number, data: Uint8Array): void {
    const { read_write, command: commandAt, size_, data: dataAt, size } = LAYOUT.i2c_smbus_ioctl_data;
    const what = `SMBus transfer with 0x${address.toString(16)}`;
    const call = new Uint8Array(size);
    const view = new DataView(call.buffer);
    view.setUint8(read_write, direction);
    view.setUint8(commandAt, command);
    view.setUint32(size_, kind, true);
    view.setBigUint64(dataAt, addressOf(data), true);
    this.#node.ioctl(REQUEST.I2C_SLAVE, BigInt(address), what);
    this.#pinned = [data];
    try {
      this.#node.ioctl(REQUEST.I2C_SMBUS, call, what);
    } finally {
      this.#pinned = [];
    }
  }

  /** For tests: nothing stays pinned between transfers. */
  get pinned(): number {
    return this.#pinned.length;
  }
}

function notSmbus(): DeviceFailure {
  return new DeviceFailure("unsupported", "this adapter speaks SMBus only: one command byte, and up to 32 bytes");
}
