/** The friendly classes of the interfaces: each operation of `kernel/interfaces.ts`, in blocking style. */

import { Bytes } from "./bytes";
import { encodeDecimal, encodeText } from "./text";
import { Result } from "./result";

/*
 * `Raw` is the slot's class of imports in `generated/slots.ts`. All classes here are references without a place in
 * memory: a slot costs nothing, and an operation that is not used is not imported. Pass a slot on to a function that is
 * generic in the same way: `function readAll<Raw>(device: I2cDevice<Raw>): Result`.
 */

/** Rights of an endpoint, for `derive`. */
export namespace Right {
  export const send: i32 = 1;
  export const call: i32 = 2;
  export const pass: i32 = 4;
}

@unmanaged
export class Endpoint<Raw> {
  /** Queues a message and goes on. Fails with full, denied, dead-peer, too-large. */
  send(message: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).send(message.address, message.length, 0, 0));
  }

  /** Queues a message with handles, which move unless `HANDLE_COPY` is set in them. */
  sendWith(message: Bytes, handles: StaticArray<u32>): Result {
    return Result.of(
      changetype<Raw>(<usize>0).send(message.address, message.length, changetype<usize>(handles), handles.length),
    );
  }

  /** Waits for the reply, which is put into `answer`; gives its length. `timeoutMs` is 1 or more. */
  call(message: Bytes, answer: Bytes, timeoutMs: i32): Result {
    return Result.of(
      changetype<Raw>(<usize>0).call(message.address, message.length, answer.address, answer.length, timeoutMs),
    );
  }

  /** Asks without waiting; gives a correlation, and the reply comes as a message on the slot's event port. */
  request(message: Bytes, timeoutMs: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).request(message.address, message.length, timeoutMs));
  }

  /** A handle to the same endpoint with these rights (`Right`) and no others. */
  derive(rights: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).derive(rights));
  }
}

/** Handles that came in messages or were derived. */
@unmanaged
export class Handles<Raw> {
  send(handle: i32, message: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).send(handle, message.address, message.length, 0, 0));
  }

  call(handle: i32, message: Bytes, answer: Bytes, timeoutMs: i32): Result {
    return Result.of(
      changetype<Raw>(<usize>0).call(handle, message.address, message.length, answer.address, answer.length, timeoutMs),
    );
  }

  /** A new handle with fewer rights, derived from this one. */
  narrow(handle: i32, rights: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).narrow(handle, rights));
  }

  /** Closes the handle. */
  drop(handle: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).drop(handle));
  }
}

/** Ticks come as messages on the slot's event port; the payload is the number of expirations since the last one. */
@unmanaged
export class Timer<Raw> {
  /** One event after so many milliseconds; replaces what was set. */
  after(delayMs: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).after(delayMs));
  }

  /** An event each so many milliseconds, without drift; replaces what was set. */
  every(periodMs: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).every(periodMs));
  }

  /** No more events. */
  cancel(): Result {
    return Result.of(changetype<Raw>(<usize>0).cancel());
  }

  /** Waits. */
  sleep(delayMs: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).sleep(delayMs));
  }
}

@unmanaged
export class Clock<Raw> {
  /** Nanoseconds since an arbitrary instant, never backward. */
  monotonic(): i64 {
    return changetype<Raw>(<usize>0).monotonic();
  }

  /** Milliseconds since 1970-01-01T00:00:00Z, as the host knows it. */
  wall(): i64 {
    return changetype<Raw>(<usize>0).wall();
  }
}

@unmanaged
export class Random<Raw> {
  /** Fills the bytes with random ones. */
  fill(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).fill(bytes.address, bytes.length));
  }
}

const LOG_LINE_BYTES: i32 = 256;
/** `: result -` and the ten digits of the longest code. */
const RESULT_BYTES: i32 = 20;
const logLine = memory.data(256);

/** Lines for people. A longer one is cut at 256 bytes; nothing is allocated. A line that is lost is no failure. */
@unmanaged
export class Log<Raw> {
  error(text: string): void {
    this.line(0, text);
  }

  warning(text: string): void {
    this.line(1, text);
  }

  information(text: string): void {
    this.line(2, text);
  }

  debug(text: string): void {
    this.line(3, text);
  }

