/** UTF-8 without the heap: encoding into a given place, checking, comparing. */

const REPLACEMENT: u32 = 0xfffd;

/** The character that begins at a UTF-16 unit; one above 0xffff takes two units. A lone surrogate becomes U+FFFD. */
function pointAt(text: string, index: i32): u32 {
  const at = changetype<usize>(text) + ((<usize>index) << 1);
  const unit = <u32>load<u16>(at);
  if (unit - 0xd800 >= 0x800) return unit;
  const next = index + 1 < text.length ? <u32>load<u16>(at, 2) : 0;
  if (unit >= 0xdc00 || next - 0xdc00 >= 0x400) return REPLACEMENT;
  return 0x10000 + ((unit - 0xd800) << 10) + (next - 0xdc00);
}

/** A UTF-16 unit. Below 0x80 it is a character and its own encoding, which is what most texts consist of. */
class Unit {
  // The formatter knows decorators of class members only.
  @inline
  static at(text: string, index: i32): u32 {
    return <u32>load<u16>(changetype<usize>(text) + ((<usize>index) << 1));
  }
}

/** Encodes as much of a text as fits, never half a character. @returns bytes written. */
export function encodeText(text: string, address: usize, capacity: i32): i32 {
  const units = text.length;
  let written = 0;
  for (let i = 0; i < units; i++) {
    const unit = Unit.at(text, i);
    if (unit < 0x80) {
      if (written >= capacity) break;
      store<u8>(address + written++, <u8>unit);
      continue;
    }
    const point = pointAt(text, i);
    const size = encodedSize(point);
    if (written + size > capacity) break;
    encodePoint(point, size, address + written);
    written += size;
    i += <i32>(point > 0xffff);
  }
  return written;
}

/** Bytes that a text takes in UTF-8. */
export function textSize(text: string): i32 {
  const units = text.length;
  let size = units;
  for (let i = 0; i < units; i++) {
    if (Unit.at(text, i) < 0x80) continue;
    const point = pointAt(text, i);
    const isPair = <i32>(point > 0xffff);
    size += encodedSize(point) - 1 - isPair;
    i += isPair;
  }
  return size;
}

/** True where the bytes are this text in UTF-8. Nothing is allocated. */
export function isText(address: usize, length: i32, text: string): bool {
  const units = text.length;
  let at = 0;
  for (let i = 0; i < units; i++) {
    const unit = Unit.at(text, i);
    if (unit < 0x80) {
      if (at >= length || <u32>load<u8>(address + at) != unit) return false;
      at++;
      continue;
    }
    const point = pointAt(text, i);
    const size = encodedSize(point);
    if (at + size > length) return false;
    encodePoint(point, size, character);
    if (memory.compare(address + at, character, size) != 0) return false;
    at += size;
    i += <i32>(point > 0xffff);
  }
  return at == length;
}

const character = memory.data(4);

function encodedSize(point: u32): i32 {
  return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
}

function encodePoint(point: u32, size: i32, at: usize): void {
  if (size == 1) {
    store<u8>(at, <u8>point);
    return;
  }
  const lead: u32 = size == 2 ? 0xc0 : size == 3 ? 0xe0 : 0xf0;
  for (let i = size - 1; i > 0; i--) {
    store<u8>(at + i, <u8>(0x80 | (point & 0x3f)));
    point >>= 6;
  }
  store<u8>(at, <u8>(lead | point));
}

/** Writes a number in decimal, at most ten digits. @returns bytes written. */
export function encodeDecimal(value: u32, address: usize): i32 {
  let digits = 1;
  for (let rest = value / 10; rest > 0; rest /= 10) digits++;
  for (let at = digits - 1; at >= 0; at--) {
    store<u8>(address + at, <u8>(48 + (value % 10)));
    value /= 10;
  }
  return digits;
}

/** True for well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
export function isUtf8(address: usize, length: i32): bool {
  let at = address;
  const end = address + length;
  while (at < end) {
    const lead = <u32>load<u8>(at++);
    if (lead < 0x80) continue;
    const more = lead - 0xc2 < 0x1e ? 1 : (lead & 0xf0) == 0xe0 ? 2 : lead - 0xf0 < 5 ? 3 : 0;
    if (more == 0 || at + more > end) return false;
    const second = <u32>load<u8>(at);
    const low: u32 = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const high: u32 = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (second < low || second > high) return false;
    for (let i = 1; i < more; i++) if ((load<u8>(at + i) & 0xc0) != 0x80) return false;
    at += more;
  }
  return true;
}
