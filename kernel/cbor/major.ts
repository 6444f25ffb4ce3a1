/** The major types: the upper three bits of an item's first byte (RFC 8949, section 3.1). */
export const MAJOR = Object.freeze({
  unsigned: 0,
  negative: 1,
  bytes: 2,
  text: 3,
  array: 4,
  map: 5,
  tag: 6,
  simple: 7,
} as const);