  /** A failed operation: `text: result -18`. */
  failure(text: string, result: Result): void {
    let length = encodeText(text, logLine, LOG_LINE_BYTES - RESULT_BYTES);
    length += encodeText(": result -", logLine + length, RESULT_BYTES);
    length += encodeDecimal(<u32>-result.code, logLine + length);
    changetype<Raw>(<usize>0).write(0, logLine, length);
  }

  private line(level: i32, text: string): void {
    changetype<Raw>(<usize>0).write(level, logLine, encodeText(text, logLine, LOG_LINE_BYTES));
  }
}

/** Keys and values that survive everything; `set` returns once it is on disk. */
@unmanaged
export class Store<Raw> {
  /** Puts the value into `value` and gives its length; not-found, too-large. */
  get(key: Bytes, value: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).get(key.address, key.length, value.address, value.length));
  }

  set(key: Bytes, value: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).set(key.address, key.length, value.address, value.length));
  }

  delete(key: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).delete(key.address, key.length));
  }
}

@unmanaged
export class File<Raw> {
  /** Reads from an offset into `bytes` and gives the number read; 0 at the end. */
  read(offset: i32, bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).read(offset, bytes.address, bytes.length));
  }

  /** Replaces the content; gives the number written. */
  write(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).write(bytes.address, bytes.length));
  }
}

/** One device at one address of one bus. */
@unmanaged
export class I2cDevice<Raw> {
  /** Fills `bytes`; gives the length. */
  read(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).read(bytes.address, bytes.length));
  }

  write(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).write(bytes.address, bytes.length));
  }

  /** Writes, starts again, and fills `answer`; gives the length read. */
  writeRead(bytes: Bytes, answer: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).writeRead(bytes.address, bytes.length, answer.address, answer.length));
  }

  /** Reads registers from `register` on, as many as `answer` holds. */
  readRegisters(register: u8, answer: Bytes): Result {
    store<u8>(registerBytes, register);
    return Result.of(changetype<Raw>(<usize>0).writeRead(registerBytes, 1, answer.address, answer.length));
  }

  /** Writes one register. */
  writeRegister(register: u8, value: u8): Result {
    store<u8>(registerBytes, register);
    store<u8>(registerBytes, value, 1);
    return Result.of(changetype<Raw>(<usize>0).write(registerBytes, 2));
  }
}

const registerBytes = memory.data(2);

/** One chip select of one bus. */
@unmanaged
export class SpiDevice<Raw> {
  read(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).read(bytes.address, bytes.length));
  }

  write(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).write(bytes.address, bytes.length));
  }

  /** Full duplex: `answer` is as long as `bytes`. */
  transfer(bytes: Bytes, answer: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).transfer(bytes.address, bytes.length, answer.address, answer.length));
  }
}

/** One line; edges come as `[level, nanoseconds]` on the slot's event port. */
@unmanaged
export class GpioLine<Raw> {
  /** 0 or 1. */
  get(): Result {
    return Result.of(changetype<Raw>(<usize>0).get());
  }

  set(level: i32): Result {
    return Result.of(changetype<Raw>(<usize>0).set(level));
  }
}

/** Bytes received come on the slot's event port; null says that some were lost before. */
@unmanaged
export class Uart<Raw> {
  write(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).write(bytes.address, bytes.length));
  }
}

@unmanaged
export class OneWire<Raw> {
  /** The nine bytes of the scratchpad; gives 9. */
  read(bytes: Bytes): Result {
    return Result.of(changetype<Raw>(<usize>0).read(bytes.address, bytes.length));
  }
}

/** Messages of the subscribed topics come as `[topic, payload]` on the slot's event port. */
@unmanaged
export class Mqtt<Raw> {
  /** `flags`: `Publish.qos1`, `Publish.retain`. 0 once the link has it in its queue; denied outside the granted filters. */
  publish(topic: Bytes, payload: Bytes, flags: i32): Result {
    return Result.of(
      changetype<Raw>(<usize>0).publish(topic.address, topic.length, payload.address, payload.length, flags),
    );
  }
}

/** Flags of `Mqtt.publish`. */
export namespace Publish {
  export const qos1: i32 = 1;
  export const retain: i32 = 2;
}

@unmanaged
export class Http<Raw> {
  /** CBOR `[method, path, {header: value}, body]` to CBOR `[status, {header: value}, body]`; gives its length. */
  request(request: Bytes, response: Bytes, timeoutMs: i32): Result {
    return Result.of(
      changetype<Raw>(<usize>0).request(request.address, request.length, response.address, response.length, timeoutMs),
    );
  }
}
