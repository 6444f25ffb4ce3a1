/** The calls into libc, through node:ffi: the only place where this project leaves JavaScript for native code of the host. */
import { dlopen, getInt32, getRawPointer } from "node:ffi";
import { Refusal } from "../../../kernel/index.ts";
import type { ResultName } from "../../../kernel/index.ts";
import { DeviceFailure } from "../failure.ts";
import { ERRNO, FLAG, LAYOUT } from "./layouts.ts";

/** Every call returns as in C; `errno` is that of the last call in this thread. Buffers are the caller's to keep alive. */
export interface Native {
  open(path: string, flags: number): number;
  close(descriptor: number): number;
  read(descriptor: number, buffer: Uint8Array): number;
  write(descriptor: number, buffer: Uint8Array): number;
  /** `argument` is a structure, or a plain number where the request takes one. */
  ioctl(descriptor: number, request: bigint, argument: Uint8Array | bigint): number;
  poll(descriptors: Uint8Array, timeoutMs: number): number;
  eventfd(): number;
  errno(): number;
}

/** The address of a view's first byte, for pointers inside structures. The view must outlive the call that uses it. */
export function addressOf(view: Uint8Array): bigint {
  return getRawPointer(view);
}

/** Misspelt keys of a signature are ignored silently, so `prove` tries each function. */
const SIGNATURES = {
  open: { arguments: ["string", "i32", "i32"], return: "i32" },
  close: { arguments: ["i32"], return: "i32" },
  read: { arguments: ["i32", "pointer", "u64"], return: "i64" },
  write: { arguments: ["i32", "pointer", "u64"], return: "i64" },
  // Variadic in C: on both hosts (System V x86-64, AAPCS64 Linux) a pointer third is passed as if it were not.
  ioctl: { arguments: ["i32", "u64", "pointer"], return: "i32" },
  poll: { arguments: ["pointer", "u64", "i32"], return: "i32" },
  eventfd: { arguments: ["u32", "i32"], return: "i32" },
  __errno_location: { arguments: [], return: "pointer" },
} as const;

/**
 * Loads libc's functions, or those of a library in its place, for this thread, and proves each of them.
 * @throws Refusal E_ABI where one does not do what it is taken for
 */
export function loadNative(library: string | null = null): Native {
  const { functions } = dlopen(library, SIGNATURES);
  // One address for each thread; asked for once, since asking would be a call of its own between failure and errno.
  const errnoAddress = functions.__errno_location();
  const native: Native = {
    open: (path, flags) => functions.open(path, flags, 0),
    close: (descriptor) => functions.close(descriptor),
    read: (descriptor, buffer) => Number(functions.read(descriptor, buffer, BigInt(buffer.length))),
    write: (descriptor, buffer) => Number(functions.write(descriptor, buffer, BigInt(buffer.length))),
    ioctl: (descriptor, request, argument) => functions.ioctl(descriptor, request, argument),
    poll: (descriptors, timeoutMs) =>
      functions.poll(descriptors, BigInt(descriptors.length / LAYOUT.pollfd.size), timeoutMs),
    eventfd: () => functions.eventfd(0, FLAG.EFD_CLOEXEC | FLAG.EFD_NONBLOCK),
    errno: () => getInt32(errnoAddress),
  };
  prove(native);
  return native;
}

/** Each function on a descriptor where its success and its failure are known. */
function prove(native: Native): void {
  const claim = (name: keyof Native, isTrue: boolean) => {
    if (!isTrue) throw new Refusal("E_ABI", `the native function '${name}' of this host does not behave as it must`);
  };
  claim("open", native.open("/dev/null/nothing", FLAG.O_RDWR) === -1 && native.errno() !== 0);
  const descriptor = native.open("/dev/null", FLAG.O_RDWR | FLAG.O_CLOEXEC);
  claim("open", descriptor > 2);
  claim("write", native.write(descriptor, Uint8Array.of(1, 2, 3)) === 3);
  claim("read", native.read(descriptor, new Uint8Array(8)) === 0);
  claim("ioctl", native.ioctl(descriptor, 0x5401n, new Uint8Array(64)) === -1);
  claim("errno", native.errno() === ERRNO.ENOTTY);
  claim("close", native.close(descriptor) === 0);
  claim("close", native.close(descriptor) === -1 && native.errno() === ERRNO.EBADF);
  const event = native.eventfd();
  claim("eventfd", event > 2 && native.write(event, Uint8Array.of(5, 0, 0, 0, 0, 0, 0, 0)) === 8);
  const polled = pollSet([event]);
  claim("poll", native.poll(polled, 0) === 1 && isReadable(polled, 0));
  const count = new Uint8Array(8);
  claim("read", native.read(event, count) === 8 && count[0] === 5);
  claim("poll", native.poll(polled, 0) === 0);
  claim("close", native.close(event) === 0);
}

/** An array of pollfd that waits for input on each descriptor. */
export function pollSet(descriptors: readonly number[]): Uint8Array {
  const { size, fd, events } = LAYOUT.pollfd;
  const bytes = new Uint8Array(descriptors.length * size);
  const view = new DataView(bytes.buffer);
  descriptors.forEach((descriptor, index) => {
    view.setInt32(index * size + fd, descriptor, true);
    view.setInt16(index * size + events, FLAG.POLLIN, true);
  });
  return bytes;
}

export function isReadable(polled: Uint8Array, index: number): boolean {
  return (revents(polled, index) & FLAG.POLLIN) !== 0;
}

/** The descriptor's device is gone. */
export function isBroken(polled: Uint8Array, index: number): boolean {
  return (revents(polled, index) & (FLAG.POLLERR | FLAG.POLLHUP)) !== 0;
}

function revents(polled: Uint8Array, index: number): number {
  const { size, revents: at } = LAYOUT.pollfd;
  return new DataView(polled.buffer, polled.byteOffset).getInt16(index * size + at, true);
}

const RESULTS: ReadonlyMap<number, ResultName> = new Map([
  [ERRNO.ENXIO, "not-acknowledged"],
  [ERRNO.EREMOTEIO, "not-acknowledged"],
  [ERRNO.ETIMEDOUT, "timeout"],
  [ERRNO.EAGAIN, "busy"],
  [ERRNO.EBUSY, "busy"],
  [ERRNO.EACCES, "denied"],
  [ERRNO.EPERM, "denied"],
  [ERRNO.ENOENT, "not-found"],
  [ERRNO.ENODEV, "not-found"],
  [ERRNO.ESHUTDOWN, "not-found"],
  [ERRNO.EINVAL, "invalid"],
  [ERRNO.EOPNOTSUPP, "unsupported"],
]);

/** The failure that an errno stands for. */
export function failureOf(errno: number, what: string): DeviceFailure {
  const name = Object.entries(ERRNO).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
  return new DeviceFailure(RESULTS.get(errno) ?? "io", `${what}: ${name}`);
}

/** The device behind the descriptor is gone: it must be opened anew. */
export function isGone(errno: number): boolean {
  return errno === ERRNO.ENODEV || errno === ERRNO.EBADF || errno === ERRNO.ESHUTDOWN;
}
