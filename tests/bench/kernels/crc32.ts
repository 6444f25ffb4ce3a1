/** CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320) of a buffer, one table look-up for each byte. */

const table = new StaticArray<u32>(256);
for (let i: u32 = 0; i < 256; i++) {
  let remainder = i;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  table[i] = remainder;
}

const bytes = new Uint8Array(4096);
for (let i = 0; i < 4096; i++) bytes[i] = <u8>((i * 31) ^ (i >> 3));

export function run(rounds: i32): i32 {
  let crc: u32 = 0xffffffff;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < bytes.length; i++) {
      crc = (crc >>> 8) ^ unchecked(table[(crc ^ unchecked(bytes[i])) & 0xff]);
    }
  }
  return <i32>~crc;
}
