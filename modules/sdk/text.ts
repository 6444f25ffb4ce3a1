/** UTF-8 without the heap: encoding into a given place, checking, comparing. */

/** Encodes as much of a text as fits, never half a character; a lone surrogate becomes U+FFFD. @returns bytes written. */
export function encodeText(text: string, address: usize, capacity: i32): i32 {
  const source = changetype<usize>(text);
  const units = text.length;
  let written = 0;
  for (let i = 0; i < units; i++) {
    let point = <u32>load<u16>(source + (<usize>i << 1));
    if (point - 0xd800 < 0x800) {
      const next = i + 1 < units ? <u32>load<u16>(source + (<usize>i << 1), 2) : 0;
      if (point < 0xdc00 && next - 0xdc00 < 0x400) {
        point = 0x10000 + ((point - 0xd800) << 10) + (next - 0xdc00);
        i++;
      } else point = 0xfffd;
    }
    const size = encodedSize(point);
    if (written + size > capacity) break;
    encodePoint(point, size, address + written);
    written += size;
  }
  return written;
}

/** Bytes that a text takes in UTF-8. */
export function textSize(text: string): i32 {
  const source = changetype<usize>(text);
  const units = text.length;
  let size = 0;
  for (let i = 0; i < units; i++) {
    const point = <u32>load<u16>(source + (<usize>i << 1));
    const next = i + 1 < units ? <u32>load<u16>(source + (<usize>i << 1), 2) : 0;
    if (point - 0xd800 < 0x400 && next - 0xdc00 < 0x400) {
      size += 4;
      i++;
    } else size += encodedSize(point);
  }
  return size;
}

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

/** True where the bytes are this text. Nothing is allocated. */
export function isText(address: usize, length: i32, text: string): bool {
  const size = textSize(text);
  if (size != length) return false;
  const units = text.length;
  if (units != size) return isWideText(address, text);
  for (let i = 0; i < units; i++) {
    if (<u32>load<u8>(address + i) != <u32>load<u16>(changetype<usize>(text) + (<usize>i << 1))) return false;
  }
  return true;
}

/** Compares one character at a time through a four-byte place of its own. */
function isWideText(address: usize, text: string): bool {
  const units = text.length;
  let at = address;
  for (let i = 0; i < units; i++) {
    let point = <u32>text.codePointAt(i);
    if (point > 0xffff) i++;
    else if (point - 0xd800 < 0x800) point = 0xfffd;
    const size = encodedSize(point);
    encodePoint(point, size, character);
    if (memory.compare(at, character, size) != 0) return false;
    at += size;
  }
  return true;
}

const character = memory.data(4);
