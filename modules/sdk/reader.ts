/** Reads strict CBOR (RFC 8949) where it lies: no copies, no recursion, no heap. */

import { Bytes } from "./bytes";
import { doubleFromHalf } from "./half";
import { isUtf8 } from "./text";

/** Why a reader stopped. The first fault stays; everything read after it is zero or empty. */
export namespace Fault {
  export const none: i32 = 0;
  /** The item goes on beyond the end of the bytes. */
  export const truncated: i32 = 1;
  /** Another type than the one asked for. */
  export const type: i32 = 2;
  /** An integer outside the range asked for. */
  export const range: i32 = 3;
  /** An indefinite length, a break, or a reserved head. */
  export const head: i32 = 4;
  /** A text that is not UTF-8. */
  export const utf8: i32 = 5;
  /** Deeper than `MAXIMUM_DEPTH`. */
  export const depth: i32 = 6;
  /** Bytes after the end of the item. */
  export const trailing: i32 = 7;
  /** A simple value other than false, true and null. */
  export const simple: i32 = 8;
  /** What the contract does not allow: a key missing, twice or unknown, a value outside its choice. */
  export const contract: i32 = 9;
}

/** What comes next, by `peek`. */
export namespace Type {
  export const unsigned: i32 = 0;
  export const negative: i32 = 1;
  export const bytes: i32 = 2;
  export const text: i32 = 3;
  export const array: i32 = 4;
  export const map: i32 = 5;
  export const tag: i32 = 6;
  export const boolean: i32 = 7;
  export const nil: i32 = 8;
  export const float: i32 = 9;
  export const end: i32 = 10;
  export const other: i32 = 11;
}

/** Arrays, maps and tags that `skip` follows into one another. */
export const MAXIMUM_DEPTH: i32 = 16;

/** For `skip`: items still to come at each depth, the outermost included. */
const remaining = memory.data(68);

export class Reader {
  private at: usize = 0;
  private end: usize = 0;
  fault: i32 = 0;

  /** Begins at the start of these bytes. @returns this. */
  open(bytes: Bytes): Reader {
    return this.openAt(bytes.address, bytes.length);
  }

  /** Begins at an address. @returns this. */
  openAt(address: usize, length: i32): Reader {
    this.at = address;
    this.end = address + length;
    this.fault = length < 0 ? Fault.truncated : Fault.none;
    return this;
  }

  get ok(): bool {
    return this.fault == Fault.none;
  }

  /** True where everything was read without a fault and nothing is left over. */
  finish(): bool {
    if (this.at != this.end) this.fail(Fault.trailing);
    return this.ok;
  }

  /** Marks what was read as wrong for a reason of the caller's. */
  fail(fault: i32): void {
    if (this.fault == Fault.none) this.fault = fault;
    this.at = this.end;
  }

  /** The type of the next item, without moving on. */
  peek(): i32 {
    if (this.at >= this.end) return Type.end;
    const lead = <i32>load<u8>(this.at);
    if (lead < 0xe0) return lead >> 5;
    if (lead == 0xf4 || lead == 0xf5) return Type.boolean;
    if (lead == 0xf6) return Type.nil;
    return lead >= 0xf9 && lead <= 0xfb ? Type.float : Type.other;
  }

  /** Reads a head of this major type. @returns its argument; 0 after a fault. */
  private head(major: i32): u64 {
    if (this.at >= this.end) {
      this.fail(Fault.truncated);
      return 0;
    }
    const lead = load<u8>(this.at);
    if (<i32>(lead >> 5) != major) {
      this.fail(Fault.type);
      return 0;
    }
    return this.argument(lead);
  }

  /** Reads the argument of a head of majors 0 to 6 and moves past it. */
  private argument(lead: u8): u64 {
    const information = <u32>lead & 0x1f;
    if (information > 27) {
      this.fail(Fault.head);
      return 0;
    }
    const size = information < 24 ? 0 : 1 << (information - 24);
    if (this.end - this.at < 1 + size) {
      this.fail(Fault.truncated);
      return 0;
    }
    let value: u64 = size == 0 ? information : 0;
    for (let i = 1; i <= <i32>size; i++) value = (value << 8) | load<u8>(this.at + i);
    this.at += 1 + size;
    return value;
  }

  /** An unsigned integer of at most 64 bits. */
  u64(): u64 {
    return this.head(0);
  }

  /** An unsigned integer of at most 32 bits. */
  u32(): u32 {
    const value = this.head(0);
    if (value > 0xffffffff) {
      this.fail(Fault.range);
      return 0;
    }
    return <u32>value;
  }

  /** An integer between -2^63 and 2^63 - 1. */
  i64(): i64 {
    const negative = this.peek() == Type.negative;
    const value = this.head(negative ? 1 : 0);
    if (value >> 63 != 0) {
      this.fail(Fault.range);
      return 0;
    }
    return negative ? ~(<i64>value) : <i64>value;
  }

  /** An integer between -2^31 and 2^31 - 1. */
  i32(): i32 {
    const value = this.i64();
    if (value != <i64>(<i32>value)) {
      this.fail(Fault.range);
      return 0;
    }
    return <i32>value;
  }

  boolean(): bool {
    if (this.peek() != Type.boolean) {
      this.fail(this.at >= this.end ? Fault.truncated : Fault.type);
      return false;
    }
    return load<u8>(this.at++) == 0xf5;
  }

