/** Puts the manifest into a binary, as a custom section. */

const CUSTOM_SECTION = 0;

/** The binary with one more custom section at its end, where it moves no code. */
export function withCustomSection(binary: Uint8Array, name: string, content: Uint8Array): Uint8Array {
  const label = new TextEncoder().encode(name);
  const labelLength = unsignedLeb128(label.length);
  const size = unsignedLeb128(labelLength.length + label.length + content.length);
  return Buffer.concat([binary, Uint8Array.of(CUSTOM_SECTION), size, labelLength, label, content]);
}

function unsignedLeb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return Uint8Array.from(bytes);
}
