/** Frames of Modbus RTU (MODBUS over serial line V1.02, section 2.5.1): building requests, judging answers. */

import { Bytes } from "bulkhead/sdk";

/** The longest frame: address, 253 bytes of PDU, CRC. */
export const FRAME_BYTES: i32 = 256;
/** Set in the function of an answer that is an exception (application protocol V1.1b3, section 7). */
const EXCEPTION: u8 = 0x80;
const EXCEPTION_BYTES: i32 = 5;

/** What became of an answer. 1 to 255 are the device's exception codes. */
export namespace Answer {
  export const good: i32 = 0;
  /** More bytes must come. */
  export const unfinished: i32 = -1;
  /** Of another station or function, of another length, or with a wrong CRC. */
  export const damaged: i32 = -2;
}

/** CRC-16 with the polynomial 0xa001 (section 6.2.2), over the first bytes. */
export function crc16(bytes: Bytes, length: i32): u32 {
  let crc: u32 = 0xffff;
  for (let i = 0; i < length; i++) {
    crc ^= bytes[i];
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc;
}

/** A frame that grows byte by byte. */
export class Frame {
  bytes: Bytes = Bytes.allocate(FRAME_BYTES);
  length: i32 = 0;

  begin(station: i32, code: i32): Frame {
    this.length = 0;
    return this.byte(station).byte(code);
  }

  byte(value: i32): Frame {
    this.bytes[this.length++] = <u8>value;
    return this;
  }

  word(value: i32): Frame {
    return this.byte(value >> 8).byte(value);
  }

  /** Adds the CRC, low byte first, and gives the whole frame as a view. */
  end(view: Bytes): void {
    const crc = crc16(this.bytes, this.length);
    this.byte(<i32>crc).byte(<i32>(crc >> 8));
    view.pointInto(this.bytes, 0, this.length);
  }

  /** Adds what has come; false where it is more than a frame may be. */
  append(bytes: Bytes): bool {
    if (bytes.length > FRAME_BYTES - this.length) return false;
    for (let i = 0; i < bytes.length; i++) this.bytes[this.length++] = bytes[i];
    return true;
  }

  /** Compares what has come with the request: its answer has `expected` bytes, unless it is an exception. */
  judge(request: Frame, expected: i32): i32 {
    if (this.length < EXCEPTION_BYTES) return Answer.unfinished;
    const code = this.bytes[1];
    const isException = code == (request.bytes[1] | EXCEPTION);
    const length = isException ? EXCEPTION_BYTES : expected;
    if (this.bytes[0] != request.bytes[0] || (!isException && code != request.bytes[1])) return Answer.damaged;
    if (this.length < length) return Answer.unfinished;
    if (this.length > length || crc16(this.bytes, length - 2) != this.bytes.u16le(length - 2)) return Answer.damaged;
    return isException ? <i32>this.bytes[2] : Answer.good;
  }

  /** True where this answer repeats the request's address and value, or its address and count, as a write's does. */
  echoes(request: Frame): bool {
    return memory.compare(this.bytes.address, request.bytes.address, ECHO_BYTES) == 0;
  }
}

/** Station, function, address, and value or count. */
const ECHO_BYTES: i32 = 6;