  /** True, and past it, where the next item is null. */
  nil(): bool {
    if (this.peek() != Type.nil) return false;
    this.at++;
    return true;
  }

  /** A float of any width, or an integer, as a double. */
  number(): f64 {
    const type = this.peek();
    if (type == Type.float) return this.float();
    if (type == Type.negative) return -1 - <f64>this.head(1);
    return <f64>this.head(0);
  }

  /** A float of any width. */
  float(): f64 {
    if (this.peek() != Type.float) {
      this.fail(this.at >= this.end ? Fault.truncated : Fault.type);
      return 0;
    }
    const at = this.at;
    // f9, fa and fb are followed by 2, 4 and 8 bytes.
    const doublings: usize = <usize>load<u8>(at) - 0xf8;
    const width: usize = 1 << doublings;
    if (this.end - at < 1 + width) {
      this.fail(Fault.truncated);
      return 0;
    }
    this.at = at + 1 + width;
    if (width == 2) return doubleFromHalf(<u32>bswap<u16>(load<u16>(at, 1)));
    if (width == 4) return <f64>reinterpret<f32>(bswap<u32>(load<u32>(at, 1)));
    return reinterpret<f64>(bswap<u64>(load<u64>(at, 1)));
  }

  /** A byte string, as a view. */
  bytes(into: Bytes): void {
    this.string(2, into);
  }

  /** A text that was found to be UTF-8, as a view. */
  text(into: Bytes): void {
    this.string(3, into);
    if (this.ok && !isUtf8(into.address, into.length)) this.failString(Fault.utf8, into);
  }

  /** A text of so many bytes, as a view. */
  textWithin(into: Bytes, least: i32, most: i32): void {
    this.text(into);
    if (this.ok && (into.length < least || into.length > most)) this.failString(Fault.contract, into);
  }

  /** A byte string of so many bytes, as a view. */
  bytesWithin(into: Bytes, least: i32, most: i32): void {
    this.bytes(into);
    if (this.ok && (into.length < least || into.length > most)) this.failString(Fault.contract, into);
  }

  /** An integer of this range. */
  within(least: i64, most: i64): i64 {
    const value = this.i64();
    if (value >= least && value <= most) return value;
    this.fail(Fault.range);
    return least;
  }

  /** For generated code: the bit of the key that was read, 0 for none, added to those seen before; each comes once. */
  once(seen: u32, bit: u32): u32 {
    if (bit == 0 || (seen & bit) != 0) this.fail(Fault.contract);
    return seen | bit;
  }

  private string(major: i32, into: Bytes): void {
    const length = this.head(major);
    if (length > <u64>(this.end - this.at)) {
      this.failString(Fault.truncated, into);
      return;
    }
    into.point(this.at, <i32>length);
    this.at += <usize>length;
  }

  private failString(fault: i32, into: Bytes): void {
    this.fail(fault);
    into.point(this.end, 0);
  }

  /** The number of elements of an array, which follow. */
  array(): u32 {
    return this.count(4, 1);
  }

  /** The number of entries of a map, whose keys and values follow. */
  map(): u32 {
    return this.count(5, 2);
  }

  /** Refuses a count that the bytes left cannot hold, so that a loop over it is bounded by the message. */
  private count(major: i32, each: u64): u32 {
    const count = this.head(major);
    if (count > <u64>(this.end - this.at) / each) {
      this.fail(Fault.truncated);
      return 0;
    }
    return <u32>count;
  }

  /** The number of a tag, whose item follows. */
  tag(): u64 {
    return this.head(6);
  }

  /** Moves past one item of any type, checking it like everything else. */
  skip(): void {
    this.item(view);
  }

  /** Moves past one item of any type, and makes a view of its encoding. */
  item(into: Bytes): void {
    const start = this.at;
    let depth = 0;
    store<u32>(remaining, 1);
    while (this.ok) {
      const left = load<u32>(remaining + ((<usize>depth) << 2));
      if (left == 0) {
        if (depth == 0) break;
        depth--;
        continue;
      }
      store<u32>(remaining + ((<usize>depth) << 2), left - 1);
      const inner = this.one();
      if (inner == 0) continue;
      if (++depth > MAXIMUM_DEPTH) this.fail(Fault.depth);
      else store<u32>(remaining + ((<usize>depth) << 2), inner);
    }
    if (this.ok) into.point(start, <i32>(this.at - start));
    else into.point(this.end, 0);
  }

  /** Moves past one head, and what it says of bytes. @returns the number of items inside it. */
  private one(): u32 {
    const type = this.peek();
    if (type == Type.unsigned || type == Type.negative) this.head(type);
    else if (type == Type.bytes) this.bytes(view);
    else if (type == Type.text) this.text(view);
    else if (type == Type.array) return this.array();
    else if (type == Type.map) return this.map() * 2;
    else if (type == Type.tag) {
      this.tag();
      return 1;
    } else if (type == Type.boolean || type == Type.nil) this.at++;
    else if (type == Type.float) this.float();
    else this.fail(type == Type.end ? Fault.truncated : Fault.simple);
    return 0;
  }
}

const view = new Bytes();

/** The key that generated code has just read: a view. */
export const key = new Bytes();
