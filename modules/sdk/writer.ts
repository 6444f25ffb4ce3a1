/** Writes CBOR in its shortest forms (RFC 8949 section 4.2.1) into a buffer made once. */

import { Bytes } from "./bytes";
import { encodeText, textSize } from "./text";
import { halfFromDouble, NOT_A_HALF } from "./half";

/**
 * Use `begin()` for each new message; what has been written is the bytes themselves, so a writer can be sent.
 * A writer that ran out of room has the length -1, which every operation refuses: nothing is sent cut off.
 */
export class Writer extends Bytes {
  private capacity: i32;

  constructor(capacity: i32) {
    super();
    this.reserve(capacity);
    this.capacity = capacity;
  }

  /** A writer over memory that is somebody else's. */
  static over(address: usize, capacity: i32): Writer {
    const writer = new Writer(0);
    writer.address = address;
    writer.capacity = capacity;
    return writer;
  }

  /** Forgets what was written. @returns this, so that calls can follow on it. */
  begin(): Writer {
    this.length = 0;
    return this;
  }

  get failed(): bool {
    return this.length < 0;
  }

  /** Room for so many bytes, or 0 where there is none, now or before. */
  private room(count: i32): usize {
    const at = this.length;
    if (at < 0 || count < 0 || count > this.capacity - at) {
      this.length = -1;
      return 0;
    }
    this.length = at + count;
    return this.address + at;
  }

  private head(major: u32, argument: u64): void {
    const lead = major << 5;
    const size = argument < 24 ? 0 : argument < 0x100 ? 1 : argument < 0x10000 ? 2 : argument < 0x100000000 ? 4 : 8;
    const at = this.room(1 + size);
    if (at == 0) return;
    if (size == 0) {
      store<u8>(at, <u8>(lead | <u32>argument));
      return;
    }
    store<u8>(at, <u8>(lead | (24 + ctz<u32>(size))));
    for (let i = size; i > 0; i--) {
      store<u8>(at + i, <u8>argument);
      argument >>= 8;
    }
  }

  /** An unsigned integer. */
  unsigned(value: u64): Writer {
    this.head(0, value);
    return this;
  }

  /** An integer of either sign. */
  integer(value: i64): Writer {
    if (value < 0) this.head(1, <u64>~value);
    else this.head(0, <u64>value);
    return this;
  }

  /** A byte string. */
  bytes(value: Bytes): Writer {
    this.head(2, <u64>(<u32>value.length));
    return this.raw(value);
  }

  /** A text that is known to be UTF-8: a view of a received text, or `Bytes.fromText`. */
  textBytes(value: Bytes): Writer {
    this.head(3, <u64>(<u32>value.length));
    return this.raw(value);
  }

  /** A text. */
  text(value: string): Writer {
    const size = textSize(value);
    this.head(3, <u64>(<u32>size));
    const at = this.room(size);
    if (at != 0) encodeText(value, at, size);
    return this;
  }

  /** The head of an array; its elements follow. */
  array(elements: u32): Writer {
    this.head(4, elements);
    return this;
  }

  /** The head of a map; its keys and values follow, keys in bytewise order where the reader asks for it. */
  map(entries: u32): Writer {
    this.head(5, entries);
    return this;
  }

  /** A tag; the item that it tags follows. */
  tag(number: u64): Writer {
    this.head(6, number);
    return this;
  }

  boolean(value: bool): Writer {
    return this.simple(value ? 0xf5 : 0xf4);
  }

  nil(): Writer {
    return this.simple(0xf6);
  }

  private simple(byte: u8): Writer {
    const at = this.room(1);
    if (at != 0) store<u8>(at, byte);
    return this;
  }

  /** A number in the shortest of the three widths that keeps it exactly; every NaN becomes f97e00. */
  float(value: f64): Writer {
    const half = halfFromDouble(value);
    if (half != NOT_A_HALF) {
      const at = this.room(3);
      if (at == 0) return this;
      store<u8>(at, 0xf9);
      store<u16>(at, bswap<u16>(<u16>half), 1);
    } else if (<f64>(<f32>value) == value) {
      const at = this.room(5);
      if (at == 0) return this;
      store<u8>(at, 0xfa);
      store<u32>(at, bswap<u32>(reinterpret<u32>(<f32>value)), 1);
    } else {
      const at = this.room(9);
      if (at == 0) return this;
      store<u8>(at, 0xfb);
      store<u64>(at, bswap<u64>(reinterpret<u64>(value)), 1);
    }
    return this;
  }

  /** Bytes as they are: an item encoded elsewhere, or a part of a topic. */
  raw(value: Bytes): Writer {
    const at = this.room(value.length);
    if (at != 0) memory.copy(at, value.address, value.length);
    return this;
  }

  /** The UTF-8 of a text without a CBOR head: for topics, paths, lines. */
  rawText(value: string): Writer {
    const size = textSize(value);
    const at = this.room(size);
    if (at != 0) encodeText(value, at, size);
    return this;
  }

  /** A number in decimal with so many places, at most 9, without a CBOR head; one of 10^9 or more, or none, fails. */
  rawFixed(value: f64, places: i32): Writer {
    let scale: f64 = 1;
    for (let i = 0; i < places; i++) scale *= 10;
    const magnitude = nearest(abs(value) * scale);
    if (!(abs(value) < 1e9)) {
      this.length = -1;
      return this;
    }
    if (value < 0 && magnitude > 0) this.rawByte(45);
    const whole = floor(magnitude / scale);
    this.rawDigits(<u64>whole, 1);
    if (places > 0) {
      this.rawByte(46);
      this.rawDigits(<u64>(magnitude - whole * scale), places);
    }
    return this;
  }

  /** At least so many digits, zeros before. */
  private rawDigits(value: u64, least: i32): void {
    let digits = 1;
    for (let rest = value / 10; rest > 0; rest /= 10) digits++;
    digits = max(digits, least);
    const at = this.room(digits);
    if (at == 0) return;
    for (let i = digits - 1; i >= 0; i--) {
      store<u8>(at + i, <u8>(48 + (value % 10)));
      value /= 10;
    }
  }

  private rawByte(byte: u8): void {
    const at = this.room(1);
    if (at != 0) store<u8>(at, byte);
  }
}
