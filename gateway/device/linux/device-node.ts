/** A device node that is opened when it is needed, and opened anew after its device was unplugged. */
import { FLAG } from "./layouts.ts";
import { failureOf, isGone } from "./native.ts";
import type { Native } from "./native.ts";

export class DeviceNode {
  readonly native: Native;
  readonly path: string;
  readonly #onOpen: (descriptor: number) => void;
  #descriptor: number | undefined;

  /** `onOpen` sets what every new descriptor needs. */
  constructor(native: Native, path: string, onOpen: (descriptor: number) => void = () => undefined) {
    this.native = native;
    this.path = path;
    this.#onOpen = onOpen;
  }

  /** @throws DeviceFailure where the node cannot be opened */
  get descriptor(): number {
    if (this.#descriptor !== undefined) return this.#descriptor;
    const descriptor = this.native.open(this.path, FLAG.O_RDWR | FLAG.O_CLOEXEC);
    if (descriptor < 0) throw failureOf(this.native.errno(), this.path);
    this.#descriptor = descriptor;
    this.#onOpen(descriptor);
    return descriptor;
  }

  /** One ioctl. @throws DeviceFailure by its errno; a device that is gone is closed */
  ioctl(request: bigint, argument: Uint8Array | bigint, what: string): number {
    const result = this.native.ioctl(this.descriptor, request, argument);
    if (result >= 0) return result;
    const errno = this.native.errno();
    if (isGone(errno)) this.close();
    throw failureOf(errno, `${this.path}: ${what}`);
  }

  close(): void {
    if (this.#descriptor !== undefined) this.native.close(this.#descriptor);
    this.#descriptor = undefined;
  }
}
