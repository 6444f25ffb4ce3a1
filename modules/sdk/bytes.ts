/** A range of the module's memory: a buffer of its own, or a view into another, such as the inbox. */

import { trap } from "./abort";
import { encodeText, isText, textSize } from "./text";

export class Bytes {
  address: usize = 0;
  length: i32 = 0;
  /** Keeps the memory of a buffer alive; null for a view. */
  protected owner: StaticArray<u8> | null = null;

  /** For the editor, which does not know the operators below. */
  [key: number]: u8;

  /** A zeroed buffer. Make it once, as a field of the driver, and use it for ever. */
  static allocate(length: i32): Bytes {
    const bytes = new Bytes();
    bytes.reserve(length);
    bytes.length = length;
    return bytes;
  }

  /** A text as UTF-8, in a buffer of its own. */
  static fromText(text: string): Bytes {
    const bytes = Bytes.allocate(textSize(text));
    encodeText(text, bytes.address, bytes.length);
    return bytes;
  }

  /** These bytes, in a buffer of its own. */
  static of(values: StaticArray<u8>): Bytes {
    const bytes = new Bytes();
    bytes.owner = values;
    bytes.address = changetype<usize>(values);
    bytes.length = values.length;
    return bytes;
  }

  /** These bytes as they are now, in a buffer of its own: for what must outlive the message. */
  copy(): Bytes {
    const bytes = Bytes.allocate(this.length);
    memory.copy(bytes.address, this.address, this.length);
    return bytes;
  }

  protected reserve(capacity: i32): void {
    // What `new StaticArray<u8>` does, without its message for a length that no module has.
    const address = __new(capacity, idof<StaticArray<u8>>());
    memory.fill(address, 0, capacity);
    this.owner = changetype<StaticArray<u8>>(address);
    this.address = address;
  }

  /** Turns this into a view of a place in memory. Views of a message are good until its handler returns. */
  point(address: usize, length: i32): void {
    this.owner = null;
    this.address = address;
    this.length = length;
  }

  /** Turns this into a view of a part of other bytes. */
  pointInto(bytes: Bytes, offset: i32, length: i32): void {
    if (offset < 0 || length < 0 || offset > bytes.length - length) trap("no such bytes", offset);
    this.owner = bytes.owner;
    this.address = bytes.address + offset;
    this.length = length;
  }

  @operator("[]")
  get(index: i32): u8 {
    if (<u32>index >= <u32>this.length) trap("no such byte", index);
    return load<u8>(this.address + index);
  }

  @operator("[]=")
  set(index: i32, value: u8): void {
    if (<u32>index >= <u32>this.length) trap("no such byte", index);
    store<u8>(this.address + index, value);
  }

  /** Two bytes, least significant first, as a number from 0. */
  u16le(index: i32): u32 {
    this.need(index, 2);
    return <u32>load<u16>(this.address + index);
  }

  /** Two bytes, least significant first, as two's complement. */
  i16le(index: i32): i32 {
    this.need(index, 2);
    return <i32>load<i16>(this.address + index);
  }

  /** Two bytes, most significant first, as a number from 0. */
  u16be(index: i32): u32 {
    this.need(index, 2);
    return <u32>bswap(load<u16>(this.address + index));
  }

  /** Two bytes, most significant first, as two's complement. */
  i16be(index: i32): i32 {
    return <i32>(<i16>this.u16be(index));
  }

  private need(index: i32, count: i32): void {
    if (index < 0 || index > this.length - count) trap("no such byte", index);
  }

  /** True where both hold the same bytes. */
  equals(other: Bytes): bool {
    return this.length == other.length && memory.compare(this.address, other.address, this.length) == 0;
  }

  /** True where these are the UTF-8 of this text. */
  is(text: string): bool {
    return isText(this.address, this.length, text);
  }
}
