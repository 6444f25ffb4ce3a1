/** The nine bytes of a DS18B20's scratchpad (Maxim 19-7487, figure 9): check and conversion. */

import { Bytes } from "bulkhead/sdk";

/** x^8 + x^5 + x^4 + 1, bits in the order in which they come (section "CRC generation"). */
const POLYNOMIAL: u32 = 0x8c;
/** What the temperature register holds before the first conversion: +85 degrees. */
const POWER_ON: i32 = 0x0550;

/** True where the last byte is the CRC of the eight before it, and they are not all zero, which passes the CRC too. */
export function isWhole(scratchpad: Bytes): bool {
  let crc: u32 = 0;
  let any: u32 = 0;
  for (let i = 0; i < 8; i++) {
    any |= scratchpad[i];
    crc ^= scratchpad[i];
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) != 0 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
  }
  return any != 0 && <u8>crc == scratchpad[8];
}

/** True where the sensor was powered on and has not converted since. */
export function isPowerOn(scratchpad: Bytes): bool {
  return scratchpad.i16le(0) == POWER_ON && scratchpad[6] == 0x0c;
}

/** Degrees Celsius. Bits below the configured resolution (table 2) are undefined and left out. */
export function temperature(scratchpad: Bytes): f64 {
  const undefinedBits = 3 - ((<i32>scratchpad[4] >> 5) & 3);
  return <f64>((scratchpad.i16le(0) >> undefinedBits) << undefinedBits) / 16;
}
